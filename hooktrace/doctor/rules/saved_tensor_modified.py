"""PyTorch's error that a saved tensor was modified by an in-place operation, explained."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.overwriting import overwriter, remedy, site, source_of, writes_since
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import CallId, NodeId
from hooktrace.findings import Finding
from hooktrace.held import ModifiedSave
from hooktrace.views.effects import WriteView

__all__ = ["SavedTensorModified"]


@rule
class SavedTensorModified(Rule):
    """Backward raised because a tensor that it needs had been overwritten in place.

    What it finds: for the error "one of the variables needed for gradient computation has been
        modified by an inplace operation", which tensor it was, which operation of which module had
        saved it, and who overwrote it.
    Why it matters: autograd saves what it needs for a gradient by reference, without a copy. If
        it is overwritten before backward, the gradient would be wrong, so PyTorch refuses. Its
        message tells the shape, not the tensor.
    Instead: do not write to it in place, or only to a copy: ``y = y + 1`` instead of ``y += 1``, or
        ``y.clone()`` first.
    Limits: the line is that of the statement in which the write was noticed: it wrote itself, or
        one before it did. Where saved tensors have hooks, and for most tensors that no module took
        or returned on releases before 2.10, it is not told which tensor it was.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html, "In-place correctness checks".
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.ReLU(inplace=True))
        try:
            with ht.trace(net) as t:
                net(torch.ones(1, 2)).sum().backward()
        except RuntimeError:
            pass
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
    """

    name = "saved-tensor-modified"
    severity = "error"
    explains = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what was found out when backward raised."""
        for modified in case.log.modified:
            yield self._of(case, modified)

    def _of(self, case: Case, modified: ModifiedSave) -> Finding:
        saved, node = modified.saved, case.log.nodes[modified.node]
        tensors = () if saved is None else (saved.tensor,)
        writes = writes_since(case, tensors, modified.expected) or _of_result(case, modified)
        unknown = not writes and modified.writer is None
        deduced = _deduced(case, modified) if unknown else None
        run = next((one for one in case.runs if one.number == modified.backward), None)
        raised = () if run is None or run.finished is None else (run.finished.seq,)
        saver = f"{operation(node.name)}{_inside(case, node.call)}"
        line = None if run is None else run.started.line
        by = _by(writes[0], line) if writes else _by_node(case, modified, deduced)
        what = _what(case, modified)
        source = modified.lines[1] or (source_of(writes[0]) if writes else "")
        return self.finding(
            f"Backward failed because {what} was overwritten in place by {by}, after {saver} had "
            f"saved it for its gradient.",
            where=_where(case, modified, writes, source or line),
            source=source or line or "",
            events=(*(one.seq for one in writes), *raised),
            evidence=tuple(_evidence(modified, node.name, writes, line)),
            instead=remedy(case, writes[0]) if writes else _out_of_place(case, modified),
            possible=_DEDUCED if deduced is not None else "",
        )


def _where(case: Case, modified: ModifiedSave, writes: list[WriteView], line: str | None) -> str:
    """Say what stands at the line of the finding: what wrote, or else the backward that raised."""
    if modified.lines[1] and modified.writer is not None:
        return f"{case.log.nodes[modified.writer].name}{_inside(case, modified.call)}"
    if writes and site(writes[0]):
        return site(writes[0])
    node = case.log.nodes[modified.node]
    return "backward()" if line else f"{node.name}{_inside(case, node.call)}"


def _by(write: WriteView, line: str | None) -> str:
    """Say who wrote, and of code that left no line, before which line that was."""
    bare = write.hook is None and write.call is None and not write.optimizer
    before = f", before backward() at {line}" if bare and line and not write.line else ""
    return f"{overwriter(write)}{before}"


def operation(node: str) -> str:
    """Say which operation is behind a node.

    >>> operation("MulBackward0"), operation("SigmoidBackward0")
    ('the multiplication (MulBackward0)', 'the operation Sigmoid (SigmoidBackward0)')
    >>> operation("CopySlices")
    'an assignment into a part of it (CopySlices), such as x[0] = ...'
    """
    if node == "CopySlices":
        return "an assignment into a part of it (CopySlices), such as x[0] = ..."
    plain = node.partition("Backward")[0]
    if plain in _SPOKEN:
        return f"the {_SPOKEN[plain]} ({node})"
    return f"the operation {plain} ({node})" if plain not in ("", node) else f"the operation {node}"


