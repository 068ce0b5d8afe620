"""Why hooks of optimizers, state dicts and the like did not fire: mostly without an occasion."""

from __future__ import annotations

from hooktrace.doctor.never.reason import Reason, Unfired
from hooktrace.events import StepStarted
from hooktrace.kinds import KINDS

__all__ = ["OTHERS"]

_OCCASIONS = {
    "parameter_registration": "no parameter was assigned to a module",
    "buffer_registration": "no buffer was assigned to a module",
    "module_registration": "no module was assigned to a module",
    "pack": "no operation saved a tensor for backward",
    "unpack": "no backward used what was saved",
    "node_creation": "no operation made a node of the graph",
    "function_backward": "no backward came to it",
    "comm": "no bucket of gradients was communicated",
    "queue_callback": "the backward that it was queued in raised",
    "state_dict_pre": "nobody called state_dict()",
    "state_dict_post": "nobody called state_dict()",
    "load_state_dict_pre": "nobody called load_state_dict()",
    "load_state_dict_post": "nobody called load_state_dict()",
    "optimizer_state_dict_pre": "nobody called the optimizer's state_dict()",
    "optimizer_state_dict_post": "nobody called the optimizer's state_dict()",
    "optimizer_load_state_dict_pre": "nobody called the optimizer's load_state_dict()",
    "optimizer_load_state_dict_post": "nobody called the optimizer's load_state_dict()",
}


def no_step(unfired: Unfired) -> Reason | None:
    """Its optimizer made no step while it was registered."""
    if KINDS[unfired.hook.kind].family != "optimizer":
        return None
    owner = unfired.hook.owner
    steps = [
        one
        for one in unfired.case.log.of(StepStarted)
        if owner in (one.optimizer, "every optimizer")
    ]
    late = bool(steps) and steps[-1].seq < unfired.since
    early = unfired.until is not None and any(one.seq > unfired.until for one in steps)
    if late or early:
        return Reason(
            "registered-late" if late else "removed",
            f"it was {'registered after the last' if late else 'removed before the first'} step",
            "register the hook before optimizer.step(), and remove it afterwards",
            events=(steps[-1].seq, unfired.since if late else unfired.until or 0),
            evidence=(f"the last step of {owner} began at #{steps[-1].seq}",),
        )
    if steps and steps[0].seq > unfired.since:
        return Reason(
            "exception",
            "the step raised before the hook's turn",
            "see what raised",
            events=(steps[-1].seq,),
            evidence=(f"a step of {owner} began at #{steps[-1].seq}",),
            possible="a step that raised is not told apart from one that goes on",
        )
    return Reason(
        "no-step",
        f"{owner} made no step in the block",
        "call optimizer.step() inside the block",
        severity="note",
        rule="",
    )


def no_occasion(unfired: Unfired) -> Reason | None:
    """What it waits for did not happen."""
    occasion = _OCCASIONS.get(unfired.hook.kind)
    if occasion is None:
        return None
    return Reason(
        "no-occasion",
        f"{occasion} while it was registered in this block",
        "nothing needs to be done",
        severity="note",
        rule="",
    )


OTHERS = (no_step, no_occasion)
"""Reasons for kinds that are neither of modules nor of tensors nor of nodes."""
