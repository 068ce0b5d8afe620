"""Diagrams: laid out by the real engine, on real models, with every name a module can have."""

from __future__ import annotations

import html
import json
import re
import xml.dom.minidom
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_audit import ENGINES, audit
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.errors import HooktraceError, RenderError, UnknownNameError
from hooktrace.render.badges import framed
from hooktrace.render.captions import laid_out, settle
from hooktrace.render.dot import Arrow, Box, Frame, Scene, printable, quote, text, tooltip, write
from hooktrace.render.engine import layout
from hooktrace.render.pieces import caption, heading_row
from hooktrace.views.links import operation_name

torchvision = pytest.importorskip("torchvision")


def double(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def look(module: nn.Module, args: Any, output: torch.Tensor) -> None:
    pass


def words(source: str) -> str:
    """What the labels of a DOT text say, one line a cell."""
    return html.unescape(re.sub(r"<[^<>]*>", "\n", source))


def traced(model: nn.Module, *args: Any, backward: bool = True) -> ht.Trace:
    with ht.trace(model) as t:
        output = model(*args)
        if backward:
            output.sum().backward()
    return t


def source(model: nn.Module, *args: Any, backward: bool = True, **options: Any) -> str:
    return str(traced(model, *args, backward=backward).digraph(**options).source)


# ------------------------------------------------------------------ a zoo of awkward nets


class Recursive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, n: int = 4) -> torch.Tensor:
        return self.lin(x) if n == 0 else torch.relu(self(x, n - 1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(4, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, ys = torch.zeros(1, 4), []
        for step in range(6):
            h = self.cell(x[:, step], h)
            ys.append(self.out(h))
        return torch.stack(ys)


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(10, 8), nn.Linear(8, 10)
        self.lstm = nn.LSTM(8, 8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        o, (h, _) = self.lstm(self.emb(x))
        return self.head(o[:, -1] + h[-1])


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin(torch.relu(self.other(self.lin(x))) + x)


def alexnet() -> nn.Module:
    return torchvision.models.alexnet(num_classes=10).eval()


ZOO: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "alexnet": lambda: (alexnet(), (torch.randn(1, 3, 64, 64),)),
    "resnet18": lambda: (torchvision.models.resnet18().eval(), (torch.randn(1, 3, 64, 64),)),
    "transformer": lambda: (
        nn.Transformer(16, 2, 2, 3, 32, batch_first=True),
        (torch.randn(1, 3, 16), torch.randn(1, 4, 16)),
    ),
    "language": lambda: (Language(), (torch.randint(0, 10, (2, 5)),)),
    "recurrent": lambda: (Recurrent(), (torch.randn(1, 6, 4),)),
    "recursive": lambda: (Recursive(), (torch.randn(1, 4),)),
    "shared": lambda: (Shared(), (torch.randn(1, 4),)),
    "one leaf": lambda: (nn.Linear(2, 2), (torch.randn(1, 2),)),
    "long": lambda: (
        nn.Sequential(*(nn.Linear(n, n + 1) for n in range(1, 60))),
        (torch.randn(1, 1),),
    ),
}


# ------------------------------------------------------------------ geometry


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("depth", [None, 0, 1, 99])
@pytest.mark.parametrize("name", ZOO)
def test_pictures_hold_together(name: str, depth: int | None, engine: str) -> None:
    model, args = ZOO[name]()
    assert audit(source(model, *args, depth=depth), engine) > 0


CROSSED = """digraph {
  subgraph "cluster_a" {
    graph [labeljust=r,
    label=<<TABLE BORDER="0"><TR><TD>a caption as wide as all of it</TD></TR></TABLE>>]
    b
  }
  a -> b
}
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_caption_moves_out_of_the_way_of_an_arrow(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit(CROSSED, engine) == 2
    monkeypatch.setattr("hooktrace.render.captions.settle", lambda source, engine: source)
    with pytest.raises(AssertionError, match="a -> b: cluster_a"):
        audit(CROSSED, engine)


@pytest.mark.parametrize("place", ["0.1,0", "5,0"])
def test_the_audit_notices_an_overlap(place: str) -> None:
    dot = f'digraph {{ layout=neato; a [pos="0,0!"]; b [pos="{place}!"] }}'
    if place == "5,0":
        assert audit(dot, program="neato") == 2
    else:
        with pytest.raises(AssertionError):
            audit(dot, program="neato")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["resnet152", "vit_b_16", "swin_t", "densenet121"])
def test_deep_nets_fit_one_screen_by_default(name: str, engine: str) -> None:
    options = {"image_size": 64} if name == "vit_b_16" else {}
    model = getattr(torchvision.models, name)(**options).eval()
    dot = source(model, torch.randn(1, 3, 64, 64))
    assert audit(dot, engine) <= 40
    drawn = json.loads(laid_out(dot, "json", engine))
    left, low, right, high = map(float, drawn["bb"].split(","))
    assert right - left < 1100
    assert high - low < 1400
    assert "more like it" in dot or name == "densenet121"


def test_alexnet_is_wrapped_to_the_size_of_a_screen() -> None:
    model, args = ZOO["alexnet"]()
    dot = source(model, *args)
    left, low, right, high = map(float, json.loads(layout(dot, "json"))["bb"].split(","))
    assert right - left < 1000
    assert high - low < 1200
    for number in range(13):
        assert f"features.{number}\n" in words(dot).replace(" ", "")
    assert "goes on at features.7" in dot
    assert "from features.6" in dot
    assert "(continued)" in dot


ASIDE = """digraph {
  subgraph "cluster_a" {
    graph [labeljust=r,
    label=<<TABLE BORDER="0"><TR><TD>a caption</TD></TR></TABLE>>]
    b [width=3]; c
  }
  a -> b [style=invis]; a -> c; d -> c
}
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_where_there_is_room_a_caption_moves_and_its_frame_stays(engine: str) -> None:
    before, after = (
        json.loads(layout(one, "json0", engine))["objects"][0]
        for one in (ASIDE, settle(ASIDE, engine))
    )
    assert before["bb"] == after["bb"]
    assert float(after["lwidth"]) > float(before["lwidth"])
    assert audit(ASIDE, engine) == 4


# ------------------------------------------------------------------ what flows


def arrows(dot: str) -> list[tuple[str, str]]:
    """The visible arrows of a DOT text, boxes named by the first line of their label."""
    found = json.loads(layout(dot, "json"))
    names = {}
    for one in found["objects"]:
        lines = [line.strip() for line in words(one.get("label", "")).split("\n")]
        names[one["_gvid"]] = next((line for line in lines if line), "")
    return [
        (names[one["tail"]], names[one["head"]])
        for one in found["edges"]
        if one.get("style") != "invis"
    ]


def test_the_residual_sum_takes_both_the_branch_and_the_shortcut() -> None:
    block = torchvision.models.resnet.BasicBlock(4, 4)
    found = arrows(source(block, torch.randn(1, 4, 8, 8)))
    assert ("bn2", "add") in found
    assert ("input", "conv1") in found
    assert ("add", "relu") in found
    sequence = nn.Sequential(nn.Conv2d(4, 4, 1), block)
    found = arrows(source(sequence, torch.randn(1, 4, 8, 8), depth=2))
    assert ("0", "add") in found
    assert ("0", "1.conv1") in found


def test_code_between_modules_is_shown_with_the_parameters_it_reads() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b((self.a(x) * self.scale).tanh())

    dot = source(Net(), torch.ones(1, 2))
    assert set(arrows(dot)) == {
        ("input", "a"),
        ("a", "mul, tanh"),
        ("mul, tanh", "b"),
        ("b", "output"),
    }
    assert "reads scale" in dot


def test_operations_that_do_the_same_side_by_side_are_one() -> None:
    class Merge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(torch.cat([y[:, one : one + 1].exp() for one in range(4)], 1))

    assert set(arrows(source(Merge(), torch.ones(1, 4)))) == {
        ("input", "a"),
        ("a", "4x (slice, exp), cat"),
        ("4x (slice, exp), cat", "b"),
        ("b", "output"),
    }


def test_a_module_that_passes_its_input_on_is_not_skipped() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Identity(), nn.Linear(2, 3)).eval()
    found = set(arrows(source(model, torch.ones(1, 2))))
    assert found == {("input", "0"), ("0", "1"), ("1", "2"), ("2", "3"), ("3", "output")}


def test_without_autograd_the_calls_are_still_tied_and_the_gap_is_said() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.ReLU(inplace=True))
    with torch.no_grad():
        dot = source(model, torch.ones(1, 4), backward=False)
    assert {("0", "1"), ("1", "2"), ("2", "output")} <= set(arrows(dot))
    assert "No autograd graph was recorded" in dot


def test_both_inputs_of_a_transformer_lead_to_their_half() -> None:
    model, args = ZOO["transformer"]()
    found = arrows(source(model, *args, depth=1))
    assert set(found) == {
        ("input", "encoder"),
        ("input", "decoder"),
        ("encoder", "decoder"),
        ("decoder", "output"),
    }


# ------------------------------------------------------------------ hooks and writes


def test_a_hook_that_changed_a_value_is_on_its_module_and_on_the_arrow() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model[0].register_forward_hook(double)
    model[1].register_forward_hook(look)
    model[1].register_full_backward_hook(lambda m, gi, go: (gi[0] * 0,))
    dot = source(model, torch.ones(1, 2))
    assert "#1 forward hook double changed output x2" in dot
    assert "#2 forward hook look observed" in dot
    assert "changed grad_input[0] zeroed" in dot
    (arrow,) = [line for line in dot.split("\n") if "->" in line and "x2 by hook double" in line]
    assert "penwidth=3" in arrow
    assert "#d55e00" in arrow


def test_a_pre_hook_marks_the_arrow_into_its_module() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model[1].register_forward_pre_hook(lambda m, a: (a[0] * 3,))
    dot = source(model, torch.ones(1, 2))
    (arrow,) = [line for line in dot.split("\n") if "x3 by hook" in line and "->" in line]
    assert arrow.split("->")[1].strip().startswith('"call-2"')


class Between(nn.Module):
    """Calls its last layer with what code between modules made."""

    def __init__(self, arguments: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Bilinear(2, 2, 1)
        self.single = nn.Linear(2, 1)
        self.arguments = arguments

    def forward(self, x: torch.Tensor) -> Any:
        if self.arguments == 1:
            return self.single(self.first(x).exp())
        return self.last(self.first(x).exp(), self.first(x).cos())


def test_a_pre_hook_marks_the_arrow_from_code_between_modules() -> None:
    model = Between(1)
    model.single.register_forward_pre_hook(lambda m, a: (a[0] * 3,))
    dot = source(model, torch.ones(1, 2))
    (arrow,) = [line for line in dot.split("\n") if "x3 by hook" in line and "->" in line]
    assert arrow.strip().startswith('"op-')
    assert "penwidth=3" in arrow
    assert "#d55e00" in arrow


def test_but_not_where_it_may_be_another_arrow() -> None:
    model = Between(2)
    model.last.register_forward_pre_hook(lambda m, a: (a[0] * 3, a[1]))
    dot = source(model, torch.ones(1, 2))
    assert "changed args[0] x3" in dot
    assert not [line for line in dot.split("\n") if "x3 by hook" in line and "->" in line]


def test_a_hook_on_a_frame_marks_the_arrow_that_leaves_it() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Tanh())
    model[0].register_forward_hook(double)
    dot = source(model, torch.ones(1, 2))
    assert set(arrows(dot)) == {("input", "0.0"), ("0.0", "1"), ("1", "output")}
    assert "x2 by hook double" in dot


def test_hooks_that_never_fired_say_so_wherever_they_hang() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].register_full_backward_hook(lambda m, gi, go: None)
    model[0].weight.register_hook(lambda g: None)
    model.register_module("aux", nn.Identity())
    model.aux.register_forward_hook(look)
    model.forward = lambda x: model[0](x)  # type: ignore[method-assign]
    said = words(source(model, torch.ones(1, 2), backward=False))
    assert said.count("never fired") >= 3
    assert "aux was not called: forward hook look never fired" in said


