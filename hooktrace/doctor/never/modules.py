"""Why a hook on a module never fired: the module was never called, or not while it was there."""

from __future__ import annotations

import builtins
from collections.abc import Iterator

from hooktrace.doctor.never.reason import Reason, Unfired, times
from hooktrace.events import NodeId, TensorId
from hooktrace.views.call import Call

__all__ = ["FORWARD", "NOT_CALLED", "TIMING"]

CONTAINERS = {"ModuleList", "ModuleDict", "ParameterList", "ParameterDict"}
"""Modules of PyTorch that have no forward."""


# ------------------------------------------------------------------ never called


def container(unfired: Unfired) -> Reason | None:
    """Its module is a list of modules, which nothing calls."""
    row = unfired.module
    if row is None or unfired.calls or row.type not in CONTAINERS or row.base != row.type:
        return None
    return Reason(
        "container",
        f"nn.{row.type} has no forward, so nothing can call it; the model calls what is in it",
        "register the hook on the modules that it holds",
        evidence=(f"{row.label} ({row.type}) was called 0 times",),
    )


def output_projection(unfired: Unfired) -> Reason | None:
    """Its module is the ``out_proj`` of an attention, of which only the weights are used."""
    row = unfired.module
    if row is None or unfired.calls or row.name.rpartition(".")[2] != "out_proj":
        return None
    calls = unfired.around()
    if not calls or calls[0].module.base != "MultiheadAttention":
        return None
    return Reason(
        "output-projection",
        "nn.MultiheadAttention does not call out_proj; it uses its weight and bias in "
        "F.multi_head_attention_forward",
        f"hook the attention itself ({calls[0].name}), or the gradients of out_proj.weight",
        events=(calls[0].called.seq,),
        evidence=(f"{calls[0]} ran and called no module", f"{row.name} was called 0 times"),
    )


def fast_path(unfired: Unfired) -> Reason | None:
    """Its module is part of an encoder layer that ran as one fused operation."""
    if unfired.module is None or unfired.calls:
        return None
    for ancestor in unfired.ancestors():
        if unfired.case.log.modules[ancestor].base != "TransformerEncoderLayer":
            continue
        fused = [one for one in unfired.case.calls_of.get(ancestor, ()) if not one.children]
        if fused and not any(one.mode.training for one in fused):
            return Reason(
                "fast-path",
                "nn.TransformerEncoderLayer took its fast path, which computes the layer in one "
                "fused operation and calls none of its parts",
                "switch it off with torch.backends.mha.set_fastpath_enabled(False); a forward "
                "hook on any part of the layer does so too",
                events=tuple(one.called.seq for one in fused[:4]),
                evidence=(f"{fused[0]} ran in evaluation mode and called no module",),
            )
    return None


def parts_called(unfired: Unfired) -> Reason | None:
    """What is in its module was called, from outside of it."""
    row = unfired.module
    if row is None or unfired.calls:
        return None
    inside = next(_inside(unfired, row.name), None)
    if inside is None:
        return None
    by = f"by {inside.parent} directly" if inside.parent else "directly"
    return Reason(
        "bypassed",
        f"{row.label} itself was not called: its forward() was called, or its parts one by one, "
        f"and neither runs its hooks",
        f"call the module, as in {_call_of(row.name)}, not .forward() and not its parts",
        events=(inside.called.seq,),
        evidence=(f"{inside.name}, which is in it, was called {by}",),
    )


def _inside(unfired: Unfired, name: str) -> Iterator[Call]:
    """Yield calls of modules inside the one of this name."""
    for row, calls in unfired.case.calls_of.items():
        if unfired.case.log.modules[row].name.startswith(f"{name}." if name else ""):
            yield calls[0]


def weights_used(unfired: Unfired) -> Reason | None:
    """The weights of its module were used by a module that contains it, or outside of all."""
    row = unfired.module
    if row is None or unfired.calls:
        return None
    nodes = unfired.case.log.nodes
    for weight, user in _uses(unfired, row.name):
        around = nodes[user].call
        call = None if around is None else unfired.case.calls.calls.get(around)
        within = call is not None and call.called.module in unfired.ancestors()
        if within or (around is None and not row.name):
            place = f"in {call}" if call is not None else "outside of every call"
            return Reason(
                "bypassed",
                f"{row.label} itself was not called: its forward() was called, or its weights "
                f"were used by a function, and neither runs its hooks",
                f"call the module, as in {_call_of(row.name)}",
                events=() if call is None else (call.called.seq,),
                evidence=(f"{weight} was used by {nodes[user].name} {place}",),
            )
    return None


def _uses(unfired: Unfired, name: str) -> Iterator[tuple[str, NodeId]]:
    """Yield the parameters of a module by name, each with a node that uses it."""
    tensors = unfired.case.log.tensors
    for leaf, user in unfired.case.users.items():
        weight = tensors[TensorId(leaf)]
        if weight.parameter and weight.name.rpartition(".")[0] == name:
            yield weight.name, user


