"""The parts of the graph of a trace: calls, hooks, timeline, writes, gradients, autograd nodes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx as nx

from hooktrace.events import (
    Event,
    ForwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    HookId,
    Observation,
    TensorWritten,
)
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.canvas import Canvas
from hooktrace.views.effects import EditView
from hooktrace.views.hookuse import changes_something

__all__ = ["Builder"]


class Builder:
    """Adds one part of the trace after another."""

    def __init__(self, log: EventLog, calls: CallIndex) -> None:
        self.log = log
        self.calls = calls
        self.canvas = Canvas(log)

    def build(self) -> nx.MultiDiGraph:
        """Return the whole graph."""
        self._add_calls()
        self._add_hooks()
        self._add_timeline()
        self._add_writes()
        self._add_gradients()
        self._add_autograd()
        return self.canvas.graph

    # -------------------------------------------------------------- parts

    def _add_calls(self) -> None:
        for row in self.log.modules:
            self.canvas.node(
                f"module:{row.id}",
                "module",
                row.label,
                type=row.type,
                config=row.config,
                parameters=row.parameters,
            )
        for call in self.calls:
            self._add_call(call)

    def _add_call(self, call: Call) -> None:
        name = f"call:{call.id}"
        self.canvas.node(
            name,
            "call",
            str(call),
            module=call.module.name,
            type=call.module.type,
            index=call.index,
            depth=call.depth,
            time_ns=call.called.time_ns,
            duration_ns=call.duration_ns,
            exception=call.exception,
        )
        self.canvas.edge(name, f"module:{call.called.module}", "calls")
        if call.parent is not None:
            self.canvas.edge(f"call:{call.parent.id}", name, "contains")
        for seen in call.seen_inputs:
            if seen.value is not None:
                self.canvas.edge(self.canvas.value(seen), name, "consumes", role=seen.role)
        for seen in call.seen_outputs:
            if seen.value is not None:
                self.canvas.edge(name, self.canvas.value(seen), "produces", role=seen.role)

    def _add_hooks(self) -> None:
        fired: dict[HookId, int] = {}
        for event in self.log.of(HookFired):
            fired[event.hook] = fired.get(event.hook, 0) + 1
        for hook in self.log.hooks:
            name = f"hook:{hook.id}"
            self.canvas.node(
                name,
                "hook",
                hook.name,
                hook_kind=hook.kind,
                owner=hook.owner,
                fired=fired.get(hook.id, 0),
                defined_at=hook.defined_at,
                registered_at=hook.registered_at,
                feature=hook.feature,
            )
            if hook.module is not None:
                self.canvas.edge(name, f"module:{hook.module}", "watches")
            if hook.tensor is not None:
                self.canvas.edge(name, self.canvas.tensor(hook.tensor), "watches")
            if hook.node is not None:
                self.canvas.edge(name, f"autograd:{hook.node}", "watches")

    def _add_timeline(self) -> None:
        events = [one for one in self.log.events if isinstance(one, (HookFired, ForwardStarted))]
        for event in events:
            if isinstance(event, HookFired):
                self._add_firing(event)
            else:
                self._add_forward(event)
        for event, following in pairwise(events):
            self.canvas.edge(f"event:{event.seq}", f"event:{following.seq}", "then")

    def _add_forward(self, event: ForwardStarted) -> None:
        call = self.calls.calls[event.call]
        name = f"event:{event.seq}"
        end = call.forward_finished or call.exited
        last = end.time_ns if end is not None else self.log.events[-1].time_ns
        self.canvas.node(
            name,
            "forward",
            str(call),
            **_times(event, last - event.time_ns),
            module=call.module.name,
            finished=call.forward_finished is not None,
        )
        self.canvas.edge(name, f"call:{event.call}", "of")

    def _add_firing(self, event: HookFired) -> None:
        hook = self.log.hooks[event.hook]
        name = f"event:{event.seq}"
        family = "backward_hook" if KINDS[hook.kind].gradient else "other_hook"
        kinds = {"forward_pre": "pre_hook", "forward": "forward_hook"}
        self.canvas.node(
            name,
            kinds.get(hook.kind, family),
            f"{hook.name} on {hook.owner}",
            **_times(event, event.duration_ns),
            hook_kind=hook.kind,
            owner=hook.owner,
            changed=changes_something(self.log, event),
            exception=event.exception,
        )
        self.canvas.edge(f"hook:{event.hook}", name, "fires")
        if event.call is not None:
            self.canvas.edge(name, f"call:{event.call}", "of")
        gradients = KINDS[hook.kind].gradient
        for seen in event.inputs:
            if seen.value is not None:
                is_gradient = gradients and seen.role.startswith("grad")
                self.canvas.edge(self.canvas.value(seen, is_gradient), name, "sees", role=seen.role)
        for number, edit in enumerate(event.edits):
            self._add_edit(event, number, EditView(self.log, event, edit))

    def _add_edit(self, event: HookFired, number: int, view: EditView) -> None:
        edit = event.edits[number]
        gradients = KINDS[view.hook.kind].gradient
        before, after = (
            self.canvas.value(seen, gradients)
            if seen.value is not None
            else self.canvas.object(f"object:{event.seq}.{number}.{side}", seen)
            for side, seen in (("before", edit.before), ("after", edit.after))
        )
        self.canvas.edge(
            before,
            after,
            "edit",
            seq=event.seq,
            how=edit.how,
            text=view.change.text,
            factor=view.factor,
            role=edit.role,
            hook=view.hook.name,
        )

    def _add_writes(self) -> None:
        for event in self.log.of(TensorWritten):
            by = ""
            if event.hook is not None:
                by = f"hook {self.log.hooks[event.hook].name}"
            elif event.call is not None:
                by = str(self.calls.calls[event.call])
            self.canvas.edge(
                self.canvas.bare(event.before),
                self.canvas.bare(event.after),
                "writes",
                seq=event.seq,
                certain=event.certain,
                by=by,
            )

    def _add_gradients(self) -> None:
        for event in self.log.events:
            if isinstance(event, GradientComputed):
                self._add_computed(event)
            elif isinstance(event, GradientAccumulated):
                self._add_accumulated(event)
            elif isinstance(event, GradientRetained) and event.gradient.value is not None:
                name = self.canvas.value(event.gradient, True)
                self.canvas.edge(
                    name,
                    self.canvas.tensor(event.tensor),
                    "gradient_of",
                    **_when(event),
                    how="retained",
                )

    def _add_computed(self, event: GradientComputed) -> None:
        if event.gradient.value is None:
            return
        name, when = self.canvas.value(event.gradient, True), _when(event)
        role = event.gradient.role
        if event.call is not None and role.startswith("grad_input"):
            self.canvas.edge(f"call:{event.call}", name, "grad_input", role=role, **when)
        elif event.call is not None:
            self.canvas.edge(name, f"call:{event.call}", "grad_output", role=role, **when)
        if event.node is not None:
            self.canvas.edge(name, f"autograd:{event.node}", "received", **when)
        if event.tensor is not None:
            self.canvas.edge(
                name, self.canvas.tensor(event.tensor), "gradient_of", how="computed", **when
            )

    def _add_accumulated(self, event: GradientAccumulated) -> None:
        if event.after.value is None:
            return
        after, when = self.canvas.value(event.after, True), _when(event)
        self.canvas.edge(
            after, self.canvas.tensor(event.tensor), "gradient_of", how="accumulated", **when
        )
        for seen in (event.arrived, event.before, self._edited_last(event)):
            if seen is not None and seen.value not in (None, event.after.value):
                self.canvas.edge(self.canvas.value(seen, True), after, "accumulates", **when)

    def _edited_last(self, event: GradientAccumulated) -> Observation | None:
        """Return what the leaf's tensor hooks left behind since the backward run began."""
        found = None
        for earlier in self.log.of(HookFired):
            if earlier.seq < event.seq and self.log.hooks[earlier.hook].tensor == event.tensor:
                if self.log.hooks[earlier.hook].kind == "tensor" and earlier.edits:
                    found = earlier.edits[-1].after
            elif earlier.seq > event.seq:
                break
        return found

    def _add_autograd(self) -> None:
        for node in self.log.nodes:
            label = node.name.rpartition("::")[2]
            self.canvas.node(f"autograd:{node.id}", "autograd", label, function=node.name)
        for node in self.log.nodes:
            name = f"autograd:{node.id}"
            for number, (after, slot) in enumerate(node.next):
                self.canvas.edge(name, f"autograd:{after}", "next", edge=number, input=slot)
            if node.call is not None:
                self.canvas.edge(name, f"call:{node.call}", "belongs_to")
            if node.leaf is not None:
                self.canvas.edge(name, self.canvas.tensor(node.leaf), "fills")
        for value, (number, slot) in self.log.producers.items():
            self.canvas.edge(self.canvas.bare(value), f"autograd:{number}", "made_by", output=slot)
        for seen in self.log.contents.values():
            self.canvas.value(seen)


def _times(event: Event, duration_ns: int) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "time_ns": event.time_ns,
        "duration_ns": duration_ns,
        "thread": event.thread,
    }


def _when(event: GradientComputed | GradientAccumulated | GradientRetained) -> dict[str, Any]:
    return {"seq": event.seq, "time_ns": event.time_ns, "backward": event.backward}