def test_a_hook_inside_a_closed_box_is_counted_on_it() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    model[0][0].register_forward_hook(double)
    model[0][1].register_forward_hook(look)
    dot = source(model, torch.ones(1, 2), depth=1)
    assert "2 hooks inside: 1 changed values, 1 observed" in dot


def test_a_box_that_hides_a_hook_is_opened_by_default() -> None:
    model, args = ZOO["resnet18"]()
    assert "layer2.1.conv1" not in source(model, *args)
    model.get_submodule("layer2.1.conv1").register_forward_hook(double)
    assert "layer2.1.conv1" in source(model, *args)


def test_an_in_place_relu_has_a_double_arrowhead_at_what_it_overwrote() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(inplace=True), nn.Tanh(), nn.ReLU())
    dot = source(model, torch.ones(1, 1, 2, 2))
    marked = [line for line in dot.split("\n") if "normalnormal" in line]
    assert len(marked) == 1
    assert "overwritten in place" in marked[0]
    assert re.match(r'\s*"call-1" -> "call-2"', marked[0])


def test_a_residual_sum_in_place_marks_the_branch_it_overwrote() -> None:
    block = torchvision.models.resnet.BasicBlock(4, 4)
    dot = source(block, torch.randn(1, 4, 8, 8))
    marked = [line for line in dot.split("\n") if "normalnormal" in line and '-> "op-' in line]
    assert len(marked) == 1


