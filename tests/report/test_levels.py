"""The graph of the page as data: every call has a box, every level is a sound picture."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from layout_audit import ENGINES, crosses, curve, overlap
from torch import nn

import hooktrace as ht
from hooktrace.events import HookFired
from hooktrace.render.theme import COLOURS
from hooktrace.report.levels import Graph, graph_forms
from hooktrace.report.parts import encoded
from hooktrace.report.phrases import said, say
from hooktrace.views.calls import CallIndex

Data = dict[str, Any]


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.act(self.first(x)))


class Net(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (2, 3, 4)) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Linear(2, width) for width in widths)
        self.blocks = nn.ModuleList(Block(width) for width in widths)
        self.leave = nn.Linear(sum(widths), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.enter, self.blocks, strict=True)
        return self.leave(torch.cat([block(enter(x)) for enter, block in pairs], dim=1))


def graph_of(t: ht.Trace, step: int = 0) -> Graph:
    t._settle()
    return Graph(t.log, CallIndex(t.log).refresh(), step)


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    model = Net()
    model.blocks[1].first.register_forward_hook(double)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    return t


@pytest.fixture(scope="module")
def resnet() -> Any:
    model = torchvision.models.resnet18()
    with ht.trace(model) as t:
        model(torch.zeros(1, 3, 64, 64)).sum().backward()
    return t


def calls_in(level: Data) -> list[int]:
    return [int(one["k"][5:]) for one in level["boxes"] if one["k"].startswith("call-")]


def texts(shapes: list[Any]) -> list[str]:
    return [one[2] for one in shapes if isinstance(one[2], str)]


def test_every_call_has_one_box_where_nothing_is_folded(net: Any) -> None:
    data = graph_of(net).data()
    boxes = [call for level in data["levels"].values() for call in calls_in(level)]
    (root,) = net.index.roots()
    assert sorted(boxes) == sorted(call.id for call in net.index if call is not root)
    assert data["home"] == {}


def test_a_level_shows_the_children_of_its_call(net: Any) -> None:
    data = graph_of(net).data()
    for number, level in data["levels"].items():
        call = net.index.roots()[0] if number == "-1" else net.index.calls[int(number)]
        assert calls_in(level) == [child.id for child in call.children]
    opened = {number for number in data["levels"] if number != "-1"}
    assert opened == {str(call.id) for call in net.index if call.children and call.parent}


def test_calls_that_are_folded_away_have_the_box_of_their_like(resnet: Any) -> None:
    data = graph_of(resnet).data()
    boxes = {call for level in data["levels"].values() for call in calls_in(level)}
    (root,) = resnet.index.roots()
    for call in resnet.index:
        if call is not root:
            like = resnet.index.calls[data["home"].get(str(call.id), call.id)]
            assert like.id in boxes
            assert like.module.type == call.module.type
            assert like.name.rpartition(".")[2] == call.name.rpartition(".")[2]


def test_calls_of_another_step_have_the_box_of_the_same_module() -> None:
    model = Net()
    with ht.trace(model) as t:
        for _ in range(3):
            model(torch.ones(1, 2)).sum().backward()
    data = graph_of(t, 1).data()
    boxes = {call for level in data["levels"].values() for call in calls_in(level)}
    assert {t.index.calls[one].index for one in boxes} == {1}
    for call in t.index:
        if call.parent is not None:
            like = data["home"].get(str(call.id), call.id)
            assert like in boxes
            assert t.index.calls[like].name == call.name


class Twice(nn.Module):
    """Calls one part twice, with different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x) + self.part(x[:, :1])


def test_the_second_call_in_a_step_has_the_box_of_a_second_call() -> None:
    model = Twice()
    with ht.trace(model) as t:
        for _ in range(2):
            model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    home = graph_of(t).data()["home"]
    first, second, third, fourth = (one.id for one in t.index if one.name == "part")
    assert (home[str(third)], home[str(fourth)]) == (first, second)


def test_a_gradient_of_a_parameter_is_shown_at_its_module(net: Any) -> None:
    near = graph_of(net).data()["near"]
    filled = [one for one in net.log.events if one.label == "accumulate"]
    assert filled
    for event in filled:
        owner = net.index.calls[near[str(event.seq)]]
        assert net.log.tensors[event.tensor].name.startswith(owner.name)


def test_an_arrow_that_a_hook_changed_leads_to_the_hook(net: Any) -> None:
    data = graph_of(net).data()
    arrows = [one for level in data["levels"].values() for one in level["arrows"] if "q" in one]
    (changed,) = arrows
    event = net.log.events[changed["q"]]
    assert isinstance(event, HookFired)
    assert net.log.hooks[event.hook].name == "double"
    assert changed["a"] == f"call-{net.index.one('blocks.1.first').id}"
    assert "x2 by hook double" in texts(changed["l"]["d"])


