"""A heat map costs the program nothing: no flag, gradient, hook or random number is another."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.errors import GraphFreedError, NoGraphError, NotKeptError, TargetError


class Net(nn.Module):
    """A net with everything that could be disturbed: BatchNorm, Dropout, in-place code."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(5, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


def state(net: nn.Module) -> dict[str, Any]:
    return {
        "parameters": [one.detach().clone() for one in net.parameters()],
        "versions": [one._version for one in net.parameters()],
        "gradients": [None if one.grad is None else one.grad.clone() for one in net.parameters()],
        "requires_grad": [one.requires_grad for one in net.parameters()],
        "buffers": [one.clone() for one in net.buffers()],
        "training": [one.training for one in net.modules()],
        "hooks": [
            (len(one._forward_hooks), len(one._forward_pre_hooks), len(one._backward_hooks))
            for one in net.modules()
        ],
        "random": torch.get_rng_state(),
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, was in before.items():
        now = after[name]
        pairs = zip(was, now, strict=True) if isinstance(was, list) else [(was, now)]
        for one, other in pairs:
            same = torch.equal(one, other) if isinstance(one, Tensor) else one == other
            assert same, name


def net_in(mode: str) -> nn.Module:
    net = Net()
    net(torch.randn(4, 3, 8, 8)).sum().backward()  # gradients that must stay
    net.train(mode == "train")
    return net


class Mark:
    """Lives as long as the autograd node that it hangs on."""


def marked(result: Tensor) -> weakref.ref[Mark]:
    assert result.grad_fn is not None
    mark = Mark()
    result.grad_fn.metadata["mark"] = mark
    return weakref.ref(mark)


MODELS = ["train", "eval"]


@pytest.mark.parametrize("mode", MODELS)
def test_explain_leaves_everything_as_it_was(mode: str) -> None:
    net = net_in(mode)
    before = state(net)
    ht.explain(net, torch.randn(2, 3, 8, 8, generator=torch.Generator()), target=1)
    assert_same(before, state(net))


@pytest.mark.parametrize("mode", MODELS)
def test_a_map_of_a_trace_leaves_everything_as_it_was(mode: str) -> None:
    net = net_in(mode)
    with ht.trace(net, keep=["features.1"]) as t:
        net(torch.randn(2, 3, 8, 8))
        before = state(net)
        t.cam("features.1", target=1)
        assert_same(before, state(net))
    t.cam("features.1", target=[0, 2])
    assert_same(before, state(net))


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ht.errors.UnknownNameError, {"layer": "features.17"}),
        (TargetError, {"target": 5000}),
        (TargetError, {"target": [0]}),
        (ZeroDivisionError, {"target": lambda output: 1 / 0}),
        (TypeError, {"target": "backward"}),
        (NoGraphError, {"target": lambda output: torch.ones(2)}),
    ],
)
def test_an_exception_passes_through_and_leaves_everything_as_it_was(
    error: type[Exception], options: dict[str, Any]
) -> None:
    net = net_in("train")
    before = state(net)
    with pytest.raises(error):
        ht.explain(net, torch.randn(2, 3, 8, 8, generator=torch.Generator()), **options)
    assert_same(before, state(net))


def test_an_error_of_the_model_passes_through_and_no_hook_stays() -> None:
    net = net_in("eval")
    before = state(net)
    with pytest.raises(RuntimeError, match="channels"):
        ht.explain(net, torch.zeros(1, 7, 8, 8), layer="features.1", target=0)
    assert_same(before, state(net))


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_model_and_an_outer_mode_make_no_difference(around: Any, frozen: bool) -> None:
    net = net_in("eval")
    images = torch.randn(2, 3, 8, 8)
    wanted = ht.explain(net, images, target=1, layer=["features.0", "features.1"])
    net.requires_grad_(not frozen)
    with around():
        found = ht.explain(net, images.clone(), target=1, layer=["features.0", "features.1"])
    for key, one in wanted.items():
        assert torch.equal(one.raw, found[key].raw)


def test_explain_equals_the_map_of_a_trace() -> None:
    net = net_in("eval")
    images = torch.randn(2, 3, 8, 8)
    with ht.trace(net, keep=["features.0"]) as t:
        net(images)
    ours = t.cam("features.0", target=1).raw
    assert torch.equal(ours, ht.explain(net, images, target=1, layer="features.0").raw)


def test_a_map_inside_the_block_is_no_event_of_it() -> None:
    net = net_in("eval")
    with ht.trace(net, keep=["features.0"]) as t:
        logits = net(torch.randn(1, 3, 8, 8))
        before = len(t.events)
        t.cam("features.0", target=1)
        assert len(t.events) == before
        logits.sum().backward()
    assert len(t.of(ht.events.BackwardStarted)) == 1


def test_a_freed_graph_is_told_with_the_ways_out() -> None:
    net = net_in("eval")
    with ht.trace(net, keep=["features.0"]) as t:
        net(torch.randn(1, 3, 8, 8)).sum().backward()
    with pytest.raises(GraphFreedError, match=r"retain_graph=True.*target=.*ht\.explain"):
        t.cam("features.0", target=1)


@pytest.mark.parametrize("how", ["frozen", "no_grad"])
def test_a_trace_without_a_graph_is_told_with_the_ways_out(how: str) -> None:
    net = net_in("eval").requires_grad_(how != "frozen")
    with ht.trace(net, keep=["features.0"]) as t, torch.set_grad_enabled(how != "no_grad"):
        net(torch.randn(1, 3, 8, 8))
    with pytest.raises(NoGraphError, match=r"frozen, or ran under no_grad.*ht\.explain"):
        t.cam("features.0", target=1)


def test_what_was_not_kept_is_told_with_what_was() -> None:
    net = net_in("eval")
    with ht.trace(net, keep=["features.0"]) as t:
        net(torch.randn(1, 3, 8, 8))
    with pytest.raises(NotKeptError, match=r"keep=\['features.1'\].*Kept are: features.0@0"):
        t.cam("features.1")
    t.release()
    with pytest.raises(NotKeptError, match="let go by release"):
        t.cam("features.0")


def test_without_keep_nothing_of_the_result_outlives_the_block() -> None:
    net = net_in("eval")
    with ht.trace(net) as t:
        gone = marked(net(torch.randn(1, 3, 8, 8)))
    gc.collect()
    assert gone() is None
    assert t.log.results == {}


def test_after_release_the_graph_of_the_result_is_gone() -> None:
    net = net_in("eval")
    with ht.trace(net, keep=["features.0"]) as t:
        gone = marked(net(torch.randn(1, 3, 8, 8)))
    assert gone() is not None
    t.release()
    gc.collect()
    assert gone() is None


def test_hooks_of_the_user_see_what_they_would_see_in_a_run_without_grad() -> None:
    net = net_in("eval")
    twin = copy.deepcopy(net)
    seen: dict[str, list[Tensor]] = {"ours": [], "theirs": []}
    net.head.register_forward_hook(lambda _m, _a, out: seen["ours"].append(out.detach()))
    twin.head.register_forward_hook(lambda _m, _a, out: seen["theirs"].append(out.detach()))
    images = torch.randn(1, 3, 8, 8)
    ht.explain(net, images, target=0, layer="features.0")
    twin(images)
    assert torch.equal(seen["ours"][0], seen["theirs"][0])
