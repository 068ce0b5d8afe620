"""What all metrics have in common: nothing is left behind, errors, tables and plots."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from metric_nets import small_net, summing
from torch import Tensor, nn

from hooktrace.cam import HeatMap, HeatMaps, metrics
from hooktrace.errors import (
    MapShapeError,
    MissingExtraError,
    TargetError,
    UnknownFormatError,
    UnknownNameError,
)

# ------------------------------------------------------------------ nothing is left behind


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_metrics_leave_the_model_and_the_random_state_as_they_were(dimensions: int) -> None:
    model = small_net(dimensions).train()
    model[1].eval()
    images, maps = torch.randn(3, 2, *[6] * dimensions), torch.randn(3, *[3] * dimensions)
    flags = [one.training for one in model.modules()]
    values = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    metrics.evaluate(model, images, maps, options={"deletion": {"steps": 3}})
    metrics.coherency(lambda some: some.mean(1), images)
    metrics.sensitivity_max(lambda some: some.mean(1), images)
    metrics.randomization(lambda one, some: some[:, 0] + one[0].weight.sum(), model, images)
    metrics.completeness(model, images, maps)
    assert torch.equal(state, torch.get_rng_state())
    assert [one.training for one in model.modules()] == flags
    assert all(torch.equal(values[name], one) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._forward_hooks for one in model.modules())


def test_flags_come_back_after_an_exception() -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ZeroDivisionError

    model = Failing().train()
    with pytest.raises(ZeroDivisionError):
        metrics.deletion(model, torch.zeros(1, 2, 4), torch.rand(1, 4), 0)
    assert model.training


def test_batches_do_not_matter() -> None:
    model, images = small_net().train(), torch.randn(5, 2, 6, 6)
    maps = torch.randn(5, 3, 3)
    for name in ("deletion", "insertion", "average_drop"):
        one, many = (
            getattr(metrics, name)(model, images, maps, 0, batch_size=size).values
            for size in (1, 64)
        )
        torch.testing.assert_close(one, many)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_and_maps_work(dtype: torch.dtype) -> None:
    model, images = small_net().to(dtype), torch.randn(2, 2, 6, 6).to(dtype)
    table = metrics.evaluate(model, images, torch.randn(2, 3, 3).to(dtype), 1)
    assert all(one.values.dtype == torch.float32 for one in table.scores.values())
    assert all(one.values.isfinite().all() for one in table.scores.values())


def test_the_class_of_a_heat_map_counts_unless_another_is_named() -> None:
    model, images = small_net(), torch.randn(2, 2, 6, 6)
    heat = HeatMap(torch.rand(2, 3, 3), "gradcam", "0", "classes", (2, 3), None, (6, 6))
    own = metrics.deletion(model, images, heat).points[:, 0]
    named = metrics.deletion(model, images, heat, [2, 3]).points[:, 0]
    best = metrics.deletion(model, images, heat.raw).points[:, 0]
    with torch.no_grad():
        chances = model.eval()(images).softmax(1)
    torch.testing.assert_close(own, chances[[0, 1], [2, 3]])
    assert torch.equal(own, named)
    torch.testing.assert_close(best, chances.amax(1))


# ------------------------------------------------------------------ errors


def test_what_does_not_fit_is_refused_with_what_there_is() -> None:
    model, images, parts = summing((2, 5, 6))
    with pytest.raises(MapShapeError, match="do not fit"):
        metrics.deletion(model, images, parts[:2], 1)
    with pytest.raises(TargetError, match="no class 7"):
        metrics.deletion(model, images, parts, 7)
    with pytest.raises(TargetError, match="3 images"):
        metrics.deletion(model, images, parts, [1, 1])
    broken = parts.clone()
    broken[1, 0, 0] = float("nan")
    with pytest.raises(MapShapeError, match=r"\[1\]"):
        metrics.average_drop(model, images, broken, 1)
    with pytest.raises(UnknownNameError, match="'deletion'"):
        metrics.evaluate(model, images, parts, 1, metrics=["deletoin"])


# ------------------------------------------------------------------ tables and plots


def test_a_table_names_its_maps_by_what_differs() -> None:
    model, images, parts = summing((2, 5, 6))
    maps = HeatMaps(
        {
            (method, "layer4", 1): HeatMap(sign * parts, method, "layer4", "class 1", (1, 1, 1))
            for method, sign in (("gradcam", 1), ("layercam", -1))
        }
    )
    table = metrics.evaluate(model, images, maps, metrics=["deletion", "complexity"])
    assert table.maps == ("gradcam", "layercam")
    lines = str(table).splitlines()
    assert lines[0].split() == ["heat", "map", "deletion", "(lower)", "complexity", "(lower)"]
    assert lines[1].startswith("gradcam ")
    assert f"{table['gradcam', 'deletion'].mean:.3f} [" in lines[1]
    with pytest.raises(UnknownNameError, match="gradcam"):
        table["scorecam", "deletion"]


def test_a_table_is_text_in_a_notebook_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, parts = summing((2, 5, 6))
    table = metrics.evaluate(model, images, parts, 1, metrics=["complexity"])
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert str(table).startswith("heat map")


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    model, images, parts = summing((2, 12))
    metrics.deletion(model, images, parts, 1, steps=3)
    assert capsys.readouterr() == ("", "")
    metrics.deletion(model, images, parts, 1, steps=3, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "deletion" in err


def test_plots_are_pictures_and_replace_files_at_once(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model, images, parts = summing((2, 5, 6))
    for metric in (metrics.deletion, metrics.average_drop):
        path = metric(model, images, parts, 1).draw(tmp_path / f"{metric.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    before = path.read_bytes()
    with pytest.raises(UnknownFormatError, match="png"):
        metrics.deletion(model, images, parts, 1).draw(tmp_path / "one.nonsense")
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["average_drop.png", "deletion.png"]


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        metrics.complexity(torch.rand(2, 4, 4)).draw(tmp_path / "x.png")