def _call_of(name: str) -> str:
    if not name:
        return "model(x)"
    last = name.rpartition(".")[2]
    return f"self.{last}(x)" if last.isidentifier() else "module(x)"


def not_called(unfired: Unfired) -> Reason | None:
    """Its module was not called, though what contains it was; or neither was."""
    row = unfired.module
    if unfired.calls:
        return None
    calls = unfired.around()
    if row is not None and calls and all(one.exception for one in calls):
        kind = str(calls[-1].exception).partition(":")[0]
        return Reason(
            "exception",
            f"{calls[-1]} raised {kind} before {row.name} was called",
            "see what raised",
            events=(calls[-1].called.seq,),
            evidence=(f"{calls[-1]} raised {calls[-1].exception}",),
            rule="",
        )
    if row is not None and calls:
        return Reason(
            "not-called",
            f"{row.name} was not called in this run, though {calls[0].name}, which holds it, was",
            "check which branch forward() takes; if it calls .forward() of this module, or uses "
            "its weights, call the module itself",
            events=tuple(call.called.seq for call in calls[:4]),
            evidence=(f"{calls[0].name} was called {times(len(calls))}, {row.name} never",),
        )
    label = unfired.hook.owner if row is None else row.label
    on_all = label == "every module"
    return Reason(
        "idle",
        "no module was called in the block"
        if on_all
        else f"neither {label} nor a module that contains it was called in the block",
        "call the model inside the block",
        evidence=("the block has no module calls" if on_all else f"{label} was called 0 times",),
        severity="note",
    )


# ------------------------------------------------------------------ called at another time


def removed_before(unfired: Unfired) -> Reason | None:
    """It was removed before a call could come to it."""
    if unfired.heard or unfired.until is None:
        return None
    later = next((call for call in unfired.calls if call.called.seq > unfired.until), None)
    if later is None:
        return None
    return Reason(
        "removed",
        "it was removed before its module was called",
        "remove the hook after the forward, or use it in a with block that contains the call",
        events=(unfired.until, later.called.seq),
        evidence=(f"removed at #{unfired.until}; {later} was called at #{later.called.seq}",),
    )


def registered_late(unfired: Unfired) -> Reason | None:
    """It was registered after the last call."""
    if unfired.heard or not unfired.calls or unfired.since < 0:
        return None
    last = unfired.calls[-1]
    took = "its hooks had been collected when it was called" if _open_at(last, unfired) else ""
    return Reason(
        "registered-late",
        "it was registered after the forward that it should see"
        + ("" if unfired.hook.kind in FORWARD else ": backward hooks are collected at the call"),
        "register the hook before the module is called",
        events=(last.called.seq, unfired.since),
        evidence=(
            f"{last} was called at #{last.called.seq}; the hook was registered at #{unfired.since}"
            + (f", while it ran: {took}" if took else ""),
        ),
    )


def _open_at(call: Call, unfired: Unfired) -> bool:
    return call.exited is None or call.exited.seq > unfired.since


FORWARD = ("forward_pre", "forward")


def raised(unfired: Unfired) -> Reason | None:
    """Each call raised before the hook's turn."""
    calls = unfired.heard
    if not calls or unfired.hook.kind not in FORWARD or not all(one.exception for one in calls):
        return None
    last = calls[-1]
    kind = str(last.exception).partition(":")[0]
    always = "always_call" in unfired.hook.options
    if always and _ordinary(kind):
        return None
    if always:
        return Reason(
            "base-exception",
            f"{last} raised {kind}, which is no Exception; hooks with always_call=True run for "
            f"subclasses of Exception only",
            "put what must always run into try ... finally around the call",
            events=(last.called.seq,),
            evidence=(f"{last} raised {last.exception}",),
        )
    where = "before the hook's turn" if unfired.hook.kind == "forward_pre" else "in its forward"
    return Reason(
        "exception",
        f"{last} raised {kind} {where}, and forward hooks run only after a forward that returns",
        "register the hook with always_call=True to have it run in any case"
        if unfired.hook.kind == "forward"
        else "see what raised",
        events=(last.called.seq,),
        evidence=(f"{last} raised {last.exception}",),
    )


def _ordinary(name: str) -> bool:
    """Whether an exception of this name is an ``Exception``, which of a user's own is assumed."""
    found = getattr(builtins, name, Exception)
    return not isinstance(found, type) or issubclass(found, Exception)


NOT_CALLED = (container, output_projection, fast_path, parts_called, weights_used, not_called)
"""Reasons why a module was not called, the most special first."""

TIMING = (removed_before, registered_late, raised)
"""Reasons why a hook was not there when its module was called, or its turn did not come."""
