"""The layer to explain is chosen from the records of a trace, and says why.

The table of expected choices was written from the architectures, family by family.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam.layers import Candidate, candidates, choose
from hooktrace.errors import MapShapeError
from hooktrace.views.calls import CallIndex

torchvision = pytest.importorskip("torchvision")

LAST_BLOCK = {  # number of the last encoder block of each vision transformer
    "vit_b_16": 11,
    "vit_b_32": 11,
    "vit_l_16": 23,
    "vit_l_32": 23,
    "vit_h_14": 31,
}
LAST_RELU = {  # number of the last ReLU of each VGG, which a max pooling follows
    "vgg11": 19,
    "vgg11_bn": 27,
    "vgg13": 23,
    "vgg13_bn": 33,
    "vgg16": 29,
    "vgg16_bn": 42,
    "vgg19": 35,
    "vgg19_bn": 51,
}
FAMILIES = {
    "alexnet": "features.11",  # the last ReLU; a max pooling and an adaptive one follow
    "convnext": "features",  # four stages, then average pooling
    "densenet": "features",  # ends in a norm; the ReLU after it is a function, and in place
    "efficientnet": "features",  # ends in a 1x1 convolution with norm and SiLU
    "googlenet": "inception5b",  # concatenates its branches itself
    "inception": "Mixed_7c",
    "maxvit": "blocks.3",  # a ModuleList, which is not called, holds the stages
    "mnasnet": "layers",
    "mobilenet": "features",
    "regnet": "trunk_output",
    "resnet": "layer4",
    "resnext": "layer4",
    "shufflenet": "conv5",  # after stage4; the mean is a function
    "squeezenet": "features",  # what follows turns it into class maps
    "swin": "norm",  # then only an axis moves
    "wide": "layer4",
}
ALL = torchvision.models.list_models(module=torchvision.models)
RUN = [  # the smallest of each family, and those that differ within one
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vgg16",
    "vit_b_16",
    "vit_b_32",
    "wide_resnet50_2",
]


def expected(builder: str) -> str:
    if builder in LAST_RELU:
        return f"features.{LAST_RELU[builder]}"
    if builder in LAST_BLOCK:
        return f"encoder.layers.encoder_layer_{LAST_BLOCK[builder]}.ln_1"
    (family,) = [one for one in FAMILIES if builder.startswith(one)]
    return FAMILIES[family]


def built(builder: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> nn.Module:
    """Build a model of torchvision without memory for its weights."""
    params = torchvision.models.regnet.BlockParams
    made = params.from_init_params.__func__

    def on_the_cpu(cls: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):  # it computes the widths of the blocks with tensors
            return made(cls, *args, **kwargs)

    monkeypatch.setattr(params, "from_init_params", classmethod(on_the_cpu))
    if builder in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    with torch.device("meta"):
        return torchvision.models.get_model(builder, weights=None, **options).eval()


def recorded(model: nn.Module, *images: Tensor) -> CallIndex:
    with torch.no_grad(), ht.trace(model, edits="versions") as t:
        model(*images)
    return CallIndex(t.log).refresh()


def chosen(model: nn.Module, *images: Tensor) -> Candidate:
    calls = recorded(model, *images)
    return choose(calls, calls.roots()[-1])


# ------------------------------------------------------------------ torchvision


def test_the_table_has_an_expectation_for_every_classifier_of_torchvision() -> None:
    assert all(expected(builder) for builder in ALL)
    assert set(RUN) <= set(ALL)


@pytest.mark.parametrize("builder", RUN)
def test_the_choice_is_the_one_that_the_architecture_suggests(
    builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 299 if builder == "inception_v3" else 224
    found = chosen(built(builder, monkeypatch), torch.empty(1, 3, size, size, device="meta"))
    assert found.name == expected(builder)


@pytest.mark.parametrize(
    ("builder", "name"),
    [
        ("fcn_resnet50", "backbone.layer4"),
        ("deeplabv3_resnet50", "backbone.layer4"),
        ("lraspp_mobilenet_v3_large", "backbone.16"),
    ],
)
def test_of_a_segmentation_model_it_is_the_end_of_the_backbone(
    builder: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(builder, monkeypatch, weights_backbone=None)
    assert chosen(model, torch.empty(1, 3, 224, 224, device="meta")).name == name


def test_an_auxiliary_head_that_runs_last_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("fcn_resnet50", monkeypatch, weights_backbone=None, aux_loss=True)
    images = torch.empty(1, 3, 64, 64, device="meta")
    assert chosen(model, images).name == "backbone.layer4"


@pytest.mark.parametrize(
    ("builder", "name", "grid"),
    [
        ("r3d_18", "layer4", (1, 4, 4)),
        ("swin3d_t", "norm", (4, 2, 2)),
        ("mvit_v1_b", "blocks.15.norm1", (8, 7, 7)),
    ],
)
def test_of_a_video_model_it_is_chosen_likewise(
    builder: str, name: str, grid: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (16, 224, 224) if builder == "mvit_v1_b" else (8, 64, 64)
    found = chosen(built(builder, monkeypatch), torch.empty(1, 3, *size, device="meta"))
    assert (found.name, found.grid) == (name, grid)


def test_a_small_image_makes_it_an_earlier_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.empty(1, 3, 32, 32, device="meta")
    found = chosen(built("resnet18", monkeypatch), images)
    assert (found.name, found.grid) == ("layer3", (2, 2))


# ------------------------------------------------------------------ the reasons


def test_the_last_attention_is_the_last_place_whose_patches_have_gradients() -> None:
    vit = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16
    ).eval()
    nn.init.normal_(vit.heads.head.weight)
    images = torch.randn(1, 3, 32, 32)
    calls = recorded(vit, images)
    best = choose(calls, calls.roots()[0])
    after = [
        one for one in candidates(calls, calls.roots()[0]) if "comes after" in " ".join(one.why)
    ]
    assert {"encoder", "encoder.layers"} <= {one.name for one in after}
    grown: dict[str, Tensor] = {}
    for name in [best.name, *(one.name for one in after)]:
        module = vit.get_submodule(name)
        module.register_forward_hook(
            lambda _m, _a, out, name=name: grown.__setitem__(
                name, out[0] if isinstance(out, tuple) else out
            )
        )
    score = vit(images)[0, 5]
    gradients = torch.autograd.grad(score, list(grown.values()))
    patches = {
        name: one[:, 1:].abs().sum().item() for name, one in zip(grown, gradients, strict=True)
    }
    assert patches.pop(best.name) > 0
    assert set(patches.values()) == {0.0}
    assert "does not reach the class token" in " ".join(best.why)


@pytest.mark.parametrize(
    ("builder", "head", "expected"),
    [
        ("resnet18", "fc", "layer4"),
        ("densenet121", "classifier", "features"),
        ("mobilenet_v2", "classifier", "features"),
        ("swin_t", "head", "norm"),
        ("vit_b_32", "heads", "encoder.layers.encoder_layer_11.ln_1"),
    ],
)
def test_features_without_a_head_are_no_class_maps(
    builder: str, head: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(builder, monkeypatch)
    setattr(model, head, nn.Identity())  # as for embeddings: as many numbers as channels
    best = chosen(model, torch.empty(1, 3, 224, 224, device="meta"))
    assert (best.name, best.against) == (expected, 0)


def test_class_maps_are_passed_over_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.empty(1, 3, 224, 224, device="meta")
    calls = recorded(built("squeezenet1_0", monkeypatch), images)
    ranked = candidates(calls, calls.roots()[0])
    said = {one.name: one.why[-1] for one in ranked if one.against}
    assert "class maps: its 1000 channels" in said["classifier.1"]
    assert "class maps: its 1000 channels" in said["classifier.2"]
    assert any(
        "classifier.2 returned class maps" in one for one in choose(calls, calls.roots()[0]).why
    )


def test_as_many_channels_as_classes_are_no_class_maps_where_weights_follow() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 6)
    )
    found = chosen(net, torch.ones(2, 3, 8, 8))
    assert (found.name, found.against) == ("1", 0)


def test_what_a_function_overwrites_is_chosen_with_a_word_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.empty(1, 3, 64, 64, device="meta")
    found = chosen(built("densenet121", monkeypatch), images)
    assert "features.norm5@0" in " ".join(found.why)
    assert "the trace has what features returned and the gradient of that" in " ".join(found.why)


def test_what_a_module_activates_is_passed_over_for_what_it_returns() -> None:
    for inplace in (False, True):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Flatten(), nn.Linear(144, 2)
        ).eval()
        calls = recorded(net, torch.ones(1, 3, 8, 8))
        ranked = candidates(calls, calls.roots()[0])
        assert ranked[0].name == "2"
        assert ranked[0].why == ("It is after its activation function, 2@0.",)
        assert {one.name: one.against for one in ranked}["1"] == 1


def test_the_ranks_count_up_and_never_a_worse_one_comes_first() -> None:
    calls = recorded(torchvision.models.resnet18(weights=None).eval(), torch.ones(1, 3, 64, 64))
    ranked = candidates(calls, calls.roots()[0])
    assert [one.rank for one in ranked] == list(range(len(ranked)))
    assert [one.against for one in ranked] == sorted(one.against for one in ranked)
    assert len({one.name for one in ranked}) == len(ranked)


# ------------------------------------------------------------------ names


class Twice(nn.Module):
    """One block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh())
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.block(self.block(images)).mean((2, 3)))