def test_a_hook_that_returns_an_equal_copy_is_not_said_to_have_changed_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    model[0].register_forward_hook(lambda m, a, o: o.clone())
    dot = source(model, torch.ones(1, 2))
    assert "returned equal values" in dot
    assert "penwidth=3" not in dot


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.pre, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.reentrant = reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        body = checkpoint(self.body, self.pre(x), use_reentrant=self.reentrant)
        return self.head(body)


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_checkpointing_runs_again_is_a_mark_at_the_first_run(reentrant: bool) -> None:
    model = Checkpointed(reentrant)
    model.body[0].register_forward_hook(double)
    dot = source(model, torch.ones(1, 4))
    said = words(dot)
    assert said.count("recomputed in backward") == 3  # the body and both modules in it
    assert [line.strip() for line in said.split("\n")].count("body.0") == 1
    assert "forward hook double (2x, 1 in backward) changed output x2" in said
    assert "no gradient arrived" not in said
    assert "never fired" not in said
    assert "StopRecomputation" not in said
    assert "dotted frame: ran again in backward" in said


def test_every_state_of_a_hook_has_a_mark_beside_its_colour() -> None:
    marks = [
        framed("x", state) for state in ("raised", "changed", "observed", "never", "recomputed")
    ]
    plain = {re.sub("#[0-9a-f]{6}", "", one) for one in marks}
    assert len(plain) == 5


