"""TensorBoard's records, made of plain values."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from hooktrace.boards.nodes import BoardNode
from hooktrace.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Counts", "chart", "graph", "histogram", "picture", "protos", "scalar", "text"]

Value = Any  # a tensorboard.compat.proto.summary_pb2.Summary.Value


@cache
def protos(name: str) -> Any:
    """Import a module of TensorBoard by the end of its path.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(f"tensorboard.{name}")
    except ImportError as error:
        raise MissingExtraError("Writing for TensorBoard", "tensorboard", "tensorboard") from error


class Counts(NamedTuple):
    """How values are distributed.

    Attributes:
        limits: Right ends of the bins.
        counts: How many values are in each.
        low, high: The smallest and the largest value.
        total: How many values there are.
        sum, squares: Sum of the values, and of their squares.
    """

    limits: Sequence[float]
    counts: Sequence[float]
    low: float
    high: float
    total: int
    sum: float
    squares: float


def scalar(tag: str, number: float) -> Value:
    """Return one point of a curve."""
    return protos("compat.proto.summary_pb2").Summary.Value(tag=tag, simple_value=number)


def histogram(tag: str, counts: Counts) -> Value:
    """Return a distribution."""
    module = protos("compat.proto.summary_pb2")
    made = protos("compat.proto.histogram_pb2").HistogramProto(
        min=counts.low,
        max=counts.high,
        num=counts.total,
        sum=counts.sum,
        sum_squares=counts.squares,
        bucket_limit=counts.limits,
        bucket=counts.counts,
    )
    return module.Summary.Value(tag=tag, histo=made)


def picture(tag: str, image: Image.Image) -> Value:
    """Return a picture."""
    summary = protos("compat.proto.summary_pb2").Summary
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="PNG")
    made = summary.Image(
        height=image.height,
        width=image.width,
        colorspace=3,
        encoded_image_string=stream.getvalue(),
    )
    return summary.Value(tag=tag, image=made)


def text(tag: str, words: str) -> Value:
    """Return a text in Markdown."""
    return _stored(tag, "text", words.encode())


def chart(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Value:
    """Return a layout of the tab of custom scalars: charts that show several curves together.

    Args:
        charts: Regular expressions of tags by title of the chart, and those by title of a group.
    """
    layout = protos("plugins.custom_scalar.layout_pb2")
    groups = [
        layout.Category(
            title=title,
            chart=[
                layout.Chart(title=name, multiline=layout.MultilineChartContent(tag=tags))
                for name, tags in group.items()
            ],
        )
        for title, group in charts.items()
    ]
    content = layout.Layout(category=groups).SerializeToString()
    return _stored("custom_scalars__config__", "custom_scalars", content)


def _stored(tag: str, plugin: str, content: bytes) -> Value:
    """Return a value that one of TensorBoard's plug-ins reads."""
    module = protos("compat.proto.summary_pb2")
    tensor = protos("compat.proto.tensor_pb2").TensorProto(
        dtype="DT_STRING",
        string_val=[content],
        tensor_shape=protos("compat.proto.tensor_shape_pb2").TensorShapeProto(),
    )
    data = module.SummaryMetadata.PluginData(plugin_name=plugin)
    metadata = module.SummaryMetadata(plugin_data=data)
    return module.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)


# ------------------------------------------------------------------ the graph


def graph(nodes: Iterable[BoardNode]) -> Any:
    """Return a ``GraphDef`` of nodes."""
    module = protos("compat.proto.graph_pb2")
    versions = protos("compat.proto.versions_pb2").VersionDef(producer=22)
    return module.GraphDef(node=[_node(one) for one in nodes], versions=versions)


def _node(node: BoardNode) -> Any:
    return protos("compat.proto.node_def_pb2").NodeDef(
        name=node.name,
        op=node.operation,
        input=[*node.inputs, *(f"^{name}" for name in node.controls)],
        device=node.device,
        attr=_attributes(node),
    )


def _attributes(node: BoardNode) -> dict[str, Any]:
    value = protos("compat.proto.attr_value_pb2").AttrValue
    found = {}
    for name, told in node.attributes.items():
        if isinstance(told, str):
            found[name] = value(s=told.encode())
        else:
            found[name] = value(list=value.ListValue(s=[one.encode() for one in told]))
    if node.shapes:
        shape = protos("compat.proto.tensor_shape_pb2").TensorShapeProto
        shapes = [shape(dim=[shape.Dim(size=size) for size in one]) for one in node.shapes]
        found["_output_shapes"] = value(list=value.ListValue(shape=shapes))
    return found
