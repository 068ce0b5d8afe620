"""The printed table: never more than 60 lines of 120 characters, and honest about the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.render.listing import told

torchvision = pytest.importorskip("torchvision")


def printed(t: ht.Trace) -> str:
    """Return what print(t) shows, after the checks that hold for every table."""
    text = str(t)
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 120
    assert all(line == line.rstrip() for line in lines)
    if len(t.calls()):
        (header,) = [line for line in lines if line.startswith("call ")]
        assert header.split()[:2] == ["call", "in"]
        assert {"ms", "grad_output"} <= set(header.split())
    return text


def left_out(text: str) -> dict[str, int]:
    """Read the last line but the doctor's: what was left out, by noun, and how many."""
    last = text.splitlines()[-3]
    assert last.startswith("Left out: ")
    found = re.findall(r"(\d+) ([a-z ]+?)s?(?: in place)? \(", last)
    return {noun: int(number) for number, noun in found}


# ------------------------------------------------------------------ large programs


@pytest.fixture(scope="module")
def resnet() -> ht.Trace:
    torch.manual_seed(0)
    model = torchvision.models.resnet152(weights=None).eval()
    for name, module in model.named_modules():
        if name.endswith("conv1"):
            module.register_forward_hook(lambda m, args, output: None)
            module.weight.register_hook(lambda grad: grad * 2)
    model.layer4[2].conv3.register_forward_hook(lambda m, args, output: output * 3)
    with ht.trace(model) as t:
        model(torch.randn(1, 3, 64, 64)).sum().backward()
    return t


def test_a_very_deep_model_with_many_hooks_fits_on_a_screen(resnet: ht.Trace) -> None:
    text = printed(resnet)
    assert text.startswith("Trace of ResNet: ")
    assert f"{len(resnet.calls())} calls" in text.splitlines()[0]
    assert f"{len(resnet.hooks)} hooks fired {len(resnet.of(ht.events.HookFired))} times" in text


def test_what_does_not_fit_is_counted(resnet: ht.Trace) -> None:
    text = printed(resnet)
    counted = left_out(text)
    table = text.split("\n\n")[1].splitlines()[1:]
    assert counted["inner call"] == len(resnet.calls()) - len(table)
    hooks = re.split(r"defined at +changed\n", text)[1].partition("\n\n")[0].splitlines()
    assert counted["hook"] == len(resnet.hooks) - len(hooks)


def test_a_folded_call_says_how_many_are_inside(resnet: ht.Trace) -> None:
    assert re.search(r"^  layer3 Sequential \(\+36 inside\)", printed(resnet), re.MULTILINE)


def test_a_loop_shows_its_first_step_and_counts_the_others() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        for _ in range(300):
            net(torch.ones(1, 2)).sum().backward()
    text = printed(t)
    assert left_out(text)["further outermost call"] == 299
    assert "300 calls" in text
    assert "300 backward runs" in text
    assert re.search(r"^Linear@0|^@0 Linear", text, re.MULTILINE)


def test_two_hundred_variables_are_cut_to_ten_and_counted() -> None:
    values = {f"v{index}": torch.ones(1, requires_grad=True) for index in range(200)}
    program = "with ht.trace() as t:\n    y = sum(one * 2 for one in list(vs))\n    y.backward()\n"
    scope: dict[str, Any] = {"ht": ht, "torch": torch, "vs": list(values.values()), **values}
    exec(program, scope)
    text = printed(scope["t"])
    assert "v9 " in text
    assert left_out(text)["tensor"] >= 190


def test_many_writes_in_place_are_cut_to_six_and_counted() -> None:
    class Writes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for one in self.children():
                one(x).add_(1)
            return x

    net = Writes()
    for index in range(9):
        net.add_module(f"same{index}", nn.Identity())
    with ht.trace(net) as t:
        net(torch.zeros(20))
    text = printed(t)
    shown = text.partition("Written in place:\n")[2].partition("\n\n")[0].splitlines()
    assert len(t.writes()) == 9
    assert (len(shown), left_out(text)["write"]) == (6, 3)


def test_a_small_trace_leaves_nothing_out() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    text = printed(t)
    assert "Left out" not in text
    assert [line.split()[0] for line in text.split("\n\n")[1].splitlines()] == [
        "call",
        "Sequential",
        "0",
        "1",
    ]


# ------------------------------------------------------------------ what it says


