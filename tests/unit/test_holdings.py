"""What is recorded of stored tensors: facts, bounds, and nothing that stays alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import hooktrace as ht

X = torch.linspace(-1, 1, 8).reshape(4, 2)


def storing(module: nn.Module) -> list[Any]:
    saved: list[Any] = []

    def save(module: Any, args: Any, output: Any) -> None:
        saved.append(output)

    module.register_forward_hook(save)
    return saved


def test_a_record_tells_who_stored_what_when_where_and_what_became_of_it() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    saved, before = storing(net[0]), []
    net[0].register_forward_hook(lambda module, args, output: before.append(output.clone()))
    with ht.trace(net) as t:
        net(X)
    (held,) = t.log.holdings
    fired = t.events[held.firing]
    assert isinstance(fired, ht.events.HookFired)
    assert (fired.hook, t.hooks[held.hook].name) == (held.hook, "save")
    assert (held.role, held.path, held.container) == ("output", "saved[0]", "saved")
    then, now = held.values
    assert (then.version, now.version) == (0, saved[0]._version)
    assert then.tensor == now.tensor
    assert held.change is not None
    assert held.change.changed == int((before[0] != saved[0]).sum())
    assert held.change.total == saved[0].numel()
    assert (held.leaf, held.still, held.doubt) == (None, True, "")
    assert held.written


def test_a_tensor_that_shares_memory_has_a_number_of_its_own() -> None:
    net, saved = nn.Linear(2, 2), []
    net.register_forward_hook(lambda module, args, output: saved.append(output.detach()))
    with ht.trace(net) as t:
        net(X)
    (held,) = t.log.holdings
    output = t.calls()[0].seen_outputs[0]
    assert output.value is not None
    assert held.values[0].tensor != output.value.tensor
    assert not held.written
    assert held.change is None


def test_features_of_pytorch_and_hooks_whose_trade_it_is_are_left_alone() -> None:
    net = prune.l1_unstructured(nn.Linear(2, 2), "weight", 0.5)
    packed: list[Any] = []

    def pack(tensor: torch.Tensor) -> Any:
        packed.append(tensor)
        return tensor

    with ht.trace(net) as t, torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        net(X).sum().backward()
    assert packed
    assert t.log.holdings == []


def test_nothing_that_was_stored_is_kept_alive() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    saved = storing(net[0])
    with ht.trace(net) as t:
        net(X)
        inside = weakref.ref(saved[0])
        saved.clear()
        gc.collect()
        assert inside() is None
        net(X)
    after = weakref.ref(saved.pop())
    gc.collect()
    assert after() is None
    assert t.log.snapshots == {}
    assert len(t.log.holdings) == 2


def test_a_hook_and_what_it_closes_over_can_go_inside_the_block() -> None:
    class Big:
        saved: Any = None

    net, big = nn.Linear(2, 2), Big()
    gone = weakref.ref(big)
    with ht.trace(net):

        def save(module: Any, args: Any, output: Any, big: Any = big) -> None:
            big.saved = output

        handle = net.register_forward_hook(save)
        net(X)
        handle.remove()
        del save, big
        gc.collect()
        assert gone() is None


def test_copies_are_limited_in_size_and_in_all() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    storing(net[0])
    with ht.trace(net) as t:
        net(torch.randn(200_000, 2))
    (held,) = t.log.holdings
    assert held.change is None
    assert held.written


@pytest.mark.parametrize("steps", [3, 300])
def test_a_list_that_grows_is_recorded_in_full_and_costs_each_step_the_same(steps: int) -> None:
    net = nn.Linear(2, 2)
    saved = storing(net)
    with ht.trace(net) as t:
        for _ in range(steps):
            net(X)
    assert [held.path for held in t.log.holdings] == [f"saved[{n}]" for n in range(len(saved))]
    assert all(held.still for held in t.log.holdings)


def test_swapping_a_tensor_that_is_stored_works() -> None:
    net = nn.Linear(2, 2)
    saved = storing(net)
    with ht.trace(net), torch.no_grad():
        net(X)
        torch.utils.swap_tensors(saved[0], torch.zeros(4, 2))
    assert not saved[0].any()


def test_inference_tensors_have_no_version_and_are_compared_by_their_copy() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    storing(net[0])
    with torch.inference_mode(), ht.trace(net) as t:
        net(X)
    (held,) = t.log.holdings
    assert held.values[1].version is None
    assert held.written


def test_where_there_is_no_container_the_path_stands_for_it() -> None:
    net = nn.Linear(2, 2)

    class Keeper:
        def keep(self, module: Any, args: Any, output: Any) -> None:
            self.last = output

    net.register_forward_hook(Keeper().keep)
    with ht.trace(net) as t:
        net(X)
    (held,) = t.log.holdings
    assert (held.path, held.container) == ("self.last", "self.last")


def test_after_many_firings_what_is_stored_is_looked_for_now_and_then() -> None:
    stored: dict[int, torch.Tensor] = {}
    x = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        for number in range(1100):
            y = x * 1

            def keep(grad: torch.Tensor, number: int = number) -> None:
                stored[number] = grad

            y.register_hook(keep)
            y.backward()
    found = {one.path for one in t.log.holdings}
    assert {f"stored[{number}]" for number in range(1024)} <= found
    assert 1026 <= len(found) < 1100


def test_a_key_of_a_large_dictionary_that_is_overwritten_anew_is_stored_anew() -> None:
    stored: dict[int, torch.Tensor] = {number: torch.zeros(1) for number in range(200)}
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        stored[7] = output

    net[0].register_forward_hook(keep)
    with ht.trace(net) as t:
        net(X)
        net(-X)
        del stored[7]
    assert [(one.path, one.still) for one in t.log.holdings] == [("stored[7]", False)] * 2


@pytest.mark.parametrize("store", ["closure", "global"])
def test_what_a_hook_stored_stays_its_own_when_later_hooks_are_given_the_tensor(store: str) -> None:
    acts: dict[str, torch.Tensor] = GLOBAL_STORE if store == "global" else {}
    acts.clear()
    net = nn.Sequential(
        nn.Linear(2, 2),
        nn.ReLU(inplace=True),
        nn.Linear(2, 2),
        nn.ReLU(inplace=True),
        nn.Linear(2, 2),
    )

    def storing_by(name: str) -> Any:
        def in_closure(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            acts[name] = output

        def in_global(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            GLOBAL_STORE[name] = output

        return in_global if store == "global" else in_closure

    for name, member in net.named_children():
        member.register_forward_hook(storing_by(name))
    torch.manual_seed(0)
    with ht.trace(net) as t:
        net(torch.randn(8, 2))
    written = {held.path.partition("[")[2]: held.written for held in t.log.holdings}
    assert {key for key, is_so in written.items() if is_so} == {"'0']", "'2']"}


GLOBAL_STORE: dict[str, torch.Tensor] = {}
