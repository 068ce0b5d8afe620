"""Which saved tensor it was, when backward raises that one has been modified in place.

PyTorch's message tells the shape and the versions, but not the tensor.  So once the error has
been raised, the nodes that have not run are asked for what they saved: the one that refuses with
the same words is the one.  Where unpack hooks could be called by that, nothing is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch

from hooktrace import _torch, _torch_graph, _torch_hooks
from hooktrace._torch_saved import (
    TELLS_HOOKS,
    created_at,
    refusal,
    saved_content,
    saved_tensors,
    storage_of,
)
from hooktrace.events import CallId, NodeId, Value
from hooktrace.held import ModifiedSave
from hooktrace.identity import Seen
from hooktrace.recorder import Recorder
from hooktrace.spans import THREAD_BITS
from hooktrace.walk import node_row

__all__ = ["note_modified"]

_MESSAGE = re.compile(
    r"one of the variables needed for gradient computation has been modified by an inplace "
    r"operation: \[\S+ \[[\d, ]*\]\]"
    r"(?:, which is output (?P<output>\d+) of (?P<node>\w+),)?"
    r" is at version (?P<found>\d+); expected version (?P<expected>\d+) instead",
    re.DOTALL,
)


@_torch.unseen
def note_modified(recorder: Recorder, number: int, roots: Any, error: BaseException) -> None:
    """Enter in the log which saved tensor was modified, if that is what a run raised.

    Args:
        recorder: Whose log.
        number: Of the backward run.
        roots: The tensors or edges that it began at.
        error: What it raised.
    """
    told = _MESSAGE.search(str(error)) if type(error) is RuntimeError else None
    if told is None or recorder.graph is None:
        return
    try:
        found = next(_refusing(recorder, roots, str(error)), None)
        if found is not None:
            recorder.log.modified.append(_described(recorder, number, *found, told))
    except Exception:
        recorder.failed("a saved tensor that was modified")


def _refusing(recorder: Recorder, roots: Any, message: str) -> Iterator[tuple[Any, str, Any]]:
    """Yield node, attribute and saved tensor where unpacking is refused with these words.

    The engine runs younger nodes first, so the youngest of them is the one that raised.
    """
    hooks = any(row.kind in ("pack", "unpack") for row in recorder.log.hooks)
    if not TELLS_HOOKS and (hooks or "graph-from-before" in recorder.log.unseen):
        return
    nodes = _torch_graph.reachable(
        root.grad_fn if isinstance(root, torch.Tensor) else root.node
        for root in roots
        if not isinstance(root, torch.Tensor) or root.grad_fn is not None
    )
    inner = [node for node in nodes if _torch.sequence_of(node) != _torch.LEAF_SEQUENCE]
    for node in sorted(inner, key=_torch.sequence_of, reverse=True):
        for attribute, raw in saved_tensors(node):
            if TELLS_HOOKS and raw.unpack_hook is not None:
                continue
            if refusal(node, attribute) == message:
                yield node, attribute, raw


def _described(
    recorder: Recorder, number: int, node: Any, attribute: str, raw: Any, told: re.Match[str]
) -> ModifiedSave:
    expected, found = int(told["expected"]), int(told["found"])
    content = saved_content(raw)
    row = node_row(recorder, node)
    seen = None if content is None else _seen(recorder, content)
    if seen is not None:
        saved: Value | None = Value(seen.id, expected)
        tensor = seen.ref()
        if tensor is not None:
            recorder.check(recorder.state(), tensor, seen)
    else:
        saved, tensor = _produced(recorder, row, told), content
    writer = None if tensor is None else _writer(tensor, node)
    lines = created_at(node, _skipped), "" if writer is None else created_at(writer, _skipped)
    return ModifiedSave(
        number,
        row,
        attribute,
        saved,
        expected,
        found,
        None if writer is None else node_row(recorder, writer),
        None if writer is None else _call_of(recorder, writer),
        lines,
    )


def _seen(recorder: Recorder, content: torch.Tensor) -> Seen | None:
    """Return the entry of a saved tensor; what a node made itself it saves as another object.

    Of a view that is not known, such as the transposed weight of a layer, that of its base.
    """
    for one in (content, _torch.base_of(content)):
        known = None if one is None else recorder.identities.known(one)
        if known is not None:
            return known
    storage = storage_of(content)
    for seen in tuple(recorder.identities.table.values()):
        tensor = seen.ref()
        if tensor is None or not storage or storage_of(tensor) != storage:
            continue
        if tensor.shape == content.shape and tensor.storage_offset() == content.storage_offset():
            if tensor.dtype == content.dtype and tensor.stride() == content.stride():
                return seen
    return None


def _produced(recorder: Recorder, row: NodeId, told: re.Match[str]) -> Value | None:
    """Return the saved value by what the message says it came from, if only one fits."""
    if told["node"] is None:
        return None
    log, output, version = recorder.log, int(told["output"]), int(told["expected"])
    near = [(row, output), *log.nodes[row].next]
    edges = {
        (node, number)
        for node, number in near
        if number == output and log.nodes[node].name.startswith(told["node"])
    }
    found = [
        value for value, edge in log.producers.items() if edge in edges and value.version == version
    ]
    return found[0] if len(found) == 1 else None


def _writer(tensor: torch.Tensor, node: Any) -> Any:
    """Return the node of the operation that wrote to a saved tensor last, if autograd knows.

    A write under ``no_grad`` leaves none, and the node of a view is made anew.
    """
    last = tensor.grad_fn
    if last is None or last is node or _torch.is_view(tensor):
        return None
    return None if any(last is before for before, _ in node.next_functions) else last


def _call_of(recorder: Recorder, node: Any) -> CallId | None:
    """Return the innermost module call that was open when a node was made."""
    key = recorder.graph.key(node, recorder.state())
    spans = recorder.graph.spans.get(key >> THREAD_BITS)
    span = None if spans is None else spans.owner(key)
    return None if span is None else span.call


def _skipped(file: str) -> bool:
    return _torch_hooks.torch_file(file) or file.startswith((_HERE, "<frozen"))


_HERE = __file__.rpartition("/")[0] + "/"
