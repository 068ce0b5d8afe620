"""Hooks on modules inside of compiled code: ignored, or not seen."""

from __future__ import annotations

from hooktrace.doctor.never.reason import Reason, Unfired
from hooktrace.views.call import Call

__all__ = ["COMPILED"]

_BEFORE = (
    "register the hook before the first compiled call, or call torch.compiler.reset() after "
    "registering it, or set torch._dynamo.config.skip_nnmodule_hook_guards = False"
)
_UNSEEN = "what fires inside of compiled code is not seen"


def compiled_before(unfired: Unfired) -> Reason | None:
    """The code that ran was compiled before the hook was registered."""
    around = _compiled_calls(unfired)
    before = [call for call in around if call.called.seq < unfired.since]
    after = [call for call in around if call.called.seq > unfired.since]
    if unfired.calls or not before or not after or _compiled_anew(unfired):
        return None
    return Reason(
        "compiled",
        f"{after[-1].name} ran code that had been compiled before the hook was registered, and a "
        f"new hook on a module inside does not make torch.compile() compile anew",
        _BEFORE,
        events=(before[-1].called.seq, unfired.since, after[-1].called.seq),
        evidence=(
            f"{before[-1]} was called at #{before[-1].called.seq}, before the registration at "
            f"#{unfired.since}; {after[-1]} at #{after[-1].called.seq}, and nothing was compiled",
        ),
        rule="hooks-ignored-by-compile",
    )


def in_compiled_code(unfired: Unfired) -> Reason | None:
    """Its module, if it ran, ran inside of compiled code."""
    place = _compiled_place(unfired)
    if unfired.calls or unfired.module is None or not place:
        return None
    late = unfired.since >= 0
    return Reason(
        "compiled",
        f"{unfired.module.label} is run by compiled code ({place}), which ignores hooks on modules "
        f"inside of it that it was not compiled with",
        _BEFORE,
        evidence=(f"compiled code ran: {place}", f"{unfired.module.label} was not seen to run"),
        possible=_UNSEEN,
        severity="note",
        rule="hooks-ignored-by-compile" if late else "",
    )


COMPILED = (compiled_before, in_compiled_code)
"""Reasons in compiled code; they come first, for there a module seems not to be called."""


def _compiled_calls(unfired: Unfired) -> list[Call]:
    """Return the calls of the compiled module that contains its module."""
    for row in unfired.ancestors():
        if unfired.case.log.modules[row].type == "OptimizedModule":
            return unfired.case.calls_of.get(row, [])
    return []


def _compiled_anew(unfired: Unfired) -> bool:
    """Whether code was compiled after the hook was registered, which may contain it."""
    registration = unfired.registration
    return registration is None or registration.graphs != unfired.case.log.graphs


def _compiled_place(unfired: Unfired) -> str:
    """Name the compiled code that may have run its module; empty if there is none."""
    log = unfired.case.log
    calls = _compiled_calls(unfired)
    if calls:
        return str(calls[-1])
    outside = log.unseen.get("outside-modules", ())
    places = [one for one in outside if one.startswith("OptimizedModule")]
    places += log.unseen.get("compiled-region", ())
    return (places or unfired.case.compiled_nodes or [""])[0]
