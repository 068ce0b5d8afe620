"""Statistics: what they say is what PyTorch says of the same values, and nothing is waited for."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from observed import Program, alive, left_behind
from torch import nn
from torch.profiler import ProfilerActivity, profile

import hooktrace as ht
from hooktrace.errors import NoStatisticsError
from hooktrace.events import GradientAccumulated, GradientComputed, HookFired
from hooktrace.statistics import is_measured, measure
from hooktrace.tensorstats import TensorStats

TIES = {"rel_tol": 1e-5, "abs_tol": 1e-6}


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(288, 4),
    )


def assert_of(stats: TensorStats | None, tensor: torch.Tensor) -> None:
    """Compare statistics with what PyTorch says of the tensor, in double precision."""
    assert stats is not None
    wide = tensor.detach().double()
    for name, expected in (
        ("min", wide.min()),
        ("max", wide.max()),
        ("mean", wide.mean()),
        ("std", wide.std(correction=0)),
        ("norm", wide.norm()),
    ):
        found = getattr(stats, name)
        both_nan = math.isnan(found) and math.isnan(expected)
        assert both_nan or math.isclose(found, float(expected), **TIES), name
    counts = (stats.nan, stats.inf, stats.zeros, stats.total)
    odd = (wide.isnan().sum(), wide.isinf().sum(), (wide == 0).sum(), wide.numel())
    assert counts == tuple(map(int, odd))
    if tensor.dim() < 2:
        assert (stats.channels, stats.dead_channels) == (None, None)
    else:
        dead = int((wide.transpose(0, 1).flatten(1) == 0).all(1).sum())
        assert (stats.channels, stats.dead_channels) == (tensor.shape[1], dead)


def taken(tensor: torch.Tensor) -> TensorStats:
    """Return the statistics of one tensor, as a trace takes them of an argument."""
    with ht.trace(stats=True) as t:
        nn.Identity()(tensor)
    return t.calls()[0].stats["args[0]"]


# ------------------------------------------------------------------ what they say


def test_they_are_those_of_the_kept_outputs_and_gradients() -> None:
    with ht.trace(net := small_net(), keep=True, stats=True) as t:
        net(torch.randn(4, 3, 8, 8)).square().mean().backward()
    for call in t.calls():
        roles = [("output", call.outputs), ("grad_output", call.grad_outputs)]
        for role, values in [*roles, ("grad_input", call.grad_inputs), ("args", call.inputs)]:
            for place, value in enumerate(values):
                name = role if role == "output" else f"{role}[{place}]"
                if isinstance(value, torch.Tensor):
                    assert_of(call.stats[name], value)
    assert sum(len(call.stats) for call in t.calls()) == 4 * 6 - 2  # no grad_input of the batch


def test_a_value_written_in_place_has_those_from_before_and_from_after() -> None:
    with ht.trace(net := small_net(), keep=True, stats=True) as t:
        net(torch.randn(4, 3, 8, 8))
    assert t["1"].stats["output"].min < 0
    assert t["2"].stats["output"].min == 0
    assert_of(t["1"].stats["output"], t["1"].output)


def test_of_a_parameter_its_value_its_gradient_and_what_was_accumulated() -> None:
    net = small_net()
    held = copy.deepcopy(net)
    with ht.trace(net, stats=True) as t:
        net(torch.randn(4, 3, 8, 8)).sum().backward()
        first = net[0].weight.grad.clone()
        net(torch.randn(4, 3, 8, 8)).sum().backward()
    story = t.tensor("0.weight")
    assert_of(story.stats["value"], held[0].weight)
    assert_of(story.stats[".grad"], net[0].weight.grad)
    sums = [t.log.stats.of(one.after) for one in story.accumulated]
    assert_of(sums[0], first)
    assert_of(sums[1], net[0].weight.grad)


def test_parameters_are_measured_anew_after_a_step_only() -> None:
    net = nn.Linear(20, 20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net, stats=True) as t:
        net(torch.ones(2, 20)).sum().backward()
        net(torch.ones(2, 20))
        optimizer.step()
        net(torch.ones(2, 20))
    found = [(one.call, t.log.tensors[one.tensor].name) for one in t.log.stats.parameters]
    assert found == [(0, "weight"), (0, "bias"), (2, "weight"), (2, "bias")]
    assert_of(t.log.stats[t.log.stats.parameters[-2].number], net.weight)


def test_of_plain_tensors() -> None:
    w = torch.randn(5, 7, requires_grad=True)
    with ht.trace(stats=True) as t:
        a = w.exp()
        a.retain_grad()
        loss = a.sum()
        loss.backward()
    assert_of(t.tensor("w").stats[".grad"], w.grad)
    assert_of(t.tensor("a").stats["gradient"], torch.ones(5, 7))
    assert_of(t.tensor("a").stats[".grad"], torch.ones(5, 7))
    assert_of(t.tensor("loss").stats["value"], loss)


@pytest.mark.parametrize("how", ["returned", "in_place"])
@pytest.mark.parametrize("edits", ["values", "versions"])
def test_of_both_sides_of_an_edit(how: str, edits: str) -> None:
    def triple(grad: torch.Tensor) -> torch.Tensor | None:
        return grad * 3 if how == "returned" else grad.mul_(3).__class__ and None

    w = torch.randn(6, 6, requires_grad=True)
    w.register_hook(triple)
    with ht.trace(stats=True, edits=edits) as t:
        (w * 2).sum().backward()
    (edit,) = t.edits
    before, after = edit.stats
    assert edit.how == how
    assert_of(before, torch.full((6, 6), 2.0))
    assert_of(after, torch.full((6, 6), 6.0))


def test_of_an_edit_past_the_version_counter() -> None:
    net = nn.Linear(6, 6)
    net.register_forward_hook(lambda module, args, output: output.data.zero_().__class__ and None)
    with ht.trace(net, stats=True) as t:
        net(torch.randn(6, 6))
    (edit,) = t.edits
    before, after = edit.stats
    assert before is not None
    assert before.norm > 0
    assert_of(after, torch.zeros(6, 6))


def test_each_sighting_of_an_inference_tensor_is_measured() -> None:
    """They have no version, so that a value cannot be known again."""
    with torch.inference_mode(), ht.trace(net := small_net().eval(), stats=True) as t:
        net(torch.randn(4, 3, 8, 8))
    assert t["1"].stats["output"].min < 0
    assert t["2"].stats["output"].min == 0


def test_a_sum_of_shares_that_was_not_formed_has_none() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(20, 20)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sin() + self.inner(x)

    net = nn.Sequential(nn.Linear(20, 20), Block())
    for keep in (False, True):
        with ht.trace(net, stats=True, keep=keep) as t:
            net(torch.randn(3, 20)).sum().backward()
        assert ("grad_input[0]" in t["1"].stats) is keep
    assert_of(t["1"].stats["grad_input[0]"], t["1"].grad_input)


@given(
    numbers=st.lists(
        st.floats(min_value=-1e15, max_value=1e15)
        | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]),
        min_size=1,
        max_size=40,
    ),
    channels=st.integers(1, 5),
)
def test_any_numbers(numbers: list[float], channels: int) -> None:
    for shape in ((-1,), (1, -1), (-1, 1)):
        whole = torch.tensor(numbers, dtype=torch.float64).reshape(shape)
        assert_of(taken(whole), whole)
    several = torch.tensor(numbers * channels, dtype=torch.float64)
    assert_of(taken(several.reshape(-1, channels, 1)), several.reshape(-1, channels, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["dense", "expanded", "channels_last", "transposed", "scalar"])
def test_every_dtype_and_layout_that_is_measured(dtype: torch.dtype, layout: str) -> None:
    dense = torch.randn(2, 6, 4, 4).to(dtype).relu()
    dense[:, 2] = 0
    tensor = {
        "dense": dense,
        "expanded": dense[:1].expand(3, 6, 4, 4),
        "channels_last": dense.to(memory_format=torch.channels_last),
        "transposed": dense.transpose(0, 3),
        "scalar": dense.sum(),
    }[layout]
    assert_of(taken(tensor), tensor)


def test_dead_channels_are_those_that_are_zero_over_batch_and_places() -> None:
    maps = torch.ones(2, 4, 3, 3)
    maps[:, 1] = 0
    maps[0, 2] = 0  # alive in the other item
    maps[:, 3, :2] = 0  # alive in the last row
    stats = taken(maps)
    assert (stats.channels, stats.dead_channels) == (4, 1)


def test_a_norm_of_half_precision_does_not_overflow() -> None:
    large = torch.full((100,), 60000.0, dtype=torch.float16)
    assert taken(large).norm == pytest.approx(600000.0, rel=1e-3)


def test_counts_are_exact_beyond_what_single_precision_counts() -> None:
    many = torch.zeros(2**24 + 3)
    numbers = measure(many).tolist()
    assert numbers[7] == 2**24 + 3


# ------------------------------------------------------------------ what has none

UNMEASURED = {
    "integers": lambda: torch.ones(3, dtype=torch.int64),
    "truth values": lambda: torch.ones(3, dtype=torch.bool),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "floats of 8 bits": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "sparse": lambda: torch.ones(3).to_sparse(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged),
    "meta": lambda: torch.ones(3, device="meta"),
    "subclass": lambda: torch.ones(3).as_subclass(type("Mine", (torch.Tensor,), {})),
    "empty": lambda: torch.ones(0, 3),
    "without memory": lambda: without_memory(),
}


def without_memory() -> torch.Tensor:
    tensor = torch.ones(3)
    tensor.untyped_storage().resize_(0)
    return tensor


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*", "ignore:.*deprecated.*")
@pytest.mark.parametrize("kind", UNMEASURED)
def test_what_cannot_be_measured_has_none(kind: str) -> None:
    assert not is_measured(UNMEASURED[kind]())


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
@pytest.mark.parametrize("kind", [kind for kind in UNMEASURED if kind != "without memory"])
def test_a_trace_passes_over_what_cannot_be_measured(kind: str) -> None:
    net = nn.Identity()
    with ht.trace(net, stats=True) as t:
        net(UNMEASURED[kind]())
    assert t.calls()[0].stats == {}


def test_inside_a_function_transform_nothing_is_measured() -> None:
    net = nn.Linear(20, 2)
    with ht.trace(net, stats=True) as t:
        torch.func.vmap(net)(torch.ones(4, 20))
        torch.func.grad(lambda x: net(x).sum())(torch.ones(20))
    assert [call.stats for call in t.calls()] == [{}, {}]


def test_asking_for_statistics_that_were_not_taken_says_how_to_take_them() -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    with pytest.raises(NoStatisticsError, match="stats=True"):
        _ = t.calls()[0].stats
    with pytest.raises(NoStatisticsError, match="stats=True"):
        _ = t.tensor("weight").stats
    assert "std" not in str(t)


# ------------------------------------------------------------------ what they cost


def reads(program: Program, **options: Any) -> dict[str, int]:
    """Count the operators by which a number comes from a device to Python, while a block lasts."""
    model, step = program()
    step()
    trace = ht.trace(model, **options)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        trace.__enter__()
        step()
    trace.__exit__(None, None, None)
    wanted = {"aten::item", "aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal"}
    return {one.key: one.count for one in seen.key_averages() if one.key in wanted}


def wide_program() -> Any:
    """A step whose tensors are all too large to be recorded whole."""
    net = nn.Sequential(nn.Linear(20, 20), nn.ReLU(inplace=True), nn.Linear(20, 20))
    net[0].weight.register_hook(lambda grad: grad * 2)
    net[2].register_full_backward_hook(lambda module, gi, go: (gi[0] * 2,))
    net[2].register_forward_hook(lambda module, args, output: output * 2)

    def step() -> None:
        output = net(torch.ones(3, 20))
        torch.autograd.backward([output], [torch.ones(3, 20)])

    return net, step


def test_nothing_is_read_from_the_device_while_the_block_lasts() -> None:
    assert reads(wide_program, stats=True) == reads(wide_program, edits="values")
    assert reads(wide_program, stats=True, edits="versions") == {}


def test_the_count_of_what_is_read_notices_an_item() -> None:
    def program() -> Any:
        net, step = wide_program()
        return net, lambda: (step(), torch.ones(1).item())

    assert reads(program, stats=True, edits="versions")["aten::item"] == 1


def test_they_can_be_read_while_the_block_lasts() -> None:
    with ht.trace(net := small_net(), stats=True) as t:
        net(torch.randn(4, 3, 8, 8)).sum().backward()
        early = dict(t["0"].stats)
        net(torch.randn(4, 3, 8, 8)).sum().backward()
    assert t["0@0"].stats == early
    assert "grad_output[0]" in t["0@1"].stats


def test_no_tensor_outlives_the_block() -> None:
    left_behind(wide_program, lambda models: ht.trace(models, stats=True))
    expected = left_behind(wide_program)
    assert left_behind(wide_program, lambda models: ht.trace(models, stats=True)) == expected


def test_a_block_that_is_open_holds_nine_numbers_of_each_value() -> None:
    net, step = wide_program()
    step()
    with ht.trace(net, stats=True, edits="versions") as t:
        step()
        alive()  # what other tests left in cycles may take more than one collection
        before = alive()
        taken = len(t.log.stats)
        after = alive()
    assert before["tensor"] - after["tensor"] == taken


def test_the_events_are_those_of_a_trace_without_statistics() -> None:
    logs = []
    for stats in (False, True):
        model, step = wide_program()
        with ht.trace(model, stats=stats) as t:
            step()
        logs.append(t)
    assert [type(event) for event in logs[0].events] == [type(event) for event in logs[1].events]
    kinds = (GradientComputed, GradientAccumulated, HookFired)
    assert all(logs[1].of(kind) for kind in kinds)


def test_a_failure_to_measure_is_told_and_the_program_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no room")

    monkeypatch.setattr("hooktrace.statistics.measure", broken)
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    net = nn.Linear(20, 20)
    trace = ht.trace(net, stats=True)
    with pytest.warns(ht.errors.ProbeFailedWarning, match="no room"), trace as t:
        assert net(torch.ones(1, 20)).shape == (1, 20)
    assert t.calls()[0].stats == {}


# ------------------------------------------------------------------ how they are shown


def test_the_table_shows_them_only_where_they_were_taken() -> None:
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 20))
    with ht.trace(net, stats=True) as t:
        net(torch.ones(2, 20)).sum().backward()
    text = str(t)
    assert "output: mean, std" in text
    output = t["0"].stats["output"]
    assert f"{output.mean:.3g}, {output.std:.3g}" in text
    assert f"norm {t['0'].stats['grad_output[0]'].norm:.3g}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_table_says_what_is_odd_instead_of_a_mean() -> None:
    net = nn.Sequential(nn.Linear(20, 30), nn.ReLU())
    with torch.no_grad():
        net[0].bias.fill_(-1e9)
    with ht.trace(net, stats=True) as t:
        net(torch.ones(2, 20))
        net(torch.full((2, 20), math.nan))
    assert "all zero" in str(t)
    assert t["1@1"].stats["output"].oddity == "60 of 60 NaN"