# ------------------------------------------------------------------ folding, depth, steps


def test_distinct_modules_of_one_shape_fold_and_say_how_many_more() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)))
    dot = source(model, torch.ones(1, 4))
    assert "+4 more like it" in dot
    assert "1 to 4" in dot
    assert len(arrows(dot)) == 3


def test_one_module_called_in_a_row_says_how_many_times() -> None:
    linear = nn.Linear(4, 4)
    dot = source(nn.Sequential(linear, linear, linear), torch.ones(1, 4))
    assert "x3: called 3 times in a row" in dot


def test_a_repeating_pattern_of_modules_folds() -> None:
    dot = source(*(lambda made: (made[0], *made[1]))(ZOO["recurrent"]()))
    assert dot.count("x6: called 6 times in a row") == 2


def test_two_of_a_kind_do_not_fold_and_a_hooked_one_stands_out() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(2)))
    assert "more like it" not in source(model, torch.ones(1, 4))
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(9)))
    model[4].register_forward_hook(double)
    dot = source(model, torch.ones(1, 4))
    assert dot.count("+3 more like it") == 2


@pytest.mark.parametrize(("depth", "boxes"), [(0, 1), (1, 2), (2, 3)])
def test_depth_opens_so_many_levels(depth: int, boxes: int) -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 1))
    dot = source(model, torch.ones(1, 2), depth=depth)
    assert len(re.findall(r'^ *"call-\d+" \[', dot, re.M)) == boxes


