"""The trace as text: ``print(t)``, at most 60 lines."""

from __future__ import annotations

from hooktrace.events import (
    BackwardStarted,
    CallId,
    Edit,
    HookFired,
    Observation,
    ProbeFailed,
    TensorSummary,
    TensorWritten,
)
from hooktrace.log import EventLog
from hooktrace.render.grid import add_row, grid_of, lay_out
from hooktrace.render.hook_lines import hook_table, step_lines
from hooktrace.render.wording import count, printable
from hooktrace.views import effects
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.tensors import TensorView, named_tensors

__all__ = ["MOST_LINES", "table"]

MOST_LINES = 60
_WIDTH = 120
_CALLS, _HOOKS, _TENSORS, _STEPS, _WRITES = 26, 14, 10, 5, 6  # lines for each part at most


def table(log: EventLog, calls: CallIndex, closing: str = "") -> str:
    """Return the trace as a table: calls in order, hooks, what they changed, what was left out.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        closing: The last line, unless there is nothing but the headline.
    """
    left_out: list[str] = []
    edits, writes = effects.edits(log), effects.writes(log, calls)
    parts = []
    tensors = _interesting_tensors(log)
    if tensors:
        parts.append(_tensors(tensors, left_out))
    if len(log.hooks):
        parts.append(hook_table(log, edits, writes, _HOOKS, left_out))
    parts += _steps(log, left_out)
    others = [one for one in writes if one.hook is None and not one.optimizer]
    if others:
        parts.append(_writes(others, left_out))
    headline = _headline(log, calls, edits)
    if len(calls):
        taken = sum(part.count("\n") + 2 for part in (headline, *parts))
        room = MOST_LINES - taken - 3 - 2 * bool(closing)  # its own header, what is left out, end
        parts.insert(0, _calls(log, calls, min(_CALLS, room), left_out))
    if left_out:
        parts.append("Left out: " + "; ".join(left_out) + ".")
    return "\n\n".join([headline, *parts, *([closing] if closing and parts else [])])


# ------------------------------------------------------------------ parts


def _headline(log: EventLog, calls: CallIndex, edits: list[effects.EditView]) -> str:
    roots = list(dict.fromkeys(f"{one.module.type}" for one in calls.roots()))
    what = " and ".join(roots[:3]) + (" and more" if len(roots) > 3 else "")
    firings = log.of(HookFired)
    changed = len({edit.seq for edit in edits})
    counts = [
        count(len(calls), "call"),
        f"{count(len(log.hooks), 'hook')} fired {count(len(firings), 'time')}"
        + (f" and changed something {count(changed, 'time')}" if changed else ""),
        count(len(log.of(BackwardStarted)), "backward run"),
        count(len(log.events), "event"),
    ]
    text = f"Trace{' of ' + what if what else ''}: {', '.join(counts)}"
    if log.error:
        why = printable(log.error) + _where(log, calls)
        text += f"\nEnded early by {why}. The trace is complete up to there."
    failures = len(log.of(ProbeFailed))
    if failures:
        text += f"\nIncomplete: {count(failures, 'observation')} of hooktrace failed (ProbeFailed)."
    return text


def _where(log: EventLog, calls: CallIndex) -> str:
    raised = [call for call in calls if call.exception]
    if raised:
        return f", raised in {raised[-1]} ({raised[-1].module.type})"
    hooks = [log.hooks[one.hook] for one in log.of(HookFired) if one.exception]
    if not hooks:
        return ""
    return f", raised in the {hooks[-1].kind} hook {hooks[-1].name} on {hooks[-1].owner}"


def _calls(log: EventLog, calls: CallIndex, most: int, left_out: list[str]) -> str:
    rows: list[Call] = []
    deepest: dict[int, int] = {}
    own = [call for call in calls if call.first is None]
    roots = [call for call in calls.roots() if call.first is None]
    for root in _telling(roots):
        shown = [call for call in own if call.root is root]
        depth = max(call.depth for call in shown)
        while depth and len(rows) + sum(call.depth <= depth for call in shown) > most:
            depth -= 1
        if len(rows) >= most:
            break
        deepest[root.id] = depth
        rows += [call for call in shown if call.depth <= depth][: most - len(rows)]
    inner = sum(call.root.id in deepest for call in own) - len(rows)
    if inner:
        left_out.append(f"{count(inner, 'inner call')} (t.calls())")
    if len(roots) > len(deepest):
        further = count(len(roots) - len(deepest), "further outermost call")
        left_out.append(f"{further} (t.steps)")
    overwriters = {event.call for event in log.of(TensorWritten) if event.hook is None}
    taken = log.stats.taken
    measured = ["output: mean, std"] if taken else []
    grid = grid_of("call", "in -> out", *measured, "ms", "grad_output", "hooks and effects")
    for call in rows:
        inside = len(call.children) if call.depth == deepest[call.root.id] else 0
        add_row(
            grid,
            "  " * call.depth + _short(call, calls) + (f" (+{inside} inside)" if inside else ""),
            _shapes(call),
            *([_measured(log, call)] if taken else []),
            "" if call.duration_ns is None else f"{call.duration_ns / 1e6:.2f}",
            _gradient(log, call),
            _effects(log, call, overwriters),
        )
    return lay_out(grid)


def _telling(roots: list[Call]) -> list[Call]:
    """Return the first outermost call of each module, and the last one if it raised."""
    first: dict[str, Call] = {}
    for root in roots:
        first.setdefault(root.name, root)
    return [root for root in roots if root is first[root.name] or root.exception]


