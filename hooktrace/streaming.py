"""Writing a trace to a file while the program runs, step by step, in bounded memory.

A *step* begins when an outermost call is of a module that has had one in the step before: in a
training loop it goes from one call of the model to the next, with the loss, backward and the
optimizer in between.  Where no module runs, it goes from one backward run to the next.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hooktrace import measure
from hooktrace.events import ModuleId, TensorId, Value
from hooktrace.recorder import Recorder
from hooktrace.storage.archive import Writer
from hooktrace.storage.manifest import listed
from hooktrace.storage.saving import Parts, devices

__all__ = ["Steps", "Stream"]

_SLACK = 1 << 20  # bytes of steps that were dropped which a small file may still hold


@dataclass(frozen=True)
class Steps:
    """Which steps of a run a file keeps.

    Attributes:
        every: One of how many, counted from `skip`.
        first: So many of these from the beginning; None for all.
        last: So many of the others from the end.
        skip: How many steps to leave out in the beginning.
    """

    every: int = 1
    first: int | None = None
    last: int = 0
    skip: int = 0

    def __post_init__(self) -> None:
        for name, least in (("every", 1), ("first", 0), ("last", 0), ("skip", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and value >= least):
                raise ValueError(
                    f"{name}= of the steps is a number from {least}, but got {value!r}."
                )

    @classmethod
    def of(cls, every: int, limit: int | tuple[int, int] | None, skip: int) -> Steps:
        """Return what the options of `hooktrace.trace` ask for.

        Raises:
            ValueError: There are no such steps.
        """
        if isinstance(limit, tuple) and len(limit) == 2:
            return cls(every, *limit, skip)
        if limit is not None and not isinstance(limit, int):
            raise ValueError(
                f"limit= is how many of the last steps to keep, or a pair, how many of the first "
                f"and of the last, but got {limit!r}."
            )
        return cls(every, None if limit is None else 0, limit or 0, skip)

    def place(self, step: int) -> int | None:
        """Return how many steps before this one are wanted, if it is one of them."""
        ahead = step - self.skip
        return ahead // self.every if ahead >= 0 and ahead % self.every == 0 else None

    def over(self, step: int) -> bool:
        """Whether neither this step nor a later one can be kept."""
        ahead = -(-(step - self.skip) // self.every)  # wanted ones before it
        return self.first is not None and not self.last and ahead >= self.first


class Stream:
    """The file of a trace that is open.

    Args:
        recorder: Of the trace.
        path: The file.  If there is one, it is replaced in the end, and until then the new one is
            ``NAME.partial``.
        steps: Which steps it keeps.
        forgotten: Called when the log has forgotten what was written.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """

    def __init__(
        self, recorder: Recorder, path: Path, steps: Steps, forgotten: Callable[[], None]
    ) -> None:
        self.recorder = recorder
        self.path = path
        self.steps = steps
        self.step = 0
        self.broken = False
        self._forgotten = forgotten
        self._ran: set[ModuleId] = set()
        self._backwards = 0
        self._process = os.getpid()
        self._lock = threading.RLock()
        target = path.with_name(f"{path.name}.partial") if path.exists() else path
        target.unlink(missing_ok=True)
        self._parts = Parts(Writer(target))
        self._started = False
        self._late: list[tuple[str, int]] = []  # of the last steps: how entries begin, and bytes
        self._dropped: dict[str, int] = {}

    # -------------------------------------------------------------- when steps begin

    def begins(self, module: ModuleId | None) -> bool:
        """Note that an outermost call of a module begins, or a backward run (None).

        Returns:
            Whether there is anything left to be recorded.
        """
        if os.getpid() != self._process:
            return True  # a child of the process, to which the file does not belong
        with self._lock:
            if self._idle() and (
                module in self._ran if module is not None else self._backwards and not self._ran
            ):
                self._close_step()
            if module is not None:
                self._ran.add(module)
            else:
                self._backwards += 1
            return not self.steps.over(self.step)

    def _idle(self) -> bool:
        return not any(one.stack or one.backwards for one in self.recorder.states())

    def _close_step(self) -> None:
        """Write what was recorded since the last step, and forget it."""
        try:
            if not self.broken:
                self._write()
        except Exception:
            self.broken = True
            self.recorder.failed(f"the file {self.path}")
        finally:
            self.step += 1
            self._ran.clear()
            self._backwards = 0
            self.recorder.identities.prune()
            if self.recorder.graph is not None:
                self.recorder.graph.step_ended(self.recorder.backward)
            self.recorder.log.forget(self._alive())
            self._forgotten()

    def _alive(self) -> dict[TensorId, Value]:
        known = tuple(self.recorder.identities.table.values())
        return {seen.id: seen.value for seen in known if seen.ref() is not None}

    # -------------------------------------------------------------- the file

    def _write(self) -> None:
        log, parts = self.recorder.log, self._parts
        place = self.steps.place(self.step)
        early = place is not None and (self.steps.first is None or place < self.steps.first)
        late = place is not None and not early and self.steps.last > 0
        parts.step = self.step
        if not (early or late):
            return
        measure.settle(log)
        events = log.events
        if not self._started:
            self._started = True
            parts.begin(log.surroundings, devices(events), listed((), log.modules))
        before = parts.writer.size
        parts.facts(log)
        entries = parts.part(log, events, 1)
        parts.writer.flush()
        if late:
            self._late.append((entries, parts.writer.size - before))
            self._drop()

    def _drop(self) -> None:
        """Let go of steps that are no longer among the last; make the file small now and then."""
        while len(self._late) > self.steps.last:
            entries, size = self._late.pop(0)
            self._dropped[entries] = size
        spare = sum(self._dropped.values())
        if spare > max(_SLACK, self._parts.writer.size - spare):
            self._parts.leave_out(set(self._dropped))
            self._dropped.clear()

    def finish(self) -> Path:
        """Write the last step and the end; return the file.

        In a child of the process, to which the file does not belong, nothing is written.

        Raises:
            OSError: It cannot be written.
        """
        if os.getpid() != self._process:
            return self.path
        with self._lock:
            log = self.recorder.log
            if not self.broken and len(log):  # the last step may have been cut off as it began
                self._write()
            if not self._started:
                self._parts.begin(log.surroundings, (), listed((), log.modules))
            self._parts.end(log, self.step + (len(log) > 0))
            if self._dropped:
                self._parts.leave_out(set(self._dropped))
            self._parts.writer.close()
            if self._parts.writer.path != self.path:
                os.replace(self._parts.writer.path, self.path)
            return self.path
