"""Which hooks belong to which module call, and what became of each: changed, observed, never."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hooktrace.events import CallId, HookFired, HookId, ModuleId, TensorId, TracedHook
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.views.call import EARLY_STOP
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.effects import EditView

__all__ = ["HookStory", "HookUse", "changes_something"]


@dataclass
class HookStory:
    """What one hook did at one place.

    Attributes:
        hook: The hook.
        order: Its place among the hooks that fired, from 1, by first firing; 0 if it never did.
        firings: Its firings there.
        on: What it hangs on beside the module itself, such as ``weight``.
        texts: What it changed, such as ``output x2``; empty if it only observed.
        copied: Whether it returned something new that held the same values.
        again: How many of the firings were in a recomputation by checkpointing.
    """

    hook: TracedHook
    order: int
    firings: list[HookFired]
    on: str = ""
    texts: list[str] = field(default_factory=list)
    copied: bool = False
    again: int = 0

    @property
    def state(self) -> str:
        """One of ``raised``, ``changed``, ``observed``, ``never``."""
        if any(event.exception and not _stopped(event) for event in self.firings):
            return "raised"
        if self.texts:
            return "changed"
        return "observed" if self.firings else "never"


class HookUse:
    """The hooks of a log by the place where a picture shows them.

    A module hook belongs to the calls of its module, a hook on a parameter to the module that
    owns the parameter, a hook on another tensor to the call that returned it, one on an autograd
    node to the call that made the node.  A global hook belongs to the calls in which it changed
    something.

    Attributes:
        log: The log.
        order: The place of each hook that fired, from 1, by first firing.
        remarks: What else a picture is to say at a call.
    """

    def __init__(
        self, log: EventLog, calls: CallIndex, remarks: Mapping[CallId, list[str]] | None = None
    ) -> None:
        self.log = log
        self.remarks = remarks or {}
        self.order: dict[HookId, int] = {}
        self._firings: dict[HookId, list[HookFired]] = defaultdict(list)
        for event in log.of(HookFired):
            self.order.setdefault(event.hook, len(self.order) + 1)
            self._firings[event.hook].append(event)
        self._of_module: dict[ModuleId, list[tuple[TracedHook, str]]] = defaultdict(list)
        self._of_call: dict[CallId, list[TracedHook]] = defaultdict(list)
        self._everywhere: list[TracedHook] = []
        self._elsewhere: list[TracedHook] = []
        self._sort(calls)

    def _sort(self, calls: CallIndex) -> None:
        names = {name: row.id for row in self.log.modules for name in (row.name, *row.aliases)}
        called = {call.called.module for call in calls}
        returned = _first_returned(calls)
        for hook in self.log.hooks:
            row = None if hook.tensor is None else self.log.tensors[hook.tensor]
            owner, _, last = ("", "", "") if row is None else row.name.rpartition(".")
            module = hook.module
            if module is None and row is not None and row.parameter:
                module = names.get(owner)
            if module is not None:
                self._of_module[module].append((hook, last))
                if module not in called:
                    self._elsewhere.append(hook)
            elif hook.tensor in returned:
                self._of_call[returned[hook.tensor]].append(hook)
            elif (maker := self._maker(hook)) is not None:
                self._of_call[maker].append(hook)
            elif hook.owner == "every module":
                self._everywhere.append(hook)
            else:
                self._elsewhere.append(hook)

    def _maker(self, hook: TracedHook) -> CallId | None:
        """Return the call that made the node of a hook."""
        return None if hook.node is None else self.log.nodes[hook.node].call

    def elsewhere(self) -> list[HookStory]:
        """Return the hooks that hang on nothing that was called."""
        stories = [self._story(hook) for hook in self._elsewhere]
        return sorted(filter(_telling, stories), key=lambda one: bool(one.hook.feature))

    def globally(self) -> list[HookStory]:
        """Return the hooks that were registered for every module."""
        return [self._story(hook) for hook in self._everywhere]

    def every(self) -> list[HookStory]:
        """Return what each hook did in all, in the order of first firing; then what never fired."""
        stories = filter(_telling, (self._story(hook) for hook in self.log.hooks))
        return sorted(stories, key=lambda one: (one.order == 0, one.order, one.hook.id))

    def at(self, call: Call) -> list[HookStory]:
        """Return the hooks that a picture shows at this call, in the order of firing."""
        stories = [self._story(*one, call=call) for one in self._of_module[call.called.module]]
        stories += [
            self._story(hook, "output" if hook.node is None else hook.owner)
            for hook in self._of_call[call.id]
        ]
        changes = (self._story(hook, call=call) for hook in self._everywhere)
        stories += [one for one in changes if one.state in ("changed", "raised")]
        return sorted(filter(_telling, stories), key=lambda one: (one.order == 0, one.order))

    def mark(self, call: Call) -> Any:
        """Describe the hooks at a call so that equal marks look alike in a picture."""
        stories = tuple(
            (one.hook.kind, one.hook.name, one.on, one.state, tuple(one.texts))
            for one in self.at(call)
        )
        return stories, tuple(self.remarks.get(call.id, ()))

    def _story(self, hook: TracedHook, on: str = "", call: Call | None = None) -> HookStory:
        firings = self._firings[hook.id]
        if call is not None:
            here = {None, call.id, *(one.id for one in call.recomputations)}
            firings = [one for one in firings if one.call in here]
        texts = describe_edits(self.log, firings)
        copied = any(event.edits for event in firings) and not texts
        again = sum(one.call in self.log.recomputed for one in firings)
        return HookStory(hook, self.order.get(hook.id, 0), firings, on, texts, copied, again)


def _stopped(event: HookFired) -> bool:
    """Whether it only ended because a recomputation had come far enough."""
    return event.exception is not None and event.exception.startswith(EARLY_STOP)


def _telling(story: HookStory) -> bool:
    """Whether a picture of a model that runs shows a hook: not one that waits for another time."""
    waits = KINDS[story.hook.kind].family in ("state_dict", "registration")
    return bool(story.order) or not (waits or story.hook.feature)


def _first_returned(calls: CallIndex) -> dict[TensorId, CallId]:
    """Say for each tensor which call was the first to return it."""
    exits = sorted((call.exited.seq, call.id, call) for call in calls if call.exited is not None)
    found: dict[TensorId, CallId] = {}
    for _, _, call in exits:
        for seen in call.seen_outputs:
            if seen.value is not None:
                found.setdefault(seen.value.tensor, call.id)
    return found


def changes_something(log: EventLog, event: HookFired) -> bool:
    """Whether a firing changed anything; equal values that it returned are no change."""
    return any(not EditView(log, event, edit).equal for edit in event.edits)


def describe_edits(log: EventLog, firings: list[HookFired]) -> list[str]:
    """Say what firings changed, each thing once: ``grad x2 in place, then returned x3``."""
    texts: list[str] = []
    for event in firings:
        by_role: dict[str, list[str]] = {}
        for edit in event.edits:
            view = EditView(log, event, edit)
            if view.equal:
                continue
            how = " in place" if edit.how == "in_place" else ""
            by_role.setdefault(edit.role, []).append(f"{view.change.text}{how}")
        for role, changes in by_role.items():
            text = f"{role} {', then '.join(changes)}"
            if text not in texts:
                texts.append(text)
    return texts
