"""`compare`: what a hook without a clone would have got wrong, against what PyTorch computes."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import hooktrace as ht
from hooktrace.agreement import same_bits
from hooktrace.errors import MismatchError, NotKeptError, UnknownFormatError


def net(inplace: bool, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=inplace), nn.Flatten(), nn.Linear(4 * 6 * 6, 3)
    )


def picture() -> torch.Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def traced(model: nn.Module, keep: Any = True, backward: bool = True) -> ht.Trace:
    with ht.trace(model, keep=keep) as t:
        loss = model(picture()).square().sum()
        if backward:
            loss.backward()
    return t


def twins(keep: Any = True) -> tuple[ht.Trace, ht.Trace, list[nn.Module]]:
    models: list[nn.Module] = [net(True), net(False)]
    return traced(models[0], keep), traced(models[1], keep), models


def test_what_a_hook_without_a_clone_holds_is_told_exactly():
    captured = {}
    model = net(True)
    handle = model[0].register_forward_hook(lambda m, a, output: captured.update(naive=output))
    model(picture())
    handle.remove()
    returned = model[0](picture())
    wrong = captured["naive"] != returned

    first, second, _models = twins()
    found = next(one for one in ht.compare(first, second).captures if one.name == "0")

    assert found.first is not None
    assert found.first.wrong == int(wrong.sum()) > 0
    assert found.first.share == pytest.approx(wrong.float().mean().item())
    assert found.first.max_difference == pytest.approx(
        (captured["naive"] - returned).abs().max().item()
    )
    assert found.first.by == "1@0 (ReLU)"
    assert found.second is None
    assert found.returned_equal


def test_only_the_layer_before_the_in_place_one_is_wrong():
    first, second, _models = twins()

    assert [one.name for one in ht.compare(first, second).wrong] == ["0"]


def test_outputs_and_gradients_agree_although_the_captures_do_not():
    first, second, _models = twins()
    found = ht.compare(first, second)

    assert found.outputs_equal is True
    assert found.gradients_equal is True
    assert found.gradients.equal is True
    assert found.parameter_gradients.equal is True
    assert found.parameter_gradients.count == 4


def test_another_weight_makes_outputs_and_gradients_differ():
    models = [net(True), net(False)]
    with torch.no_grad():
        models[1][3].bias[0] += 1
    first, second = (traced(model) for model in models)
    found = ht.compare(first, second)

    assert found.outputs_equal is False
    assert found.gradients_equal is False
    assert found.parameter_gradients.max_difference == max(
        float((one.grad.double() - other.grad.double()).abs().max())
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True)
    )
    assert "differ in" in str(found.outputs)


def test_equal_means_bit_for_bit():
    nan = torch.tensor([float("nan"), 1.0])

    assert same_bits(nan, nan.clone())
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert same_bits(torch.ones(2, 3).t(), torch.ones(3, 2))


def test_the_gradients_of_a_model_that_is_gone_are_not_guessed():
    first, second, models = twins()
    models.clear()
    found = ht.compare(first, second)

    assert found.parameter_gradients.equal is None
    assert "the model is gone" in str(found.parameter_gradients)
    assert found.gradients_equal is True  # those of the kept calls


@pytest.mark.parametrize("change", ["clear", "scale"])
def test_gradients_that_changed_after_the_trace_are_not_compared(change):
    first, second, models = twins()
    if change == "clear":
        models[1].zero_grad()
    else:
        models[1].get_parameter("3.weight").grad.mul_(2)
    found = ht.compare(first, second)

    assert found.parameter_gradients.equal is None
    assert "after the trace" in found.parameter_gradients.reason
    assert "second trace" in found.parameter_gradients.reason


def test_a_post_accumulate_hook_belongs_to_the_gradients_that_are_compared():
    models = [net(True), net(False)]

    def double(parameter: torch.Tensor) -> None:
        parameter.grad.mul_(2)

    models[1][0].weight.register_post_accumulate_grad_hook(double)
    found = ht.compare(*(traced(model) for model in models))

    assert found.parameter_gradients.equal is False
    assert found.parameter_gradients.worst == "0.weight.grad"


def test_two_traces_of_one_model_do_not_share_its_last_gradients():
    model = net(True)
    first = traced(model)
    model.zero_grad()
    model[1].inplace = False
    second = traced(model)
    found = ht.compare(first, second)

    assert found.parameter_gradients.equal is None
    assert "same model" in found.parameter_gradients.reason
    assert [one.name for one in found.wrong] == ["0"]


def test_without_backward_there_are_no_gradients_to_compare():
    models = [net(True), net(False)]
    found = ht.compare(traced(models[0]), traced(models[1], backward=False))

    assert found.gradients_equal is None
    assert "no backward() ran inside the second trace" in str(found)


def test_an_output_that_was_not_kept_is_not_guessed():
    traces = []
    for _ in range(2):
        models = {"one": nn.Sequential(nn.Linear(64, 64)), "other": nn.Sequential(nn.ReLU())}
        with ht.trace(models, keep=["one.0"]) as t:
            for model in models.values():
                model(torch.randn(1, 64, generator=torch.Generator().manual_seed(1)))
        traces.append(t)
    found = ht.compare(*traces)

    assert found.outputs_equal is None
    assert "the output of other@0 was not kept" in found.outputs.reason


def test_the_output_of_a_model_of_which_something_is_kept_is_compared():
    traces = []
    for inplace in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(inplace=inplace))
        with ht.trace(model, keep=["0"]) as t:
            model(torch.randn(1, 64))
        traces.append(t)

    assert ht.compare(*traces).outputs_equal is True


def test_the_output_of_a_model_can_be_kept_by_giving_the_model():
    models = [net(True), net(False)]
    first, second = (traced(model, keep=["0", model]) for model in models)

    assert ht.compare(first, second).outputs_equal is True


def test_a_write_that_pytorch_does_not_count_is_found_too():
    class Sneaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            y.data.zero_()
            return y

    traces = []
    for _ in range(2):
        model = Sneaky()
        with ht.trace(model, keep=["inner"]) as t:
            model(torch.ones(3))
        traces.append(t)
    (capture,) = ht.compare(*traces).wrong

    assert capture.first is not None
    assert capture.first.wrong == 3
    assert ".data" in capture.first.by


def test_calls_are_paired_by_name_and_number():
    class Twice(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.inner = nn.Hardtanh(inplace=inplace)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(self.inner(x * 2) * 3)

    traces = []
    for inplace in (True, False):
        model = Twice(inplace)
        with ht.trace(model, keep=["inner"]) as t:
            model(torch.randn(3))
            if inplace:
                model(torch.randn(3))
        traces.append(t)
    found = ht.compare(*traces)

    assert [one.name for one in found.captures] == ["inner@0", "inner@1"]
    assert found.left_out["inner@2"] == "only called in the first trace"


def test_calls_that_one_trace_did_not_keep_are_left_out_and_named():
    models = [net(True), net(False)]
    found = ht.compare(traced(models[0], keep=["0", "1"]), traced(models[1], keep=["0"]))

    assert [one.name for one in found.captures] == ["0"]
    assert found.left_out["1@0"] == "not kept in the second trace"
    assert "not kept in the second trace: 1@0" in str(found)


def test_modules_that_differ_are_told():
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
    found = ht.compare(traced(net(True)), traced(other))
    assert found.structure == ("only the first trace calls 3 (Linear)",)
    assert "only the first trace calls 3 (Linear)" in str(found)
    other = net(True)
    other[1] = nn.Tanh()
    assert ht.compare(traced(net(True)), traced(other)).structure == ("1 is ReLU | Tanh",)
    assert ht.compare(traced(net(True)), traced(net(False))).structure == ()


def test_a_module_that_was_called_more_often_is_told():
    model = net(False)
    with ht.trace(model) as twice:
        model(picture())
        model(picture())
    found = ht.compare(traced(model), twice)
    assert len(found.structure) == 5
    assert found.structure[0] == "Sequential was called 1 | 2 times"


def test_traces_without_a_common_module_are_refused():
    with ht.trace() as other:
        nn.Linear(1, 1)(torch.ones(1))
    with pytest.raises(MismatchError, match=r"the first has Sequential .* second Linear"):
        ht.compare(traced(net(True)), other)


def test_without_kept_values_the_rest_is_told():
    found = ht.compare(traced(net(True), keep=["0"]), traced(net(False), keep=False))
    assert found.captures == ()
    assert "the first kept '0', the second nothing" in found.unkept
    assert found.unkept in str(found)
    assert found.outputs_equal is True  # they are small, and were recorded whole
    assert [one.name for one in found.timings] == ["Sequential@0", "0@0", "1@0", "2@0", "3@0"]


def test_released_traces_say_so():
    first, second, _models = twins()
    first.release()
    assert "released" in ht.compare(first, second).unkept


def halve(grad: torch.Tensor) -> torch.Tensor:
    return grad / 2


def double(grad: torch.Tensor) -> torch.Tensor:
    return grad * 2


def hooked(*functions: Any) -> ht.Trace:
    model = net(False)
    for function in functions:
        model[3].bias.register_hook(function)
    return traced(model)


def test_hooks_that_only_one_trace_has_and_their_edits_are_told():
    found = ht.compare(hooked(double), hooked())
    assert found.hooks == ("only the first trace has the tensor hook double on 3.bias",)
    assert found.edits == ("tensor hook double on 3.bias: grad returned, x2 (1 | 0 times)",)
    assert ht.compare(hooked(double), hooked(double)).hooks == ()
    assert ht.compare(hooked(double), hooked(double)).edits == ()


def test_another_order_of_the_same_hooks_is_told():
    found = ht.compare(hooked(double, halve), hooked(halve, double))
    assert len(found.hooks) == 2
    assert all(line.startswith("order: in the ") for line in found.hooks)
    assert "the same" not in next(
        line for line in str(found).splitlines() if line.startswith("hooks and order")
    )


def test_a_hook_that_fired_more_often_is_told():
    model = net(False)
    model[1].register_forward_hook(lambda *_: None)
    with ht.trace(model) as twice:
        model(picture())
        model(picture())
    (line,) = ht.compare(traced(model), twice).hooks
    assert line.endswith("fired 1 | 2 times")


def test_times_are_those_of_the_calls():
    first, second, _models = twins()
    timing = ht.compare(first, second).timings[1]
    assert (timing.first_ns, timing.second_ns) == (
        first["0"].duration_ns, second["0"].duration_ns,
    )  # fmt: skip
    assert timing.ratio == second["0"].duration_ns / first["0"].duration_ns


def test_loaded_traces_compare_like_live_ones(tmp_path):
    first, second, _models = twins()
    live = ht.compare(first, second)
    loaded = ht.compare(
        *(ht.load(t.save(tmp_path / f"{n}.hooktrace")) for n, t in enumerate((first, second)))
    )
    assert loaded.captures == live.captures
    assert loaded.outputs == live.outputs
    assert loaded.gradients == live.gradients
    assert loaded.timings == live.timings
    assert "a file holds no parameters" in loaded.parameter_gradients.reason


def test_small_gradients_of_parameters_are_compared_from_files(tmp_path):
    files = []
    for scale in (1.0, 2.0, 2.0):
        model = nn.Linear(2, 1)
        with ht.trace(model) as t:
            (model(torch.ones(1, 2)) * scale).sum().backward()
        files.append(ht.load(t.save(tmp_path / f"{len(files)}.hooktrace")))
    assert ht.compare(files[0], files[1]).parameter_gradients.equal is False
    assert ht.compare(files[1], files[2]).parameter_gradients.equal is True


def test_a_printed_comparison_has_at_most_sixty_lines():
    def deep(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        layers = [(nn.Linear(3, 3), nn.ReLU(inplace=inplace)) for _ in range(50)]
        return nn.Sequential(*(layer for pair in layers for layer in pair))

    traces = []
    for inplace in (True, False):
        model = deep(inplace)
        with ht.trace(model, keep=True) as t:
            model(torch.ones(1, 3))
        traces.append(t)
    lines = str(ht.compare(*traces)).splitlines()

    assert 30 < len(lines) <= 60
    assert any(line.startswith("... and") and "more" in line for line in lines)


def test_the_picture_shows_negative_values_blue_only_on_the_side_that_was_returned(tmp_path):
    first, second, _models = twins()
    path = ht.compare(first, second).draw(tmp_path / "pair.png")
    with Image.open(path) as image:
        pixels = torch.tensor(np.asarray(image.convert("RGB"))).int()
    blue = (pixels[..., 2] - pixels[..., 0] > 60) & (torch.arange(len(pixels)) < 400)[:, None]
    middle = pixels.shape[1] // 2

    assert int(blue[:, :middle].sum()) > 1000
    assert int(blue[150:-60, middle:].sum()) == 0


@pytest.mark.parametrize("shape", [(), (7,), (2, 10), (2, 5, 6), (1, 100, 3, 3), (2, 2, 3, 4, 5)])
def test_values_of_any_shape_are_drawn(tmp_path, shape):
    traces = []
    for inplace in (True, False):
        model = nn.Sequential(nn.Identity(), nn.ELU(inplace=inplace))
        with ht.trace(model, keep=["0"]) as t:
            model(torch.full(shape, -2.0))
        traces.append(t)
    path = ht.compare(*traces).draw(tmp_path / "pair.png", item=1)
    with Image.open(path) as image:
        colours = image.getcolors(1 << 20)
    assert colours is not None
    assert (33, 102, 172) in [colour for _, colour in colours]  # -2, the lowest value


def test_a_comparison_without_a_difference_has_nothing_to_draw(tmp_path):
    found = ht.compare(traced(net(False)), traced(net(False)))
    with pytest.raises(NotKeptError, match=r"(?s)nothing to draw.*end the path in \.svg"):
        found.draw(tmp_path / "pair.png")


def test_other_endings_are_errors_that_name_those_there_are(tmp_path):
    first, second, _models = twins()
    with pytest.raises(UnknownFormatError, match=r"\.png .values. or \.svg, \.pdf, \.dot"):
        ht.compare(first, second).draw(tmp_path / "pair.jpg")
    with pytest.raises(ValueError, match="item= chooses among values"):
        ht.compare(first, second).draw(tmp_path / "pair.svg", item=1)


def test_the_picture_of_modules_marks_what_differs_where_it_differs(tmp_path):
    traces = []
    for inplace in (True, False):
        rows = [nn.Sequential(nn.Identity(), nn.Hardtanh()) for _ in range(6)]
        rows[3][1] = nn.Hardtanh(-0.25, 1.0, inplace=inplace)
        model = nn.Sequential(*rows)
        with ht.trace(model, keep=["3.0", "5"]) as t:
            model(torch.tensor([[-3.0, 0.5]]) / (1 if inplace else 2))
        traces.append(t)
    text = ht.compare(*traces).draw(tmp_path / "pair.dot").read_text()
    said = html.unescape(re.sub("<[^<>]*>", "\n", text))
    lines = [line.strip() for line in said.split("\n")]
    assert lines.count("inplace=True | default") == 1
    assert lines.count("first: a naive hook holds output 50 % wrong by up to 0.75") == 1
    assert lines.count("output differs by up to 0.25") == 2  # 0.5 against 0.25, in 3.0 and in 5
    assert lines.count("3.0") == 1  # opened: something differs there
    assert "orange frame with corners" in said


def test_what_is_the_same_has_no_mark(tmp_path):
    found = ht.compare(traced(net(False)), traced(net(False)))
    assert "differs" not in found.draw(tmp_path / "pair.dot").read_text()


def test_the_lazy_name_stays_a_function():
    assert callable(ht.compare)
    first, second, _models = twins()
    assert isinstance(ht.compare(first, second), ht.Comparison)
    assert callable(ht.compare)  # no submodule took its place
