"""The autograd graph against the gradients: what sent one, up to an event that tells of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from hooktrace.doctor.case import Case
from hooktrace.events import CallId, GradientComputed, NodeId, Observation, Value
from hooktrace.views.calls import Call

__all__ = ["Upstream"]

_FAR = 200  # nodes that are looked at for one gradient
_MOST_NAMES = 6


class Upstream:
    """The events of gradients by the nodes and calls where they were seen, run by run."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._runs = {run.number: run for run in case.runs}
        self._at_node: dict[tuple[int, NodeId], dict[Value | None, int]] = {}
        self._passed: dict[tuple[int, CallId, str], list[int]] = {}

    def note(self, run: int, event: GradientComputed) -> None:
        """Take note of where a gradient was seen; of one at several calls the first, innermost."""
        output = self.output(event)
        node = event.node if event.node is not None else self.node(event)
        if node is not None:
            self._at_node.setdefault((run, node), {}).setdefault(output, event.seq)
        if event.call is not None:
            kind = event.gradient.role.partition("[")[0]
            self._passed.setdefault((run, event.call, kind), []).append(event.seq)

    def change(self, run: int, call: CallId, seq: int) -> None:
        """Take note of a hook that changed the gradients of a call's outputs after they came."""
        self._passed[run, call, "grad_output"] = [seq]
        for seen in self._outputs(call):
            node = None if seen.value is None else self._case.node_of(seen.value)
            if node is not None:
                self._at_node.setdefault((run, node), {})[seen.value] = seq

    # -------------------------------------------------------------- one event

    def output(self, event: GradientComputed) -> Value | None:
        """Return the output of a call whose gradient an event saw; None for other gradients."""
        role, _, place = event.gradient.role.partition("[")
        if event.call is None or role != "grad_output" or not place[:-1].isdigit():
            return None
        outputs = self._outputs(event.call)
        return outputs[int(place[:-1])].value if int(place[:-1]) < len(outputs) else None

    def _outputs(self, call: CallId) -> Sequence[Observation]:
        """Return what a call put out; nothing of one whose step is not in the file."""
        found = self._case.calls.calls.get(call)
        return () if found is None else found.seen_outputs

    def node(self, event: GradientComputed) -> NodeId | None:
        """Return the node that made the output of a call whose gradient an event saw."""
        output = self.output(event)
        return None if output is None else self._case.node_of(output)

    def passed(self, run: int, call: CallId | None, kind: str) -> list[int]:
        """Return the events of the gradients that came to a call, or that it sent back."""
        return [] if call is None else self._passed.get((run, call, kind), [])

    def beginning(self, run: int) -> list[int]:
        """Return the event in which a run began."""
        found = self._runs.get(run)
        return [] if found is None else [found.started.seq]

    # -------------------------------------------------------------- on the way

    def apart(self, run: int, first: list[NodeId], then: list[NodeId]) -> bool:
        """Whether what was seen at some nodes did not go on to others; False if that is unknown."""
        if not first or not then or set(first) & set(then):
            return False
        return not any(one in first for one in self._senders(run, then))

    def _senders(self, run: int, nodes: Iterable[NodeId]) -> Iterator[NodeId]:
        """Yield the nodes that sent gradients to these, directly or not, nearest first."""
        left, seen = deque(nodes), set(nodes)
        while left and len(seen) < _FAR:
            for sender in self._direct(run, left.popleft()):
                if sender not in seen:
                    seen.add(sender)
                    left.append(sender)
                    yield sender

    def _direct(self, run: int, node: NodeId) -> list[NodeId]:
        if run not in self._runs:
            return []
        reached = self._case.reached(self._runs[run])
        return [one for one in self._case.senders.get(node, ()) if one in reached]

    def walk(self, run: int, nodes: list[NodeId]) -> tuple[list[int], list[str]]:
        """Return the nearest events before gradients came to nodes, and the nodes in between."""
        roots = set(self._case.log.entrances.get(run, ()))
        left, seen = deque(nodes), set(nodes)
        seqs: list[int] = []
        names: list[str] = []
        while left and len(seen) < _FAR:
            node = left.popleft()
            if node in roots:
                seqs += self.beginning(run)
            for sender in self._direct(run, node):
                told = self._told(run, node, sender)
                seqs += told
                if not told and sender not in seen:
                    seen.add(sender)
                    left.append(sender)
                    names.append(self._case.log.nodes[sender].name)
        names = list(dict.fromkeys(names))
        return seqs, [*(["…"] if len(names) > _MOST_NAMES else []), *names[:_MOST_NAMES][::-1]]

    def _told(self, run: int, node: NodeId, sender: NodeId) -> list[int]:
        """Return the events that tell of what a node sent to another."""
        call, leaf = self._call(sender), node in self._case.log.nodes.leaves
        inside = set(_around(self._call(node)))
        for one in _around(call):
            if leaf or one in inside:
                break
            if sent := self.passed(run, one, "grad_input"):
                return sent
        if (run, sender) in self._at_node:
            return list(self._at_node[run, sender].values())
        whole = call is not None and not call.children
        return self.passed(run, call.id, "grad_output") if call is not None and whole else []

    def _call(self, node: NodeId) -> Call | None:
        number = self._case.log.nodes[node].call
        return None if number is None else self._case.calls.calls.get(number)


def _around(call: Call | None) -> Iterator[CallId]:
    """Yield a call and those around it, from the innermost on."""
    while call is not None:
        yield call.id
        call = call.parent