def _short(call: Call, calls: CallIndex) -> str:
    """Name and class; below a call that is shown, without the part that the parent's name says."""
    name = call.module.name
    around = call.parent.module.name if call.parent is not None else ""
    if around and name.startswith(around + "."):
        name = name[len(around) + 1 :]
    number = f"@{call.index}" if calls.count(call.name) > 1 else ""
    return f"{name}{number} {call.module.type}".strip()


def _shapes(call: Call) -> str:
    if call.exception:
        return f"raised {call.exception}"
    return f"{_few(call.seen_inputs)} -> {_few(call.seen_outputs)}"


def _measured(log: EventLog, call: Call) -> str:
    """Mean and standard deviation of the first output that has them, or what is wrong with it."""
    found = next((stats for one in call.seen_outputs if (stats := log.stats.of(one))), None)
    if found is None:
        return "-"
    return found.oddity or f"{found.mean:.3g}, {found.std:.3g}"


def _gradient(log: EventLog, call: Call) -> str:
    arrived = [
        one
        for one in (*call.gradients, *(g for again in call.recomputations for g in again.gradients))
        if one.gradient.role.startswith("grad_output")
    ]
    if not arrived:
        return "-"
    seen = arrived[-1].gradient
    numbers = seen.numbers
    text = str(seen) if numbers is not None and len(numbers) <= 3 else "arrived"
    stats = log.stats.of(seen)
    if stats is not None and text == "arrived":
        text = stats.oddity or f"norm {stats.norm:.3g}"
    runs = len({one.backward for one in arrived})
    return f"{text} ({runs} runs)" if runs > 1 else text


def _effects(log: EventLog, call: Call, overwriters: set[CallId | None]) -> str:
    notes = []
    features: dict[str, list[str]] = {}
    for firing in sorted(call.hooks, key=lambda one: not one.edits):
        hook = log.hooks[firing.hook]
        if hook.module is None and not firing.edits and not firing.exception:
            continue  # a global hook that only looked has its line below
        if hook.feature:
            changes = (_change(log, edit) for edit in firing.edits)
            told = features.setdefault(hook.feature, [])
            told += [one for one in changes if not one.endswith("same values")]
            continue
        note = f"{hook.kind} {hook.name}"
        if firing.edits:
            note += " (" + ", ".join(_change(log, edit) for edit in firing.edits) + ")"
        notes.append(note + (" (raised)" if firing.exception else ""))
    notes += [f"{one} ({', '.join(told)})" if told else one for one, told in features.items()]
    if call.recomputed:
        notes.append("recomputed" + (", stopped early" if call.stopped_early else ""))
    if call.recomputations:
        early = any(one.stopped_early for one in call.recomputations)
        again = f" {len(call.recomputations)}x" if len(call.recomputations) > 1 else ""
        notes.append(f"recomputed{again} in backward" + (" (stopped early)" if early else ""))
    if call.id in overwriters:
        notes.append("writes in place")
    if call.kept:
        written = any((call.id, one.role) in log.overwritten for one in call.seen_outputs)
        notes.append("kept, then overwritten" if written else "kept")
    return ", ".join(notes)


def _change(log: EventLog, edit: Edit) -> str:
    before, after = edit.before.value, edit.after.value
    change = log.changes.get((before, after)) if before and after else None
    return f"{edit.role} {change.text if change else 'replaced'}"


def _interesting_tensors(log: EventLog) -> list[TensorView]:
    """Named tensors that are no parameters: what the code around the block calls by a name."""
    named = set(named_tensors(log).values())
    order = list(dict.fromkeys(value.tensor for value in log.contents))  # as the caller wrote them
    numbers = [one for one in order if one in named and not log.tensors[one].parameter]
    views = [TensorView(log, number) for number in numbers]
    return [one for one in views if one.value is not None and (one.operation or one.row.leaf)]


def _tensors(tensors: list[TensorView], left_out: list[str]) -> str:
    if len(tensors) > _TENSORS:
        left_out.append(f"{count(len(tensors) - _TENSORS, 'tensor')} (t.tensor(name))")
    grid = grid_of("tensor", "made by", "value", "gradient", ".grad")
    for one in tensors[:_TENSORS]:
        gradients = [seen.gradient for seen in one.gradients]
        gradients += [seen.arrived for seen in one.accumulated if seen.arrived is not None]
        filled = [seen.after for seen in one.accumulated] + [s.gradient for s in one.retained]
        add_row(
            grid,
            one.name,
            one.operation or "leaf",
            str(one.value),
            str(gradients[-1]) if gradients else "",
            str(filled[-1]) if filled else "None",
        )
    return lay_out(grid)


def _steps(log: EventLog, left_out: list[str]) -> list[str]:
    lines = [printable(line)[:_WIDTH] for line in step_lines(log)]
    if len(lines) > _STEPS:
        further = count(len(lines) - _STEPS, "optimizer or scheduler")
        left_out.append(f"{further} (t.of(ht.events.StepFinished))")
    return ["\n".join(lines[:_STEPS])] if lines else []


def _writes(writes: list[effects.WriteView], left_out: list[str]) -> str:
    if len(writes) > _WRITES:
        left_out.append(f"{count(len(writes) - _WRITES, 'write')} in place (t.writes())")
    return "\n".join(
        ["Written in place:", *(f"  {printable(str(one))}" for one in writes[:_WRITES])]
    )


# ------------------------------------------------------------------ small parts


def _few(seen: tuple[Observation, ...]) -> str:
    summaries = (one.summary for one in seen)
    shapes = [one.dimensions for one in summaries if isinstance(one, TensorSummary)]
    return ", ".join(shapes[:3]) + (f", +{len(shapes) - 3}" if len(shapes) > 3 else "") or "-"
