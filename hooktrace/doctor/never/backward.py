"""Why a backward hook on a module never fired although the module was called."""

from __future__ import annotations

from collections.abc import Callable

from hooktrace.doctor.case import Run
from hooktrace.doctor.circumstances import in_reentrant
from hooktrace.doctor.never.reason import Reason, Unfired
from hooktrace.views.call import Call

__all__ = ["BACKWARD", "nearest_call"]

Judge = Callable[[Unfired, Call], Reason | None]

_NEAR_MODULE = (
    "hook the tensors instead: in a forward hook, call register_hook on the tensor whose "
    "gradient you want"
)


def call_raised(unfired: Unfired, call: Call) -> Reason | None:
    """The call never returned."""
    if call.exception is None:
        return None
    return Reason(
        "exception",
        f"{call} raised {call.exception.partition(':')[0]}, so there was nothing to differentiate",
        "see what raised",
        events=(call.called.seq,),
        evidence=(f"{call} raised {call.exception}",),
    )


def without_grad_mode(unfired: Unfired, call: Call) -> Reason | None:
    """The call ran with autograd switched off."""
    if call.mode.grad and not call.mode.inference:
        return None
    if in_reentrant(unfired.case, call):
        return in_reentrant_checkpoint(unfired, call)
    mode = "torch.inference_mode()" if call.mode.inference else "torch.no_grad()"
    return Reason(
        "no-grad",
        f"{call} ran under {mode}, so no graph was recorded and no gradient can come back",
        f"run the forward outside of {mode}",
        events=(call.called.seq,),
        evidence=(f"autograd was switched off when {call} was called",),
        severity="warning" if unfired.case.runs else "note",
    )


def in_reentrant_checkpoint(unfired: Unfired, call: Call) -> Reason | None:
    """The call ran in a region that checkpointing would have run again, with autograd."""
    if unfired.case.log.reentrant[call.id]:
        return no_backward(unfired, call) or not_in_graph(unfired, call)
    return Reason(
        "reentrant",
        f"{call} ran in checkpoint(use_reentrant=True), and no input of that requires grad: such a "
        f"region is run without autograd, and is not run again in backward",
        "pass use_reentrant=False to checkpoint()",
        events=(call.called.seq,),
        evidence=(f"no input of the checkpoint around {call} requires grad",),
        severity="warning" if unfired.case.runs else "note",
    )


def container_returned(unfired: Unfired, call: Call) -> Reason | None:
    """The module returned a dict, a list or an object, in which PyTorch looks for no tensors."""
    if not call.container or not any(_differentiable(call)):
        return None
    return Reason(
        "container",
        f"{call.name} returned a {call.container}; PyTorch attaches backward hooks of modules only "
        f"to a tensor, or to the tensors of a tuple",
        f"return a tensor or a tuple, or {_NEAR_MODULE}",
        events=(call.called.seq,),
        evidence=(f"{call} returned a {call.container}",),
    )


def output_without_grad(unfired: Unfired, call: Call) -> Reason | None:
    """No output of the module requires a gradient."""
    if any(_differentiable(call)):
        return None
    inputs = [getattr(one.summary, "requires_grad", False) for one in call.seen_inputs]
    if any(inputs):
        why = "although an input does: the forward detaches it, or computes without autograd"
    else:
        why = "because neither its inputs nor the parameters that it used do"
    return Reason(
        "output-requires-no-grad",
        f"the output of {call} does not require grad, {why}, so no gradient comes back to it",
        "let an input or a parameter require grad; look for detach(), .data, argmax and "
        "torch.no_grad() in the forward",
        events=(call.called.seq,),
        evidence=(f"{call} returned {_outputs(call)}, requires_grad=False",),
        severity="warning" if unfired.case.runs else "note",
    )


def no_backward(unfired: Unfired, call: Call) -> Reason | None:
    """No backward came after the call."""
    if _runs_after(unfired, call):
        return None
    error = unfired.case.log.error
    if error:
        return Reason(
            "exception",
            f"the block ended with {error.partition(':')[0]} before a backward ran",
            "see what raised",
            events=(call.called.seq,),
            evidence=(f"the block raised {error}",),
            rule="",
        )
    return Reason(
        "no-backward",
        "no backward ran in the block after its module was called",
        "call loss.backward() inside the block",
        events=(call.called.seq,),
        evidence=(f"{call} was called at #{call.called.seq}; no backward run came after it",),
        severity="note",
    )


def wrapped_by_compile(unfired: Unfired, call: Call) -> Reason | None:
    """It hangs on what torch.compile returned, which forwards only part of the registration."""
    if call.module.type != "OptimizedModule" or unfired.hook.kind != "full_backward":
        return None
    return Reason(
        "compiled",
        "it was registered on what torch.compile() returned, which keeps the hook but passes its "
        "flag on to the original module, so that it is never called",
        "register it on the original module before compiling it",
        events=(call.called.seq,),
        evidence=(f"{call.name} is an OptimizedModule",),
        rule="hooks-ignored-by-compile",
    )


