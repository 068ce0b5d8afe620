"""Methods that run the model again against naive loops in float64 and captum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import GuidedBackprop, GuidedGradCam
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.making import layer_of
from hooktrace.cam.methods.ablationcam import AblationCam
from hooktrace.cam.methods.scorecam import ScoreCam
from hooktrace.cam.replica import Tail
from hooktrace.errors import MissingModelError
from hooktrace.views.calls import CallIndex

EXACT = {"rtol": 1e-9, "atol": 1e-12}  # float64
RERUNNING = [
    "ablationcam",
    "aug_smooth",
    "guided_backprop",
    "guided_gradcam",
    "iscam",
    "scorecam",
    "smoothgradcam++",
    "sscam",
]


class Net(nn.Module):
    """Two blocks; the ReLU is shared, in place, and there is a functional one, and a skip."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.inplace = inplace
        self.head = nn.Linear(6, 4)
        self.double().eval()

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(images)))
        y = functional.relu(self.second(x), inplace=self.inplace)
        y = self.relu(self.third(y) + x)
        return self.head(y.mean((2, 3)))


def images(batch: int = 2) -> Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 8, 8, generator=drawn, dtype=torch.double)


def maps(model: nn.Module, layer: str, method: Any, batch: int = 2, **options: Any) -> Any:
    data = images(batch)
    with ht.trace(model, keep=["*"]) as t:
        model(data)
    return t.cam(layer, method=method, model=model, inputs=data, **options)


def recorded(model: nn.Module, layer: str, data: Tensor) -> tuple[Tensor, Tensor]:
    found = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _module, _args, output: found.append(output.detach().clone())
    )
    with torch.no_grad():
        logits = model(data)
    handle.remove()
    return found[0], logits


@pytest.mark.parametrize("layer", ["first", "norm", "second", "third"])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_ablationcam_is_the_loop_over_whole_runs(layer: str, batch_size: int) -> None:
    model, data = Net(), images()
    activations, logits = recorded(model, layer, data)
    classes = logits.argmax(1)
    pick = torch.arange(2)
    weights = []
    for channel in range(6):

        def without(_module: Any, _args: Any, output: Tensor, channel: int = channel) -> Tensor:
            output = output.clone()
            output[:, channel] = 0
            return output

        handle = model.get_submodule(layer).register_forward_hook(without)
        with torch.no_grad():
            ablated = model(data)
        handle.remove()
        weights.append(1 - ablated[pick, classes] / logits[pick, classes])
    expected = torch.einsum("cn,ncij->nij", torch.stack(weights), activations)
    torch.testing.assert_close(maps(model, layer, AblationCam(batch_size)).raw, expected, **EXACT)


class ReadsBefore(Net):
    """Reads what a module returned before an in-place one overwrites it, and uses both."""

    def forward(self, images: Tensor) -> Tensor:
        normed = self.norm(self.first(images))
        before = normed * 2
        y = self.second(self.relu(normed))
        return self.head((self.third(y) + before + normed).mean((2, 3)))


@pytest.mark.parametrize("kind", [Net, ReadsBefore])
@pytest.mark.parametrize("layer", ["first", "norm", "second", "third"])
@pytest.mark.parametrize("rows", [[1, 1, 1], [0, 1]])
def test_a_replayed_tail_gives_bit_for_bit_what_whole_runs_give(
    kind: type[Net], layer: str, rows: list[int]
) -> None:
    model, data = kind(), images()
    activation, _ = recorded(model, layer, data)
    with ht.trace(model, keep=[layer]) as t:
        model(data)
    index = CallIndex(t.log).refresh()
    own = layer_of(index, index.one(layer))
    evidence = Evidence(index, own, [own], None, Rerun(model, (data,), {}))
    value = activation[rows].clone()
    value[:, 2] = 0
    place = model.get_submodule(layer)
    handle = place.register_forward_hook(lambda _module, _args, _output: value.clone())
    with torch.no_grad():
        whole = model(data[rows])
    handle.remove()
    with torch.no_grad():
        found = Tail(evidence.rerun("ablationcam"), evidence).run(
            "output", value.clone(), torch.tensor(rows)
        )
    assert torch.equal(found, whole)


