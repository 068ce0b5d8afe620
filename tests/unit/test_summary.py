"""The summary: every parameter once, the shapes that flowed, and a model left as it was."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import hooktrace as ht
from hooktrace.errors import CopyError, UnknownNameError
from hooktrace.views.summary import Cost


class Tied(nn.Module):
    """An embedding whose weight is the head's, a norm that is called twice, a part never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(4)
        self.again = self.norm
        self.spare = nn.Linear(2, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.again(self.norm(self.embed(tokens))))


class Recursive(nn.Module):
    """A module that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, depth: int = 2) -> Tensor:
        y = self.layer(x)
        return self(y, depth - 1) if depth else y


# ------------------------------------------------------------------ what is counted


def test_what_is_shared_is_counted_once_and_told() -> None:
    net = Tied()
    found = ht.summary(net, (2, 5), dtypes=torch.long)
    count = sum(one.numel() for one in net.parameters())
    assert found.totals.sizes.parameters == count == sum(row.own.parameters for row in found)
    assert found["head"].shared == ("weight = embed.weight",)
    assert found["head"].own.parameters == 10
    assert found["head"].inside.parameters == 50
    assert found["again"] is found["norm"]
    assert found["norm"].calls == 2
    text = str(found)
    assert "Shared, counted once: head.weight = embed.weight, norm is also again" in text
    assert "Never called: spare" in text


def test_a_container_that_has_a_shared_part_under_another_name_has_its_parameters_inside() -> None:
    part = nn.Linear(2, 3)
    net = nn.ModuleDict({"a": nn.Sequential(part), "b": nn.Sequential(part, nn.Linear(3, 1))})
    found = ht.summary(net)
    assert found["a"].inside.parameters == 9
    assert found["b"].inside.parameters == 9 + 4
    assert found.totals.sizes.parameters == 13


def test_frozen_parameters_are_told_from_trainable_ones() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    found = ht.summary(net, (1, 2), columns=["params", "trainable"])
    assert found.totals.sizes.trainable == 4
    assert re.search(r"0 Linear +\(9\)  no\n", str(found))
    assert re.search(r"1 Linear +4  yes\n", str(found))
    assert "13 parameters (52 B): 4 trainable, 9 frozen" in str(found)


def test_what_is_frozen_moved_or_replaced_in_the_block_is_told_as_it_is_at_its_end() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with ht.trace(net) as t:
        net(torch.ones(4, 2)).sum().backward()
        net[0].requires_grad_(False)
        net[1].double()
        assert t.summary().totals.sizes.trainable == 6
    sizes = t.summary().totals.sizes
    assert (sizes.parameters, sizes.trainable) == (15, 6)
    assert sizes.parameter_bytes == 9 * 4 + 6 * 8
    assert t.log.parameters[t.tensor("0.weight").row.id] == ("0.weight", False)


def test_buffers_are_counted_in_elements_and_bytes() -> None:
    found = ht.summary(nn.BatchNorm2d(5), (2, 5, 3, 3))
    assert found.totals.sizes.buffers == 11
    assert found.totals.sizes.buffer_bytes == 10 * 4 + 8


def test_a_module_that_calls_itself_is_one_row_whose_time_is_not_counted_twice() -> None:
    net = Recursive()
    with ht.trace(net) as t:
        net(torch.ones(1, 3))
    found = t.summary()
    assert [row.name for row in found] == ["", "layer"]
    assert [row.calls for row in found] == [3, 3]
    assert found.totals.sizes.parameters == 12
    assert found[0].cost.forward_ns == t.calls()[0].duration_ns == found.totals.cost.forward_ns


def test_outputs_that_share_memory_count_once() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Flatten(), nn.Identity())
    found = ht.summary(net, (4, 8))
    assert found.totals.cost.output_bytes == 4 * 8 * 4
    assert found.totals.input_bytes == 4 * 8 * 4
    assert [row.cost.output_bytes for row in found] == [128] * 5


# ------------------------------------------------------------------ what the run tells


def test_shapes_calls_and_hooks_are_those_of_the_trace() -> None:
    net = Tied()
    net.head.register_forward_hook(lambda *_: None)
    net.embed.weight.register_hook(lambda grad: grad)
    with ht.trace(net) as t:
        net(torch.zeros(2, 5, dtype=torch.long)).sum().backward()
        assert t.summary()["head"].hooks == (
            "forward " + t.hooks[0].name,
            "tensor " + t.hooks[1].name,
        )
    found = t.summary()
    assert [one.shape for one in found["head"].inputs] == [(2, 5, 4)]
    assert found["head"].inputs[0].dtype == "float32"
    assert found["embed"].inputs[0].dtype == "int64"
    assert found["embed"].hooks == ("tensor " + t.hooks[1].name,)
    assert found["spare"].calls == 0


class Slow(nn.Module):
    def __init__(self, forward: float, backward: float) -> None:
        super().__init__()
        seconds = backward

        class Sleep(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                time.sleep(forward_seconds)
                return x.clone()

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                time.sleep(seconds)
                return grad

        forward_seconds = forward
        self.function = Sleep

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def fastest(net: nn.Module, x: Tensor, filled: bool) -> list[Cost]:
    """Return the least that each module took in several runs, so that no other process counts.

    Args:
        filled: Whether ``.grad`` is full already when a run begins.
    """
    runs = []
    for _ in range(5):
        net(x).sum().backward()
        if not filled:
            net.zero_grad()
        with ht.trace(net) as t:
            net(x).sum().backward()
        runs.append([row.cost for row in t.summary()])
    return [
        Cost(0, min(one.forward_ns for one in own), min(one.backward_ns or 0 for one in own))
        for own in zip(*runs, strict=True)
    ]


@pytest.mark.parametrize("filled", [False, True])
def test_time_goes_to_the_module_that_took_it(filled: bool) -> None:
    net = nn.Sequential(
        Slow(0, 0.05), nn.Linear(2, 2), Slow(0.04, 0), nn.Linear(2, 2), Slow(0, 0.02)
    )
    whole, *parts = fastest(net, torch.ones(1, 2, requires_grad=True), filled)
    assert [(one.backward_ns or 0) > 15e6 for one in parts] == [True, False, False, False, True]
    assert (parts[0].backward_ns or 0) > 45e6
    assert [one.forward_ns > 30e6 for one in parts] == [False, False, True, False, False]
    assert (whole.backward_ns or 0) > 65e6


@pytest.mark.parametrize("filled", [False, True])
def test_the_time_of_a_convolution_is_not_told_of_the_norms_around_it(filled: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 256, 7), nn.BatchNorm2d(256)
    )
    _, _, before, heavy, after = fastest(net, torch.randn(2, 4, 22, 22), filled)
    for norm in (before, after):
        assert (heavy.backward_ns or 0) > 3 * (norm.backward_ns or 0)


def test_without_an_input_gradient_a_first_layer_ends_with_its_parameters() -> None:
    net = nn.Sequential(nn.Linear(400, 400), nn.ReLU())
    with ht.trace(net) as t:
        net(torch.ones(400, 400)).sum().backward()
    assert (t.summary()["0"].cost.backward_ns or 0) > 10 * 1000


def test_what_checkpointing_runs_again_is_no_call_of_its_own() -> None:
    block = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with ht.trace(block) as t:
        checkpoint(
            block, torch.ones(1, 3, requires_grad=True), use_reentrant=False
        ).sum().backward()
    assert len(t.calls("0")) == 2
    assert [row.calls for row in t.summary()] == [1, 1, 1]
    assert all(row.cost.backward_ns for row in t.summary())


def test_operations_are_those_of_the_closed_form_and_only_counted_when_asked() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    assert ht.summary(net, (2, 3, 8, 8)).totals.cost.flops is None
    found = ht.summary(net, (2, 3, 8, 8), flops=True)
    convolution, linear = 2 * 2 * 4 * 6 * 6 * 3 * 3 * 3, 2 * 2 * 144 * 5
    assert [row.cost.flops for row in found] == [convolution + linear, convolution, 0, linear]
    assert f"{convolution + linear:,}, that is {(convolution + linear) // 2:,} mul" in str(found)


def test_operations_of_a_fused_transformer_are_counted_where_they_belong() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    found = ht.summary(layer, (1, 5, 16), flops=True)
    assert found["linear1"].cost.flops == 2 * 5 * 16 * 32
    with FlopCounterMode(display=False) as counter:  # older ones do not know the kernel
        functional.scaled_dot_product_attention(*torch.rand(3, 1, 2, 5, 8))
    attention = 2 * 5 * 16 * 16 * 4 + counter.get_total_flops()
    assert found.totals.cost.flops == attention + 2 * 2 * 5 * 16 * 32
    assert torch.backends.mha.get_fastpath_enabled()


# ------------------------------------------------------------------ what it is given


def test_shapes_may_come_with_or_without_the_batch_dimension() -> None:
    net = nn.Bilinear(3, 4, 2)
    shapes = [
        [one.shape for one in ht.summary(net, sizes, batch_size=batch)[0].inputs]
        for sizes, batch in (
            ([(5, 3), (5, 4)], None),
            (((3,), (4,)), 5),
            (({"input1": (5, 3), "input2": (5, 4)}), None),
        )
    ]
    assert shapes == [[(5, 3), (5, 4)]] * 3


def test_inputs_can_be_given_as_they_are() -> None:
    net = nn.Bilinear(3, 4, 2)
    x, y = torch.ones(5, 3), torch.ones(5, 4)
    for data in ((x, y), [x, y], {"input1": x, "input2": y}):
        assert [one.shape for one in ht.summary(net, input_data=data)[0].inputs] == [
            x.shape,
            y.shape,
        ]
    assert ht.summary(nn.Linear(3, 1), input_data=x)[0].outputs[0].shape == (5, 1)


def test_further_keywords_go_to_the_model() -> None:
    found = ht.summary(nn.Linear(2, 2), input_data={}, input=torch.ones(1, 2))
    assert found[0].calls == 1
    with pytest.raises(TypeError, match="unknown"):
        ht.summary(Recursive(), (1, 3), unknown=1)


def test_random_inputs_have_the_dtype_of_the_model() -> None:
    assert ht.summary(nn.Linear(2, 2).double(), (1, 2))[0].inputs[0].dtype == "float64"
    with pytest.raises(ValueError, match="2 inputs, but 1 dtypes"):
        ht.summary(nn.Bilinear(3, 4, 2), [(5, 3), (5, 4)], dtypes=[torch.float])


def test_without_an_input_nothing_runs() -> None:
    net = Tied()
    net.register_forward_pre_hook(lambda *_: pytest.fail("it ran"))
    found = ht.summary(net)
    assert found.totals.sizes.parameters == 64
    assert [row.calls for row in found] == [0] * 5
    assert str(found).splitlines()[0].split() == ["module", "params", "hooks"]


def test_another_device_means_a_copy_there() -> None:
    net = Tied()
    found = ht.summary(net, (2, 5), dtypes=torch.long, device="meta")
    assert found["head"].outputs[0].device == "meta"
    assert found.totals.sizes.parameters == 64
    assert {one.device.type for one in net.parameters()} == {"cpu"}


def test_lazy_parameters_stay_lazy() -> None:
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    assert ht.summary(net, (1, 4)).totals.sizes.parameters == 15
    assert nn.parameter.is_lazy(net[0].weight)


def test_what_cannot_be_copied_is_named() -> None:
    net = nn.Linear(2, 2)
    net.lock = sys.stdout  # type: ignore[assignment]
    net.generator = (one for one in ())
    with pytest.raises(CopyError, match="Linear cannot be copied"):
        ht.summary(net, (1, 2), device="meta")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((3,), {}, "takes a module, not a int"),
        ((nn.Linear(1, 1), "x"), {}, "input_size= is a shape"),
        ((nn.Linear(1, 1), (1, 1)), {"input_data": torch.ones(1, 1)}, "not both"),
        (
            (nn.Linear(1, 1),),
            {"input_data": torch.ones(1, 1), "batch_size": 2},
            "belong to input_s",
        ),
        ((nn.Linear(1, 1),), {"flops": True}, "runs nothing without input_size="),
    ],
)
def test_what_does_not_fit_together_is_said(arguments: Any, options: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        ht.summary(*arguments, **options)


# ------------------------------------------------------------------ how it is shown


def test_what_the_depth_hides_is_counted_where_it_is_in() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(3, 1))
    lines = str(ht.summary(net, (4, 2), depth=1, columns=["params", "buffers"])).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["module", "params", "buffers"],
        ["Sequential", "-", "-"],
        ["0", "Sequential", "15", "7"],
        ["1", "Linear", "4", "-"],
    ]
    everything = str(ht.summary(net, (4, 2), depth=None, columns=["params"]))
    assert "    0 Linear" in everything


def test_rows_can_be_sorted_by_a_column_largest_first() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 9), nn.Linear(9, 1))
    lines = str(ht.summary(net, (1, 2), sort="params", columns=["params"])).splitlines()
    assert [line.split()[-1] for line in lines[1:5]] == ["36", "10", "9", "-"]


def test_unknown_columns_are_refused_with_the_nearest() -> None:
    net = nn.Linear(1, 1)
    with pytest.raises(UnknownNameError, match=r"no column 'param'\. Did you mean 'params'"):
        ht.summary(net, columns=["param"])
    with pytest.raises(UnknownNameError, match="cannot be sorted by 'input'"):
        ht.summary(net, sort="input")
    with pytest.raises(UnknownNameError, match="no module 'x'"):
        ht.summary(net)["x"]
    with pytest.raises(ValueError, match="0 or more"):
        ht.summary(net, depth=-1)


def test_rows_are_plain_values_whose_own_parameters_add_up() -> None:
    rows = ht.summary(Tied(), (2, 5), dtypes=torch.long, flops=True).rows()
    assert sum(row["own_parameters"] for row in rows) == 64
    assert {type(one) for row in rows for one in row.values()} <= {str, int, float, type(None)}
    assert rows[2]["output"] == "2x5x10"
    assert rows[2]["shared"] == "weight = embed.weight"


def test_print_has_no_colours_and_rich_has() -> None:
    from rich.console import Console

    found = ht.summary(nn.Linear(1, 1), (1, 1))
    assert "\x1b" not in str(found)
    assert repr(found) == str(found)
    console = Console(force_terminal=True, width=100)
    with console.capture() as shown:
        console.print(found)
    assert "\x1b[1m" in shown.get()
    assert "2 parameters (8 B)" in shown.get()


def test_several_models_have_a_row_each() -> None:
    first, second = nn.Linear(1, 2), nn.Sequential(nn.Linear(2, 3))
    with ht.trace({"encoder": first, "decoder": second}) as t:
        second(first(torch.ones(1, 1)))
    found = t.summary()
    assert [(row.name, row.depth) for row in found] == [
        ("encoder", 0),
        ("decoder", 0),
        ("decoder.0", 1),
    ]
    assert found.totals.sizes.parameters == 4 + 9
    assert found["decoder"].inside.parameters == 9


def test_a_trace_of_everything_has_the_models_it_met() -> None:
    with ht.trace() as t:
        nn.Linear(1, 2)(torch.ones(1, 1))
    assert [row.name for row in t.summary()] == ["Linear"]
    with ht.trace() as t:
        torch.ones(1)
    assert str(t.summary()) == "No module of a model was recorded."


def test_a_module_made_in_a_forward_has_a_row_and_no_parameters_of_the_model() -> None:
    class Maker(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.Linear(2, 2)(x)

    found = ht.summary(Maker(), (1, 2))
    assert [(row.name, row.calls) for row in found] == [("", 1), ("<Linear>", 1)]
    assert found.totals.sizes.parameters == 0


def test_a_file_has_the_same_summary_and_gives_it_without_torch(tmp_path: Path) -> None:
    net = Tied()
    net.head.register_forward_hook(lambda *_: None)
    with ht.trace(net) as t:
        net(torch.zeros(2, 5, dtype=torch.long)).sum().backward()
    t.save(tmp_path / "run.hooktrace")
    program = "import sys, hooktrace; t = hooktrace.load(sys.argv[1]); print(t.summary().rows())"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program + "; assert 'torch' not in sys.modules",
            str(tmp_path / "run.hooktrace"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{t.summary().rows()}\n"


def test_the_rows_are_made_without_torch() -> None:
    program = "import sys, hooktrace.summaries; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# ------------------------------------------------------------------ the model is as it was


class Awkward(nn.Module):
    """Has everything that a run could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.register_buffer("count", torch.zeros(()))
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        self.seen.append(random.random() + float(numpy.random.rand()))
        return self.layers(x)


def hooks_of(module: nn.Module) -> tuple[Any, ...]:
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_as_it_was(training: bool) -> None:
    net = Awkward().train(training)
    net.layers[0].register_forward_hook(lambda *_: None)
    net(torch.randn(3, 4)).sum().backward()
    buffers = dict(net.named_buffers())

    def state() -> Any:
        return (
            {
                name: (one.tolist(), one._version)
                for name, one in net.state_dict(keep_vars=True).items()
            },
            [None if one.grad is None else one.grad.tolist() for one in net.parameters()],
            [(one.training, *map(len, hooks_of(one))) for one in net.modules()],
            torch.get_rng_state().tolist(),
            random.getstate(),
            numpy.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.is_grad_enabled(),
        )

    before = state()
    ht.summary(net, (3, 4), flops=True)
    assert state() == before
    assert all(one is buffers[name] for name, one in net.named_buffers())


def test_a_run_that_raises_leaves_the_model_as_it_was() -> None:
    net = Awkward()
    held = net.layers[1].running_mean.clone()
    state = torch.get_rng_state()
    net.layers[2].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ht.summary(net, (3, 4))
    assert torch.equal(net.layers[1].running_mean, held)
    assert torch.equal(torch.get_rng_state(), state)
