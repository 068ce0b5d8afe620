"""LeGrad against vision transformers that write their attention out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchcam import methods as torchcam
from torchvision.models import VisionTransformer

import hooktrace as ht
from hooktrace.cam import METHODS
from hooktrace.cam.targets import SoftmaxScore
from hooktrace.errors import (
    GraphFreedError,
    MethodError,
    MissingModelError,
    NoGradientError,
    NoGraphError,
    NotKeptError,
)

LeGrad: Any = METHODS["legrad"]
HEADS, WIDTH, CLASSES = 2, 8, 5


def vit(depth: int = 3) -> VisionTransformer:
    torch.manual_seed(depth + 3)  # with other seeds a map of one layer can be 0 everywhere
    model = VisionTransformer(12, 4, depth, HEADS, WIDTH, 16, num_classes=CLASSES)
    nn.init.normal_(model.heads[0].weight)  # which torchvision leaves zero
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.5)  # so that no bias is zero
    return model.double().eval()


class Written(nn.Module):
    """The blocks of a vision transformer, which write attention out, and keep it."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        model, attention, layers = self.model, [], []
        patches = model.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([model.class_token.expand(len(images), -1, -1), patches], 1)
        tokens = tokens + model.encoder.pos_embedding
        for block in model.encoder.layers:
            inner, weights = self.attend(block.self_attention, block.ln_1(tokens))
            attention.append(weights)
            tokens = tokens + inner
            tokens = tokens + block.mlp(block.ln_2(tokens))
            layers.append(tokens)
        return model.heads(model.encoder.ln(tokens)[:, 0]), attention, layers

    @staticmethod
    def attend(module: nn.MultiheadAttention, given: Tensor) -> tuple[Tensor, Tensor]:
        matrices, shifts = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
        query, key, value = (
            (given @ w.T + b).reshape(*given.shape[:2], HEADS, -1).permute(0, 2, 1, 3)
            for w, b in zip(matrices, shifts, strict=True)
        )
        weights = (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(3)
        joined = (weights @ value).permute(0, 2, 1, 3).flatten(2)
        return joined @ module.out_proj.weight.T + module.out_proj.bias, weights


def relevance(scores: list[Tensor], attention: list[Tensor]) -> Tensor:
    """Return the formula of the authors' code, in loops: (N, 3, 3)."""
    maps = torch.zeros(len(attention[0]), 9, dtype=torch.double)
    for score, weights in zip(scores, attention, strict=True):
        (gradient,) = torch.autograd.grad(score.sum(), weights, retain_graph=True)
        count, heads, queries, _ = gradient.shape
        for image in range(count):
            for head in range(heads):
                for query in range(queries):
                    maps[image] += gradient[image, head, query, 1:].clamp_min(0) / heads / queries
    return (maps / len(attention)).reshape(-1, 3, 3)


def batch() -> Tensor:
    return torch.randn(2, 3, 12, 12, dtype=torch.double)


def found(model: nn.Module, images: Any, method: Any = "legrad", target: Any = 2) -> Any:
    with ht.trace(model, keep=True) as t:
        model(images)
    return t.cam("encoder.ln", target=target, method=method, model=model, inputs=images)


def test_the_written_out_transformer_is_torchvisions() -> None:
    model, images = vit(), batch()
    torch.testing.assert_close(Written(model)(images)[0], model(images))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_is_the_formula_with_the_score_of_each_layers_own_tokens(depth: int) -> None:
    model, images = vit(depth), batch()
    _, attention, layers = Written(model)(images)
    scores = [model.heads(model.encoder.ln(tokens.mean(1)))[:, 2] for tokens in layers]
    maps = found(model, images)
    torch.testing.assert_close(maps.raw, relevance(scores, attention), rtol=1e-9, atol=1e-14)
    names = tuple(f"encoder.layers.encoder_layer_{n}.self_attention@0" for n in range(depth))
    assert maps.single.extra["layers"] == names


def test_with_the_score_of_the_model_every_layer_is_judged_by_it() -> None:
    model, images = vit(), batch()
    logits, attention, _ = Written(model)(images)
    wanted = relevance([logits[:, 2]] * 3, attention)
    maps = found(model, images, LeGrad(score="model"))
    torch.testing.assert_close(maps.raw, wanted, rtol=1e-9, atol=1e-14)


def test_the_last_layers_alone_can_be_taken() -> None:
    model, images = vit(), batch()
    logits, attention, _ = Written(model)(images)
    wanted = relevance([logits[:, 2]] * 2, attention[1:])
    maps = found(model, images, LeGrad(score="model", last=2))
    torch.testing.assert_close(maps.raw, wanted, rtol=1e-9, atol=1e-14)


def test_each_image_is_judged_for_the_class_that_the_model_decided_for() -> None:
    model, images = vit(), batch()
    logits, attention, layers = Written(model)(images)
    decided = logits.argmax(1, keepdim=True)
    scores = [
        model.heads(model.encoder.ln(one.mean(1))).softmax(1).gather(1, decided) for one in layers
    ]
    maps = found(model, images, target=SoftmaxScore())
    torch.testing.assert_close(maps.raw, relevance(scores, attention), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("batch_first", [True, False])
def test_other_transformers_take_a_classifier(batch_first: bool) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, WIDTH, 4, 4)
            one = nn.TransformerEncoderLayer(
                WIDTH, HEADS, 16, 0.0, batch_first=batch_first, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(one, 2, enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2)
            out = self.blocks(tokens.permute((0, 2, 1) if batch_first else (2, 0, 1)))
            return self.head(out.mean(1 if batch_first else 0))

    torch.manual_seed(0)
    model, images = Net().double().eval(), batch()
    tokens = model.patches(images).flatten(2).transpose(1, 2)
    attention, layers = [], []
    for block in model.blocks.layers:
        inner, weights = Written.attend(block.self_attn, block.norm1(tokens))  # type: ignore[arg-type,operator]
        tokens = tokens + inner
        tokens = tokens + block.linear2(block.linear1(block.norm2(tokens)).relu())  # type: ignore[operator]
        attention.append(weights)
        layers.append(tokens)
    scores = [model.head(one.mean(1))[:, 2] for one in layers]
    wanted = torch.zeros(2, 9, dtype=torch.double)
    for score, weights in zip(scores, attention, strict=True):
        (gradient,) = torch.autograd.grad(score.sum(), weights, retain_graph=True)
        wanted += gradient.relu().mean((1, 2)) / 2
    way = LeGrad(classifier=model.head)
    maps = ht.explain(model, images, target=2, method=way, layer="patches")
    torch.testing.assert_close(maps.raw, wanted.reshape(2, 3, 3), rtol=1e-9, atol=1e-14)


def test_explain_needs_no_gradient_of_the_model() -> None:
    model, images = vit(), batch()
    wanted = found(model, images).raw
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        maps = ht.explain(model, images, target=2, method="legrad")
    torch.testing.assert_close(maps.raw, wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    maps = found(vit().to(dtype), batch().to(dtype))
    assert maps.raw.dtype == torch.float32
    assert maps.raw.isfinite().all()


def test_torchcam_agrees() -> None:
    model, images = vit(), batch()
    with torchcam.LeGrad(model, list(model.encoder.layers)) as extractor:
        (wanted,) = extractor(2, model(images), normalized=False)
    torch.testing.assert_close(found(model, images).raw, wanted, rtol=1e-9, atol=1e-14)


# ------------------------------------------------------------------ what it lacks


def test_what_was_not_kept_is_named() -> None:
    model, images = vit(), batch()
    with ht.trace(model, keep=["encoder.ln"]) as t:
        model(images)
    with pytest.raises(NotKeptError, match=r"layer_0\.self_attention@0 and .*keep=True.*explain"):
        t.cam("encoder.ln", target=2, method="legrad", model=model, inputs=images)


def test_the_model_is_needed_and_has_to_be_the_one_that_was_traced() -> None:
    model, images = vit(), batch()
    with ht.trace(model, keep=True) as t:
        model(images)
    with pytest.raises(MissingModelError, match="legrad"):
        t.cam("encoder.ln", target=2, method="legrad")
    with pytest.raises(MethodError, match="Give the model that was traced"):
        t.cam("encoder.ln", target=2, method="legrad", model=model.heads, inputs=images)


def test_a_graph_is_needed() -> None:
    model, images = vit(), batch()
    with ht.trace(model, keep=True) as t, torch.no_grad():
        model(images)
    with pytest.raises(NoGraphError):
        t.cam("encoder.ln", target=2, method="legrad", model=model, inputs=images)
    with ht.trace(model, keep=True) as t:
        model(images).sum().backward()
    with pytest.raises(GraphFreedError, match="retain_graph"):
        t.cam("encoder.ln", target=2, method="legrad", model=model, inputs=images)
    with pytest.raises(NoGradientError, match="starts from the score"):
        t.cam("encoder.ln", target="backward", method="legrad", model=model, inputs=images)


def test_a_model_without_attention_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(MethodError, match="called none"):
        ht.explain(model, torch.randn(1, 3, 6, 6), target=0, method="legrad", layer="0")


def test_a_model_with_an_unknown_classifier_is_told_to_give_one() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = vit()

        def forward(self, images: Tensor) -> Any:
            return self.vit(images)

    with pytest.raises(MethodError, match="part of Wrapped is the classifier"):
        ht.explain(Wrapped(), batch(), target=0, method="legrad", layer="vit.encoder.ln")


def test_attention_that_was_dropped_is_refused() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(12, 4, 2, HEADS, WIDTH, 16, 0.0, 0.1, num_classes=CLASSES).train()
    with pytest.raises(MethodError, match="dropped some of the attention"):
        ht.explain(model, batch().float(), target=0, method="legrad", layer="encoder.ln")


@pytest.mark.parametrize("options", [{"score": "token"}, {"last": 0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"score=|last="):
        LeGrad(**options)
