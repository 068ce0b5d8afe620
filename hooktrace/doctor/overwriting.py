"""Who overwrote a tensor, in words."""

from __future__ import annotations

from collections.abc import Iterable

from hooktrace.doctor.case import Case
from hooktrace.events import TensorId
from hooktrace.kinds import spoken
from hooktrace.views.call import Call
from hooktrace.views.effects import WriteView

__all__ = ["overwriter", "remedy", "site", "source_of", "writes_since"]


def writes_since(
    case: Case, tensors: Iterable[TensorId], version: int | None, seq: int = -1
) -> list[WriteView]:
    """Return the writes to a tensor after one of its versions, in order.

    Args:
        case: The log.
        tensors: The tensor, and others that share its memory and its version counter.
        version: The last version that counts as before; None if it has no counter.
        seq: Only those after this event.
    """
    wanted = {*tensors}
    found = [one for one in case.writes if one.before.tensor in wanted and one.seq > seq]
    if version is None:
        return found
    return [one for one in found if one.before.version is None or _later(one, version)]


def _later(write: WriteView, version: int) -> bool:
    return write.after.version is None or write.after.version > version


def overwriter(write: WriteView) -> str:
    """Say who wrote and where: ``features.1@0 (ReLU), in the statement at net.py:14``."""
    hook, call = write.hook, write.call
    if hook is not None:
        at = f", defined at {hook.defined_at}" if hook.defined_at else ""
        return f"the {spoken(hook.kind)} {hook.name} on {hook.owner}{at}"
    if write.optimizer:
        return f"a step of {write.optimizer}" + (f" at {write.line}" if write.line else "")
    if call is not None and not call.children:
        config = f"({call.module.config})" if "inplace" in call.module.config else ""
        at = f", in the statement at {write.line}" if write.line else ""
        return f"{call} ({call.module.type}{config}){at}"
    by = f"code in {call} ({call.module.type})" if call is not None else write.by
    bounds = [f"after {_before(call, write)} had returned"] if _before(call, write) else []
    bounds += [f"not later than the statement at {write.line}"] if write.line else []
    return ", ".join([by, " and ".join(bounds)]) if bounds else by


def _before(call: Call | None, write: WriteView) -> Call | None:
    """Return the last call inside of `call` that had ended when the write was noticed."""
    ended = [
        one
        for one in (() if call is None else call.children)
        if one.exited is not None and one.exited.seq < write.seq
    ]
    return ended[-1] if ended else None


def source_of(write: WriteView) -> str:
    """Return the ``file:line`` to look at."""
    return write.hook.defined_at if write.hook is not None else write.line


def site(write: WriteView) -> str:
    """Return what wrote at that line: ``forward hook save on 1``; empty where it only bounds it."""
    hook, call = write.hook, write.call
    if hook is not None:
        return f"{hook.kind} hook {hook.name} on {hook.owner}"
    if write.optimizer:
        return f"a step of {write.optimizer}"
    return f"{call} ({call.module.type})" if call is not None and not call.children else ""


def remedy(case: Case, write: WriteView) -> str:
    """Say how not to write there."""
    hook, call = write.hook, write.call
    if hook is not None:
        expression = _returned(case, write)
        such = f", such as `return {expression}`" if expression else ""
        return f"let {hook.name} return a new tensor instead of writing into the one it got{such}."
    if write.optimizer:
        return f"run every backward() of this graph before the step of {write.optimizer}."
    if call is not None and "inplace=True" in call.module.config:
        return f"make {call.name} a {call.module.type}(inplace=False)."
    if call is None and write.before.tensor in case.log.parameters:
        return "write to parameters after backward(), such as behind the step of the optimizer."
    return "write into a copy, such as y = y + 1 instead of y += 1."


def _returned(case: Case, write: WriteView) -> str:
    """Return the expression of what a hook could return instead; empty if that is not known."""
    assert write.hook is not None
    sides = write.before, write.after
    edits = [one for one in case.edits.get(write.hook.id, ()) if one.values == sides]
    if len(edits) != 1 or edits[0].together is not None:
        return ""
    role, change = edits[0].role, edits[0].change
    if change.kind == "scaled":
        return f"{role} * {change.text.removeprefix('x')}"
    if change.kind == "shifted":
        return f"{role} {change.text[0]} {change.text[1:]}"
    if change.kind == "clamped":
        return f"{role}.clamp({change.text.partition('[')[2].rstrip(']')})"
    return ""
