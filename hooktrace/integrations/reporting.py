"""What callbacks do with a step that was traced: tell findings, give norms, write a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from torch import nn

from hooktrace import patches
from hooktrace.boards.norms import norms
from hooktrace.doctor import Findings
from hooktrace.session import Trace
from hooktrace.tracedsteps import TracedSteps
from hooktrace.views.calls import CallIndex

__all__ = ["OnTrace", "StepReports"]

OnTrace = Callable[[Trace, int], None]


class StepReports:
    """Traces steps of a loop that somebody else runs, and reports on them.

    Args:
        every: How many steps lie between those that are traced, plus one.
        findings: Whether to tell what the doctor finds in them, each finding once.
        folder: Where to save each trace; None for nowhere.
        on_trace: Is called with each trace and the number of its step.
        say: What tells findings.

    Raises:
        ValueError: `every` is less than 1.
    """

    def __init__(
        self,
        every: int,
        findings: bool,
        folder: str | os.PathLike[str] | None,
        on_trace: OnTrace | None,
        say: Callable[[str], None] = print,
    ) -> None:
        if every < 1:
            raise ValueError(f"every= is 1 or more, but got {every}.")
        self._every, self._findings, self._on_trace, self._say = every, findings, on_trace, say
        self._folder = None if folder is None else Path(folder)
        self._told: set[tuple[str, str]] = set()
        self._steps: TracedSteps | None = None

    def start(self, model: nn.Module) -> None:
        """Begin a loop: its first step will be traced."""
        self.stop()
        self._steps = TracedSteps(model, self._every)

    def begin(self) -> None:
        """Begin a step."""
        if self._steps is not None:
            self._steps.begin()

    def end(self, step: int) -> dict[str, float]:
        """End a step; return its norms by tag, none if it was not traced.

        Args:
            step: Its number, as the loop counts.
        """
        trace = None if self._steps is None else self._steps.end()
        if trace is None:
            return {}
        with patches.unrecorded():
            if self._findings:
                self._tell(trace.findings(), step)
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                trace.save(self._folder / f"step-{step:06}.hooktrace")
            log, calls = trace.log, CallIndex(trace.log).refresh()
            measured = norms(log, calls, (0, len(log.events)), lambda _: True)
        if self._on_trace is not None:
            self._on_trace(trace, step)
        return measured

    def stop(self) -> None:
        """End a loop, and the trace of a step that did not end."""
        if self._steps is not None:
            self._steps.abandon()
            self._steps = None

    def _tell(self, found: Findings, step: int) -> None:
        new = [one for one in found if (one.rule, one.message) not in self._told]
        self._told.update((one.rule, one.message) for one in new)
        for one in new:
            self._say(f"hooktrace, step {step}: {one}")
