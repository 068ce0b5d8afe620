"""Layouts: channels first, channels last and tokens, told apart on torchvision's models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models.convnext import CNBlock
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.video.swin_transformer import SwinTransformer3d

import hooktrace as ht
from hooktrace.cam import axes
from hooktrace.cam.grids import find_grid
from hooktrace.cam.layouts import Layout, find_layout, image_of
from hooktrace.errors import BlankMapWarning, MapShapeError
from hooktrace.events import TensorSummary
from hooktrace.views.calls import Call

Arrange = Callable[[Tensor], Tensor]


def traced(model: nn.Module, x: Any) -> dict[str, Call]:
    """Return the calls of one run in evaluation mode, by name."""
    with ht.trace(model.eval()) as t, torch.no_grad():
        model(x)
    return {str(call): call for call in t._calls.refresh()}


def shape_of(call: Call) -> tuple[int, ...]:
    found = (seen.summary for seen in call.seen_outputs)
    return next(tuple(one.shape) for one in found if isinstance(one, TensorSummary))


def laid_out(call: Call) -> Layout:
    return find_layout(call, shape_of(call), image_of(call.root))


def check(model: nn.Module, layer: str, x: Tensor, arrange: Arrange, target: int = 1) -> None:
    """Compare our map with a Grad-CAM by hand, whose activation `arrange` brings into order."""
    model.eval()
    kept: list[Any] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    score = model(x)[:, target].sum()
    handle.remove()
    value = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
    (gradient,) = torch.autograd.grad(score, value)
    features, weights = arrange(value), arrange(gradient)
    weights = weights.flatten(2).mean(2).reshape(*weights.shape[:2], *[1] * (weights.dim() - 2))
    truth = (weights * features).sum(1).detach()
    with ht.trace(model, keep=[layer]) as t:
        model(x)
    with warnings.catch_warnings():  # a map of random weights may be negative everywhere
        warnings.simplefilter("ignore", BlankMapWarning)
        ours = t.cam(layer, target=target).raw
    assert ours.shape == truth.shape
    assert truth.std() > 0
    torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-5 * float(truth.abs().max()))


def tokens(grid: tuple[int, ...], leading: int) -> Arrange:
    """Return the arrangement of tokens (N, T, C), written out."""

    def arrange(tensor: Tensor) -> Tensor:
        rows = tensor[:, leading:]
        return torch.stack([one.t().reshape(-1, *grid) for one in rows])

    return arrange


def last(tensor: Tensor) -> Tensor:
    return torch.einsum("n...c->nc...", tensor)


def first(tensor: Tensor) -> Tensor:
    return tensor


# ------------------------------------------------------------------ ViT


def vit(image: int = 32, patch: int = 8) -> nn.Module:
    model = models.VisionTransformer(
        image_size=image, patch_size=patch, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    nn.init.normal_(model.heads[0].weight)  # it begins with zeros, so that no gradient arrives
    return model


@pytest.mark.parametrize("part", ["", ".ln_1", ".self_attention", ".mlp", ".mlp.1"])
def test_the_class_token_of_vision_transformers_has_no_place_in_the_map(part: str) -> None:
    layer = f"encoder.layers.encoder_layer_0{part}"
    check(vit(), layer, torch.randn(2, 3, 32, 32), tokens((4, 4), 1))


class Patches(nn.Module):
    """Tokens of patches, after some further ones, through attention; in several orders."""

    def __init__(self, leading: int = 0, patch: int = 8, order: str = "NTC") -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, patch, stride=patch)
        self.leading = nn.Parameter(torch.randn(1, leading, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=order == "NTC")
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        placed = self.patch(x).flatten(2).transpose(1, 2)
        found = torch.cat([self.leading.expand(len(x), -1, -1), placed], 1)
        found = found if self.order == "NTC" else found.transpose(0, 1)
        found = self.norm(self.block(found))
        found = found if self.order == "NTC" else found.transpose(0, 1)
        return self.head(torch.tanh(found).mean(1))


@pytest.mark.parametrize("leading", [1, 2, 5, 9])
def test_registers_are_left_out_too(leading: int) -> None:
    check(Patches(leading), "block", torch.randn(2, 3, 32, 32), tokens((4, 4), leading))


@pytest.mark.parametrize("size", [(16, 40), (40, 16), (35, 22)])
def test_tokens_of_images_that_are_not_square_have_their_grid(size: tuple[int, int]) -> None:
    grid = (size[0] // 8, size[1] // 8)
    check(Patches(1), "block", torch.randn(2, 3, *size), tokens(grid, 1))


def test_tokens_before_the_batch_axis_are_brought_behind_it() -> None:
    def arrange(tensor: Tensor) -> Tensor:
        return tokens((2, 4), 1)(tensor.transpose(0, 1))

    model, x = Patches(1, order="TNC"), torch.randn(2, 3, 16, 32)
    check(model, "block", x, arrange)
    assert laid_out(traced(model, x)["block@0"]).why.startswith("tokens (T, N, C): 1 leading")


class LinearPatches(nn.Module):
    """Tokens without any convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.act, self.head = nn.Linear(3 * 64, 8), nn.Tanh(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        cut = functional.unfold(x, 8, stride=8).transpose(1, 2)
        return self.head(self.act(self.patch(cut)).mean(1))


@pytest.mark.parametrize("size", [(24, 32), (27, 35)])
def test_without_a_convolution_the_grid_has_the_proportions_of_the_image(
    size: tuple[int, int],
) -> None:
    model, x = LinearPatches(), torch.randn(2, 3, *size)
    check(model, "patch", x, tokens((3, 4), 0))
    assert "the proportions of the input" in laid_out(traced(model, x)["patch@0"]).why


def test_what_is_known_of_tokens_is_said() -> None:
    found = laid_out(traced(vit(), torch.randn(1, 3, 32, 32))["encoder@0"])
    assert (found.tokens, found.grid) == (1, (4, 4))
    assert found.why == "tokens (N, T, C): 1 leading token and a grid of 4x4, as of conv_proj@0"


class Queries(nn.Module):
    """As decoders of detection: a hundred queries that have no place in the image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.query = nn.Conv2d(3, 8, 8, stride=8), nn.Linear(8, 100 * 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.query(self.conv(x).mean((2, 3))).reshape(len(x), 100, 8))


def test_tokens_that_are_no_grid_are_refused() -> None:
    call = traced(Queries(), torch.randn(2, 3, 32, 32))["norm@0"]
    with pytest.raises(MapShapeError, match="its 100 tokens are no grid of the proportions"):
        laid_out(call)


# ------------------------------------------------------------------ Swin


def swin(v2: bool = False, width: int = 8) -> nn.Module:
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

    more: Any = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2} if v2 else {}
    return models.SwinTransformer([4, 4], width, [2, 1], [1, 2], [4, 4], num_classes=3, **more)


FIRST_IN_SWIN = ("features.0.0@0", "permute@0", "avgpool@0")


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (32, 48), (40, 28)])
def test_every_layer_of_swin_has_its_channels_where_they_are(
    v2: bool, size: tuple[int, int]
) -> None:
    calls = traced(swin(v2), torch.randn(2, 3, *size))
    shapes = {name: shape_of(call) for name, call in calls.items()}
    seen = 0
    for name, call in calls.items():
        shape = shapes[name]
        if "cpb_mlp" in name:  # biases of positions, the same for all images
            with pytest.raises(MapShapeError, match="windows or heads"):
                laid_out(call)
        elif len(shape) == 4 and shape[2:] != (1, 1):
            expected = shape[2:] if name in FIRST_IN_SWIN else shape[1:-1]
            layout = laid_out(call)
            value = torch.rand(shape)
            truth = value if name in FIRST_IN_SWIN else last(value)
            assert layout.grid == expected, (name, layout.why)
            assert torch.equal(layout.arrange(value), truth), (name, layout.why)
            seen += 1
    assert seen > 40
    assert (2, 8, 8, 8) in shapes.values() or size != (32, 32)


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("layer", ["features.1.0", "features.3.0", "features.3", "norm"])
def test_maps_of_swin_are_those_of_channels_brought_to_the_front(v2: bool, layer: str) -> None:
    check(swin(v2), layer, torch.randn(2, 3, 32, 48), last)


def test_after_swin_s_permutation_channels_come_first() -> None:
    # the average over the permuted map is what the gradient is constant in, so that its map is
    # the sum that CAM makes of it
    check(swin(), "permute", torch.randn(2, 3, 32, 48), first)


class TokenSwin(nn.Module):
    """As the Swin of other libraries: tokens (N, T, C), merged two by two, no class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())
        self.merge = nn.Linear(32, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        placed = self.patch(x)
        found = self.block(placed.flatten(2).transpose(1, 2)).transpose(1, 2)
        found = functional.unfold(found.reshape(placed.shape), 2, stride=2)
        return self.head(torch.tanh(self.norm(self.merge(found.transpose(1, 2)))).mean(1))


@pytest.mark.parametrize(("layer", "grid"), [("block", (8, 12)), ("norm", (4, 6))])
def test_tokens_without_a_class_token_are_a_grid_at_every_stage(
    layer: str, grid: tuple[int, int]
) -> None:
    check(TokenSwin(), layer, torch.randn(2, 3, 32, 48), tokens(grid, 0))


# ------------------------------------------------------------------ convolutions and attention


def maxvit() -> nn.Module:
    return models.MaxVit(
        input_size=(64, 64),
        stem_channels=8,
        partition_size=2,
        block_channels=[8],
        block_layers=[1],
        head_dim=4,
        stochastic_depth_prob=0.0,
        num_classes=3,
    )


ATTENTION = "blocks.0.layers.0.layers.window_attention"


@pytest.mark.parametrize("layer", ["stem", "blocks.0", ATTENTION])
def test_the_blocks_of_maxvit_have_channels_first(layer: str) -> None:
    check(maxvit(), layer, torch.randn(1, 3, 64, 64), first)


@pytest.mark.parametrize("part", ["partition_op", "attn_layer", "mlp_layer.1", "departition_swap"])
def test_windows_of_attention_are_refused(part: str) -> None:
    calls = traced(maxvit(), torch.randn(1, 3, 64, 64))
    with pytest.raises(MapShapeError, match=r"reshape=, a function that returns \(N, C, \*S\)"):
        laid_out(calls[f"{ATTENTION}.{part}@0"])


class ConvNext(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.Sequential(CNBlock(8, 1.0, 0.0), CNBlock(8, 1.0, 0.0))
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


def test_convnext_is_told_apart_inside_and_outside_its_blocks_where_all_sizes_are_equal() -> None:
    calls = traced(ConvNext(), torch.randn(8, 3, 32, 32))
    value = torch.rand(8, 8, 8, 8)
    orders = {"": first, ".block": first, ".block.0": first, ".block.6": first}
    orders |= {".block.1": last, ".block.2": last, ".block.5": last}
    for number in range(2):
        for part, arrange in orders.items():
            layout = laid_out(calls[f"blocks.{number}{part}@0"])
            assert torch.equal(layout.arrange(value), arrange(value)), (part, layout.why)


# ------------------------------------------------------------------ one and three dimensions


def net(*layers: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(2), Mean(), nn.Linear(channels, 3))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x).mean(2)


@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_convolutions_over_time_have_channels_first(layer: str) -> None:
    model = net(nn.Conv1d(2, 6, 5, stride=2), nn.ReLU(), nn.Conv1d(6, 4, 3), channels=4)
    check(model, layer, torch.randn(2, 2, 40), first)


def test_positions_of_a_recurrent_network_are_one_axis() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 6, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.lstm(x)[0]).mean(1))

    check(Recurrent(), "lstm", torch.randn(2, 9, 5), lambda t: t.transpose(1, 2))
    assert image_of(traced(Recurrent(), torch.randn(2, 9, 5))["Recurrent@0"]) == (9,)


