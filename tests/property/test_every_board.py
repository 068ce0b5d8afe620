"""What TensorBoard and summaries are given of every program of the zoo is well formed."""

from __future__ import annotations

import struct

import networkx
import pytest
from traced_zoo import LIGHT, trace_of

from hooktrace.boards.nodes import board_nodes
from hooktrace.views.calls import CallIndex
from hooktrace.views.outline import inside
from hooktrace.views.rounds import rounds

every_program = pytest.mark.parametrize("name", LIGHT)


@every_program
def test_a_graph_has_each_call_once_and_no_loose_ends(name: str) -> None:
    log = trace_of(name).log
    calls = CallIndex(log).refresh()
    for roots in rounds(log, calls):
        nodes = board_nodes(log, calls, roots)
        graph = networkx.DiGraph()
        graph.add_nodes_from(one.name for one in nodes)
        assert len(graph) == len(nodes)
        for one in nodes:
            for tail in (*one.inputs, *one.controls):
                assert tail in graph
                graph.add_edge(tail, one.name)
        scopes = {name.rpartition("/")[0] for name in graph} - {""}
        assert not set(graph) & scopes, "a node is in another node"
        leaves = [call.module.type for call in inside(roots) if not call.children]
        shown = [one.operation for one in nodes]
        assert all(shown.count(kind) >= leaves.count(kind) for kind in set(leaves))


@every_program
def test_an_event_file_is_a_row_of_records_that_tensorboard_reads(name: str) -> None:
    loader = pytest.importorskip("tensorboard.compat.proto.event_pb2").Event
    from hooktrace.boards.exporting import event_file

    t = trace_of(name)
    content = event_file(t.log, CallIndex(t.log).refresh(), "*")
    place, events = 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        events.append(loader.FromString(content[place + 12 : place + 12 + length]))
        place += length + 16
    assert place == len(content)
    assert events[0].file_version == "brain.Event:2"
    assert any(one.graph_def for one in events) == bool(t.calls())
    texts = [value.tag for one in events for value in one.summary.value if value.tag == "findings"]
    assert texts == ["findings"]


@every_program
def test_a_summary_adds_up(name: str) -> None:
    found = trace_of(name).summary(depth=None)
    sizes = found.totals.sizes
    assert sum(row.own.parameters for row in found) == sizes.parameters
    assert sum(row.own.buffers for row in found) == sizes.buffers
    assert sizes.trainable <= sizes.parameters
    assert all(row.own.parameters <= row.inside.parameters for row in found)
    assert all(len(line) <= 160 for line in str(found).splitlines()[:-6])