@pytest.mark.parametrize("order", ["resize_first", "normalize_first"])
def test_scorecam_is_the_loop_over_masked_images(order: Any) -> None:
    model, data = Net(), images()
    model = nn.Sequential(model.first, model.relu, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 4))
    model.double()
    with torch.no_grad():
        model[0].weight[2:4], model[0].bias[2:4] = 0, -1  # constant after the ReLU
        model[0].weight[4], model[0].bias[4] = model[0].weight[5], model[0].bias[5]  # equal
    activations, logits = recorded(model, "2", data)
    classes, weights = logits.argmax(1), []
    for channel in activations.unbind(1):
        masks = channel.unsqueeze(1)
        if order == "normalize_first":
            masks = scaled(masks)
        masks = functional.interpolate(masks, (8, 8), mode="bilinear", align_corners=False)
        if order == "resize_first":
            masks = scaled(masks)
        with torch.no_grad():
            weights.append(model(data * masks)[torch.arange(2), classes])
    soft = torch.stack(weights).softmax(0)
    expected = torch.einsum("cn,ncij->nij", soft, activations)
    found = maps(model, "2", ScoreCam(order, batch_size=3)).raw
    torch.testing.assert_close(found, expected, **EXACT)


def scaled(masks: Tensor) -> Tensor:
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    return torch.where(high > low, (masks - low) / (high - low).clamp_min(1e-300), 0)


def plain() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 64, 4),
    ).double()


def test_guided_backprop_is_that_of_captum() -> None:
    data = images()
    found = maps(plain(), "2", "guided_backprop", target=1)
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = GuidedBackprop(plain()).attribute(data.clone().requires_grad_(), target=1)
    torch.testing.assert_close(found.single.extra["gradients"], expected, **EXACT)


def test_guided_backprop_does_not_care_whether_a_relu_works_in_place() -> None:
    torch.testing.assert_close(
        maps(Net(inplace=True), "first", "guided_backprop").raw,
        maps(Net(inplace=False), "first", "guided_backprop").raw,
        rtol=0,
        atol=0,
    )


def test_guided_gradcam_is_that_of_captum() -> None:
    data, model = images(), plain()
    found = maps(plain(), "2", "guided_gradcam", target=1)
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = GuidedGradCam(model, model[2]).attribute(
            data.clone().requires_grad_(), target=1, interpolate_mode="nearest"
        )
    torch.testing.assert_close(found.single.extra["gradients"], expected, **EXACT)


@pytest.mark.parametrize("method", RERUNNING)
def test_a_target_of_ones_own_is_scored_image_by_image(method: str) -> None:
    model = plain()
    picked = maps(model, "2", method, target=[1, 3]).raw
    own = maps(model, "2", method, target=lambda z: torch.stack([z[0, 1], z[1, 3]])).raw
    torch.testing.assert_close(own, picked, **EXACT)


@pytest.mark.parametrize("method", RERUNNING)
def test_without_a_model_the_ways_to_give_one_are_named(method: str) -> None:
    model = plain()
    with ht.trace(model, keep=["*"]) as t:
        model(images())
    with pytest.raises(MissingModelError, match="model=model, inputs=images"):
        t.cam("2", method=method)


@pytest.mark.parametrize("method", RERUNNING)
def test_a_model_in_training_mode_is_left_as_it_is(method: str) -> None:
    model = Net().train()
    data = images()
    with ht.trace(model, keep=["*"]) as t:
        model(data)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    state = torch.get_rng_state()
    t.cam("third", method=method, model=model, inputs=data)
    assert all(one.training for one in model.modules())
    assert all(one.grad is None for one in model.parameters())
    assert all("forward" not in vars(one) for one in model.modules())
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(data, images())
