"""Every model builder of torchvision, on the smallest inputs that it takes."""

from __future__ import annotations

from typing import Any

import torch

from .subjects import Library, NotHere, Subject

IMAGE_SIZES = {"inception_v3": 96, "googlenet": 64, "maxvit_t": 224, "quantized_inception_v3": 96}
MODES = ("train", "test")
VIDEOS = {"mvit": (16, 224), "s3d": (14, 64), "swin3d": (4, 64), "": (4, 32)}


def names() -> list[str]:
    import torchvision

    return sorted(torchvision.models.list_models())


def build(name: str) -> Subject:
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    home = builder.__module__.removeprefix("torchvision.models.").partition(".")[0]
    options: dict[str, Any] = {"weights": None}
    if home == "detection":
        return _detection(name, builder)
    if home == "optical_flow":
        return Subject(builder(weights=None).float(), lambda: (_images(2, 128), {}))
    if home == "video":
        return _video(name, builder)
    if home == "segmentation":
        model = builder(weights=None, weights_backbone=None, num_classes=3, aux_loss=None)
        return Subject(model, lambda: ((_image(2, 64),), {}))
    if home == "quantization":
        return _quantized(name, builder)
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": name == "googlenet"}
    if name.startswith("vit_"):
        options["image_size"] = 28 if name == "vit_h_14" else 32
    size = options.get("image_size") or IMAGE_SIZES.get(name) or 64
    model = builder(num_classes=5, **options)
    return Subject(model, lambda: ((_image(2, size),), {}))


def _image(batch: int, size: int) -> torch.Tensor:
    return torch.rand(batch, 3, size, size, dtype=torch.get_default_dtype()).requires_grad_()


def _images(batch: int, size: int) -> tuple[torch.Tensor, ...]:
    return tuple(_image(batch, size) for _ in range(2))


def _video(name: str, builder: Any) -> Subject:
    frames, size = next(value for key, value in VIDEOS.items() if name.startswith(key))
    model = builder(weights=None, num_classes=5)
    return Subject(model, lambda: ((torch.rand(1, 3, frames, size, size).requires_grad_(),), {}))


def _quantized(name: str, builder: Any) -> Subject:
    """A model whose weights and activations are 8-bit integers; it has no backward."""
    engines = [one for one in torch.backends.quantized.supported_engines if one != "none"]
    if not engines:
        raise NotHere("no engine for quantized operators")
    options: dict[str, Any] = {"weights": None, "quantize": True, "num_classes": 5}
    if "googlenet" in name or "inception" in name:
        options |= {"init_weights": False, "aux_logits": False}
    size = IMAGE_SIZES.get(name, 64)
    model = builder(**options)
    return Subject(model, lambda: ((torch.rand(1, 3, size, size),), {}), modes=("eval",))


def _detection(name: str, builder: Any) -> Subject:
    options: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": 3}
    if not name.startswith("ssd"):
        options |= {"min_size": 64, "max_size": 64}
    if "rcnn" in name:
        options |= {
            f"rpn_{when}_nms_top_n_{mode}": 20 for when in ("pre", "post") for mode in MODES
        }
        options |= {"box_detections_per_img": 5}
    elif not name.startswith("ssd"):
        options |= {"topk_candidates": 20, "detections_per_img": 5}
    if "keypoint" in name:
        options |= {"num_keypoints": 2, "num_classes": 2}
    model = builder(**options)

    def training() -> tuple[tuple[Any, ...], dict[str, Any]]:
        target: dict[str, torch.Tensor] = {
            "boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0]]),
            "labels": torch.tensor([1]),
            "masks": torch.ones(1, 64, 64, dtype=torch.uint8),
            "keypoints": torch.tensor([[[10, 12, 1], [30, 20, 1]]], dtype=torch.float32),
        }
        images = [torch.rand(3, 64, 64).requires_grad_() for _ in range(2)]
        return (images, [dict(target) for _ in images]), {}

    return Subject(
        model,
        training,
        evaluation_inputs=lambda: (([torch.rand(3, 64, 64).requires_grad_()],), {}),
    )


LIBRARY = Library("torchvision", names, build)
