"""Why a hook on a tensor, or on a node of the graph, never fired."""

from __future__ import annotations

from hooktrace.doctor.case import Run
from hooktrace.doctor.never.reason import Reason, Unfired
from hooktrace.events import NodeId

__all__ = ["TENSORS"]


def removed_before(unfired: Unfired) -> Reason | None:
    """It was removed before a backward ran."""
    if unfired.until is None or unfired.runs:
        return None
    later = [run for run in unfired.case.runs if run.started.seq > unfired.until]
    after = f"; backward run {later[0].number} came afterwards" if later else ""
    return Reason(
        "removed",
        "it was removed before a backward ran",
        "remove the hook after the backward",
        events=(unfired.until, *(run.started.seq for run in later[:1])),
        evidence=(f"removed at #{unfired.until}{after}",),
        severity="warning" if later else "note",
    )


def no_backward(unfired: Unfired) -> Reason | None:
    """No backward ran in the block."""
    if unfired.case.runs:
        return None
    error = unfired.case.log.error
    if error:
        return Reason(
            "exception",
            f"the block ended with {error.partition(':')[0]} before a backward ran",
            "see what raised",
            evidence=(f"the block raised {error}",),
            rule="",
        )
    return Reason(
        "no-backward",
        "no backward ran in the block",
        "call loss.backward() inside the block",
        evidence=("the block has no backward run",),
        severity="note",
    )


def registered_late(unfired: Unfired) -> Reason | None:
    """It was registered after the last backward."""
    if unfired.runs:
        return None
    last = unfired.case.runs[-1]
    return Reason(
        "registered-late",
        "it was registered after the backward that it should see",
        "register the hook before loss.backward()",
        events=(last.started.seq, unfired.since),
        evidence=(
            f"the last backward run began at #{last.started.seq}; the hook was registered at "
            f"#{unfired.since}",
        ),
    )


def replaced(unfired: Unfired) -> Reason | None:
    """The model has another parameter by the name now."""
    tensor = unfired.hook.tensor
    name = None if tensor is None else unfired.case.log.replaced.get(tensor)
    if name is None or _reaching(unfired):
        return None
    return Reason(
        "replaced",
        f"{name} is another tensor now than the one that the hook is on: something gave the model "
        f"a new parameter, such as .to() of another kind of device, fully_shard(), an assignment",
        "register the hook on the parameters that the model has when it runs",
        events=tuple(run.started.seq for run in unfired.runs[:4]),
        evidence=(f"the parameter {name} was replaced before the block ended",),
    )


def stale_view(unfired: Unfired) -> Reason | None:
    """It hangs on a view that was written to since."""
    registration = unfired.registration
    if registration is None or not registration.stale or _reaching(unfired):
        return None
    tensor = unfired.hook.tensor
    writes = () if tensor is None else unfired.case.written.get(tensor, ())
    return Reason(
        "stale-view",
        f"{unfired.hook.owner} is a view, and it or its base was written to in place after the "
        f"hook was registered; the view then belongs to another node, and its old hooks are lost",
        "register the hook after the write, or on the base, or write out of place",
        events=tuple(one.seq for one in writes if one.seq > unfired.since)[:4],
        evidence=("the version of the view went up after the hook was registered",),
    )


def in_transform(unfired: Unfired) -> Reason | None:
    """Only function transforms such as ``torch.func.grad`` differentiated."""
    runs = unfired.runs
    if not all("transform" in run.started.options for run in runs) or _reaching(unfired):
        return None
    return Reason(
        "transform",
        "only a transform such as torch.func.grad differentiated, and it works on wrappers of the "
        "tensors, which do not have their hooks",
        "call backward() or torch.autograd.grad, or change what the transform returns",
        events=tuple(run.started.seq for run in runs[:4]),
        evidence=(f"backward run {runs[-1].number} belongs to a function transform",),
    )


def not_accumulated(unfired: Unfired) -> Reason | None:
    """Nothing was accumulated into ``.grad``, which a post-accumulate hook waits for."""
    runs = _reaching(unfired)
    if unfired.hook.kind != "post_accumulate_grad" or not runs:
        return None
    if any(run.started.accumulates for run in runs):
        return None
    return Reason(
        "autograd-grad",
        "torch.autograd.grad was called, which returns gradients and accumulates none into .grad",
        "call loss.backward(), or use Tensor.register_hook, which fires in both",
        events=tuple(run.started.seq for run in runs[:4]),
        evidence=(f"backward run {runs[-1].number} was torch.autograd.grad",),
    )


def not_asked_for(unfired: Unfired) -> Reason | None:
    """The backward was told of which tensors to compute gradients, and this is none of them."""
    runs = _reaching(unfired)
    if not runs or not all("inputs" in run.started.options for run in runs):
        return None
    name = "backward(inputs=...)" if runs[-1].started.accumulates else "torch.autograd.grad"
    return Reason(
        "not-asked-for",
        f"{name} computes only the gradients asked for, and {unfired.hook.owner} is not on the way "
        f"to them",
        f"ask for {unfired.hook.owner} as well, or call backward() without inputs=",
        events=tuple(run.started.seq for run in runs[:4]),
        evidence=(f"backward run {runs[-1].number} was {name}",),
    )