class Outside(nn.Module):
    """Takes a value that is none of its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.more = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.more(self.inner(x)) + self.kept


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(2, 2)
        self.part = Outside()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.part.kept = self.before(x)
        return self.part(x * 2)


def test_what_enters_a_level_from_outside_is_an_input() -> None:
    model = Holder()
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    level = graph_of(t).data()["levels"][str(t.index.one("part").id)]
    ends = [(one["a"].partition("-")[0], one["b"].partition("-")[0]) for one in level["arrows"]]
    assert sorted(ends) == [
        ("call", "call"), ("call", "op"), ("input", "call"), ("input", "op"), ("op", "output"),
    ]  # fmt: skip
    assert len([one for one in level["boxes"] if one["k"].startswith("input")]) == 2


def test_code_outside_of_a_module_is_not_in_its_level(net: Any) -> None:
    data = graph_of(net).data()
    block = data["levels"][str(net.index.one("blocks.0").id)]
    assert [texts(one["d"]) for one in block["boxes"] if one["k"].startswith("op")] == [["add"]]
    whole = data["levels"]["-1"]
    operations = [texts(one["d"]) for one in whole["boxes"] if one["k"].startswith("op")]
    assert ["cat"] in operations
    assert ["add"] not in operations


def test_code_outside_of_all_calls_is_in_the_outermost_level_alone() -> None:
    first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with ht.trace() as t:
        second(first(torch.ones(1, 2)) * 3).sum().backward()
    levels = graph_of(t).data()["levels"]
    kinds = {
        number: [one["k"].partition("-")[0] for one in level["boxes"]]
        for number, level in levels.items()
    }
    assert kinds.pop("-1").count("op") == 1
    ((inner),) = kinds.values()
    assert inner == ["input", "call", "call", "output"]


# ------------------------------------------------------------------ geometry


def rectangle(one: Data) -> tuple[float, float, float, float]:
    x, y, w, h = (one[side] for side in "xywh")
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def way(arrow: Data) -> list[tuple[float, float]]:
    points = list(zip(arrow["p"][::2], arrow["p"][1::2], strict=True))
    found = [points[0]]
    for start in range(0, len(points) - 1, 3):
        found += curve(points[start : start + 4])
    return [*found, tuple(arrow["e"])]


def audit(level: Data) -> None:
    """What must hold of any picture: no box on another, no arrow through one, all inside."""
    boxes = {one["k"]: rectangle(one) for one in level["boxes"]}
    for (first, one), (second, other) in combinations(boxes.items(), 2):
        assert not overlap(one, other), (first, second)
    for x0, y0, x1, y1 in boxes.values():
        assert x0 > -1
        assert y0 > -1
        assert x1 < level["w"] + 1
        assert y1 < level["h"] + 1
    for arrow in level["arrows"]:
        points = way(arrow)
        for key, place in ((arrow["a"], points[0]), (arrow["b"], points[-1])):
            x0, y0, x1, y1 = boxes[key]
            assert x0 - 3 <= place[0] <= x1 + 3, (arrow["a"], arrow["b"])
            assert y0 - 3 <= place[1] <= y1 + 3, (arrow["a"], arrow["b"])
        for key, (x0, y0, x1, y1) in boxes.items():
            if key not in (arrow["a"], arrow["b"]):
                inner = (x0 + 2, y0 + 2, x1 - 2, y1 - 2)
                assert not any(crosses(*piece, inner) for piece in pairwise(points)), key


class Dense(nn.Module):
    """Every layer takes what all layers before it made."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2 * n, 2) for n in range(1, count + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return torch.cat(found, 1)


@pytest.fixture(scope="module")
def dense() -> Any:
    model = Dense(16)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    return t


@pytest.mark.parametrize("name", ["net", "resnet", "dense"])
def test_no_level_has_boxes_on_each_other_or_arrows_through_them(name: str, request: Any) -> None:
    for level in graph_of(request.getfixturevalue(name)).data()["levels"].values():
        audit(level)


def test_where_everything_feeds_everything_no_arrow_is_lost(dense: Any) -> None:
    level = graph_of(dense).data()["levels"]["-1"]
    layers = [f"call-{dense.index.one(f'layers.{n}').id}" for n in range(16)]
    arcs = [one for one in level["arrows"] if "arc" in one["c"].split()]
    assert len(arcs) > 100
    for first in layers:
        reached = {one["b"] for one in level["arrows"] if one["a"] == first}
        assert len(reached) == len(layers) - layers.index(first), first