def not_in_graph(unfired: Unfired, call: Call) -> Reason | None:
    """No backward run reached its outputs."""
    runs = _runs_after(unfired, call)
    if call.gradients or any(_reaches(unfired, call, run) for run in runs):
        return None
    return Reason(
        "not-in-graph",
        f"no output of {call} is part of the graph of what was differentiated",
        "look for detach(), .item() or an unused result between this module and the loss",
        events=(call.called.seq, *(run.started.seq for run in runs[:4])),
        evidence=tuple(
            f"backward run {run.number} brought no gradient to {call}" for run in runs[:2]
        ),
    )


def captured_only(unfired: Unfired, call: Call) -> Reason | None:
    """Only ``autograd.grad`` ran, or ``backward(inputs=...)``, which stop before the inputs."""
    runs = [run for run in _runs_after(unfired, call) if _reaches(unfired, call, run)]
    limited = [run for run in runs if "inputs" in run.started.options]
    if unfired.hook.kind != "full_backward" or not runs or len(limited) < len(runs):
        return None
    name = "backward(inputs=...)" if limited[-1].started.accumulates else "torch.autograd.grad"
    return Reason(
        "autograd-grad",
        f"{name} was called, which computes only the gradients asked for: it does not go on to the "
        f"inputs of {call}, where full backward hooks fire",
        "call loss.backward(), or use a full_backward_pre hook or a tensor hook",
        events=tuple(run.started.seq for run in limited[:4]),
        evidence=(f"backward run {limited[-1].number} was {name}",),
    )


def backward_raised(unfired: Unfired, call: Call) -> Reason | None:
    """The backward run raised before it came to the module."""
    runs = [run for run in _runs_after(unfired, call) if run.finished and run.finished.exception]
    if not runs or runs[-1].finished is None:
        return None
    return Reason(
        "backward-raised",
        f"the backward raised before it came to {call}",
        "see what raised",
        events=(runs[-1].started.seq, runs[-1].finished.seq),
        evidence=(f"backward run {runs[-1].number} raised {runs[-1].finished.exception}",),
    )


def nested_output(unfired: Unfired, call: Call) -> Reason | None:
    """Only a tensor inside a nested tuple was used, such as the state of an LSTM."""
    got = {one.gradient.role for one in call.gradients if one.gradient.role.startswith("grad_out")}
    used = [
        seen.role for place, seen in enumerate(call.seen_outputs) if f"grad_output[{place}]" in got
    ]
    if not used or not all(role.count("[") > 1 for role in used):
        return None
    return Reason(
        "nested-output",
        f"only {', '.join(used)} of {call} was used, a tensor inside a nested tuple; PyTorch "
        f"attaches backward hooks of modules to the tensors of the outer tuple only",
        _NEAR_MODULE,
        events=(call.called.seq,),
        evidence=tuple(f"a gradient came for {role}" for role in used[:3]),
    )


BACKWARD: tuple[Judge, ...] = (
    call_raised,
    without_grad_mode,
    container_returned,
    output_without_grad,
    no_backward,
    wrapped_by_compile,
    not_in_graph,
    captured_only,
    backward_raised,
    nested_output,
)
"""Reasons at one call, in the order in which they come on the way to a firing."""

_ENOUGH = 50


def nearest_call(unfired: Unfired) -> Reason | None:
    """Return the reason at that call which came nearest to a firing."""
    if not unfired.heard or unfired.hook.kind in ("forward_pre", "forward"):
        return None
    best: tuple[int, Reason] | None = None
    calls = unfired.heard
    for call in calls if len(calls) <= _ENOUGH else [*calls[:5], *calls[5 - _ENOUGH :]]:
        for place, judge in enumerate(BACKWARD):
            reason = judge(unfired, call)
            if reason is not None:
                if best is None or place > best[0]:
                    best = place, reason
                break
        else:
            return None  # what hindered it here is not known
    return None if best is None else best[1]


# ------------------------------------------------------------------ looked up


def _differentiable(call: Call) -> list[bool]:
    found = (getattr(one.summary, "requires_grad", False) for one in call.seen_outputs)
    return [one for one in found if one]


def _outputs(call: Call) -> str:
    return ", ".join(str(one.summary) for one in call.seen_outputs[:3]) or "nothing"


def _runs_after(unfired: Unfired, call: Call) -> list[Run]:
    start = call.called.seq if call.exited is None else call.exited.seq
    return [run for run in unfired.case.runs if run.started.seq > start]


def _reaches(unfired: Unfired, call: Call, run: Run) -> bool:
    """Whether a backward run brought this call a gradient, or could have."""
    if any(one.backward == run.number for one in call.gradients):
        return True
    nodes = [unfired.case.node_of(one.value) for one in call.seen_outputs if one.value is not None]
    return any(node is not None and node in unfired.case.reached(run) for node in nodes)
