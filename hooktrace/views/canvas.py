"""The nodes and edges that graphs of a trace are made of, with plain attributes only."""

from __future__ import annotations

import re
from typing import Any

import networkx as nx

from hooktrace.events import Observation, TensorId, Value
from hooktrace.log import EventLog

__all__ = ["Canvas"]

# Not in XML 1.0, or changed by its readers.
_UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")


class Canvas:
    """A graph that is being drawn: each tensor and value becomes one node, when first named."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.graph = nx.MultiDiGraph(name="hooktrace", view="all")
        if log.error:
            self.graph.graph["error"] = _clean(log.error)

    def node(self, name: str, kind: str, label: str, **data: Any) -> None:
        """Add a node; what is None or empty is left out."""
        self.graph.add_node(name, kind=kind, label=_clean(label) or "?", **_plain(data))

    def edge(self, tail: str, head: str, kind: str, **data: Any) -> None:
        """Add an edge; what is None or empty is left out."""
        self.graph.add_edge(tail, head, kind=kind, **_plain(data))

    def tensor(self, number: TensorId) -> str:
        """Return the node of a tensor."""
        name = f"tensor:{number}"
        if name not in self.graph:
            row = self.log.tensors[number]
            label = row.name or f"t{number}"
            self.node(name, "tensor", label, leaf=row.leaf, parameter=row.parameter)
        return name

    def bare(self, value: Value) -> str:
        """Return the node of a value of which nothing but its version may be known."""
        name = f"value:{value}"
        if name not in self.graph:
            row = self.log.tensors[value.tensor]
            self.node(
                name, "value", row.name or str(value), tensor=value.tensor, version=value.version
            )
            if row.name:
                self.edge(name, self.tensor(value.tensor), "version_of")
        return name

    def value(self, seen: Observation, gradient: bool = False) -> str:
        """Return the node of a value that was seen; `gradient` says that it is one."""
        assert seen.value is not None
        name = self.bare(seen.value)
        data = self.graph.nodes[name]
        if gradient:
            data["kind"] = "gradient"
        if not isinstance(seen.summary, str) and "shape" not in data:
            numbers = "" if seen.numbers is None else str(list(seen.numbers))
            data |= _plain(
                {
                    "shape": seen.summary.dimensions,
                    "dtype": seen.summary.dtype,
                    "device": seen.summary.device,
                    "numbers": numbers,
                }
            )
        return name

    def object(self, name: str, seen: Observation) -> str:
        """Return a node for what is no tensor."""
        self.node(name, "value", str(seen.summary), role=seen.role)
        return name


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is unknown or empty, and make every text one that XML can hold."""
    cleaned = {key: _clean(one) if isinstance(one, str) else one for key, one in data.items()}
    return {key: one for key, one in cleaned.items() if one is not None and one != ""}


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
