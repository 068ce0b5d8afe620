"""What all methods have in common that average over runs on changed images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from averaging import CLASSES, EXACT, SEEN, Net, explained, images
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam.methods.aug_smooth import AugSmooth
from hooktrace.cam.methods.iscam import IsCam
from hooktrace.cam.methods.smoothgradcam_plusplus import SmoothGradCamPlusPlus
from hooktrace.cam.methods.sscam import SsCam
from hooktrace.errors import NoGradientError

ALL: list[Any] = [
    SmoothGradCamPlusPlus(samples=3),
    SsCam(samples=3),
    SsCam(samples=3, noise="input"),
    IsCam(steps=3),
    AugSmooth(),
]
names = [f"{one.name}{number}" for number, one in enumerate(ALL)]
every = pytest.mark.parametrize("method", ALL, ids=names)


@every
def test_maps_are_those_of_the_out_of_place_twin(method: Any) -> None:
    for layer in ("conv", "relu"):
        found = explained(method, layer, model=Net(inplace=True))
        assert torch.equal(found, explained(method, layer, model=Net(inplace=False)))


@every
def test_frozen_models_and_no_grad_make_no_difference(method: Any) -> None:
    frozen = Net().requires_grad_(False)
    with torch.no_grad():
        found = explained(method, model=frozen)
    assert torch.equal(found, explained(method))
    with torch.inference_mode():
        assert torch.equal(explained(method, model=frozen), found)


@every
def test_the_map_of_an_image_does_not_depend_on_the_rest_of_the_batch(method: Any) -> None:
    alone = [
        explained(method, images=images()[[row]], target=int(CLASSES[row])) for row in range(2)
    ]
    torch.testing.assert_close(explained(method), torch.cat(alone), **EXACT)


@every
def test_the_seed_decides_and_the_global_generator_is_not_touched(method: Any) -> None:
    state = torch.get_rng_state()
    first = explained(method)
    torch.manual_seed(99)
    assert torch.equal(explained(method), first)
    noisy = method.name in ("smoothgradcam++", "sscam")
    assert torch.equal(explained(method, seed=5), first) is not noisy
    torch.manual_seed(99)
    state = torch.get_rng_state()
    model, data = Net(), images()
    torch.set_rng_state(state)
    explained(method, model=model, images=data)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [SmoothGradCamPlusPlus, SsCam, IsCam])
def test_the_model_never_gets_more_images_than_batch_size(kind: Any) -> None:
    SEEN.clear()
    explained(kind(batch_size=3))
    assert max(SEEN) == 3


@every
def test_they_take_a_trace_with_the_model(method: Any) -> None:
    model, data = Net(), images()
    with ht.trace(model, keep=["conv"]) as t:
        model(data)
    options = {"target": CLASSES.tolist(), "method": method, "model": model}
    found = t.cam("conv", inputs=data, **options).raw
    assert torch.equal(found, explained(method))
    assert torch.equal(t.cam("conv", inputs={"images": data}, **options).raw, found)
    with pytest.raises(NoGradientError):
        t.cam("conv", **{**options, "target": "backward"}, inputs=data)


class Twice(Net):
    """Calls one module twice; its result is a tuple with an extra."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__(inplace)
        self.block = Block()
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        x, extra = self.block(self.stem(images))
        x, extra = self.block(x * extra)
        return self.head(torch.cat([x, x], 1)[:, :7].mean((2, 3)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.inner = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x).tanh(), x.sigmoid()


@pytest.mark.parametrize("call", [0, 1])
@every
def test_the_call_that_was_named_is_run_again(method: Any, call: int) -> None:
    if method.name == "aug_smooth":
        method = AugSmooth(flip=False, gains=(1.0,))
    else:
        method = SmoothGradCamPlusPlus(2, 0)
    plain = "gradcam" if method.name == "aug_smooth" else "gradcam++"
    found = explained(method, f"block@{call}", model=Twice())
    torch.testing.assert_close(found, explained(plain, f"block@{call}", model=Twice()), **EXACT)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SmoothGradCamPlusPlus(samples=0), "samples"),
        (lambda: SmoothGradCamPlusPlus(sigma=-1), "sigma"),
        (lambda: SmoothGradCamPlusPlus(batch_size=0), "batch_size"),
        (lambda: SmoothGradCamPlusPlus(numerator="third"), "numerator"),  # type: ignore[arg-type]
        (lambda: SsCam(samples=0), "samples"),
        (lambda: SsCam(sigma=-1), "sigma"),
        (lambda: SsCam(noise="weights"), "noise"),  # type: ignore[arg-type]
        (lambda: SsCam(batch_size=0), "batch_size"),
        (lambda: IsCam(steps=1), "steps"),
        (lambda: IsCam(path="bent"), "path"),  # type: ignore[arg-type]
        (lambda: AugSmooth(gains=()), "gains"),
        (lambda: AugSmooth(scales=(0.0,)), "scales"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}="):
        make()
