"""Outputs that hooks replaced by something that is no tensor, so that code after them raised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hooktrace.doctor.case import Case
from hooktrace.events import HookFired, ModuleExited

__all__ = ["Misfit", "misfits"]


@dataclass(frozen=True)
class Misfit:
    """A result that is no tensor, which made something raise later.

    Attributes:
        firing: Of the hook that returned it.
        type: Its type, as the exception names it.
        raiser: What raised.
        error: The exception.
        seq: When it was raised.
        sure: Whether the exception says that a tensor was due.
    """

    firing: HookFired
    type: str
    raiser: str
    error: str
    seq: int
    sure: bool


def misfits(case: Case) -> Iterator[Misfit]:
    """Yield the last forward hook before each exception that names the type it had returned."""
    hooks = {one.id for one in case.hooks if one.kind == "forward"}
    for error, seq in case.exceptions:
        named = _UNFIT.match(error)
        type_ = "" if named is None else named[1] or named[2]
        before = case.fired_before(seq) if type_ else []
        fitting = (one for one in reversed(before) if one.hook in hooks and _became(one, type_))
        firing = next(fitting, None)
        if firing is not None:
            ended = case.log.at(seq)
            call = case.calls.calls[ended.call] if isinstance(ended, ModuleExited) else None
            sure = named is not None and named[1] is not None
            yield Misfit(firing, type_, str(call or "the code after it"), error, seq, sure)


_UNFIT = re.compile(r"(?:TypeError: .*must be Tensor, not ([\w.]+)|\w+: '(\w+)' object )")


def _became(firing: HookFired, type_: str) -> bool:
    """Whether a hook put a thing of this type in the place of the output, which was a tensor."""
    if not any(one.role == "output" and one.value is not None for one in firing.inputs):
        return False
    returned = [one for one in firing.edits if one.how == "returned"]
    bare = {_type(str(one.after.summary)) for one in returned if one.role == "output"}
    return type_ in bare if bare else any(_fits(one.role, type_) for one in returned)


def _fits(role: str, type_: str) -> bool:
    """Whether a thing of this type may have a part of this role."""
    if type_ in ("tuple", "list", "torch.Size"):
        return role.startswith("output[0]")
    return role.startswith("output[" if type_ == "dict" else "output.")


def _type(text: str) -> str:
    """Return the name of the type of something that is no tensor, as it is written in the log."""
    if text[:1] in ("'", '"'):
        return "str"
    if text in ("True", "False"):
        return "bool"
    return next((name for name, pattern in _NUMBERS if re.fullmatch(pattern, text)), text)


_NUMBERS = (("int", r"-?\d+"), ("float", r"-?[\d.]+(e[-+]?\d+)?|-?inf|nan"))