def test_a_loop_is_drawn_one_step_at_a_time() -> None:
    model, loss = nn.Linear(2, 2), nn.MSELoss()
    with ht.trace() as t:
        for size in (1, 2, 3):
            loss(model(torch.ones(size, 2)), torch.zeros(size, 2)).backward()
    first, last = t.digraph().source, t.digraph(step=-1).source
    assert "step 1 of 3" in first
    assert "step 3 of 3" in last
    assert "3x2" in last
    assert "3x2" not in first
    assert {("Linear", "MSELoss"), ("MSELoss", "output")} <= set(arrows(first))
    with pytest.raises(IndexError, match="3 steps"):
        t.digraph(step=3)


def test_a_cell_that_feeds_itself_is_one_step() -> None:
    cell = nn.GRUCell(2, 2)
    with ht.trace() as t:
        h = torch.zeros(1, 2)
        for _ in range(3):
            h = cell(torch.ones(1, 2), h)
    assert "x3: called 3 times in a row" in t.digraph().source


def test_wrong_options_are_errors_that_say_what_there_is() -> None:
    t = traced(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(UnknownNameError, match="Did you mean 'modules'"):
        t.digraph(view="module")
    with pytest.raises(ValueError, match="depth="):
        t.digraph(depth=-1)
    with ht.trace() as empty:
        pass
    with pytest.raises(RenderError, match="view='tensors'"):
        empty.digraph(view="modules")
    assert isinstance(RenderError("x"), HooktraceError)


# ------------------------------------------------------------------ partial traces and names


def test_a_model_that_raised_is_drawn_up_to_where_it_raised() -> None:
    class Bad(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError('shape <wrong> & "so"')

    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Bad()), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="wrong"), ht.trace(model) as t:
        model(torch.ones(1, 2))
    dot = t.digraph().source
    assert words(dot).count('raised ValueError: shape <wrong> & "so"') == 1
    assert "The block ended early" in dot
    assert "call-3" in dot
    assert audit(dot) == 3


def test_an_open_trace_can_be_drawn() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    drawn: list[str] = []
    model[1].register_forward_hook(lambda m, a, o: drawn.append(t.digraph().source))
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    assert "did not return while the trace was open" in drawn[0]


HOSTILE = [
    'a"b', "<b>&", "back\\slash\\n", "new\nline", "中文 ü 🎉", "\x00\x01", "}];", 'label="x"', "\\",
    "trailing\\", "tab\t", "<", "-->", "a:n", "<!--", "&amp;", "%s {0}", "]]>", "\ud800", "\r",
    "\\N\\G\\l", "digraph", " ",
]  # fmt: skip


def test_hostile_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    model = nn.Sequential()
    for number, name in enumerate(HOSTILE):
        model.add_module(name, nn.Linear(number + 1, number + 2))
        getattr(model, name).register_forward_hook(look)
    t = traced(model, torch.ones(1, 1))
    audit(t.digraph().source)
    document = xml.dom.minidom.parse(str(t.draw(tmp_path / "x.svg")))
    shown = {
        one.firstChild.data.strip()  # type: ignore[union-attr]
        for one in document.getElementsByTagName("text")
        if one.firstChild is not None
    }
    plain = [name for name in HOSTILE if name.strip() == name and name.isprintable()]
    assert set(plain) <= shown