def test_colours_are_names_of_the_theme(net: Any) -> None:
    data = graph_of(net).data()
    assert set(data["views"]) == {"hooks", "autograd"}
    for picture in (*data["levels"].values(), *data["views"].values()):
        shapes = [one for box in picture["boxes"] for one in box["d"]]
        used = {one[4] for one in shapes} | {one[5] for one in shapes if not texts([one])}
        used |= {one["s"] for one in picture["arrows"]}
        assert used <= {*COLOURS, ""}
        assert "#" not in {one[0] for one in used if one}


# ------------------------------------------------------------------ size


def weight(data: Data) -> int:
    return len(b64encode(gzip.compress(encoded(data), 9)))


def test_the_graph_of_resnet_is_small(resnet: Any) -> None:
    assert weight(graph_of(resnet).data()) < 40_000


def test_what_does_not_fit_is_left_out_and_told(resnet: Any) -> None:
    graph = graph_of(resnet)
    assert graph.left_out() == []
    small = graph.data(30_000)
    assert len(encoded(small["levels"])) < 31_000
    gone = set(graph.data()["levels"]) - set(small["levels"])
    assert gone
    told = said(graph.left_out(30_000)[0], "en").striptags()
    assert told.startswith("In the graph, the insides of ")
    named = [resnet.index.calls[int(one)].name for one in gone]
    assert any(f" {name}," in told or f" {name} and" in told for name in named)
    assert set(small["open"]) <= {int(one) for one in small["levels"]}


def test_forms_become_poorer(resnet: Any) -> None:
    sizes = [weight(form.make()) for form in graph_forms(resnet.log, resnet.index)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1


def test_plain_tensors_are_one_picture() -> None:
    x = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        y = x * 3
        y.register_hook(lambda grad: grad * 2)
        y.sum().backward()
    data = graph_of(t).data()
    assert data["levels"] == {}
    assert next(iter(data["views"])) == "tensors"
    view = data["views"]["tensors"]
    boxes = {one["k"]: texts(one["d"]) for one in view["boxes"]}
    fired = next(one for one in t.log.events if isinstance(one, HookFired))
    assert boxes[view["marks"][str(fired.seq)]][0] == "y"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "evil", ["<b onload=x>&amp;\\N \u202e", "a\\b", "a\\\\b", 'q"q\\', "\u4e2d\u6587 \u00e9"]
)
def test_names_that_are_markup_stay_text(evil: str, engine: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOOKTRACE_ENGINE", engine)
    model = nn.Sequential()
    model._modules[evil] = nn.Linear(1, 1)
    with ht.trace(model) as t:
        model(torch.ones(1, 1))
    level = graph_of(t).data()["levels"]["-1"]
    (box,) = [one for one in level["boxes"] if one["k"].startswith("call")]
    assert texts(box["d"])[0] == evil.strip()
    assert box["t"].startswith(evil)


def test_without_an_engine_the_page_says_why_there_is_no_graph(
    net: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HOOKTRACE_ENGINE", "no-such-program")
    page = Path(net.report(tmp_path / "x.html")).read_text("utf-8")
    assert "The graph: " in page
    assert "no-such-program" in page


def test_the_data_is_the_same_each_time(net: Any) -> None:
    assert json.dumps(graph_of(net).data()) == json.dumps(graph_of(net).data())


class Adds(nn.Module):
    def forward(self, x: Any) -> Any:
        for _ in range(2100):
            x = x + 1
        return x


def test_views_that_are_too_large_are_told_with_the_reason() -> None:
    net = Adds()
    with ht.trace(net) as t:
        net(torch.ones(2, 2, requires_grad=True)).sum().backward()
    graph = graph_of(t)
    count = f"{len(t.log.nodes):,}"
    why = say("graph_refused_nodes", view=say("graph_view_autograd"), count=count, most="2,000")
    assert "autograd" not in graph.views
    assert graph.data()["refused"]["autograd"] == why.data()
    assert say("left_view", why=why) in graph.left_out()


def test_a_view_with_too_many_boxes_is_told_and_one_that_does_not_fit() -> None:
    with ht.trace() as t:
        x = torch.ones(2, requires_grad=True)
        for _ in range(400):
            x = x * 1.01
        x.sum().backward()
    graph = graph_of(t)
    told = [one.values["why"] for one in graph.left_out()]
    assert [one.values["view"].key for one in told] == ["graph_view_tensors", "graph_view_autograd"]
    assert all(one.key == "graph_refused_boxes" for one in told)
    assert all(int(one.values["count"]) > int(one.values["most"]) == 300 for one in told)


def test_a_view_that_does_not_fit_into_the_page_is_told(resnet: Any) -> None:
    graph = graph_of(resnet)
    assert graph.views
    name = next(iter(graph.views))
    limit = sum(len(encoded(one)) for one in graph.levels.values())
    why = say("graph_refused_room", view=say(f"graph_view_{name}"))
    assert graph.data(limit)["refused"][name] == why.data()
    assert say("left_view", why=why) in graph.left_out(limit)
