"""``hooktrace cam``: from photographs to pictures, with a real model."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor
from typer.testing import CliRunner

import hooktrace as ht
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.masking import Masked
from hooktrace.cam.methods.scorecam import ScoreCam
from hooktrace.cli import app
from hooktrace.errors import TargetError, UnknownNameError
from hooktrace.photographs import PhotographError, explain_photographs
from hooktrace.pretrained import Classifier, ModelError, load

CLASSES = {"astronaut": 560, "cat": 282, "coffee": 967, "rocket": 657}


@pytest.fixture(scope="module")
def known() -> Classifier:
    return load("efficientnet-lite0")


@pytest.fixture
def coffee(tmp_path: Path) -> Path:
    path = tmp_path / "coffee.png"
    Image.fromarray(data.coffee()).save(path)
    return path


def test_the_model_recognises_the_four_photographs(known: Classifier) -> None:
    photos = [Image.fromarray(getattr(data, name)()[..., :3]) for name in CLASSES]
    images = torch.stack([known.prepare(known.crop(photo)) for photo in photos])
    with torch.no_grad():
        probabilities = known.model(images).softmax(1)
    assert probabilities.argmax(1).tolist() == list(CLASSES.values())
    assert probabilities[2, 967] > 0.9
    assert known.names[967] == "espresso"


def test_the_map_of_the_coffee_lies_on_the_cup(known: Classifier) -> None:
    photo = known.crop(Image.fromarray(data.coffee()))
    found = ht.explain(known.model, known.prepare(photo)[None], target=967).single
    heat = found.resized()[0]
    cup = torch.zeros(224, 224, dtype=torch.bool)
    cup[0:150, 30:182] = True  # where the cup is in this crop, read off the picture
    row, column = divmod(int(heat.argmax()), 224)
    assert cup[row, column]
    assert heat[cup].sum() > 0.75 * heat.sum()  # on 45 % of the picture


def test_the_command_writes_a_picture_and_says_what_it_explained(
    coffee: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    done = CliRunner().invoke(app, ["cam", str(coffee), "-o", str(folder), "--class", "espresso"])
    assert done.exit_code == 0, done.output
    assert "class 967 espresso, score" in done.output
    assert "  layer _swish@1\n    _swish@1 was chosen: it is the last value" in done.output
    with Image.open(folder / "coffee-cam.png") as picture:
        assert picture.width > 224


def test_a_picture_is_not_overwritten_unless_forced(coffee: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    there = folder / "coffee-cam.png"
    there.write_text("mine")
    with pytest.raises(PhotographError, match="is there already"):
        explain_photographs([coffee], model="efficientnet-lite0", folder=folder)
    assert there.read_text() == "mine"
    explain_photographs(
        [coffee], model="efficientnet-lite0", folder=folder, force=True, say=lambda _line: None
    )
    assert there.read_bytes().startswith(b"\x89PNG")


def test_off_a_terminal_there_is_no_bar(coffee: Path, tmp_path: Path) -> None:
    words = ["cam", str(coffee), "-o", str(tmp_path / "out"), "--method", "ablationcam"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "class 967 espresso" in done.stdout


def test_a_folder_for_the_pictures_that_is_none_is_told(coffee: Path, tmp_path: Path) -> None:
    (tmp_path / "coffee-cam.png").mkdir()
    for folder, says in (
        (coffee, "is no folder"),
        (coffee / "in", "is no folder"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(PhotographError, match=says):
            explain_photographs([coffee], model="no such model", folder=folder, force=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ["gradcm"]}, "'gradcam'"),
        ({"classes": ["expresso"]}, "'espresso'"),
        ({"layer": "_swis"}, "'_swish'"),
        ({"classes": ["1000"]}, "no class 1000"),
        ({"model": "resnet-18"}, "'resnet18'"),
    ],
)
def test_what_is_not_there_is_told_with_the_nearest(
    coffee: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises((UnknownNameError, TargetError), match=says):
        explain_photographs(
            [coffee], **{"model": "efficientnet-lite0", "folder": tmp_path / "out", **options}
        )
    assert not (tmp_path / "out" / "coffee-cam.png").exists()


def test_what_cannot_be_read_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(PhotographError, match="There is no photograph"):
        explain_photographs([tmp_path / "no.png"], model="no such model", folder=tmp_path)
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    with pytest.raises(PhotographError, match="cannot be read"):
        explain_photographs([broken], model="no such model", folder=tmp_path)


def test_a_checkpoint_is_loaded_without_running_code(tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    torch.manual_seed(3)
    state = load("squeezenet1_1", "none").model.state_dict()
    torch.save({"state_dict": state}, path)
    found = load("squeezenet1_1", str(path)).model.state_dict()
    assert all(torch.equal(found[name], one) for name, one in state.items())

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'boom')!r}, 'w')",))

    torch.save(Bomb(), path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load("squeezenet1_1", str(path))
    assert not (tmp_path / "boom").exists()
    with pytest.raises(ModelError, match="no checkpoint"):
        load("squeezenet1_1", str(tmp_path / "none.pt"))


def test_timm_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="pip install timm"):
        load("timm:resnet18")


def test_a_model_that_timm_has_not_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = SimpleNamespace(list_models=lambda: ["resnet18", "resnet34", "vit_tiny"])
    monkeypatch.setitem(sys.modules, "timm", there)
    for name in ("timm:resnet-18", "timm:resnet-18.a1_in1k"):
        with pytest.raises(UnknownNameError, match="'resnet18'"):
            load(name)


@dataclass(frozen=True)
class Counted(ScoreCam):
    """Counts the images that the model would be given, and runs none."""

    counts: list[int] = field(default_factory=list)

    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        self.counts.append(masked.runs)
        return torch.zeros(evidence.activations.shape[:2])


@pytest.mark.parametrize(
    ("name", "runs"), [("astronaut", 900), ("cat", 460), ("coffee", 543), ("rocket", 638)]
)
def test_score_cam_runs_once_for_all_channels_that_are_constant(
    known: Classifier, name: str, runs: int
) -> None:
    image = known.prepare(known.crop(Image.fromarray(getattr(data, name)()[..., :3])))[None]
    kept: list[Tensor] = []
    handle = known.model.get_submodule("_swish").register_forward_hook(
        lambda *args: kept.append(args[2].detach().clone())
    )
    method = Counted()
    ht.explain(known.model, image, method=method, layer="_swish@1")
    handle.remove()
    channels = kept[-1][0].flatten(1)
    constant = int((channels.amax(1) == channels.amin(1)).sum())
    assert len(channels) == 1280
    assert method.counts == [runs]
    assert runs == 1280 - constant + 1