def test_the_name_is_one_that_finds_the_call_and_keeps_its_value() -> None:
    for net, name in ((Twice().eval(), "block@1"), (nn.Sequential(Twice()), "0.block@1")):
        calls = recorded(net, torch.ones(1, 3, 8, 8))
        found = choose(calls, calls.roots()[0])
        assert found.name == name
        assert calls.one(found.name) is found.call
        with ht.trace(net, keep=[found.name.partition("@")[0]]) as t:
            net(torch.ones(1, 3, 8, 8))
        assert t.cam(found.name, target=0).raw.shape[1:] == found.grid


def test_of_a_second_run_it_is_named_with_the_number_of_the_call() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    with ht.trace(net, edits="versions") as t:
        net(torch.ones(1, 3, 8, 8))
        net(torch.ones(1, 3, 8, 8))
    calls = CallIndex(t.log).refresh()
    assert [choose(calls, root).name for root in calls.roots()] == ["1@0", "1@1"]


# ------------------------------------------------------------------ other models


class Functions(nn.Module):
    """A small network whose activations and pooling are functions."""

    def __init__(self, convolution: Any, pool: Callable[..., Tensor]) -> None:
        super().__init__()
        self.first, self.second = convolution(3, 4, 3), convolution(4, 5, 3)
        self.head = nn.Linear(5, 2)
        self.pool = pool

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.pool(functional.relu(self.first(images)), 2)
        return self.head(functional.relu(self.second(hidden)).flatten(2).mean(2))


