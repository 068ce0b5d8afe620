"""What methods that run the model again cost: against grad-cam, and what Score-CAM need not run.

``python benchmarks/reruns.py`` measures and prints; ``--write`` puts the tables into docs/cam.md.
One thread, wall time.  grad-cam runs once for each layer (some 20 s), `ht.explain` several times
before and after it, of which the median counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from doctables import put
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.masking import Masked
from hooktrace.cam.methods.scorecam import ScoreCam
from hooktrace.errors import BlankMapWarning
from hooktrace.pretrained import load

PAGE = Path(__file__).parents[1] / "docs" / "cam.md"
MARKS = ("<!-- the tables of `benchmarks/reruns.py` -->", "<!-- their end -->")
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def spent(work: Callable[[], object], times: int) -> float:
    """Return the median time of some runs, in seconds."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def peer(model: nn.Module, layer: nn.Module, images: Tensor) -> None:
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with (
        contextlib.redirect_stderr(io.StringIO()),  # its progress bar
        AblationCAM(model=model, target_layers=[layer]) as made,
    ):
        made(input_tensor=images, targets=[ClassifierOutputTarget(281)])


def ablation() -> list[str]:
    images, model = torch.randn(1, 3, 224, 224), load("resnet18", "none").model
    rows = ["| Ablation-CAM of ResNet-18 | grad-cam over `ht.explain` |", "|---|---|"]
    for name in ("layer4", "layer2"):

        def ours(name: str = name) -> None:
            ht.explain(model, images, target=281, layer=name, method="ablationcam")

        ours()
        before = spent(ours, 5)
        theirs = spent(lambda name=name: peer(model, model.get_submodule(name), images), 1)
        mean = (before + spent(ours, 5)) / 2
        rows.append(f"| `{name}` | {theirs / mean:.1f}x |")
        print(f"{name}: ht.explain {mean:.3f} s, grad-cam {theirs:.2f} s")
    return rows


@dataclass(frozen=True)
class Counted(ScoreCam):
    """Score-CAM that counts the images which it would give to the model, and runs none."""

    counts: list[int] = field(default_factory=list)

    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        shape = evidence.activations.shape[:2]
        self.counts.extend((masked.runs, shape.numel()))
        return torch.zeros(shape, device=evidence.activations.device)


def skipped() -> list[str]:
    from PIL import Image
    from skimage import data

    known = load("efficientnet-lite0")
    rows = [
        "| Score-CAM of EfficientNet-lite0's last activation | channels | runs | skipped |",
        "|---|---|---|---|",
    ]
    for name in PHOTOGRAPHS:
        photo = known.crop(Image.fromarray(getattr(data, name)()[..., :3]))
        method = Counted()
        ht.explain(known.model, known.prepare(photo)[None], method=method)
        runs, channels = method.counts
        rows.append(f"| {name} | {channels} | {runs} | {1 - runs / channels:.0%} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/cam.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore", BlankMapWarning)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tables = "\n\n".join("\n".join(rows) for rows in (ablation(), skipped()))
    print(tables)
    if options.write:
        put(PAGE, MARKS, tables)


if __name__ == "__main__":
    main()