_SPOKEN = {
    "Add": "addition",
    "Sub": "subtraction",
    "Mul": "multiplication",
    "Div": "division",
    "Pow": "power",
    "Exp": "exponential",
    "Log": "logarithm",
    "Sqrt": "square root",
    "Mm": "matrix product",
    "Bmm": "batched matrix product",
    "Addmm": "linear map",
    "Convolution": "convolution",
}


def _inside(case: Case, call: CallId | None) -> str:
    found = None if call is None else case.calls.calls.get(call)
    return "" if found is None else f" in {found} ({found.module.type})"


def _what(case: Case, modified: ModifiedSave) -> str:
    saved = modified.saved
    if saved is None:
        return _role(case, modified)
    name = case.log.tensors[saved.tensor].name
    origin = case.origins.get(saved, "")
    if name:
        return name
    return f"the {origin}" if origin else _role(case, modified)


def _role(case: Case, modified: ModifiedSave) -> str:
    of = operation(case.log.nodes[modified.node].name)
    if modified.attribute.startswith(("result", "out")):
        return f"the result of {of}"
    return f"the argument {modified.attribute!r} of {of}"


def _by_node(case: Case, modified: ModifiedSave, deduced: NodeId | None) -> str:
    """Say who wrote where no write was seen, but autograd knows the operation."""
    writer = modified.writer if deduced is None else deduced
    if writer is None:
        return "code that was not seen"
    node = case.log.nodes[writer]
    call = modified.call if deduced is None else node.call
    at = f" at {modified.lines[1]}" if modified.lines[1] else ""
    return f"{operation(node.name)}{_inside(case, call)}{at}"


def _out_of_place(case: Case, modified: ModifiedSave) -> str:
    """Say what to do about an assignment into a part; empty for what the docstring says."""
    if modified.writer is None or case.log.nodes[modified.writer].name != "CopySlices":
        return ""
    return (
        "let the operation that needs it work on a copy, such as x[0] = x[0].clone() * v instead "
        "of x[0] = x[0] * v, or put the parts together anew, as by torch.stack or torch.where."
    )


def _of_result(case: Case, modified: ModifiedSave) -> list[WriteView]:
    """Return the writes to a result of which autograd shows no tensor, if all of them were seen.

    The tensor is known by what made it: the node that saved it, or operations after that of which
    each has overwritten the result of the one before, as many as its version has counted at most.
    """
    if modified.saved is not None or not modified.attribute.startswith(("result", "out")):
        return []
    count = modified.found - modified.expected
    found = {
        value.tensor
        for value, edge in case.log.producers.items()
        if value.version == modified.found and _follows(case, edge, modified.node, count)
    }
    writes = writes_since(case, found, modified.expected) if len(found) == 1 else []
    seen = [one.after.version for one in writes]
    before = [one.before.version for one in writes]
    return writes if [modified.expected, *seen] == [*before, modified.found] else []


def _follows(case: Case, edge: tuple[NodeId, int], node: NodeId, steps: int) -> bool:
    """Whether an output of a node came from that of another by writes in place."""
    for _ in range(steps):
        if edge[0] == node:
            break
        following = case.log.nodes.parts[edge[0]][2]
        if not following:
            return False
        edge = following[0]
    return edge == (node, 0)


def _deduced(case: Case, modified: ModifiedSave) -> NodeId | None:
    """Return the operation that wrote to a result that is gone, told by what it left.

    What an operation writes in place is its first operand, and comes out one version higher; what
    it makes anew comes out at version 0.
    """
    if not modified.attribute.startswith(("result", "out")):
        return None
    if modified.found != modified.expected + 1:
        return None
    parts = case.log.nodes.parts
    found = {
        node
        for value, (node, _) in case.log.producers.items()
        if value.version == modified.found and [*parts[node][2]][:1] == [(modified.node, 0)]
    }
    return found.pop() if len(found) == 1 else None


_DEDUCED = "the write itself was not seen: it is told by the version that the operation left"


def _evidence(
    modified: ModifiedSave, node: str, writes: list[WriteView], line: str | None
) -> Iterator[str]:
    at = f" at {modified.lines[0]}" if modified.lines[0] else ""
    yield f"{node} saved {modified.attribute!r} at version {modified.expected}{at}"
    yield f"it is at version {modified.found} now"
    yield from (f"then overwritten by {overwriter(one)}" for one in writes[1:4])
    if line:
        yield f"backward was called at {line}"