@settings(max_examples=40)
@given(name=st.text(max_size=40))
def test_any_string_survives_dot(name: str) -> None:
    plain = f"a [label={quote(name)}, tooltip={tooltip(name)}]"
    dot = f"digraph {{ {plain}; b [label=<<B>x{text(name)}</B>>] }}"
    first, second = nodes(layout(dot, "svg").decode())
    assert " ".join(first[0].split()) == " ".join(printable(name).split())
    assert second[0] == "x" + " ".join(printable(name).split())
    if name.strip():
        assert first[1] == " ".join(printable(" ".join(name.split())).split())


@settings(max_examples=30)
@given(name=st.text(max_size=40))
def test_any_string_survives_in_a_caption_that_moves(name: str) -> None:
    frame = Frame("f", caption([heading_row(name, "kind of it")]), "container")
    frame.members = [Box("b", "<inside>", "call")]
    start = Box("a", "<outside>", "call")
    dot = write(Scene('"title"', [start, frame], [Arrow("a", "b")]))
    settled = settle(dot)
    for one in (dot, settled):
        (group,) = [
            group
            for group in xml.dom.minidom.parseString(layout(one, "svg")).getElementsByTagName("g")
            if group.getAttribute("class").startswith("cluster")
        ]
        said = [part.firstChild.data for part in group.getElementsByTagName("text")]  # type: ignore[union-attr]
        assert " ".join(" ".join(said).split()) == " ".join(
            [*printable(name).split(), "kind of it"]
        )
    audit(dot)


def nodes(svg: str) -> list[tuple[str, str]]:
    """The text and the tooltip of every node of an SVG."""
    found = []
    for group in xml.dom.minidom.parseString(svg).getElementsByTagName("g"):
        if group.getAttribute("class") == "node":
            texts = [one.firstChild for one in group.getElementsByTagName("text")]
            links = group.getElementsByTagName("a")
            tip = links[0].getAttribute("xlink:title") if links else ""
            found.append((" ".join(one.data for one in texts if one is not None), tip))
    return found


# ------------------------------------------------------------------ plain tensors


def test_the_small_tensor_graph_tells_the_story_of_every_gradient() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)

    def edit(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    w.register_hook(edit)
    with ht.trace() as t:
        a = w + x
        b = w + 1
        y = a * b
        b.retain_grad()
        a.register_hook(lambda grad: None)
        y.backward()
    dot = t.digraph().source
    said = words(dot)
    assert "changed [5] -> [10] (x2 in place)" in said
    assert "changed [10] -> [30] (x3 returned)" in said
    assert ".grad: None -> [30]" in said
    assert ".grad: None -> [2]" in said
    assert ".grad: [3] (retain_grad)" in said
    assert said.count(".grad: None (not a leaf") == 2
    assert "observed [2]" in said
    assert sorted(arrows(dot)) == sorted(
        [
            *[("w", "add"), ("x", "add"), ("w", "add"), ("add", "a"), ("add", "b")],
            *[("a", "mul"), ("b", "mul"), ("mul", "y")],
        ]
    )
    assert audit(dot) == 8


def test_a_tensor_hook_that_never_fired_says_so() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    with ht.trace() as t:
        y = w * 2
        y.register_hook(lambda grad: None)
    assert "never fired" in t.digraph().source


def test_the_tensor_view_of_a_module_can_be_asked_for() -> None:
    model, args = nn.Linear(2, 2), (torch.ones(1, 2),)
    t = traced(model, *args)
    said = words(t.digraph(view="tensors").source)
    assert "weight" in said
    assert "addmm" in said


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("AddBackward0", "add"),
        ("ReshapeAliasBackward0", "reshape_alias"),
        ("MyFunction", "my_function"),
    ],
)
def test_operations_are_named_as_the_functions_that_made_them(node: str, name: str) -> None:
    assert operation_name(ht.events.TracedNode(ht.events.NodeId(0), node)) == name


# ------------------------------------------------------------------ ways out


