"""The trace as a networkx graph: complete, typed, and readable by networkx's own readers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import UnknownNameError
from hooktrace.events import ForwardStarted, HookFired, TensorWritten
from hooktrace.views import graph as module

Graph = nx.MultiDiGraph


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(inplace=True),
        nn.Sequential(nn.Flatten(), nn.Linear(8, 2)),
    )


@pytest.fixture
def traced() -> ht.Trace:
    model = net()
    model[0].register_forward_pre_hook(lambda m, a: None)
    model[0].register_forward_hook(lambda m, a, o: o * 2)
    model[2].register_full_backward_pre_hook(lambda m, g: (g[0] * 3,))
    model[2][1].weight.register_hook(lambda g: g.mul_(2) * 3)
    model[2][1].bias.register_post_accumulate_grad_hook(lambda p: None)
    with ht.trace(model) as t:
        model(torch.randn(1, 1, 4, 4)).sum().backward()
    return t


def kinds(graph: Graph, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [edge for edge in graph.edges(data=True) if edge[2]["kind"] == kind]


def test_the_timeline_can_be_read_back_from_the_graph_alone(traced: ht.Trace) -> None:
    saved = json.dumps(nx.node_link_data(traced.graph("timeline"), edges="edges"))
    graph = nx.node_link_graph(json.loads(saved), edges="edges")
    order = list(nx.topological_sort(graph))
    read = [
        (data["seq"], data["time_ns"], data["kind"], data.get("hook_kind"))
        for data in (graph.nodes[name] for name in order)
    ]
    words = {"forward_pre": "pre_hook", "forward": "forward_hook"}
    expected = []
    for event in traced.events:
        if isinstance(event, ForwardStarted):
            expected.append((event.seq, event.time_ns, "forward", None))
        elif isinstance(event, HookFired):
            kind = traced.hooks[event.hook].kind
            expected.append((event.seq, event.time_ns, words.get(kind, "backward_hook"), kind))
    assert read == expected
    assert {one[2] for one in read} == {"pre_hook", "forward", "forward_hook", "backward_hook"}
    assert graph.number_of_edges() == len(expected) - 1
    assert all(data["duration_ns"] >= 0 and data["label"] for _, data in graph.nodes(data=True))


@pytest.mark.parametrize("view", ["all", "timeline", "dataflow", "gradients", "hooks"])
def test_networkx_writes_and_reads_every_view_as_it_was(
    traced: ht.Trace, view: str, tmp_path: Path
) -> None:
    graph = traced.graph(view)
    nx.write_graphml(graph, tmp_path / "x.graphml")
    read = nx.read_graphml(tmp_path / "x.graphml", force_multigraph=True)
    assert dict(read.nodes(data=True)) == dict(graph.nodes(data=True))
    assert edges(read) == edges(graph)
    data = json.loads(json.dumps(nx.node_link_data(graph, edges="edges")))
    again = nx.node_link_graph(data, edges="edges")
    assert nx.utils.graphs_equal(again, graph)


def edges(graph: Graph) -> Counter[Any]:
    return Counter(
        (tail, head, *sorted((key, one) for key, one in data.items() if key != "id"))
        for tail, head, data in graph.edges(data=True)
    )


def test_every_attribute_is_plain_and_never_none(traced: ht.Trace) -> None:
    graph = traced.graph()
    rows = [data for _, data in graph.nodes(data=True)]
    rows += [data for *_, data in graph.edges(data=True)]
    for data in rows:
        assert "kind" in data
        assert {type(value) for value in data.values()} <= {str, int, float, bool}
        assert "" not in data.values()


def test_every_kind_is_documented(traced: ht.Trace) -> None:
    graph = traced.graph()
    guide = (Path(__file__).parents[2] / "docs" / "graph.md").read_text()
    found = {data["kind"] for _, data in graph.nodes(data=True)}
    found |= {data["kind"] for *_, data in graph.edges(data=True)}
    assert len(found) > 20
    for kind in found:
        assert f"``{kind}``" in (module.__doc__ or ""), kind
        assert f"`{kind}`" in guide, kind


def test_an_edit_is_an_edge_from_the_value_before_to_the_value_after() -> None:
    w = torch.tensor([1.0], requires_grad=True)

    def edit(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    w.register_hook(edit)
    with ht.trace() as t:
        (w * 5).backward()
    graph = t.graph()
    first, second = kinds(graph, "edit")
    assert first[1] == second[0]
    numbers = [graph.nodes[name]["numbers"] for name in (first[0], first[1], second[1])]
    assert numbers == ["[5.0]", "[10.0]", "[30.0]"]
    assert [(one[2]["how"], one[2]["factor"], one[2]["text"]) for one in (first, second)] == [
        ("in_place", 2.0, "x2"),
        ("returned", 3.0, "x3"),
    ]
    (into,) = kinds(graph, "accumulates")
    assert into[0] == second[1]
    assert graph.nodes[into[1]]["numbers"] == "[30.0]"


def test_data_flows_from_the_input_through_every_call_to_the_output() -> None:
    model = net()
    model[0].register_forward_hook(lambda m, a, o: o * 2)
    with ht.trace(model) as traced:
        model(torch.randn(1, 1, 4, 4))
    graph = traced.graph("dataflow")
    root, *_ = traced.calls()
    start = f"value:{root.seen_inputs[0].value}"
    end = f"value:{root.seen_outputs[0].value}"
    leaves = {f"call:{call.id}" for call in traced.calls() if not call.children}
    flow = nx.DiGraph(
        (tail, head)
        for tail, head, data in graph.edges(data=True)
        if data["kind"] in ("consumes", "produces", "edit")
        and all(end in leaves or graph.nodes[end]["kind"] != "call" for end in (tail, head))
    )
    (path,) = nx.all_simple_paths(flow, start, end)
    visited = [graph.nodes[name]["label"] for name in path if name in leaves]
    assert visited == ["0@0", "1@0", "2.0@0", "2.1@0"]


def test_a_write_in_place_leads_from_one_version_to_the_next(traced: ht.Trace) -> None:
    (event,) = [one for one in traced.of(TensorWritten) if one.hook is None]
    (edge,) = [one for one in kinds(traced.graph(), "writes") if one[2]["by"] == "1@0"]
    assert edge[:2] == (f"value:{event.before}", f"value:{event.after}")
    assert event.before.tensor == event.after.tensor


def test_containment_is_that_of_named_modules(traced: ht.Trace) -> None:
    graph = traced.graph()
    pairs = {
        (graph.nodes[tail]["label"], graph.nodes[head]["label"])
        for tail, head, _ in kinds(graph, "contains")
    }
    names = [name for name, _ in net().named_modules() if name]
    assert pairs == {(f"{n.rpartition('.')[0] or 'Sequential'}@0", f"{n}@0") for n in names}


def test_autograd_nodes_and_their_edges_are_those_of_pytorch() -> None:
    model = net()
    with ht.trace(model) as t:
        loss = model(torch.randn(1, 1, 4, 4)).sum()
        loss.backward()
    expected: Counter[tuple[str, str]] = Counter()
    seen, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node in seen:
            continue
        seen.add(node)
        for after, _ in node.next_functions:
            if after is not None:
                expected[short(node.name()), short(after.name())] += 1
                queue.append(after)
    graph = t.graph()
    found = Counter(
        (graph.nodes[tail]["label"], graph.nodes[head]["label"])
        for tail, head, _ in kinds(graph, "next")
    )
    assert found <= expected
    assert set(expected) - set(found) <= {("SumBackward0", "AddmmBackward0")}
    owners = {
        (graph.nodes[tail]["label"], graph.nodes[head]["module"])
        for tail, head, _ in kinds(graph, "belongs_to")
    }
    assert ("ConvolutionBackward0", "0") in owners
    assert ("AddmmBackward0", "2.1") in owners


def short(name: str) -> str:
    return name.rpartition("::")[2]


def test_gradients_reach_every_call_and_every_parameter(traced: ht.Trace) -> None:
    graph = traced.graph("gradients")
    arrived = {graph.nodes[head]["label"] for _, head, _ in kinds(graph, "grad_output")}
    assert arrived == {str(call) for call in traced.calls()}
    owners = {
        graph.nodes[head]["label"]
        for _, head, data in kinds(graph, "gradient_of")
        if data["how"] == "accumulated"
    }
    assert owners == {name for name, _ in net().named_parameters()}


def test_a_hook_watches_its_owner_even_if_it_never_fired() -> None:
    model = net()
    model[2].register_full_backward_hook(lambda m, gi, go: None)
    with ht.trace(model) as t, torch.no_grad():
        model(torch.ones(1, 1, 4, 4))
    graph = t.graph("hooks")
    ((name, owner, _),) = kinds(graph, "watches")
    assert graph.nodes[name]["fired"] == 0
    assert graph.nodes[owner]["label"] == "2"


def test_the_graph_of_a_model_that_raised_ends_where_it_raised() -> None:
    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    model = nn.Sequential(nn.ReLU(), Bad(), nn.ReLU())
    with pytest.raises(ValueError, match="no"), ht.trace(model) as t:
        model(torch.ones(2))
    graph = t.graph()
    calls = {data["label"]: data for _, data in graph.nodes(data=True) if data["kind"] == "call"}
    assert set(calls) == {"Sequential@0", "0@0", "1@0"}
    assert calls["1@0"]["exception"] == "ValueError: no"
    assert graph.graph["error"] == "ValueError: no"


def test_an_open_trace_has_a_graph_already() -> None:
    model = nn.Sequential(nn.ReLU())
    sizes = []
    model[0].register_forward_hook(lambda m, a, o: sizes.append(len(t.graph())))
    with ht.trace(model) as t:
        model(torch.ones(2))
    assert sizes[0] > 0


def test_names_that_xml_cannot_hold_are_replaced(tmp_path: Path) -> None:
    model = nn.Sequential()
    model.add_module("\x00a\r\n<&\ud800", nn.ReLU())
    with ht.trace(model) as t:
        model(torch.ones(2))
    nx.write_graphml(t.graph(), tmp_path / "x.graphml")
    read = nx.read_graphml(tmp_path / "x.graphml", force_multigraph=True)
    assert dict(read.nodes(data=True)) == dict(t.graph().nodes(data=True))


def test_an_unknown_view_is_an_error_that_names_the_nearest(traced: ht.Trace) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'timeline'"):
        traced.graph("timelime")
