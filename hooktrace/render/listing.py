"""A trace as lists: the timeline, the tree of calls, what was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import Event, Observation, TensorSummary, TensorWritten, TracedHook
from hooktrace.log import EventLog
from hooktrace.render.wording import count, printable
from hooktrace.views import effects
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Chosen", "event_line", "lines", "provenance", "told"]

_WIDEST = 160


@dataclass(frozen=True)
class Chosen:
    """Which modules, kinds and hooks to list.

    Attributes:
        module: An fnmatch pattern for names of modules.
        kind: A kind of hook, or the label of a kind of event; empty for all.
        hook: The name of a hook's function, or its last part; empty for all.
    """

    module: str = "*"
    kind: str = ""
    hook: str = ""

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Chosen()

    def takes(self, log: EventLog, event: Event, call: Call | None) -> bool:
        """Whether an event is to be listed."""
        hook = _hook_of(log, event)
        if self.kind and self.kind not in (event.label, hook.kind if hook else ""):
            return False
        if self.hook and not (hook is not None and self.names(hook)):
            return False
        return self.module == "*" or _about(log, hook, call, self.module)

    def names(self, hook: TracedHook) -> bool:
        """Whether a hook is the one that is asked for."""
        return self.hook in ("", hook.name, hook.name.rpartition(".")[2])

    def check(self, log: EventLog) -> None:
        """Check that there is what is asked for.

        Raises:
            UnknownNameError: There is not; the message names the nearest.
        """
        modules = [name for row in log.modules for name in (row.label, *row.aliases)]
        kinds = [*(one.kind for one in log.hooks), *(type(one).label for one in log.events)]
        hooks = [name for one in log.hooks for name in (one.name, one.name.rpartition(".")[2])]
        asked = (
            ("module", self.module, modules, self.module == "*", fnmatchcase),
            ("kind", self.kind, kinds, not self.kind, _equal),
            ("hook", self.hook, hooks, not self.hook, _equal),
        )
        for what, wanted, known, all_of_them, fits in asked:
            if not all_of_them and not any(fits(one, wanted) for one in known):
                there = nearest(wanted, dict.fromkeys(known))
                raise UnknownNameError(f"The trace has no {what} {wanted!r}.{there}")


def provenance(log: EventLog) -> str:
    """Say in a line or two where a trace that was loaded comes from."""
    here, origin = log.surroundings, log.origin
    what = [f"PyTorch {here.torch}", f"Python {here.python}", *here.devices, here.started]
    told = ", ".join(one for one in what if one.strip())
    if origin is None:
        return printable(told)
    text = f"{origin.path}: {told}"
    if not origin.ended:
        text += "\nIt breaks off: the program still runs, or was killed."
    if origin.left_out:
        told = f"{count(len(origin.steps), 'step')} of {len(origin.steps) + origin.left_out}"
        text += f"\nIt holds {told}: {_ranges(origin.steps)}."
    return "\n".join(map(printable, text.splitlines()))


def lines(log: EventLog, calls: CallIndex, what: str, chosen: Chosen) -> Iterator[str]:
    """Yield the lines of a list.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        what: ``events``, ``tree`` or ``edits``.
        chosen: What to list.

    Raises:
        UnknownNameError: There is nothing of a name that is chosen.
    """
    chosen.check(log)
    for line in _LISTS[what](log, calls, chosen):
        text = printable(line)
        yield text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


# ------------------------------------------------------------------ the lists


def _events(log: EventLog, calls: CallIndex, chosen: Chosen) -> Iterator[str]:
    start = log.events[0].time_ns if log.events else 0
    for event in log.events:
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        if chosen.takes(log, event, call):
            yield event_line(log, event, call, start)


def _tree(log: EventLog, calls: CallIndex, chosen: Chosen) -> Iterator[str]:
    for call in calls:
        if chosen.module != "*" and not _about(log, None, call, chosen.module):
            continue
        fired = [log.hooks[one.hook] for one in call.hooks]
        fitting = [one for one in fired if chosen.names(one) and chosen.kind in ("", one.kind)]
        if (chosen.kind or chosen.hook) and not fitting:
            continue
        took = "" if call.duration_ns is None else f"  {call.duration_ns / 1e6:.3f} ms"
        hooks = "".join(f"  [{one.kind} {one.name}]" for one in fitting)
        ended = f"  raised {call.exception}" if call.exception else ""
        shapes = f"{_shapes(call.seen_inputs)} -> {_shapes(call.seen_outputs)}"
        yield f"{'  ' * call.depth}{call} {call.module.type}  {shapes}{took}{hooks}{ended}"


def _edits(log: EventLog, calls: CallIndex, chosen: Chosen) -> Iterator[str]:
    found: list[tuple[int, str, TracedHook | None]]
    found = [(one.seq, str(one), one.hook) for one in effects.edits(log)]
    found += [(one.seq, str(one), one.hook) for one in effects.writes(log, calls)]
    for seq, text, hook in sorted(found, key=lambda one: one[0]):
        event = log.at(seq)
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        if hook is None and (chosen.kind or chosen.hook):
            continue
        if hook is not None and not (chosen.names(hook) and chosen.kind in ("", hook.kind)):
            continue
        if chosen.module == "*" or _about(log, hook, call, chosen.module):
            yield f"#{seq:<6} {text}"


_LISTS: dict[str, Callable[[EventLog, CallIndex, Chosen], Iterator[str]]] = {
    "events": _events,
    "tree": _tree,
    "edits": _edits,
}


# ------------------------------------------------------------------ one event


def event_line(log: EventLog, event: Event, call: Call | None, start_ns: int) -> str:
    """Return an event as a line: number, milliseconds since the start, what, of what."""
    when = f"{(event.time_ns - start_ns) / 1e6:.3f}"
    return f"#{event.seq:<6} {when:>12}  {event.label:<13}  {told(log, event, call)}".rstrip()


def told(log: EventLog, event: Event, call: Call | None) -> str:
    """Say of what an event is, and what else it tells."""
    hook = _hook_of(log, event)
    parts = [f"{hook.kind} {hook.name} on {hook.owner}"] if hook is not None else []
    if call is not None and (hook is None or hook.module is None):
        parts.append(f"{call} {call.module.type}")
    names = event.__struct_fields__[3:]
    if isinstance(event, TensorWritten):
        possibly = "" if event.certain else "possibly "
        parts.append(f"{possibly}{event.before} -> {event.after}")
        names = ("line",)
    for name in names:
        text = _field(log, name, getattr(event, name))
        if text:
            parts.append(text)
    return "  ".join(parts)


_ELSEWHERE = {"hook", "call", "module", "parent", "mode"}  # fields that are told by a name


def _field(log: EventLog, name: str, thing: Any) -> str:
    if name in _ELSEWHERE or thing is None or thing is False or thing == "" or thing == ():
        return ""
    if thing is True:
        return name
    if name == "backward":
        return f"run {thing + 1}"
    if isinstance(thing, Observation):
        return f"{thing.role if name == 'gradient' else name} {thing}"
    if name == "tensor":
        return log.tensors[thing].name or f"t{thing}"
    if name == "edits":
        return "; ".join(f"{one.role} {_changed(log, one)}" for one in thing)
    if name == "duration_ns":
        return f"{thing / 1e3:.1f} us"
    if isinstance(thing, tuple):
        return (
            f"{name}: {_seen(thing)}" if _is_seen(thing) else f"{name} {', '.join(map(str, thing))}"
        )
    return f"{name} {thing}"


def _changed(log: EventLog, edit: Any) -> str:
    before, after = edit.before.value, edit.after.value
    change = log.changes.get((before, after)) if before and after else None
    return change.text if change else "replaced"


def _seen(seen: Sequence[Observation]) -> str:
    return ", ".join(str(one) for one in seen[:4]) + (", ..." if len(seen) > 4 else "") or "-"


def _shapes(seen: Sequence[Observation]) -> str:
    found = [one.summary for one in seen if isinstance(one.summary, TensorSummary)]
    told = ", ".join(one.dimensions for one in found[:4])
    return told + (", ..." if len(found) > 4 else "") or "-"


def _is_seen(thing: tuple[Any, ...]) -> bool:
    return isinstance(thing[0], Observation)


# ------------------------------------------------------------------ small parts


def _hook_of(log: EventLog, event: Event) -> TracedHook | None:
    number = getattr(event, "hook", None)
    return None if number is None else log.hooks[number]


def _about(log: EventLog, hook: TracedHook | None, call: Call | None, pattern: str) -> bool:
    """Whether a hook or call is of a module with such a name."""
    rows = [] if call is None else [call.module]
    if hook is not None and hook.module is not None:
        rows.append(log.modules[hook.module])
    names = (name for row in rows for name in (row.label, row.name, *row.aliases))
    return any(fnmatchcase(name, pattern) for name in names)


def _equal(one: str, other: str) -> bool:
    return one == other


def _ranges(numbers: Sequence[int]) -> str:
    """Write numbers shortly.

    >>> _ranges((0, 1, 2, 7, 9, 10))
    '0-2, 7, 9-10'
    """
    runs: list[list[int]] = []
    for one in numbers:
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