def not_in_graph(unfired: Unfired) -> Reason | None:
    """No backward run reached the tensor."""
    if _reaching(unfired) or unfired.hook.kind == "multi_grad":
        return None
    roots = sorted({_root(unfired, run) for run in unfired.runs})
    made, advice = _made(unfired), "look for detach(), .item() or an unused result between it and "
    if _is_leaf(unfired):
        advice = (
            "see whether the model uses this very parameter: .to(), deepcopy, pickle and "
            "fully_shard() make new ones without their hooks; else look for detach(), .data and "
            "torch.no_grad()"
        )
    elif made:
        advice = (
            "each operation makes a new tensor, indexing too: keep the tensor in a variable, and "
            f"compute the loss from that very one; else {advice}the loss"
        )
    else:
        advice += "the loss"
    what = "the node that it hangs on" if _on_node(unfired) else f"{unfired.hook.owner}{made}"
    return Reason(
        "not-in-graph",
        f"{what} is no part of the graph of {' or '.join(roots[:3])}",
        advice,
        events=tuple(run.started.seq for run in unfired.runs[:4]),
        evidence=tuple(
            f"backward run {run.number} reached {len(unfired.case.reached(run))} other nodes"
            for run in unfired.runs[:2]
        ),
    )


def group_not_complete(unfired: Unfired) -> Reason | None:
    """It waits for the gradients of several tensors."""
    if unfired.hook.kind != "multi_grad":
        return None
    return Reason(
        "not-in-graph",
        f"none of the backward runs needed the gradients of {unfired.hook.owner}",
        "see whether the loss depends on these tensors",
        events=tuple(run.started.seq for run in unfired.runs[:4]),
        evidence=(f"it waits for {unfired.hook.owner}",),
        possible="which of the tensors a backward run reached is not recorded for such hooks",
        severity="note",
    )


def backward_raised(unfired: Unfired) -> Reason | None:
    """The backward raised before it came to the tensor."""
    runs = [run for run in unfired.runs if run.finished and run.finished.exception]
    if not runs or runs[-1].finished is None:
        return None
    return Reason(
        "backward-raised",
        f"the backward raised before it came to {unfired.hook.owner}",
        "see what raised",
        events=(runs[-1].started.seq, runs[-1].finished.seq),
        evidence=(f"backward run {runs[-1].number} raised {runs[-1].finished.exception}",),
    )


TENSORS = (
    no_backward,
    removed_before,
    registered_late,
    in_transform,
    replaced,
    stale_view,
    group_not_complete,
    not_in_graph,
    not_accumulated,
    not_asked_for,
    backward_raised,
)
"""Reasons in the order in which they exclude each other."""


# ------------------------------------------------------------------ looked up


def _reaching(unfired: Unfired) -> list[Run]:
    """Return the runs whose graph contains what it hangs on."""
    nodes = _nodes(unfired)
    return [run for run in unfired.runs if nodes & unfired.case.reached(run)]


def _nodes(unfired: Unfired) -> set[NodeId]:
    """Return the node that it hangs on, where that is known; of a leaf, the accumulating one."""
    if unfired.hook.node is not None:
        return {unfired.hook.node}
    registration = unfired.registration
    if registration is not None and registration.node is not None:
        return {registration.node}
    tensor = unfired.hook.tensor
    return set() if tensor is None else set(unfired.case.nodes_of.get(tensor, ()))


def _made(unfired: Unfired) -> str:
    """Say of a tensor that no variable held what it was made by, and of what."""
    registration, tensor = unfired.registration, unfired.hook.tensor
    if registration is None or registration.node is None or tensor is None:
        return ""
    case = unfired.case
    if case.log.tensors[tensor].name:
        return ""
    node = case.log.nodes[registration.node].name
    if registration.base is None:
        return f", made by {node},"
    what = "a part" if node.partition("Backward")[0] in _PARTS else "a view"
    return f", {what} of {case.name(registration.base)} ({node}),"


_PARTS = frozenset({"Select", "Slice", "Narrow", "Split", "Unbind", "Chunk", "Diagonal"})


def _on_node(unfired: Unfired) -> bool:
    return unfired.hook.kind in ("node", "node_pre")


def _is_leaf(unfired: Unfired) -> bool:
    tensor, registration = unfired.hook.tensor, unfired.registration
    if tensor is None or registration is None:
        return False
    made_by_none = unfired.since >= 0 and registration.node is None
    return unfired.case.log.tensors[tensor].leaf or made_by_none


def _root(unfired: Unfired, run: Run) -> str:
    values = [one.value for one in run.started.roots if one.value is not None]
    names = [unfired.case.log.tensors[one.tensor].name for one in values]
    return next((name for name in names if name), "what was differentiated")
