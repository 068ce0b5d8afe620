"""What each module is, what it holds, and what it cost: a row for each, and the whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from hooktrace.events import (
    Member,
    ModuleId,
    Observation,
    OwnTensor,
    TensorId,
    TensorSummary,
)
from hooktrace.log import EventLog
from hooktrace.views.backwardspans import backward_spans
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Cost", "ModuleRow", "Sizes", "Totals", "summarise"]


class Sizes(NamedTuple):
    """How much some parameters and buffers are, each tensor counted once.

    Attributes:
        parameters: Elements of the parameters.
        trainable: Elements of those that require a gradient.
        buffers: Elements of the buffers.
        parameter_bytes, buffer_bytes: Their memory.
    """

    parameters: int = 0
    trainable: int = 0
    buffers: int = 0
    parameter_bytes: int = 0
    buffer_bytes: int = 0


class Cost(NamedTuple):
    """What the calls of one module cost, or all calls.

    Attributes:
        output_bytes: Memory of the outputs; of several that share memory, the largest.
        forward_ns: From the calls to their returns, hooks included; what checkpointing ran again
            in a backward run is left out.  On a GPU, the time to launch.
        backward_ns: In each backward run from what was seen before its first gradient to its last
            one; what the engine ran in between for others, and code between modules just before
            it, is included.  None where no gradient was seen.
        flops: Floating-point operations as PyTorch counts them; None where they were not counted.
    """

    output_bytes: int = 0
    forward_ns: int = 0
    backward_ns: int | None = None
    flops: int | None = None


@dataclass(frozen=True)
class ModuleRow:
    """One module.

    Attributes:
        name: Its first name; empty for a root.
        type: Name of its class.
        depth: Number of modules that it is in.
        config: Its ``extra_repr()``, where it was called.
        calls: How often it was called.
        inputs, outputs: What tensors its first call took and returned.
        inside: Its parameters and buffers and those of all modules in it.
        own: Its own without its children's, and without those that an earlier row has counted.
        shared: What it has that an earlier row has counted: ``weight = embedding.weight``.
        cost: What its calls cost.
        hooks: Hooks on it and on its own parameters: ``forward save``.
        aliases: Further names of it.
    """

    name: str
    type: str
    depth: int
    config: str
    calls: int
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    inside: Sizes
    own: Sizes
    shared: tuple[str, ...]
    cost: Cost
    hooks: tuple[str, ...]
    aliases: tuple[str, ...] = ()


class Totals(NamedTuple):
    """The whole.

    Attributes:
        sizes: All parameters and buffers, each once.
        cost: Outermost calls together; outputs of all modules, memory that several share once.
        input_bytes: Memory of the tensors that the outermost calls took.
        known: Whether the models still lived when their parameters were counted.
    """

    sizes: Sizes
    cost: Cost
    input_bytes: int
    known: bool = True


def summarise(log: EventLog, calls: CallIndex) -> tuple[list[ModuleRow], Totals]:
    """Return a row for each module of the models, in the order of definition, and the whole."""
    return _Books(log, calls).close()


class _Books:
    """Puts what was recorded of each module together."""

    def __init__(self, log: EventLog, calls: CallIndex) -> None:
        self.log = log
        self.members = [*log.members, *_outsiders(log)]
        self.inside = _inside(self.members)
        self.calls: dict[ModuleId | None, list[Call]] = defaultdict(list)
        for call in calls:
            if call.first is None:
                self.calls[call.called.module].append(call)
        self.roots = [call for call in calls.roots() if call.first is None]
        holders = [
            (self._calls_of(member), tensors)
            for member, tensors in zip(self.members, self.inside, strict=True)
        ]
        self.spans = backward_spans(log, calls, holders)
        self.on_module: dict[ModuleId | None, list[str]] = defaultdict(list)
        self.on_tensor: dict[TensorId | None, list[str]] = defaultdict(list)
        for hook in log.hooks:
            text = f"{hook.kind} {hook.name}"
            self.on_module[hook.module].append(text)
            self.on_tensor[hook.tensor].append(text)

    def _calls_of(self, member: Member) -> list[Call]:
        return self.calls[member.module] if member.module is not None else []

    def close(self) -> tuple[list[ModuleRow], Totals]:
        counted: dict[TensorId, str] = {}
        rows = [
            self._row(member, tensors, counted)
            for member, tensors in zip(self.members, self.inside, strict=True)
        ]
        seen = [one for own in self.calls.values() for call in own for one in call.seen_outputs]
        cost = Cost(
            _memory(seen),
            sum(call.duration_ns or 0 for call in self.roots),
            self._backward_ns(self.roots),
            None if self.log.flops is None else sum(map(self._flops, self.log.roots)),
        )
        every = (one for member in self.members for one in member.tensors)
        given = (one for call in self.roots for one in call.seen_inputs)
        known = bool(self.log.members) or not self.roots
        return rows, Totals(_sizes(every), cost, _memory(given), known)

    def _row(
        self, member: Member, tensors: dict[TensorId, OwnTensor], counted: dict[TensorId, str]
    ) -> ModuleRow:
        calls = self._calls_of(member)
        new, shared = [], []
        for one in member.tensors:
            full = f"{member.name}.{one.name}" if member.name else one.name
            if counted.setdefault(one.tensor, full) == full:
                new.append(one)
            else:
                shared.append(f"{one.name} = {counted[one.tensor]}")
        first = calls[0] if calls else None
        hooks = self.on_module[member.module] if member.module is not None else []
        return ModuleRow(
            member.name,
            member.type,
            _depth(member, self.log.roots),
            "" if member.module is None else self.log.modules[member.module].config,
            len(calls),
            _shapes(first.seen_inputs) if first else (),
            _shapes(first.seen_outputs) if first else (),
            _sizes(tensors.values()),
            _sizes(new),
            tuple(shared),
            self._cost(member.name, calls),
            (*hooks, *(text for one in member.tensors for text in self.on_tensor[one.tensor])),
            member.aliases,
        )

    def _cost(self, name: str, calls: list[Call]) -> Cost:
        outermost = [call for call in calls if not _within_itself(call)]
        return Cost(
            _memory(seen for call in calls for seen in call.seen_outputs),
            sum(call.duration_ns or 0 for call in outermost),
            self._backward_ns(outermost),
            None if self.log.flops is None else self._flops(name),
        )

    def _flops(self, name: str) -> int:
        return (self.log.flops or {}).get(name, 0)

    def _backward_ns(self, calls: list[Call]) -> int | None:
        spans = [span for call in calls for span in self.spans.get(call.id, {}).values()]
        return sum(span.end - span.start for span in spans) if spans else None


# ------------------------------------------------------------------ who has what


def _outsiders(log: EventLog) -> Iterator[Member]:
    """Yield the modules that ran and are no part of a model when the block ends."""
    known = {member.module for member in log.members}
    for row in log.modules:
        if row.id not in known and row.root is not None:
            yield Member(row.name, row.aliases, row.type, row.root, row.id)


def _inside(members: list[Member]) -> list[dict[TensorId, OwnTensor]]:
    """Return for each module the tensors that it and all modules in it have, under any name."""
    by_name: dict[str, dict[TensorId, OwnTensor]] = defaultdict(dict)
    for member in members:
        own = {one.tensor: one for one in member.tensors}
        for name in (member.name, *member.aliases) if own else ():
            while name:
                by_name[name].update(own)
                name = name.rpartition(".")[0]
            by_name[""].update(own)
    return [by_name[member.name] for member in members]


def _depth(member: Member, roots: list[str]) -> int:
    """Return how many modules of its model a module is in."""
    name, root = member.name, roots[member.root]
    own = name[len(root) :].strip(".") if name.startswith(root) else name
    return own.count(".") + 1 if own else 0


def _within_itself(call: Call) -> bool:
    """Whether a call is in another one of the same module."""
    around = call.parent
    while around is not None:
        if around.called.module == call.called.module:
            return True
        around = around.parent
    return False


# ------------------------------------------------------------------ how much


def _sizes(tensors: Iterable[OwnTensor]) -> Sizes:
    parameters = trainable = buffers = parameter_bytes = buffer_bytes = 0
    for one in {one.tensor: one for one in tensors}.values():
        count = prod(one.summary.shape)
        if one.buffer:
            buffers += count
            buffer_bytes += one.summary.size_bytes
        else:
            parameters += count
            parameter_bytes += one.summary.size_bytes
            trainable += count if one.summary.requires_grad else 0
    return Sizes(parameters, trainable, buffers, parameter_bytes, buffer_bytes)


def _memory(seen: Iterable[Observation]) -> int:
    """Return the memory of tensors in bytes; of those that share memory, of the largest."""
    largest: dict[int, int] = {}
    for one in seen:
        if one.value is not None and isinstance(one.summary, TensorSummary):
            key = one.value.tensor if one.storage is None else one.storage
            largest[key] = max(largest.get(key, 0), one.summary.size_bytes)
    return sum(largest.values())


def _shapes(seen: Iterable[Observation]) -> tuple[TensorSummary, ...]:
    return tuple(one.summary for one in seen if isinstance(one.summary, TensorSummary))
