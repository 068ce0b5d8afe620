"""What all rules look up in a log: indexes that are made once, when the first rule asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from hooktrace.doctor.runs import Run, Running
from hooktrace.doctor.training import Training
from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    CallId,
    Event,
    GradientAccumulated,
    GradientComputed,
    HookFired,
    HookId,
    HookRegistered,
    HookRemoved,
    ModuleExited,
    ModuleId,
    NodeId,
    TensorId,
    TensorWritten,
    TracedHook,
    Value,
)
from hooktrace.kinds import KINDS, spoken
from hooktrace.log import EventLog
from hooktrace.views import effects, valueorigins
from hooktrace.views.call import Call
from hooktrace.views.calls import CallIndex

__all__ = ["Case", "Run"]

Key = TypeVar("Key")
Thing = TypeVar("Thing")


class Case:
    """A log as the rules look at it.

    Args:
        log: What was recorded; edits should be measured already.
        calls: The index of its calls, up to date.
    """

    def __init__(self, log: EventLog, calls: CallIndex) -> None:
        self.log = log
        self.calls = calls

    # -------------------------------------------------------------- hooks

    @cached_property
    def hooks(self) -> list[TracedHook]:
        """The user's hooks: not those that PyTorch or a library registered as its own."""
        return [hook for hook in self.log.hooks if not hook.feature]

    @cached_property
    def firings(self) -> dict[HookId, list[HookFired]]:
        """The firings of each hook that fired, in order."""
        return _grouped((event.hook, event) for event in self.log.of(HookFired))

    @cached_property
    def registered(self) -> dict[HookId, list[HookRegistered]]:
        """When each hook was registered inside the block: once, unless it is told anew."""
        return _grouped((event.hook, event) for event in self.log.of(HookRegistered))

    @cached_property
    def removed(self) -> dict[HookId, HookRemoved]:
        """When each hook was removed inside the block."""
        return {event.hook: event for event in self.log.of(HookRemoved)}

    @cached_property
    def edits(self) -> dict[HookId, list[effects.EditView]]:
        """What each hook changed; equal values that it returned are no change."""
        changes = (one for one in effects.edits(self.log) if not one.equal)
        return _grouped((one.hook.id, one) for one in changes)

    @cached_property
    def all_firings(self) -> list[HookFired]:
        """The firings of all hooks, in order."""
        return self.log.of(HookFired)

    def fired_before(self, seq: int) -> list[HookFired]:
        """Return the firings before an event, at most the last hundred."""
        end = bisect_left(self.all_firings, seq, key=lambda one: one.seq)
        return self.all_firings[max(0, end - 100) : end]

    @cached_property
    def exceptions(self) -> list[tuple[str, int]]:
        """What calls and backward runs raised, each once, and when; last what ended the block."""
        events: list[BackwardFinished | ModuleExited]
        events = [*self.log.of(BackwardFinished), *self.log.of(ModuleExited)]
        events.sort(key=lambda one: one.seq)
        found = [(one.exception, one.seq) for one in events if one.exception is not None]
        end = [(self.log.error, len(self.log.events))] if self.log.error else []
        several = [*found, *end]
        return [one for n, one in enumerate(several) if not n or several[n - 1][0] != one[0]]

    def raised_after(self, firing: HookFired) -> str:
        """Say what the block or the call of a hook raised after it had fired; empty if nothing."""
        call = None if firing.call is None else self.calls.calls[firing.call]
        if call is not None and call.exception is not None:
            return call.exception
        last = self.calls.calls and max(self.calls.calls)
        return (self.log.error or "") if call is not None and call.id == last else ""

    def family(self, hook: TracedHook) -> str:
        """Return what a hook of this kind hangs on: ``module``, ``tensor``, ``node`` ..."""
        return KINDS[hook.kind].family

    def owner(self, hook: TracedHook) -> str:
        """Return what a hook hangs on, for a sentence: ``1 (Dropout)`` where ``1`` is its name."""
        if hook.module is None or not hook.owner.isdigit():
            return hook.owner
        return self.log.modules[hook.module].title

    def spoken(self, hook: TracedHook) -> str:
        """Return what a hook is, for a sentence: ``full backward hook save on features.1``."""
        return f"{spoken(hook.kind)} {hook.name} on {self.owner(hook)}"

    # -------------------------------------------------------------- calls

    @cached_property
    def calls_of(self) -> dict[ModuleId, list[Call]]:
        """The calls of each module that was called, in order."""
        return _grouped((call.called.module, call) for call in self.calls)

    @cached_property
    def steps(self) -> dict[CallId, int]:
        """The outermost calls, numbered from 0: the steps of a training loop."""
        return {id_: n for n, id_ in enumerate(dict.fromkeys(one.root.id for one in self.calls))}

    @cached_property
    def module_named(self) -> dict[str, ModuleId]:
        """The modules by their names and aliases; only those that have a row."""
        return {name: row.id for row in self.log.modules for name in (row.name, *row.aliases)}

    # -------------------------------------------------------------- backward

    @cached_property
    def runs(self) -> list[Run]:
        """The backward runs, in order."""
        ended = {event.backward: event for event in self.log.of(BackwardFinished)}
        started = self.log.of(BackwardStarted)
        return [Run(one.backward, one, ended.get(one.backward)) for one in started]

    def run_at(self, event: Event) -> Run | None:
        """Return the innermost backward run in which an event came."""
        return self._running.at(event)

    @cached_property
    def _running(self) -> Running:
        return Running(self.runs)

    @cached_property
    def accumulated(self) -> dict[TensorId, list[GradientAccumulated]]:
        """Each time the ``.grad`` of a leaf was filled or added to."""
        return _grouped((event.tensor, event) for event in self.log.of(GradientAccumulated))

    @cached_property
    def gradients(self) -> dict[TensorId, list[GradientComputed]]:
        """The gradients that arrived for a tensor, where it is known for which."""
        events = self.log.of(GradientComputed)
        return _grouped((event.tensor, event) for event in events if event.tensor is not None)

    @cached_property
    def nodes_of(self) -> dict[TensorId, list[NodeId]]:
        """The nodes that produced a tensor, or accumulate its gradient."""
        found = [(value.tensor, node) for value, (node, _) in self.log.producers.items()]
        return _grouped([*found, *((leaf, node) for node, leaf in self.log.nodes.leaves.items())])

    @cached_property
    def users(self) -> dict[TensorId, NodeId]:
        """For each leaf, a node that uses it."""
        leaves = self.log.nodes.leaves
        return {
            leaves[behind]: node
            for node, parts in self.log.nodes.parts.items()
            for behind, _ in parts[2]
            if behind in leaves
        }

    @cached_property
    def compiled_nodes(self) -> list[str]:
        """The names of the nodes that stand for compiled code."""
        names = (parts[0] for parts in self.log.nodes.parts.values())
        return [name for name in names if name.startswith("CompiledFunction")]

    def node_of(self, value: Value) -> NodeId | None:
        """Return the node that produced a value, if that is known."""
        return self.log.producers.get(value, (None, 0))[0]

    def reached(self, run: Run) -> set[NodeId]:
        """Return the nodes that can be reached from the roots of a run."""
        if run.number not in self._reached:
            self._reached[run.number] = self.behind(self.log.entrances.get(run.number, ()))
        return self._reached[run.number]

    @cached_property
    def _reached(self) -> dict[int, set[NodeId]]:
        return {}

    def behind(self, nodes: Iterable[NodeId]) -> set[NodeId]:
        """Return the nodes to which these send gradients, directly or not, and themselves."""
        parts = self.log.nodes.parts
        left = list(nodes)
        found = set(left)
        while left:
            for node, _ in parts[left.pop()][2]:
                if node not in found:
                    found.add(node)
                    left.append(node)
        return found

    @cached_property
    def senders(self) -> dict[NodeId, list[NodeId]]:
        """The nodes that send gradients to each node."""
        rows = self.log.nodes.parts.items()
        return _grouped((to, number) for number, parts in rows for to, _ in parts[2])

    @cached_property
    def tensors_at(self) -> dict[NodeId, list[TensorId]]:
        """The tensors that a node produced, or whose gradient it accumulates."""
        return _grouped((node, one) for one, nodes in self.nodes_of.items() for node in nodes)

    @cached_property
    def hooks_at(self) -> dict[NodeId, list[HookId]]:
        """The hooks on each node, or on a tensor that it produced or accumulates."""
        on_nodes = [(hook.node, hook.id) for hook in self.hooks if hook.node is not None]
        on_tensors = [(hook.tensor, hook.id) for hook in self.hooks if hook.tensor is not None]
        placed = [(node, hook) for one, hook in on_tensors for node in self.nodes_of.get(one, ())]
        return _grouped([*on_nodes, *placed])

    def title(self, node: NodeId) -> str:
        """Say whose gradient a node receives: that of a tensor, an output, or just a node's."""
        tensors = self.tensors_at.get(node, [])
        named = next((one for one in tensors if self.log.tensors[one].name), None)
        if named is not None:
            return self.log.tensors[named].name
        values = self._values_at.get(node, ())
        known = next((self.origins[one] for one in values if one in self.origins), "")
        if known or tensors:
            return f"the {known}" if known else f"tensor t{tensors[0]}"
        leaves = [self.log.nodes.leaves[one] for one in self.behind([node]) & self._leaf_nodes]
        names = sorted(filter(None, (self.log.tensors[one].name for one in leaves)))
        end = f", which leads to {', '.join(names[:3])}" if names else ""
        return f"the node {self.log.nodes[node].name}{end}"

    @cached_property
    def _leaf_nodes(self) -> set[NodeId]:
        return set(self.log.nodes.leaves)

    @cached_property
    def _values_at(self) -> dict[NodeId, list[Value]]:
        return _grouped((node, value) for value, (node, _) in self.log.producers.items())

    @cached_property
    def origins(self) -> dict[Value, str]:
        """What each value is, such as ``output of features.0@0``."""
        return valueorigins.origin_of_values(self.log, self.calls)

    @cached_property
    def training(self) -> Training:
        """Which parameters the backward runs reached, and which they did not."""
        return Training(self)

    # -------------------------------------------------------------- writes

    @cached_property
    def writes(self) -> list[effects.WriteView]:
        """Every write in place to a tensor that was seen, in order."""
        return effects.writes(self.log, self.calls)

    @cached_property
    def written(self) -> dict[TensorId, list[TensorWritten]]:
        """The writes to each tensor."""
        return _grouped((event.before.tensor, event) for event in self.log.of(TensorWritten))

    def name(self, tensor: TensorId) -> str:
        """Return the name of a tensor: its parameter or variable, or its number."""
        return valueorigins.describe_tensor(self.log, Value(tensor, None)).removeprefix("tensor ")


def _grouped(pairs: Iterable[tuple[Key, Thing]]) -> dict[Key, list[Thing]]:
    """Put together what has one key, in order."""
    found: defaultdict[Key, list[Thing]] = defaultdict(list)
    for key, thing in pairs:
        found[key].append(thing)
    return dict(found)
