"""The story of one hook: where from, when it fired, what it saw and changed; or why it did not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from hooktrace.doctor.case import Case
from hooktrace.doctor.never import Reason, why_never
from hooktrace.doctor.rule import sentence
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import HookFired, HookId, TracedHook
from hooktrace.findings import Finding
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import describe_edits

__all__ = ["HookStory", "Stories", "why"]

_SHOWN = 3


@dataclass(frozen=True)
class HookStory:
    """What one hook did.

    Attributes:
        hook: Its row: kind, owner, name, where it was defined and registered.
        firings: Its firings, in order.
        moments: For each firing, when it was: call, step and backward run.
        changes: What it changed, each thing once, such as ``grad x2 in place``.
        first_edits: What the first firing that changed something did, in order, with the values
            before and after.
        removed: When it was removed inside the block, by ``seq``; None if it was not.
        reason: Why it never fired; None if it fired, or if that is not known.
        rules: Names of the rules that found something about it.
    """

    hook: TracedHook
    firings: tuple[HookFired, ...]
    moments: tuple[str, ...]
    changes: tuple[str, ...] = ()
    first_edits: tuple[str, ...] = ()
    removed: int | None = None
    reason: Reason | None = None
    rules: tuple[str, ...] = ()

    @property
    def fired(self) -> bool:
        """Whether it fired."""
        return bool(self.firings)

    @property
    def title(self) -> str:
        """What it is: ``forward hook save on features.1``."""
        return f"{self.hook.kind} hook {self.hook.name} on {self.hook.owner}"

    def __str__(self) -> str:
        options = f" ({', '.join(self.hook.options)})" if self.hook.options else ""
        lines = [f"{self.title}{options}"]
        lines += [_line("defined", self.hook.defined_at)] if self.hook.defined_at else []
        lines.append(_line("registered", self.hook.registered_at or "before the block"))
        if self.removed is not None:
            lines.append(_line("removed", f"at #{self.removed}"))
        lines += self._fired() if self.fired else self._never()
        lines += [_line("findings", ", ".join(self.rules))] if self.rules else []
        return "\n".join(lines)

    def _fired(self) -> list[str]:
        count = len(self.firings)
        lines = [_line("fired", "once" if count == 1 else f"{count} times")]
        for firing, moment in list(zip(self.firings, self.moments, strict=True))[:_SHOWN]:
            lines.append(_line("", f"#{firing.seq} {moment}: saw {_seen(firing)}"))
        if count > _SHOWN:
            lines.append(_line("", f"... the last one #{self.firings[-1].seq} {self.moments[-1]}"))
        if self.changes:
            lines.append(_line("changed", "; ".join(self.changes[:_SHOWN])))
            for place, text in enumerate(self.first_edits):
                lines.append(_line("", f"{'then' if place else 'first'}: {text}"))
        else:
            lines.append(_line("changed", "nothing"))
        raised = [one for one in self.firings if one.exception]
        lines += [_line("raised", f"#{one.seq} {one.exception}") for one in raised[:1]]
        return lines

    def _never(self) -> list[str]:
        if self.reason is None:
            return [_line("never fired", "why is not known")]
        lines = [_line("never fired", self.reason.text)]
        lines += [_line("seen", text) for text in self.reason.evidence[:_SHOWN]]
        lines += [_line("possible", self.reason.possible)] if self.reason.possible else []
        return [*lines, _line("instead", sentence(self.reason.advice))]


def _line(label: str, text: str) -> str:
    return f"  {label + ':' if label else '':<13}{text}"


def _seen(firing: HookFired) -> str:
    texts = [f"{one.role} {one}" for one in firing.inputs[:_SHOWN]]
    more = f" and {len(firing.inputs) - _SHOWN} more" if len(firing.inputs) > _SHOWN else ""
    return (", ".join(texts) or "no arguments") + more


class Stories(Sequence[HookStory]):
    """The stories of all hooks that a name stands for; ``print`` it.

    Args:
        stories: The stories.
    """

    def __init__(self, stories: Iterable[HookStory]) -> None:
        self._stories = tuple(stories)

    @overload
    def __getitem__(self, place: int) -> HookStory: ...
    @overload
    def __getitem__(self, place: slice) -> Stories: ...
    def __getitem__(self, place: int | slice) -> HookStory | Stories:
        found = self._stories[place]
        return found if isinstance(found, HookStory) else Stories(found)

    def __len__(self) -> int:
        return len(self._stories)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self._stories))

    def __repr__(self) -> str:
        return f"<Stories: {', '.join(one.title for one in self)}>"


def why(log: EventLog, calls: CallIndex, hook: Any, findings: Iterable[Finding] = ()) -> Stories:
    """Return the story of a hook, or of all hooks that a name stands for.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        hook: The name of its function, ``"kind:name"``, ``"name on owner"``; a hook out of
            ``t.hooks`` or its number; or the function itself.
        findings: What the rules found in the log.

    Raises:
        UnknownNameError: There is no such hook; the message names the nearest.
        TypeError: It is none of these.
    """
    case = Case(log, calls)
    about: dict[str, list[str]] = {}
    for one in findings:
        about.setdefault(one.where, []).append(one.rule)
    stories = [_story(case, one) for one in _meant(log, hook)]
    return Stories(
        replace(one, rules=tuple(dict.fromkeys(about.get(one.title, ())))) for one in stories
    )


# ------------------------------------------------------------------ which hooks


def _meant(log: EventLog, hook: Any) -> list[TracedHook]:
    if isinstance(hook, TracedHook):
        return [log.hooks[hook.id]]
    if isinstance(hook, int) and not isinstance(hook, bool):
        if not 0 <= hook < len(log.hooks):
            raise UnknownNameError(f"There is no hook {hook}; {len(log.hooks)} were seen.")
        return [log.hooks[HookId(hook)]]
    if isinstance(hook, str):
        return _named(log, hook)
    if callable(hook):
        return _of_function(log, hook)
    raise TypeError(
        f"t.why() takes the name of a hook, a hook out of t.hooks, or its function, but got "
        f"{type(hook).__name__}."
    )


def _named(log: EventLog, name: str) -> list[TracedHook]:
    found = [row for row in log.hooks if name in _names(row)]
    if not found:
        hint = _nearest(log, name) or " No hook was seen in the block."
        raise UnknownNameError(f"No hook named {name!r} was seen.{hint}")
    return found


def _nearest(log: EventLog, name: str) -> str:
    """Return a clause of the names that are near, else of those with owners, else of all."""
    rows = list(log.hooks)
    plain = nearest(name, dict.fromkeys(one for row in rows for one in _spellings(row.name)))
    full = nearest(name, dict.fromkeys(one for row in rows for one in _names(row)))
    near = next((one for one in (plain, full) if one.startswith(" Did you mean")), None)
    return near or nearest(name, dict.fromkeys(row.name for row in rows))


def _names(row: TracedHook) -> tuple[str, ...]:
    return tuple(
        text
        for name in _spellings(row.name)
        for text in (
            name,
            f"{row.kind}:{name}",
            f"{name} on {row.owner}",
            f"{row.kind} hook {name} on {row.owner}",
        )
    )


def _spellings(name: str) -> list[str]:
    """Return how one may call a function: with its class or without, or what is in a partial.

    >>> _spellings("partial(Extractor.save)")
    ['partial(Extractor.save)', 'Extractor.save', 'save']
    """
    return list(dict.fromkeys([name, _bare(name), _bare(name).rpartition(".")[2]]))


def _bare(name: str) -> str:
    while name.startswith("partial(") and name.endswith(")"):
        name = name.removeprefix("partial(").removesuffix(")")
    return name


def _of_function(log: EventLog, function: Callable[..., Any]) -> list[TracedHook]:
    """Return the hooks with the name of a function, defined at its line, also in a partial."""
    while isinstance(function, functools.partial):
        function = function.func
    plain = getattr(function, "__func__", function)
    code = getattr(plain, "__code__", None) or getattr(type(plain).__call__, "__code__", None)
    name = getattr(plain, "__qualname__", type(plain).__qualname__).rpartition("<locals>.")[2]
    line = "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
    found = [row for row in log.hooks if row.defined_at == line and _bare(row.name) == name]
    if not found:
        at = f" ({line})" if line else ""
        raise UnknownNameError(f"{name}{at} was seen as no hook.{_nearest(log, name)}")
    return found


# ------------------------------------------------------------------ what each did


def _story(case: Case, hook: TracedHook) -> HookStory:
    firings = tuple(case.firings.get(hook.id, ()))
    edits = case.edits.get(hook.id, [])
    removed = case.removed.get(hook.id)
    return HookStory(
        hook,
        firings,
        tuple(_moment(case, one) for one in firings),
        tuple(describe_edits(case.log, list(firings))),
        tuple(one.what for one in edits if one.seq == edits[0].seq),
        None if removed is None else removed.seq,
        None if firings else why_never(case, hook),
    )


def _moment(case: Case, firing: HookFired) -> str:
    """Say when a hook fired: in which call, of which step, in which backward run."""
    parts = []
    call = None if firing.call is None else case.calls.calls.get(firing.call)
    if call is not None:
        parts.append(f"in {call}")
        if len(case.steps) > 1:
            parts.append(f"of step {case.steps[call.root.id]}")
        if call.recomputed:
            parts.append("recomputed by checkpointing")
    run = case.run_at(firing)
    if run is not None:
        parts.append(f"in backward run {run.number}")
    return ", ".join(parts) or "outside of all calls"
