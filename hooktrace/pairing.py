"""Which calls of two traces of one architecture belong together: by name, never by position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hooktrace.errors import MismatchError
from hooktrace.events import CallId
from hooktrace.views.calls import Call, CallIndex

__all__ = ["SIDES", "configurations", "left_out", "matched", "nothing_kept", "settings"]

SIDES = ("first", "second")


def matched(first: CallIndex, second: CallIndex) -> list[tuple[Call, Call]]:
    """Pair the calls of two traces by the name of the module and the number of the call.

    Raises:
        MismatchError: No module was called in both.
    """
    ours, theirs = ({call_key(call): call for call in calls} for calls in (first, second))
    pairs = [(call, theirs[key]) for key, call in ours.items() if key in theirs]
    if not pairs and (ours or theirs):
        sides = [", ".join(f"{one.name} ({one.module.type})" for one in [*calls][:3]) or "nothing"
                 for calls in (first, second)]  # fmt: skip
        raise MismatchError(
            f"No module of one name was called in both traces: the first has {sides[0]}, the "
            f"second {sides[1]}. compare() takes two traces of the same architecture."
        )
    return pairs


def call_key(call: Call) -> tuple[str, int]:
    """Return what calls of two traces have in common: the module's name, the call's number."""
    return call.module.name, call.index


def settings(pairs: Iterable[tuple[Call, Call]]) -> Iterator[str]:
    """Yield ``name: first | second`` for each module whose configuration differs."""
    found = {
        one.name: (one.module.config, other.module.config)
        for one, other in pairs
        if one.module.config != other.module.config
    }
    for name, (one, other) in found.items():
        yield f"{name}: {one or 'default'} | {other or 'default'}"


def left_out(pairs: Iterable[tuple[Call, Call]], indexes: tuple[CallIndex, ...]) -> dict[str, str]:
    """Return by name of the call why it cannot be compared."""
    found = {}
    for calls in pairs:
        kept = [call.kept for call in calls]
        if not all(kept):
            side = "either trace" if not any(kept) else f"the {SIDES[kept.index(False)]} trace"
            found[str(calls[0])] = f"not kept in {side}"
    keys = [{call_key(call) for call in calls} for calls in indexes]
    for number, index in enumerate(indexes):
        for call in index:
            if call_key(call) not in keys[1 - number]:
                found[str(call)] = f"only called in the {SIDES[number]} trace"
    return found


def nothing_kept(pairs: list[tuple[Call, Call]]) -> str:
    """Say what each trace kept, where no call was kept in both."""
    sides = [sorted({pair[side].name for pair in pairs if pair[side].kept}) for side in (0, 1)]
    names = [", ".join(map(repr, side[:4])) or "nothing" for side in sides]
    return (
        f"No call was kept in both traces: the first kept {names[0]}, the second {names[1]}. "
        f"Give both the same names: trace(model, keep=[...])."
    )


def configurations(pairs: Iterable[tuple[Call, Call]]) -> dict[CallId, str]:
    """Say at each call of the first trace how its module is configured otherwise."""
    found = {}
    for one, other in pairs:
        if one.module.config != other.module.config:
            mine, theirs = one.module.config.split(", "), other.module.config.split(", ")
            sides = (
                [part for part in mine if part not in theirs],
                [part for part in theirs if part not in mine],
            )
            found[one.id] = " | ".join(", ".join(parts) or "default" for parts in sides)
    return found
