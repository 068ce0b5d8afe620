"""A counterfactual leaves everything as it was, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
from frozen import frozen
from surroundings import attributes, global_hooks, modes, patched, random_state
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.hooks import RemovableHandle

from hooktrace.experiments.counterfactuals import counterfactual
from hooktrace.experiments.snapshot import Snapshot


def listen(*_: Any) -> None:
    """Change nothing."""


class Net(nn.Module):
    """A model that keeps all sorts of things."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.last = parametrizations.weight_norm(nn.Linear(4, 2))
        prune.l1_unstructured(self.first, "weight", 0.3)
        self.calls = 0
        self.history: list[Any] = []
        self.cache: dict[str, Any] = {"first": torch.zeros(2)}
        self.memory = torch.zeros(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.history.append(x.mean().item() + random.random() + float(numpy.random.rand()))
        self.cache["first"] += 1
        self.cache[f"call {self.calls}"] = x
        self.memory = self.memory + 1
        return self.last(self.drop(self.norm(self.first(x)).relu()))


class World:
    """A training step that changes whatever it can, and leaves hooks behind."""

    def __init__(self) -> None:
        self.net = Net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)
        self.x = torch.randn(8, 3, requires_grad=True)
        self.net.first.register_forward_hook(listen)
        self.net.norm.weight.register_hook(listen)
        self.net.norm.bias.register_post_accumulate_grad_hook(listen)
        self.step()
        self.state = [self.net, self.optimizer, self.schedule, self.x]

    def step(self) -> None:
        self.net(self.x).square().sum().backward()
        self.optimizer.step()
        self.schedule.step()

    def wild(self) -> None:
        """Step, and leave as much behind as can be."""
        self.step()
        self.net.eval()
        self.net.first.bias.requires_grad_(False)
        self.net.norm.weight.grad = None
        self.net.norm.register_forward_hook(listen)
        self.net.norm.register_full_backward_hook(listen)
        self.net.norm.weight.register_hook(listen)
        self.net.norm.bias.register_post_accumulate_grad_hook(listen)
        self.net.last.bias.register_hook(listen)
        self.optimizer.register_step_post_hook(listen)
        nn.modules.module.register_module_full_backward_pre_hook(listen)
        self.net.new = nn.Linear(1, 1)
        self.net.norm.running_mean.data.fill_(7)
        self.net.memory[0] = 9
        del self.net.cache["first"]
        torch.randn(3)
        random.random()
        numpy.random.rand()
        torch.set_grad_enabled(False)


def taken(world: World) -> Any:
    """All that can be noticed of a world and its surroundings."""
    net = world.net
    return [
        frozen([net, world.optimizer, world.schedule, world.x]),
        [net.calls, list(net.history), frozen(net.cache), frozen(net.memory)],
        random_state(),
        global_hooks(),
        modes(),
    ]


