"""What is open on a thread: module calls, firing hooks, backward runs."""

from __future__ import annotations

from typing import Any

from hooktrace.events import CallId, HookId, ModuleId
from hooktrace.identity import Seen
from hooktrace.spans import THREAD_BITS, Spans

__all__ = ["Open", "ThreadState"]


class Open:
    """Something that has begun and not ended on a thread: a module call or a firing hook."""

    __slots__ = ("call", "hook", "module")

    def __init__(self, call: CallId | None, module: ModuleId | None, hook: HookId | None) -> None:
        self.call = call
        self.module = module
        self.hook = hook


class ThreadState:
    """What is open on one thread."""

    __slots__ = ("backwards", "base", "number", "recent", "spans", "stack")

    def __init__(self, number: int) -> None:
        self.number = number
        self.base = number << THREAD_BITS  # of the keys of the autograd nodes that it makes
        self.stack: list[Any] = []  # Open and its subclasses, outermost first
        self.backwards: list[int] = []  # numbers of the backward runs, outermost first
        self.recent: list[Seen] = []  # tensors first seen since the outermost call began
        self.spans = Spans()  # which autograd nodes were created in which call

    def leave(self, what: Any) -> None:
        """Take `what`, and whatever did not end inside it, off the stack."""
        stack = self.stack
        if stack and stack[-1] is what:
            stack.pop()
            return
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is what:
                del stack[place:]
                return
