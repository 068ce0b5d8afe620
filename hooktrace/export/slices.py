"""A trace as slices of time, and lanes in which they nest.

A viewer draws slices of one lane into one another: each is either inside of another or beside it.
What runs on one thread nests by itself; the ways back of calls on parallel branches do not, as
autograd goes through them by turns.  A slice that does not fit gets another lane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    Event,
    GradientAccumulated,
    HookFired,
    StepFinished,
    StepStarted,
)
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.effects import EditView

__all__ = ["Slice", "lanes", "slices"]


@dataclass(eq=False)
class Slice:
    """Something that took time.

    Attributes:
        name, category: What a viewer writes on it, and by what it filters.
        start_ns, end_ns: When.
        thread: On which thread.
        depth: Tells which of two slices with the same times is inside of the other.
        only_in: The one slice that it may be drawn into, unless it took no time; None for whichever
            is around it.
        call: Number of the call whose forward (category ``module``) or backward (category
            ``module backward``) it is.
        backward: Number of the run, for those inside of one.
        args: What else there is to say.
        first, last: Numbers of its first and its last event.
    """

    name: str
    category: str
    start_ns: int
    end_ns: int
    thread: int
    depth: int = 0
    only_in: Slice | None = None
    call: int | None = None
    backward: int | None = None
    args: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    last: int = 0


Moment = tuple[int, int]  # nanoseconds, and the number of the event
Span = tuple[Moment, Moment, int]  # from, to, thread


def slices(log: EventLog, calls: CallIndex) -> list[Slice]:
    """Return everything in a trace that took time."""
    last = _ends(log)
    runs = dict(_backwards(log, last))
    return [
        *_forwards(calls, last),
        *runs.values(),
        *_ways_back(log, calls, runs),
        *_hooks(log),
        *_steps(log, last),
    ]


def _ends(log: EventLog) -> dict[int, Moment]:
    """Return for each thread when it was last seen, and the number of its last event."""
    last: dict[int, Moment] = {}
    for event in log.events:
        end = event.time_ns + getattr(event, "duration_ns", 0)
        last[event.thread] = max(end, last.get(event.thread, (end, 0))[0]), event.seq
    return last


def _moment(event: Event) -> Moment:
    return event.time_ns, event.seq


def _forwards(calls: CallIndex, last: dict[int, Moment]) -> Iterator[Slice]:
    for call in calls:
        start, thread = call.called.time_ns, call.called.thread
        end, final = last[thread] if call.exited is None else _moment(call.exited)
        args = {
            "module": call.name,
            "type": call.module.type,
            "config": call.module.config,
            "inputs": ", ".join(str(one.summary) for one in call.seen_inputs),
            "outputs": ", ".join(str(one.summary) for one in call.seen_outputs),
        }
        if call.exited is None:
            args["open"] = "it did not return while the trace was open"
        elif call.exception:
            args["raised"] = call.exception
        name = f"{call.name} ({call.module.type})" if call.name != call.module.type else call.name
        depth = 2 * call.depth
        yield Slice(name, "module", start, end, thread, depth, call=call.id, args=args,
                    first=call.called.seq, last=final)  # fmt: skip
        began, done = call.forward_started, call.forward_finished
        if call.hooks and began is not None:
            until, final = (end, final) if done is None else _moment(done)
            yield Slice("forward", "forward", began.time_ns, until, thread, depth + 1,
                        first=began.seq, last=final)  # fmt: skip


def _hooks(log: EventLog) -> Iterator[Slice]:
    for event in log.of(HookFired):
        hook = log.hooks[event.hook]
        args = {"owner": hook.owner, "defined at": hook.defined_at}
        args |= {"registered at": hook.registered_at} if hook.registered_at else {}
        changed = [one.role for one in event.edits if not EditView(log, event, one).equal]
        args |= {"changed": ", ".join(changed)} if changed else {}
        args |= {"raised": event.exception} if event.exception else {}
        end = event.time_ns + event.duration_ns
        name = f"{hook.kind} hook {hook.name}"
        yield Slice(name, "hook", event.time_ns, end, event.thread, _INNERMOST, args=args,
                    first=event.seq, last=event.seq)  # fmt: skip


_INNERMOST = 1_000_000


def _backwards(log: EventLog, last: dict[int, Moment]) -> Iterator[tuple[int, Slice]]:
    ends = {one.backward: _moment(one) for one in log.of(BackwardFinished)}
    for one in log.of(BackwardStarted):
        name = "backward" if one.accumulates else "autograd.grad"
        args = {"at": one.line or "", "options": ", ".join(one.options)}
        end, final = ends.get(one.backward, last[one.thread])
        yield (
            one.backward,
            Slice(
                name, "backward", one.time_ns, end, one.thread, -1, backward=one.backward,
                args=args, first=one.seq, last=final,
            ),
        )  # fmt: skip


def _steps(log: EventLog, last: dict[int, Moment]) -> Iterator[Slice]:
    ends = {(one.optimizer, one.step): one for one in log.of(StepFinished)}
    for one in log.of(StepStarted):
        end = ends.get((one.optimizer, one.step))
        args = {"at": one.line or "", "parameters written": len(end.written) if end else 0}
        until, final = _moment(end) if end else last[one.thread]
        yield Slice(f"{one.optimizer}.step", "optimizer", one.time_ns, until, one.thread, -1,
                    args=args, first=one.seq, last=final)  # fmt: skip


# ------------------------------------------------------------------ the way back of a call


def _ways_back(log: EventLog, calls: CallIndex, runs: dict[int, Slice]) -> Iterator[Slice]:
    """Yield for each call and backward run the time from its first gradient to its last.

    That of a call around others spans theirs.
    """
    spans: dict[tuple[int, int], Span] = {}  # (call, run) -> when
    for call in reversed(list(calls)):
        found: dict[int, list[Span]] = defaultdict(list)
        for one in call.gradients:
            found[one.backward].append((_moment(one), _moment(one), one.thread))
        for child in call.children:
            for run in runs:
                if (child.id, run) in spans:
                    found[run].append(spans[child.id, run])
        for run, its in found.items():
            first = min(its)
            spans[call.id, run] = first[0], max(end for _, end, _ in its), first[2]
    _extend_to_parameters(log, calls, spans)
    made: dict[tuple[int, int], Slice] = {}
    for (number, run), (start, end, thread) in sorted(spans.items()):
        call = calls.calls[number]  # type: ignore[index]
        around = None if call.parent is None else made.get((call.parent.id, run))
        made[number, run] = Slice(
            f"{call.name} backward", "module backward", start[0], end[0], thread, 2 * call.depth,
            around or runs.get(run), number, run, _gradients(call, run), start[1], end[1],
        )  # fmt: skip
    yield from made.values()


def _extend_to_parameters(
    log: EventLog, calls: CallIndex, spans: dict[tuple[int, int], Span]
) -> None:
    """Let the way back of a call last until the gradients of its parameters have arrived."""
    owners: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        owners[call.module.name].append(call)
    for event in log.of(GradientAccumulated):
        owner = log.tensors[event.tensor].name.rpartition(".")[0]
        for call in owners.get(owner, ())[-1:] if log.tensors[event.tensor].parameter else ():
            inner: Call | None = call
            while inner is not None and (inner.id, event.backward) in spans:
                start, end, thread = spans[inner.id, event.backward]
                if thread == event.thread:
                    spans[inner.id, event.backward] = start, max(end, _moment(event)), thread
                inner = inner.parent


def _gradients(call: Call, run: int) -> dict[str, Any]:
    return {
        one.gradient.role: str(one.gradient.summary) for one in call.gradients
        if one.backward == run
    }  # fmt: skip


# ------------------------------------------------------------------ lanes


def lanes(found: Iterable[Slice]) -> dict[Slice, int]:
    """Say for each slice in which lane of its thread, from 0, it nests."""
    placed: dict[Slice, int] = {}
    open_in: dict[int, list[list[Slice]]] = defaultdict(list)  # thread -> lane -> open slices
    for one in sorted(found, key=lambda one: (one.start_ns, -one.end_ns, one.depth)):
        threads = open_in[one.thread]
        for number, stack in enumerate([*threads, []]):
            while stack and stack[-1].end_ns <= one.start_ns and not _same(stack[-1], one):
                stack.pop()
            if not stack or _fits(one, stack[-1]):
                if number == len(threads):
                    threads.append(stack)
                stack.append(one)
                placed[one] = number
                break
    return placed


def _same(outer: Slice, inner: Slice) -> bool:
    """Whether both take no time, at one and the same time."""
    return (outer.start_ns, outer.end_ns) == (inner.start_ns, inner.end_ns)


def _fits(inner: Slice, outer: Slice) -> bool:
    if inner.end_ns > outer.end_ns:
        return False
    return inner.only_in in (None, outer) or inner.start_ns == inner.end_ns
