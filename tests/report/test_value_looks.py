"""What values look like: histograms against PyTorch and NumPy, thumbnails against area pooling."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

import hooktrace as ht
from hooktrace.events import HookFired, TensorWritten
from hooktrace.report import Extras
from hooktrace.report.lookforms import looks_part
from hooktrace.report.phrases import say
from hooktrace.valuelooks import BINS, TILES, look, looks


def pixels(found: dict[str, Any]) -> torch.Tensor:
    """The numbers behind a thumbnail: (tiles, H, W), NaN where one is not finite."""
    tiles = found["tiles"]
    raw = torch.tensor(list(base64.b64decode(tiles["pixels"])), dtype=torch.float64)
    raw = raw.reshape(len(tiles["places"]), *tiles["size"])
    numbers = tiles["lo"] * (1 - raw / 254) + tiles["hi"] * (raw / 254)
    return torch.where(raw == 255, math.nan, numbers)


def assert_shows(found: dict[str, Any], expected: torch.Tensor) -> None:
    """Pixels are right to half a level of the scale."""
    shown, tiles = pixels(found), found["tiles"]
    assert shown.shape == expected.shape
    assert (shown - expected).abs().max() <= (tiles["hi"] - tiles["lo"]) / 254 * 0.501


# ------------------------------------------------------------------ histograms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_histogram_is_that_of_numpy(dtype: torch.dtype) -> None:
    tensor = torch.randn(50, 41, generator=torch.Generator().manual_seed(0)).to(dtype)
    counts, edges = numpy.histogram(tensor.double().numpy(), BINS)
    found = look(tensor)["hist"]
    assert found["counts"] == counts.tolist() == torch.histc(tensor, BINS).int().tolist()
    assert (found["lo"], found["hi"]) == (edges[0], edges[-1])


def test_nan_and_infinity_are_counted_apart() -> None:
    tensor = torch.tensor([1.0, math.nan, 2.0, math.inf, -math.inf, 0.0, math.nan, math.nan])
    found = look(tensor)
    stats = found["stats"]
    assert (stats["nan"], stats["inf"], stats["zeros"], stats["total"]) == (3, 2, 1, 8)
    assert (stats["min"], stats["max"], stats["mean"]) == (0, 2, 1)
    assert sum(found["hist"]["counts"]) == 3
    assert found["tiles"]["odd"] == 5
    assert pixels(found).isnan().flatten().tolist() == [not x.isfinite() for x in tensor]


def test_statistics_are_those_of_torch() -> None:
    tensor = torch.randn(300, generator=torch.Generator().manual_seed(1))
    stats = look(tensor)["stats"]
    assert stats["mean"] == pytest.approx(float(tensor.mean()), rel=1e-5)
    assert stats["std"] == pytest.approx(float(tensor.std(correction=0)), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (torch.tensor([0, 1, 1, 3]), [1, 2, 0, 1]),
        (torch.tensor([True, False, True]), [1, 2]),
        (torch.arange(10).repeat(2), [2] * 10),
        (torch.full((5,), 7.5), [5]),
    ],
)
def test_whole_numbers_have_a_bin_each(values: torch.Tensor, counts: list[int]) -> None:
    assert look(values)["hist"]["counts"] == counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_widest_range_has_a_histogram(dtype: torch.dtype) -> None:
    top = torch.finfo(dtype).max
    found = look(torch.tensor([-top, top, 0.0], dtype=dtype))
    assert sum(found["hist"]["counts"]) == 3
    assert pixels(found)[0, 0, 2] == 0


# ------------------------------------------------------------------ thumbnails


def test_a_large_picture_is_brought_down_by_area() -> None:
    tensor = torch.randn(2, 20, 64, 96, generator=torch.Generator().manual_seed(2))
    found = look(tensor)
    tiles = found["tiles"]
    assert tiles["places"] == list(range(TILES))
    assert (tiles["of"], tiles["item"], tiles["pooled"]) == (20, 0, True)
    assert_shows(found, nn.AvgPool2d((2, 3))(tensor[0, :TILES]).double())


def test_sizes_that_do_not_divide_are_pooled_as_pytorch_does() -> None:
    tensor = torch.rand(3, 37, 55, generator=torch.Generator().manual_seed(3))
    assert_shows(look(tensor), adaptive_avg_pool2d(tensor, (32, 32)).double())


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((), (1, 1)),
        ((7,), (1, 7)),
        ((1, 1000), (1, 256)),
        ((4, 5), (4, 5)),
        ((2, 3, 2, 4, 5), (4, 5)),
    ],
)
def test_every_number_of_dimensions_has_a_picture(
    shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    tensor = torch.rand(shape)
    found = look(tensor)
    assert tuple(found["tiles"]["size"]) == size
    if tensor.numel() < 100:
        expected = tensor[0] if tensor.dim() > 3 else tensor
        assert_shows(found, expected.reshape(-1, *size).double())


def test_zero_is_in_the_middle_of_signed_values() -> None:
    found = look(torch.tensor([[-1.0, 0.0], [4.0, 2.0]]))
    tiles = found["tiles"]
    assert (tiles["signed"], tiles["lo"], tiles["hi"]) == (True, -4, 4)
    assert base64.b64decode(tiles["pixels"])[1] == 127
    assert look(torch.tensor([0.0, 2.0]))["tiles"]["signed"] is False


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (torch.empty(0, 3), "empty"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
        (torch.full((2, 2), math.nan), "nonfinite"),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged), "nested"),
    ],
)
def test_what_has_no_picture_says_why(tensor: torch.Tensor, why: str) -> None:
    found = look(tensor)
    assert found["why"] == why
    assert "tiles" not in found


@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore::UserWarning")
def test_quantized_tensors_say_so() -> None:
    assert look(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))["why"] == "quantized"


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64, torch.bool]
)
def test_other_dtypes_are_shown_as_numbers(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    assert pixels(look(tensor)).tolist() == [[[0, 1], [1, 0]]]


# ------------------------------------------------------------------ of a trace


def traced(**options: Any) -> Any:
    def zero(module: Any, args: Any, output: Any) -> None:
        output[1, 20] = 0

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 24, 3), nn.ReLU(inplace=True))
    net[0].register_forward_hook(zero)
    with ht.trace(net, keep=["0", "1"], **options) as t:
        net(torch.randn(2, 1, 8, 8)).sum().backward()
    t.edits  # noqa: B018 - measures them
    return t


def test_an_edit_shows_the_image_and_channel_that_changed() -> None:
    t = traced()
    edit = t.of(HookFired)[0].edits[0]
    before, after = edit.before.value, edit.after.value
    found = looks(t.log)
    for one in (found.values[before], found.values[after], found.differences[before, after]):
        assert (one["tiles"]["item"], one["tiles"]["places"][:2]) == (1, [20, 0])
    kept = t.log.snapshots
    change = (kept[after] - kept[before])[1, [20, *range(15)]]
    assert_shows(found.differences[before, after], change.double())


def test_a_write_in_place_has_a_difference() -> None:
    t = traced()
    write = t.of(TensorWritten)[-1]
    found = looks(t.log).differences[write.before, write.after]
    assert found["tiles"]["signed"]
    assert found["stats"]["min"] >= 0  # a ReLU raises what is below zero


def test_all_kept_values_have_looks_gradients_as_well() -> None:
    t = traced()
    found = looks(t.log).values
    assert set(found) == set(t.log.snapshots)
    assert len(t["1"].grad_output) == 2
    assert t["1"].gradients[0].gradient.value in found


def test_a_loaded_trace_looks_the_same(tmp_path: Path) -> None:
    t = traced()
    t.save(tmp_path / "run.trace")
    assert looks(ht.load(tmp_path / "run.trace").log) == looks(t.log)


def test_a_loaded_trace_of_which_the_file_is_gone_says_so(tmp_path: Path) -> None:
    traced().save(tmp_path / "run.trace")
    loaded = ht.load(tmp_path / "run.trace")
    (tmp_path / "run.trace").unlink()
    assert {one["why"] for one in looks(loaded.log).values.values()} == {"unreadable"}
    assert loaded.report(tmp_path / "x.html").exists()


def test_nothing_is_disturbed() -> None:
    t = traced()
    own = nn.Parameter(torch.randn(3, 4))
    t.log.snapshots[next(iter(t.log.snapshots))] = own
    copies = {value: (one.clone(), one._version) for value, one in t.log.snapshots.items()}
    state = torch.random.get_rng_state()
    looks(t.log)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert own.requires_grad
    assert own.grad is None
    for value, (copy, version) in copies.items():
        assert torch.equal(t.log.snapshots[value], copy)
        assert t.log.snapshots[value]._version == version


def test_no_mode_of_the_users_sees_it() -> None:
    class Spy(torch.overrides.TorchFunctionMode):
        seen: list[Any] = []  # noqa: RUF012

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.seen.append(func)
            return func(*args, **(kwargs or {}))

    t = traced()
    with Spy() as spy:
        looks(t.log)
    assert spy.seen == []


# ------------------------------------------------------------------ as a part of the page


def forms() -> tuple[list[Any], list[Any]]:
    found = looks(traced().log)
    part = looks_part(Extras(looks=found.values, differences=found.differences), 1.0)
    return [one.make() for one in part.forms], [list(one.left_out) for one in part.forms]


def test_poorer_forms_show_fewer_tiles_and_say_so() -> None:
    data, told = forms()
    count = len(data[0]["values"])
    most = [
        max(
            (len(one["tiles"]["places"]) for one in form["values"].values() if "tiles" in one),
            default=0,
        )
        for form in data
    ]
    assert most == [16, 8, 4, 4, 0, 0]
    assert told == [
        [],
        [say("left_tiles", most="8")],
        [say("left_tiles", most="4")],
        [say("left_unchanged_thumbnails", count=told[3][0].values["count"])],
        [say("left_thumbnails", count=str(count))],
        [say("left_looks", count=str(count))],
    ]
    assert data[5]["values"] == {}


def test_a_form_with_fewer_tiles_has_the_first_ones() -> None:
    data, _ = forms()
    for key, whole in data[0]["values"].items():
        if "tiles" in whole:
            assert torch.equal(pixels(data[2]["values"][key]), pixels(whole)[:4])


def test_values_that_hooks_changed_keep_their_picture_longest() -> None:
    data, _ = forms()
    drawn = {key for key, one in data[3]["values"].items() if "tiles" in one}
    pairs = {value for pair in data[0]["differences"] for value in pair.split(">")}
    assert drawn == pairs


def test_a_trace_that_kept_nothing_leaves_nothing_out() -> None:
    part = looks_part(Extras(), 1.0)
    assert [list(one.left_out) for one in part.forms] == [[]]