@pytest.mark.parametrize(
    ("axes", "convolution", "pool"),
    [
        (1, nn.Conv1d, functional.max_pool1d),
        (2, nn.Conv2d, functional.max_pool2d),
        (3, nn.Conv3d, functional.max_pool3d),
    ],
)
def test_data_of_any_dimension_have_a_layer(
    axes: int, convolution: Any, pool: Callable[..., Tensor]
) -> None:
    found = chosen(Functions(convolution, pool), torch.ones(2, 3, *[12] * axes))
    assert (found.name, found.grid) == ("second", (3,) * axes)


def test_a_trace_in_inference_mode_where_nothing_has_versions_gives_the_same_choice() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2)
    ).eval()
    with torch.inference_mode(), ht.trace(net) as t:
        net(torch.ones(1, 3, 8, 8))
    calls = CallIndex(t.log).refresh()
    assert "after its activation function, 1@0" in " ".join(choose(calls, calls.roots()[0]).why)


class Windows(nn.Module):
    """A convolution, then one on each quarter of the image, as a batch of four."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.quarters = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        cut = self.whole(images).unfold(2, 4, 4).unfold(3, 4, 4)
        quarters = self.quarters(cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2))
        return self.head(quarters.unflatten(0, (len(images), 4)).mean((1, 3, 4)))


def test_windows_stacked_in_the_batch_are_no_maps_of_the_images() -> None:
    assert chosen(Windows(), torch.ones(2, 3, 8, 8)).name == "whole"


class Resampled(nn.Module):
    """Patches, of which an attention sees an odd selection."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).mT[:, :7]
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


def test_a_patch_embedding_alone_is_nothing_to_choose() -> None:
    with pytest.raises(MapShapeError, match="patches is a patch embedding"):
        chosen(Resampled(), torch.ones(1, 3, 16, 16))


def test_a_model_without_spatial_extent_is_told_what_there_is() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    calls = recorded(net, torch.ones(2, 4))
    assert candidates(calls, calls.roots()[0]) == []
    with pytest.raises(MapShapeError, match="0 2x3, 1 2x3, 2 2x2"):
        choose(calls, calls.roots()[0])


def test_a_model_that_calls_no_module_is_told_so() -> None:
    class Alone(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3))

    with pytest.raises(MapShapeError, match="called no modules"):
        chosen(Alone(), torch.ones(1, 3, 4, 4))