def test_words_are_positions_along_one_axis() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.block(self.embed(x))).mean(1))

    for layer in ("embed", "block"):
        check(Text(), layer, torch.randint(20, (2, 7)), lambda t: t.transpose(1, 2))


def test_volumes_have_channels_first() -> None:
    model = net(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), channels=4)
    check(model, "2", torch.randn(2, 1, 6, 8, 10), first)


def test_a_video_network_of_convolutions_has_channels_first() -> None:
    check(models.video.r3d_18(weights=None), "layer3", torch.randn(1, 3, 8, 16, 24), first)


def mvit() -> nn.Module:
    blocks = [
        MSBlockConfig(1, 8, 8, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
        MSBlockConfig(2, 8, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
    ]
    return MViT(
        spatial_size=(32, 48),
        temporal_size=4,
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=False,
        proj_after_attn=False,
        num_classes=3,
    )


@pytest.mark.parametrize("layer", ["pos_encoding", "blocks.0", "blocks.1.norm1"])
def test_maps_of_a_video_transformer_are_frames_rows_and_columns(layer: str) -> None:
    check(mvit(), layer, torch.randn(2, 3, 4, 32, 48), tokens((2, 8, 12), 1))


@pytest.mark.parametrize("layer", ["blocks.1", "blocks.1.attn", "blocks.1.mlp.0", "norm"])
def test_a_video_transformer_that_pools_has_the_pooled_grid(layer: str) -> None:
    # no gradient arrives here but at the class token, so that maps would be flat
    call = traced(mvit(), torch.randn(2, 3, 4, 32, 48))[f"{layer}@0"]
    value = torch.rand(shape_of(call))
    assert torch.equal(laid_out(call).arrange(value), tokens((2, 4, 6), 1)(value))


@pytest.mark.parametrize("layer", ["patch_embed", "features.0.0", "features.2.0.attn", "norm"])
def test_a_video_swin_has_channels_last(layer: str) -> None:
    model = SwinTransformer3d([2, 4, 4], 8, [1, 1], [1, 2], [2, 4, 4], num_classes=3)
    check(model, layer, torch.randn(1, 3, 4, 32, 48), last)


# ------------------------------------------------------------------ sizes


class Upsampling(nn.Module):
    """Its features grow beyond the image; `plain` hides what kind of module returns them."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.plain = Plain()
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.plain(torch.tanh(self.up(self.conv(x)))).mean((2, 3)))


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


@pytest.mark.parametrize("layer", ["up", "plain"])
@pytest.mark.parametrize("channels", [4, 16])
def test_feature_maps_may_be_larger_than_the_input(layer: str, channels: int) -> None:
    check(Upsampling(channels), layer, torch.randn(2, 3, 8, 12), first)


def test_a_convolution_may_shrink_one_axis_alone() -> None:
    model = net(nn.Conv2d(1, 4, (16, 3), stride=(16, 1)), nn.ReLU(), channels=4)
    check(model, "1", torch.randn(2, 1, 32, 100), first)


def test_images_in_a_list_are_the_input_of_a_detector() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.plain = nn.Conv2d(3, 4, 3, stride=2), Plain()

        def forward(self, images: list[Tensor]) -> Tensor:
            return self.plain(self.conv(torch.stack(images)))

    calls = traced(Listed(), [torch.randn(3, 16, 24), torch.randn(3, 16, 24)])
    assert image_of(calls["Listed@0"]) == (16, 24)
    assert laid_out(calls["plain@0"]).grid == (7, 11)


def test_maps_of_a_detector_go_over_the_batch_that_it_makes_of_its_images() -> None:
    class Padding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, images: list[Tensor]) -> Tensor:
            padded = [
                functional.pad(one, (0, 32 - one.shape[2], 0, 16 - one.shape[1])) for one in images
            ]
            return self.conv(torch.stack(padded))

    calls = traced(Padding(), [torch.randn(3, 16, 24), torch.randn(3, 12, 30)])
    assert image_of(calls["Padding@0"]) == (16, 32)


@pytest.mark.parametrize(
    ("model", "x", "layer", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 8, 8), "0", "no batch axis"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1)), (2, 3, 8, 8), "0", "a single position"),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), (2, 3, 8, 8), "1", "no spatial extent"),
    ],
)
def test_what_has_no_space_or_no_batch_is_refused(
    model: nn.Module, x: tuple[int, ...], layer: str, message: str
) -> None:
    with pytest.raises(MapShapeError, match=message):
        laid_out(traced(model, torch.randn(x))[f"{layer}@0"])


def test_of_several_grids_the_one_with_the_fewest_tokens_before_it_is_taken() -> None:
    seen: Any = [("late@0", (3, 5)), ("middle@0", (4, 4)), ("early@0", (2, 7))]
    found = find_grid(17, seen, (32, 32))  # 2, 1 and 3 leading tokens
    assert found == ((4, 4), 1, "as of middle@0")
    assert find_grid(15, seen, (32, 32)) == ((3, 5), 0, "as of late@0")
    same: Any = [("late@0", (2, 8)), ("early@0", (4, 4))]
    assert find_grid(17, same, (32, 32)) == ((2, 8), 1, "as of late@0")


def test_telling_all_layouts_reads_each_call_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(layers: int) -> int:
        blocks = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU()) for _ in range(layers)]
        calls = traced(nn.Sequential(*blocks), torch.randn(1, 3, 8, 8))
        seen: list[int] = []
        original = axes.own
        monkeypatch.setattr(axes, "own", lambda call: seen.append(1) or original(call))
        for call in calls.values():
            if call.parent is not None:
                find_layout(call, (1, 3, 8, 8), (8, 8))
        monkeypatch.setattr(axes, "own", original)
        return len(seen)

    assert reads(40) < 3 * reads(20)