def test_a_trace_draws_itself_into_files_and_notebooks(tmp_path: Path) -> None:
    t = traced(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.ones(1, 2))
    for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("dot", b"digraph")):
        path = t.draw(tmp_path / f"x.{ending}")
        assert path == tmp_path / f"x.{ending}"
        assert path.read_bytes().startswith(start)
    bundle = t._repr_mimebundle_()
    assert "<svg" in bundle["image/svg+xml"]
    assert bundle["text/plain"] == str(t)


def test_a_notebook_without_an_engine_shows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    t = traced(nn.Linear(2, 2), torch.ones(1, 2))
    monkeypatch.setenv("HOOKTRACE_ENGINE", "/no/such/engine")
    assert set(t._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_classes_and_ids_reach_the_svg(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    model[0].register_forward_hook(double)
    path = traced(model, torch.ones(1, 2)).draw(tmp_path / "x.svg")
    groups = xml.dom.minidom.parse(str(path)).getElementsByTagName("g")
    classes = {one.getAttribute("id"): one.getAttribute("class") for one in groups}
    assert classes["call-1"] == "node call leaf"
    assert "edge edge written changed" in classes.values()


def test_every_colour_has_six_digits_and_a_dark_counterpart(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    model[0].register_forward_hook(double)
    svg = traced(model, torch.ones(1, 2)).draw(tmp_path / "x.svg").read_text()
    picture, style = svg.split("</style>")[1], svg.split("</style>")[0]
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', picture)) - {"none"}
    assert colours
    for colour in colours:
        assert re.fullmatch("#[0-9a-f]{6}", colour), colour
        assert f'[fill="{colour}"]' in style


# ------------------------------------------------------------------ what is opened


def test_a_module_is_opened_by_its_name_and_stands_out_of_its_row() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(7)))
    t = traced(model, torch.ones(1, 4))
    closed = t.digraph(depth=1).source
    assert '"call-1" [' in closed
    assert "3.0" not in words(closed)
    for expand in ("3", ["3"], lambda call: call.name == "3"):
        lines = [
            line.strip() for line in words(t.digraph(depth=1, expand=expand).source).split("\n")
        ]
        assert "3.0" in lines
        assert "0.0" not in lines
        assert lines.count("+2 more like it") == 2
    with pytest.raises(UnknownNameError, match=r"expand='nine' names no module that was called"):
        t.digraph(expand="nine")


def test_a_pattern_opens_all_that_is_inside() -> None:
    model, args = ZOO["resnet18"]()
    said = words(source(model, *args, expand="layer4*"))
    assert "layer4.1.conv2" in said
    assert "layer3.1.conv2" not in said


def test_a_picture_over_its_budget_opens_less_and_says_so() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(n, n + 1), nn.Tanh()) for n in range(1, 30)))
    t = traced(model, torch.ones(1, 1))
    assert "budget" not in t.digraph(depth=2).source
    for options in ({"depth": 2}, {"depth": 1, "expand": "*"}):
        dot = t.digraph(budget=40, **options).source
        assert len(re.findall(r'^ *"call-\d+" \[', dot, re.M)) == 29
        assert "over the budget of 40" in dot
    many = nn.Sequential(*(nn.Linear(n, n + 1) for n in range(1, 30)))
    assert "over the budget of 5" in source(many, torch.ones(1, 1), budget=5)


def test_a_view_refuses_the_options_that_it_does_not_have() -> None:
    t = traced(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="view='tensors' has no depth="):
        t.digraph(view="tensors", depth=1)
    with pytest.raises(TypeError, match="budget= is a whole number"):
        t.digraph(budget=2.5)
    with pytest.raises(TypeError, match="no option 'dept'"):
        t.draw("x.svg", dept=2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no option 'dept'"):
        t.digraph(dept=2)


def test_many_to_many_connections_stay_within_the_budget() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(n, 1) for n in range(1, 40))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = [x]
            for layer in self.layers:
                seen.append(layer(torch.cat(seen, 1)))
            return torch.cat(seen, 1)

    dot = source(nn.Sequential(Dense()), torch.ones(1, 1), depth=9)
    assert dot.count("->") <= 300
    assert "over the budget of 300" in dot