def test_a_model_that_raised_says_where_and_why() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("a bad day\nand more")

    net = nn.Sequential(nn.Identity(), Fails(), nn.Linear(2, 2))
    t = ht.trace(net)
    with pytest.raises(ValueError, match="a bad day"), t:
        net(torch.ones(1, 2))
    text = printed(t)
    assert "Ended early by ValueError: a bad day, raised in 1@0 (Fails)." in text
    assert "raised ValueError: a bad day" in text.partition("\n\n")[2]
    assert "Linear" not in text


def test_an_open_trace_can_be_printed_and_a_call_in_progress_has_no_time() -> None:
    seen: list[str] = []
    net = nn.Sequential(nn.Identity())
    with ht.trace(net) as t:
        net[0].register_forward_hook(lambda m, args, output: seen.append(printed(t)))
        net(torch.ones(1))
    row = next(line for line in seen[0].splitlines() if line.startswith("Sequential"))
    assert not re.search(r"\d+\.\d\d", row)
    assert re.search(r"^Sequential .*\d+\.\d\d", printed(t), re.MULTILINE)


def test_an_empty_trace_is_one_line() -> None:
    with ht.trace() as t:
        pass
    assert printed(t) == "Trace: 0 calls, 0 hooks fired 0 times, 0 backward runs, 0 events"


def test_a_change_by_a_hook_stands_beside_its_call_and_in_the_list() -> None:
    net = nn.Linear(2, 2)

    def double(m: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 2

    net.register_forward_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    text = printed(t)
    assert "forward double (output x2)" in text
    assert re.search(
        r"^forward +Linear +double +1x +test_text.py:\d+ +output x2 returned", text, re.M
    )
    assert "1 hook fired 1 time and changed something 1 time" in text


def test_a_hook_that_never_fired_is_said_to_have_never_fired() -> None:
    net = nn.Linear(2, 2)
    net.weight.register_hook(lambda grad: grad)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert re.search(r"^tensor +weight +<lambda> +never ", printed(t), re.MULTILINE)


def test_columns_stay_beside_a_hook_with_an_endless_name() -> None:
    net = nn.Sequential(nn.Linear(2, 2))

    def look(m: Any, args: Any, output: Any) -> None:
        """Look only."""

    look.__qualname__ = "look_" + "very_" * 60 + "long"
    for _ in range(5):
        net[0].register_forward_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    row = next(line for line in printed(t).splitlines() if line.startswith("  0 Linear"))
    assert re.search(r" 1x2 -> 1x2 +\d+\.\d\d +\[1, 1\] +forward look_very", row)


@pytest.mark.parametrize(
    "name",
    [
        "[bold red]markup[/]",
        "[/nothing to close]",
        "two\nlines",
        "tab\tand\rreturn",
        "x" * 500,
        "模块" * 40,
        "a\u0301\u200d\u202e",
        "%s {0} \\N",
        ":smile:",
    ],
    ids=["markup", "closing", "lines", "tabs", "long", "wide", "marks", "formats", "smile"],
)
def test_hostile_names_do_not_break_the_table(name: str) -> None:
    net = nn.Sequential()
    net.add_module(name, nn.Linear(2, 2))
    net.register_forward_hook(lambda m, args, output: output * 2)

    def hook(grad: torch.Tensor) -> torch.Tensor:
        return grad * 2

    hook.__qualname__ = name
    net._modules[name].weight.register_hook(hook)  # type: ignore[union-attr]
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    text = printed(t)
    shown = "".join(one if one.isprintable() else " " for one in name)
    assert shown.split()[0][:15] in text
    assert len(text.split("\n\n")) == 4
    assert len(text.split("\n\n")[1].splitlines()) == 3


@pytest.mark.parametrize("sign", ["\x1b", "\x7f"])
def test_no_control_character_of_a_name_reaches_the_terminal(sign: str) -> None:
    net = nn.Sequential()
    net.add_module(f"a{sign}[31mb", nn.Linear(2, 2))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert sign not in str(t)


def test_the_factor_of_an_edit_is_not_cut_from_the_list_of_hooks() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda m, args, output: output * 2)
    with ht.trace(net) as t:
        net(torch.full((1, 2), 1 / 3))
    assert "x2" in printed(t).partition("defined at")[2]


def test_what_has_the_number_zero_is_told_like_all_others() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    with ht.trace(model) as t:
        model(torch.ones(1, 1)).sum().backward()
    (event,) = t.of(ht.events.GradientAccumulated)
    assert (event.tensor, event.backward) == (0, 0)
    assert told(t.log, event, None) == "weight  arrived [1]  after [1]  run 1"
