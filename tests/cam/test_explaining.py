"""explain(): one call for a batch, or for more images than fit into memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.errors import MapShapeError, MismatchError, TargetError, UnknownNameError
from hooktrace.explained import Explained


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


class Loader:
    """Batches of images and labels, counted as they are drawn."""

    def __init__(self, batches: int, stop: int | None = None, seed: int = 0) -> None:
        self.batches, self.stop, self.seed = batches, stop, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = torch.Generator().manual_seed(self.seed)
        for number in range(self.batches):
            if number == self.stop:
                raise KeyboardInterrupt
            images = torch.randn(2, 3, 8, 8, generator=numbers)
            yield images, torch.randint(0, 3, (2,), generator=numbers)


def test_a_layer_is_chosen_and_the_reason_told() -> None:
    found = ht.explain(net(), torch.randn(2, 3, 8, 8)).single
    assert found.layer == "3"
    assert "3 was chosen" in found.why[0]
    assert found.raw.shape == (2, 8, 8)
    assert found.image == (8, 8)


@pytest.mark.parametrize(
    ("method", "runs"),
    [("gradcam", 2), ("fullgrad", 1), (["gradcam", "fullgrad"], 1), ("guided_backprop", 1)],
)
def test_a_layer_is_chosen_by_the_run_that_keeps_everything_if_there_is_one(
    method: Any, runs: int
) -> None:
    model, seen = net(), []
    model.register_forward_hook(lambda *_: seen.append(1))
    found = ht.explain(model, torch.randn(1, 3, 8, 8), method=method)
    assert len(seen) == runs
    for one in found.maps.values():
        assert ("3 was chosen" in " ".join(one.why)) is (one.method == "gradcam")


def test_t_cam_chooses_the_same_layer() -> None:
    model, images = net(), torch.randn(2, 3, 8, 8)
    with ht.trace(model, keep=True) as t:
        model(images)
    ours, theirs = t.cam(target=1).single, ht.explain(model, images, target=1).single
    assert ours.layer == theirs.layer
    assert ours.why == theirs.why
    assert torch.equal(ours.raw, theirs.raw)


def test_several_methods_layers_and_classes_come_by_key() -> None:
    maps = ht.explain(
        net(), torch.randn(2, 3, 8, 8), layer=["0", "2"], method=["gradcam", "hirescam"],
        classes=[0, 2],
    )  # fmt: skip
    assert len(maps) == 8
    assert maps["gradcam", "2", 2].classes == (2, 2)
    assert len(maps.of(method="hirescam", target=0)) == 2
    with pytest.raises(ht.errors.AmbiguousCallError, match="fits 4 heat maps"):
        maps["gradcam"]
    with pytest.raises(UnknownNameError, match="no heat map"):
        maps["gradcam", "3", 2]
    with pytest.raises(ht.errors.AmbiguousCallError, match="There are 8"):
        _ = maps.raw


def test_the_map_of_an_image_does_not_depend_on_the_others_in_the_batch() -> None:
    model, images = net(), torch.randn(3, 3, 8, 8)
    together = ht.explain(model, images, target=[0, 1, 2]).raw
    alone = [ht.explain(model, one[None], target=n).raw[0] for n, one in enumerate(images)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_keyword_arguments_and_tuples_are_passed_on() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, images: Tensor, scale: Tensor) -> dict[str, Tensor]:
            return {"logits": self.inner(images) * scale}

    model, images, scale = Two(), torch.randn(1, 3, 8, 8), torch.tensor(2.0)
    by_name = ht.explain(model, {"images": images, "scale": scale}, layer="inner.2", target=1)
    by_place = ht.explain(model, (images, scale), layer="inner.2", target=1)
    plain = ht.explain(model.inner, images, layer="2", target=1)
    assert torch.equal(by_name.raw, by_place.raw)
    torch.testing.assert_close(by_name.raw, 2 * plain.raw)


@pytest.mark.parametrize(
    ("images", "options", "error", "says"),
    [
        (torch.randn(1, 3, 8, 8), {"layer": "17"}, UnknownNameError, "no module '17'"),
        (torch.randn(1, 3, 8, 8), {"layer": "5"}, MapShapeError, "no spatial extent"),
        (torch.randn(1, 3, 8, 8), {"method": "gradcm"}, UnknownNameError, "'gradcam'"),
        (torch.randn(2, 3, 8, 8), {"target": [1]}, TargetError, "batch of 2"),
        (torch.randn(1, 3, 8, 8), {"target": 1, "classes": [1]}, TypeError, "exclude"),
        (torch.randn(1, 3, 8, 8), {"target": "backward"}, TypeError, r"t\.cam"),
        (iter([]), {}, TypeError, "needs to="),
    ],
)
def test_a_wrong_question_is_told_what_there_is(
    images: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ht.explain(net(), images, **options)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("GradCAM", "gradcam"),
        ("Grad-CAM", "gradcam"),
        ("grad_cam", "gradcam"),
        ("GradCAMPlusPlus", "gradcam++"),
        ("gradcam_plus_plus", "gradcam++"),
        ("GradCAMpp", "gradcam++"),
        ("Grad-CAM++", "gradcam++"),
        ("SmoothGradCAMpp", "smoothgradcam++"),
        ("GradCAMElementWise", "gradcam_elementwise"),
        ("SS-CAM", "sscam"),
        ("KPCA_CAM", "kpcacam"),
        ("EigenGradCAM", "eigengradcam"),
        ("GuidedBackprop", "guided_backprop"),
        ("DeepFeatureFactorization", "dff"),
        ("RandomCAM", "random"),
        ("ablation", "ablationcam"),
    ],
)
def test_other_spellings_of_a_method_are_told_its_name(spelled: str, name: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"Did you mean '{re.escape(name)}'"):
        ht.explain(net(), torch.randn(1, 3, 8, 8), method=spelled)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a module"):
        ht.explain(torch.relu, torch.randn(1, 3, 8, 8))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")
def test_a_stream_is_written_batch_by_batch_and_reads_back_as_made(tmp_path: Path) -> None:
    model = net()
    found = ht.explain(model, Loader(3), target="labels", to=tmp_path / "maps")
    assert isinstance(found, Explained)
    assert len(found) == 3
    for maps, (images, labels) in zip(found, Loader(3), strict=True):
        wanted = ht.explain(model, images, target=labels).single
        assert torch.equal(maps.raw, wanted.raw)
        assert torch.equal(maps.single.scores, wanted.scores)
        assert maps.single.classes == tuple(labels.tolist())
        assert maps.single.why == wanted.why
    assert found.settings["target"] == "labels"


def names(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")
def test_an_interrupted_stream_goes_on_where_it_stopped(tmp_path: Path) -> None:
    model = net()
    with pytest.raises(KeyboardInterrupt):
        ht.explain(model, Loader(4, stop=2), to=tmp_path)
    before = names(tmp_path)
    assert sorted(before) == [
        "batch-000000.safetensors",
        "batch-000001.safetensors",
        "manifest.json",
    ]
    done = ht.explain(model, Loader(4), to=tmp_path)
    after = names(tmp_path)
    assert len(done) == 4
    assert {name: after[name] for name in before} == before


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")
def test_a_stream_of_other_images_or_settings_is_refused(tmp_path: Path) -> None:
    model = net()
    ht.explain(model, Loader(1), to=tmp_path)
    with pytest.raises(MismatchError, match="made of other images than batch 0"):
        ht.explain(model, Loader(1, seed=5), to=tmp_path)
    with pytest.raises(MismatchError, match=r"another run .*now\): target: None \| 1\. Give"):
        ht.explain(model, Loader(1), target=1, to=tmp_path)


def test_an_error_in_a_stream_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        ht.explain(net(), Loader(1), target=7, to=tmp_path)
    assert sorted(names(tmp_path)) == ["manifest.json"]
    assert json.loads((tmp_path / "manifest.json").read_text())["model"] == "Sequential"


def test_a_folder_without_maps_is_told() -> None:
    with pytest.raises(ht.errors.TraceStateError, match=r"no manifest\.json"):
        Explained("nowhere")


def test_one_method_with_several_options_has_a_map_for_each() -> None:
    kind: Any = ht.cam.METHODS["fem"]
    methods = ["gradcam", kind(), kind(form="activations"), kind(sigmas=1.0)]
    images = torch.randn(2, 3, 8, 8)
    maps = ht.explain(net(), images, method=methods)
    assert [name for name, _, _ in maps] == [
        "gradcam",
        "fem",
        "fem(form='activations')",
        "fem(sigmas=1.0)",
    ]
    assert maps["fem(sigmas=1.0)"].method == "fem(sigmas=1.0)"
    assert not torch.equal(maps["fem"].raw, maps["fem(form='activations')"].raw)
    single = ht.explain(net(), images, method=kind(sigmas=1.0))
    assert torch.equal(maps["fem(sigmas=1.0)"].raw, single["fem"].raw)


@pytest.mark.parametrize("method", ["ablationcam", "iscam", "smoothgradcam++", "aug_smooth"])
def test_progress_of_a_method_that_runs_often_goes_to_standard_error(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = torch.randn(2, 3, 8, 8)
    quiet = ht.explain(net(), images, method=method).raw
    assert capsys.readouterr() == ("", "")
    assert torch.equal(ht.explain(net(), images, method=method, progress=True).raw, quiet)
    out, err = capsys.readouterr()
    assert out == ""
    assert ht.cam.METHODS[method].title in err
    assert "100%" in err
