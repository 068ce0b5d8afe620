"""What heat maps cost, as ratios within one run: to forward + backward-to-layer, and to peers.

``python benchmarks/cam.py`` measures and prints; ``--write`` puts the table into docs/cam.md.  One
thread, interleaved rounds, medians of wall time.  The floor is the forward pass under autograd and
``torch.autograd.grad`` from the score to the layer's output.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from doctables import put
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.errors import BlankMapWarning
from hooktrace.pretrained import load

NINE = [
    "gradcam",
    "gradcam++",
    "xgradcam",
    "hirescam",
    "gradcam_elementwise",
    "layercam",
    "eigencam",
    "eigengradcam",
    "fem",
]
PAGE = Path(__file__).parents[1] / "docs" / "cam.md"
MARKS = ("<!-- the table of `benchmarks/cam.py` -->", "<!-- its end -->")


def floor(model: nn.Module, layer: nn.Module, images: Tensor) -> None:
    """Run forward, and backward to a layer, and nothing else."""
    kept = []
    handle = layer.register_forward_hook(lambda _m, _a, out: kept.append(out))
    score = model(images)[:, 281].sum()
    handle.remove()
    torch.autograd.grad(score, kept)


def traced(model: nn.Module, name: str, images: Tensor, methods: list[str]) -> None:
    with ht.trace(model, keep=[name], edits="versions") as t:
        model(images)
    t.cam(name, target=281, method=methods)
    t.release()


def peer_gradcam(model: nn.Module, layer: nn.Module, images: Tensor) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model=model, target_layers=[layer]) as made:
        made(input_tensor=images, targets=[ClassifierOutputTarget(281)])


def peer_nine(model: nn.Module, layer: nn.Module, images: Tensor) -> None:
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    for kind in (
        peer.GradCAM,
        peer.GradCAMPlusPlus,
        peer.XGradCAM,
        peer.HiResCAM,
        peer.GradCAMElementWise,
        peer.LayerCAM,
        peer.EigenCAM,
        peer.EigenGradCAM,
        peer.FEM,
    ):
        with kind(model=model, target_layers=[layer]) as made:
            made(input_tensor=images, targets=[ClassifierOutputTarget(281)])


def medians(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Return median times in seconds, of interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(one) for name, one in times.items()}


def measure(rounds: int) -> list[str]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randn(1, 3, 224, 224)
    subjects = [
        ("ResNet-18, `layer4`", load("resnet18", "none").model, "layer4"),
        ("EfficientNet-lite0, `_bn1`", load("efficientnet-lite0").model, "_bn1"),
    ]
    rows = [
        "| over forward + backward to the layer | one Grad-CAM | aim | nine methods | aim "
        "| one Grad-CAM by grad-cam | nine methods by grad-cam |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, model, name in subjects:
        layer = model.get_submodule(name)
        found = medians(
            {
                "floor": lambda m=model, la=layer: floor(m, la, images),
                "one": lambda m=model, n=name: traced(m, n, images, ["gradcam"]),
                "explain": lambda m=model, n=name: ht.explain(m, images, target=281, layer=n),
                "nine": lambda m=model, n=name: traced(m, n, images, NINE),
                "peer": lambda m=model, la=layer: peer_gradcam(m, la, images),
                "peer nine": lambda m=model, la=layer: peer_nine(m, la, images),
            },
            rounds,
        )
        ratio = {key: f"{value / found['floor']:.2f}x" for key, value in found.items()}
        rows.append(
            f"| {title} | {ratio['one']} (`ht.explain`: {ratio['explain']}) | 1.10x "
            f"| {ratio['nine']} | 1.20x | {ratio['peer']} | {ratio['peer nine']} |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="put the table into docs/cam.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore", BlankMapWarning)
    rows = measure(options.rounds)
    print("\n".join(rows))
    if options.write:
        put(PAGE, MARKS, "\n".join(rows))


if __name__ == "__main__":
    main()
