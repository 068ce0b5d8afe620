"""The further views: the way back, only hooks, the timeline."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from typing import Any

import pytest
import torch
from layout_audit import ENGINES, audit
from torch import nn

import hooktrace as ht
from hooktrace.errors import RenderError, UnknownNameError
from hooktrace.render.asked import views
from hooktrace.render.engine import layout


def words(source: str) -> str:
    return html.unescape(re.sub(r"<[^<>]*>", "\n", source)).replace("\xa0", " ")


def arrows(dot: str) -> list[tuple[str, str]]:
    """The visible arrows, boxes named by the first line of their label."""
    found = json.loads(layout(dot, "json"))
    names = {}
    for one in found["objects"]:
        lines = [line.strip() for line in words(one.get("label", "")).split("\n")]
        names[one["_gvid"]] = next((line for line in lines if line), "")
    visible = [one for one in found.get("edges", []) if one.get("style") != "invis"]
    return [(names[one["tail"]], names[one["head"]]) for one in visible]


def double(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def look(module: nn.Module, args: Any, output: Any) -> None:
    pass


def test_the_views_come_from_their_files() -> None:
    assert set(views()) == {"autograd", "hooks", "modules", "tensors", "timeline"}
    with ht.trace() as t:
        nn.Linear(1, 1)(torch.ones(1, 1))
    with pytest.raises(UnknownNameError, match="Did you mean 'autograd'"):
        t.digraph(view="autogard")


# ------------------------------------------------------------------ autograd


def test_gradients_are_drawn_from_the_loss_to_the_leaves_with_their_norms() -> None:
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    with ht.trace() as t:
        (x * 2).sum().backward()
    dot = t.digraph(view="autograd").source
    assert sorted(arrows(dot)) == [
        ("MulBackward0", "x.grad: norm 2.83"),  # (2, 2)
        ("SumBackward0", "MulBackward0"),
        ("backward 1", "SumBackward0"),
    ]
    assert f"norm {2**0.5:.3g}" in dot  # what reaches the product: (1, 1)
    assert audit(dot) == 4


def test_the_edges_are_those_of_grad_fn_itself() -> None:
    a = torch.tensor([2.0], requires_grad=True)
    with ht.trace() as t:
        y = (a.exp() * a.sin() + a).sum()
        y.backward()
    walked: set[tuple[str, str]] = set()
    stack = [y.grad_fn]
    while stack:
        node = stack.pop()
        for following, _ in node.next_functions:  # type: ignore[union-attr]
            leaf = "Accumulate" in following.name()
            end = f"a.grad: norm {a.grad.norm():.3g}" if leaf else following.name()  # type: ignore[union-attr]
            walked.add((node.name(), end))  # type: ignore[union-attr]
            if not leaf:
                stack.append(following)
    found = set(arrows(t.digraph(view="autograd").source))
    assert found == walked | {("backward 1", "SumBackward0")}


def test_wider_arrows_are_larger_gradients_and_odd_ones_say_so() -> None:
    x = torch.tensor([2.0], requires_grad=True)
    z = torch.tensor([0.0], requires_grad=True)
    with ht.trace() as t:
        y = x.exp() * 1000
        ((y * 10).sin() * 0 + z.sqrt()).sum().backward()
    dot = t.digraph(view="autograd").source
    assert "all zero" in dot
    assert "style=dashed" in dot
    for broken, words in ((lambda: z.sqrt(), "1 of 1 infinite"), (lambda: z / z, "1 of 1 NaN")):
        z.grad = None
        with ht.trace() as t:
            broken().sum().backward()
        assert f"z.grad: {words}" in _source(t)
    x = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        ((x.exp() * 10) * 100).sum().backward()
    found = re.findall(r"norm ([0-9.e+]+).*penwidth=([0-9.]+)", _source(t))
    assert sorted((float(norm), float(width)) for norm, width in found) == [
        (1, 0.7),
        (100, 2.9),
        (1000, 4),
    ]


def _source(t: ht.Trace) -> str:
    return str(t.digraph(view="autograd").source)


def test_nodes_stand_at_the_calls_that_made_them_with_what_they_fill() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    model[2].register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))
    model[0].register_forward_hook(look)
    with ht.trace(model, stats=True) as t:
        model(torch.ones(1, 2)).sum().backward()
    dot = _source(t)
    assert {("backward 1", "SumBackward0"), ("SumBackward0", "2"), ("2", "1"), ("1", "0")} == set(
        arrows(dot)
    )
    norm = model[0].weight.grad.norm().item()  # type: ignore[union-attr]
    assert f"fills 0.weight.grad, norm {norm:.3g}" in words(dot)
    assert "changed grad_input[0] x3" in words(dot)
    assert "forward hook look" not in words(dot)
    assert "made in 2@0" in dot


def test_without_a_graph_there_is_no_way_back() -> None:
    with torch.no_grad(), ht.trace() as t:
        nn.Linear(1, 1)(torch.ones(1, 1))
    with pytest.raises(RenderError, match="nothing required a gradient"):
        t.digraph(view="autograd")


# ------------------------------------------------------------------ the same as the graph says


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.act = nn.ReLU(inplace=True)
        self.pair = nn.Bilinear(3, 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.act(self.a(x)), self.b(x)
        return self.c(self.pair(left, right) + left)


NETS: dict[str, Any] = {
    "branches": (Branches, torch.randn(2, 3)),
    "transformer layer": (lambda: nn.TransformerEncoderLayer(4, 2, 8), torch.randn(3, 1, 4)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
        ),
        torch.randn(1, 1, 6, 6),
    ),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> ht.Trace:
    make, value = NETS[request.param]
    model = make()
    with ht.trace(model) as t:
        model(value).sum().backward()
    return t


def test_at_full_depth_every_call_of_the_graph_is_drawn_once(net: ht.Trace) -> None:
    graph = net.graph("dataflow")
    calls = {one for one, data in graph.nodes(data=True) if data["kind"] == "call"}
    outermost = {f"call:{one.id}" for one in net.calls() if one.parent is None}
    ids = re.findall(r'id="call-(\d+)"', net.digraph(depth=99).source)
    assert sorted(ids) == sorted(set(ids))
    assert {f"call:{one}" for one in ids} == calls - outermost


def test_arrows_between_calls_are_the_values_of_the_graph(net: ht.Trace) -> None:
    graph = net.graph("dataflow")
    kinds = [(a, b, data["kind"]) for a, b, data in graph.edges(data=True)]
    opened = {a for a, _, kind in kinds if kind == "contains"}
    made = {(b, a) for a, b, kind in kinds if kind == "produces" and a not in opened}
    taken = {(a, b) for a, b, kind in kinds if kind == "consumes" and b not in opened}
    expected = {(maker, taker) for value, maker in made for one, taker in taken if one == value}
    dot = net.digraph(depth=99).source
    # An arrow into another column begins anew at a sign.
    drawn = re.findall(r'^  "call-(\d+)(?:-came-\d+)?" -> "call-(\d+)"', dot, re.M)
    assert {(f"call:{a}", f"call:{b}") for a, b in drawn} == expected


def test_every_autograd_node_of_the_graph_is_in_the_backward_picture(net: ht.Trace) -> None:
    graph = net.graph("gradients")
    expected = Counter(
        data["function"]
        for _, data in graph.nodes(data=True)
        if data["kind"] == "autograd" and "AccumulateGrad" not in data["function"]
    )
    found: Counter[str] = Counter()
    said = words(net.digraph(view="autograd", depth=99).source)
    for count, name in re.findall(r"(?:(\d+)x )?(\w+Backward\d*)\b", said):
        found[name] += int(count or 1)
    if "more kind" not in said:
        assert found == expected


# ------------------------------------------------------------------ hooks


def test_only_hooks_are_drawn_in_the_order_in_which_they_fired() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    model[2].register_forward_hook(look)
    model[0].register_forward_hook(double)
    model[1].register_full_backward_hook(look)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    dot = t.digraph(view="hooks").source
    said = words(dot)
    assert arrows(dot) == [("0", "2")]
    assert "#1 forward hook double changed output x2" in said
    once = model[0](torch.ones(1, 2)) / 2
    change = f"output: {_short(once)} -> {_short(once * 2)} (x2, returned)"
    assert change in " ".join(said.split())
    assert "#2 forward hook look observed" in said
    assert "full_backward hook look never fired" in said
    assert "1 box of those that never fired" in said
    assert "Tanh" not in said


def _short(tensor: torch.Tensor) -> str:
    return "[" + ", ".join(f"{one:.6g}" for one in tensor.flatten().tolist()) + "]"


def test_one_function_on_many_modules_is_one_box() -> None:
    model = nn.Sequential(*(nn.Linear(n, n + 1) for n in range(1, 8)))
    for module in model:
        module.register_forward_hook(look)
    model[3].register_forward_hook(double)
    with ht.trace(model) as t:
        model(torch.ones(1, 1))
    dot = t.digraph(view="hooks").source
    assert "+6 more hooks alike, to 6" in words(dot)
    assert len(re.findall(r'^  "hook-', dot, re.M)) == 3  # two boxes, one arrow
    few = t.digraph(view="hooks", budget=1).source
    assert "1 more boxes are over the budget= of 1" in words(few)


def test_without_hooks_there_is_no_hooks_view() -> None:
    with ht.trace() as t:
        nn.Linear(1, 1)(torch.ones(1, 1))
    with pytest.raises(RenderError, match="No hook was seen"):
        t.digraph(view="hooks")


@pytest.mark.parametrize(
    ("register", "change", "ends"),
    [
        ("register_full_backward_hook", lambda m, gi, go: (gi[0] * 3,), "call-3 -> call-2"),
        ("register_full_backward_pre_hook", lambda m, go: (go[0] * 3,), "call-4 -> call-3"),
    ],
)
def test_a_gradient_that_a_backward_hook_changed_has_a_thick_orange_arrow(
    register: str, change: Any, ends: str
) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    getattr(model[2], register)(change)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    lines = t.digraph(view="autograd").source.split("\n")
    (arrow,) = [one.replace('"', "") for one in lines if "x3 by hook" in one and "->" in one]
    assert arrow.strip().startswith(ends)
    assert "penwidth=3" in arrow
    assert "#d55e00" in arrow


@pytest.mark.parametrize("step", [0, 1])
def test_the_way_back_of_a_step_has_no_loss_of_another(step: int) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(model) as t:
        for _ in range(2):
            loss = model(torch.ones(1, 2)).pow(2).sum()
            loss.backward()
    drawn = t.digraph(view="autograd", step=step).source
    said = words(drawn)
    assert f"backward {step + 1}" in said
    assert f"backward {2 - step}" not in said
    assert said.count("PowBackward0") == 1


@pytest.mark.parametrize("step", [0, 1])
def test_the_norm_of_what_fills_grad_is_that_of_the_step(step: int) -> None:
    model, norms = nn.Sequential(nn.Linear(2, 2)), []
    with ht.trace(model, stats=True) as t:
        for size in (1, 3):
            model.zero_grad()
            model(torch.full((1, 2), float(size))).sum().backward()
            assert model[0].weight.grad is not None
            norms.append(model[0].weight.grad.norm().item())
    said = words(t.digraph(view="autograd", step=step).source)
    assert f"fills 0.weight.grad, norm {norms[step]:.3g}" in said


def test_but_the_loss_of_several_steps_is_in_each() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with ht.trace(model) as t:
        first, second = model(torch.ones(1, 2)).sum(), model(torch.zeros(1, 2)).sum()
        (first + second).backward()
        model(torch.ones(1, 2)).sum().backward()
    assert "AddBackward0" in words(t.digraph(view="autograd", step=1).source)


# ------------------------------------------------------------------ timeline


def test_every_call_hook_backward_and_step_has_a_line() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model[0].register_forward_hook(double)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    source = t.digraph(view="timeline").source
    lines = [line.strip() for line in words(source).split("\n") if line.strip()]
    names = ["Sequential", "0", "forward hook double on 0", "1", "backward 1", "step of SGD"]
    assert [line for line in lines if line in names] == names
    assert any(line.endswith(", changed") for line in lines)
    assert lines.count("call") == 3


@pytest.mark.parametrize(
    ("hook", "note", "orange"),
    [
        (double, "changed", True),
        (lambda module, inputs, output: None, "observed", False),
        (lambda module, inputs, output: output * 1, "observed", False),
    ],
)
def test_only_the_bar_of_a_hook_that_changed_something_is_orange(
    hook: Any, note: str, orange: bool
) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_forward_hook(hook)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    drawn = t.digraph(view="timeline").source
    assert f", {note}" in words(drawn)
    assert ("#d55e00" in drawn) is orange
    fired = [
        one for _, one in t.graph().nodes(data=True) if "hook_kind" in one and "changed" in one
    ]
    assert [one["changed"] for one in fired] == [orange]


def test_bars_do_not_leave_the_time_and_nest() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    rows = re.findall(r"<TR>(<TD FIXEDSIZE.*?)</TR>", t.digraph(view="timeline").source)
    assert len(rows) == 5
    for one in rows:
        assert sum(map(int, re.findall(r'WIDTH="(\d+)"', one))) == 560


def test_a_long_timeline_shows_the_outer_levels_and_says_so() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(30)))
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    said = words(t.digraph(view="timeline").source)
    assert "31 of 91 spans" in said
    assert "depth= and budget= show more" in said
    assert "91 of 91 spans" in words(t.digraph(view="timeline", budget=100).source)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("view", ["autograd", "hooks", "timeline"])
def test_the_views_hold_together(view: str, engine: str) -> None:
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)) for _ in range(4)),
        nn.Sequential(nn.Linear(4, 2), nn.ReLU(inplace=True)),
    )
    for module in model.modules():
        module.register_forward_hook(double)
    with ht.trace(model, stats=True) as t:
        model(torch.ones(1, 4)).sum().backward()
    for options in ({}, {"depth": 0}, {"depth": 9}):
        if view != "hooks" or not options:
            assert audit(t.digraph(view=view, **options).source, engine) > 0