def identities(world: World) -> list[int]:
    """The objects that something else could refer to."""
    net, found = world.net, []
    for module in net.modules():
        found += [id(module), id(module._parameters), id(module._forward_hooks)]
        found += map(id, module._buffers.values())
    for parameter in net.parameters():
        found += [id(parameter), id(parameter.grad), parameter.data_ptr()]
        found += [id(parameter._backward_hooks), id(world.optimizer.state[parameter]["exp_avg"])]
    return [*found, id(net.history), id(net.cache), id(net.memory)]


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Name the places where two structures differ."""
    if isinstance(one, torch.Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
        return [] if alike else [where]
    if isinstance(one, dict) and list(one) == list(other):
        return [each for key in one for each in differing(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, (list, tuple)) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [each for place, pair in pairs for each in differing(*pair, f"{where}.{place}")]
    return [] if one == other else [f"{where}: {one} {other}"]


def test_a_counterfactual_leaves_everything_as_it_was() -> None:
    world = World()
    before, objects, functions = taken(world), identities(world), attributes()
    found = counterfactual(world.wild, off="listen on first", state=world.state)
    assert found.raised == (None, None)
    assert differing(taken(world), before) == []
    assert identities(world) == objects
    assert patched(functions, attributes()) == []


def test_both_runs_begin_from_the_same_state() -> None:
    world = World()
    seen = []

    def step() -> None:
        seen.append(taken(world)[:-1])
        world.wild()

    counterfactual(step, off="listen on norm.bias", state=world.state)
    (off,) = differing(*seen)
    assert ".parameters.bias.post_hooks.0" in off or off.endswith("[]")


def test_without_what_is_put_back_the_comparison_would_fail() -> None:
    world = World()
    before = taken(world)
    world.wild()
    torch.set_grad_enabled(True)
    after = taken(world)
    changed = [bool(differing(*pair)) for pair in zip(before, after, strict=True)]
    assert changed == [True, True, True, True, False]
    nn.modules.module._global_backward_pre_hooks.clear()
    nn.modules.module._global_is_full_backward_hook = None


@pytest.mark.parametrize("raises", [ValueError, KeyboardInterrupt])
def test_the_state_is_put_back_after_an_exception(raises: Any) -> None:
    world = World()
    before = taken(world)

    def step() -> None:
        world.wild()
        raise raises

    if raises is ValueError:
        assert counterfactual(step, off="listen on first", state=world.state).equal
    else:
        with pytest.raises(raises):
            counterfactual(step, off="listen on first", state=world.state)
    assert differing(taken(world), before) == []


def test_a_graph_from_before_is_still_good() -> None:
    w = torch.tensor([3.0], requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    loss = (w * w).sum()
    w.register_hook(listen)

    def step() -> None:
        optimizer.zero_grad()
        (w * 2).sum().backward()
        optimizer.step()

    counterfactual(step, off="listen", state=[w, optimizer])
    loss.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [6.0]


def test_a_parameter_whose_data_was_replaced_has_its_own_again() -> None:
    w = nn.Parameter(torch.ones(2))
    address, snapshot = w.data_ptr(), Snapshot([w])
    w.data = torch.zeros(5)
    snapshot.restore()
    assert (w.data_ptr(), w.tolist()) == (address, [1.0, 1.0])


def test_hooks_on_the_node_that_accumulates_a_gradient_are_put_back() -> None:
    w = torch.ones(2, requires_grad=True)
    node = w.view_as(w).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    kept = node.register_hook(listen)
    snapshot = Snapshot([w])
    kept.remove()
    node.register_hook(lambda *_: pytest.fail("it should be gone"))
    node.register_prehook(lambda *_: pytest.fail("it should be gone"))
    snapshot.restore()
    w.sum().backward()
    hooks = kept.hooks_dict_ref()
    assert hooks is not None
    assert list(hooks.values()) == [listen]


def test_a_generator_of_random_numbers_can_be_part_of_the_state() -> None:
    generator = torch.Generator().manual_seed(3)
    snapshot = Snapshot([generator])
    first = torch.rand(2, generator=generator)
    snapshot.restore()
    assert torch.equal(first, torch.rand(2, generator=generator))


def test_an_inference_tensor_is_put_back() -> None:
    net = nn.BatchNorm1d(2)
    with torch.inference_mode():
        net.running_mean = torch.ones(2)
    snapshot = Snapshot([net])
    with torch.inference_mode():
        net.running_mean.fill_(5)
    snapshot.restore()
    assert net.running_mean.tolist() == [1.0, 1.0]


def test_handles_go_on_working_afterwards() -> None:
    net = nn.Linear(1, 1)
    handle: RemovableHandle = net.register_forward_hook(listen)
    counterfactual(lambda: net(torch.ones(1, 1)), off="listen", state=net)
    handle.remove()
    assert len(net._forward_hooks) == 0


def test_the_generators_of_cuda_devices_are_put_back_where_cuda_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = {"state": [torch.tensor([1])]}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: list(device["state"]))
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda s: device.update(state=s))
    snapshot = Snapshot([])
    device["state"] = [torch.tensor([2])]
    snapshot.restore()
    assert device["state"][0].tolist() == [1]
