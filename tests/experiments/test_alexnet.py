"""AlexNet, whose ReLUs write over what the convolutions returned."""

from __future__ import annotations

import copy
import functools
import re
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

torchvision = pytest.importorskip("torchvision")


@functools.cache
def original() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.alexnet(num_classes=10).eval()


def alexnet(*, inplace: bool) -> nn.Module:
    net = copy.deepcopy(original())
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    return net


def traced(*, inplace: bool) -> tuple[ht.Trace, torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Return the trace, the output, the parameters' gradients, and a naive hook's capture."""
    net = alexnet(inplace=inplace)
    captured: dict[str, Any] = {}
    net.features[0].register_forward_hook(lambda m, args, out: captured.update(out=out.detach()))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with ht.trace(net, keep=["features.0", "features.1"]) as t:
        output = net(images)
        output.square().sum().backward()
    return t, output, [one.grad for one in net.parameters()], captured["out"]


@pytest.fixture(scope="module")
def both() -> Any:
    return traced(inplace=True), traced(inplace=False)


def test_outputs_and_gradients_do_not_depend_on_inplace(both: Any) -> None:
    (_, one, ones, _), (_, other, others, _) = both
    assert torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def test_the_naive_capture_is_wrong_and_the_traced_one_is_right(both: Any) -> None:
    (overwriting, _, _, naive), (clean, _, _, true) = both
    assert true.lt(0).any()
    assert torch.equal(naive, true.clamp(min=0))
    assert not torch.equal(naive, true)
    assert torch.equal(overwriting["features.0"].output, true)
    assert torch.equal(clean["features.0"].output, true)
    assert torch.equal(overwriting["features.0"].overwritten, naive)
    assert clean["features.0"].overwritten is None


def test_the_gradients_of_every_kept_call_agree(both: Any) -> None:
    (one, *_), (other, *_) = both
    for name in ("features.0", "features.1"):
        assert torch.equal(one[name].grad_output, other[name].grad_output)
    assert one["features.0"].grad_inputs == other["features.0"].grad_inputs == (None,)
    assert torch.equal(one["features.1"].grad_input, other["features.1"].grad_input)


def test_the_write_is_named(both: Any) -> None:
    (overwriting, *_), (clean, *_) = both
    written = {write.what: write.by for write in overwriting.writes()}
    assert written["output of features.0@0"] == "features.1@0 (ReLU)"
    assert len(written) == 7
    assert clean.writes() == []


def test_a_full_backward_hook_raises_pytorchs_own_error_and_the_trace_needs_none() -> None:
    net = alexnet(inplace=True)
    images = torch.randn(1, 3, 64, 64)
    handle = net.features[0].register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(RuntimeError) as untraced:
        net(images)
    with pytest.raises(RuntimeError) as within, ht.trace(net) as t:
        net(images)
    assert str(within.value) == str(untraced.value)
    said = re.compile(r"Output 0 of BackwardHookFunction(Backward)? is a view and is being")
    assert said.match(str(within.value))
    assert t.log.error.startswith("RuntimeError: Output 0 of BackwardHookFunction")
    assert t["features.1"].exception == t.log.error
    handle.remove()

    with ht.trace(net, keep=["features.0"]) as t:
        net(images).sum().backward()
    assert t["features.0"].grad_output.shape == (1, 64, 15, 15)
    assert t["features.0"].grad_inputs == (None,)

    images.requires_grad_()
    with ht.trace(net, keep=["features.0"]) as t:
        net(images).sum().backward()
    assert torch.equal(t["features.0"].grad_input, images.grad)
