"""Why a hook never fired.

Each reason is a small function that looks at a hook and answers with a `Reason` or with None.
They are asked in an order in which the first answer is the cause, not a consequence of it.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from hooktrace.doctor.case import Case
from hooktrace.doctor.never.backward import nearest_call
from hooktrace.doctor.never.compiled import COMPILED
from hooktrace.doctor.never.modules import NOT_CALLED, TIMING
from hooktrace.doctor.never.others import OTHERS
from hooktrace.doctor.never.reason import Reason, Unfired
from hooktrace.doctor.never.tensors import TENSORS
from hooktrace.events import HookId, TracedHook
from hooktrace.kinds import KINDS

__all__ = ["Reason", "unfired", "why_never"]

_MODULES: tuple[Callable[[Unfired], Reason | None], ...] = (
    *COMPILED,
    *NOT_CALLED,
    *TIMING,
    nearest_call,
)

_CHAINS: dict[str, tuple[Callable[[Unfired], Reason | None], ...]] = {
    "module": _MODULES,
    "tensor": TENSORS,
    "node": (*OTHERS, *TENSORS),
}


def why_never(case: Case, hook: TracedHook) -> Reason | None:
    """Return why a hook never fired; None if that is not known.

    Args:
        case: The log.
        hook: One of its hooks, which did not fire.
    """
    look = Unfired(case, hook)
    chain = _CHAINS.get(KINDS[hook.kind].family, OTHERS)
    return next((reason for ask in chain if (reason := ask(look)) is not None), None)


def unfired(case: Case) -> dict[HookId, Reason]:
    """Return the user's hooks that never fired, each with the reason, where it is known."""
    if case not in _FOUND:
        silent = (hook for hook in case.hooks if hook.id not in case.firings)
        found = ((hook.id, why_never(case, hook)) for hook in silent)
        _FOUND[case] = {hook: reason for hook, reason in found if reason is not None}
    return _FOUND[case]


_FOUND: WeakKeyDictionary[Case, dict[HookId, Reason]] = WeakKeyDictionary()  # two rules ask
