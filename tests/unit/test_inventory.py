"""`hooks()`: what is registered now, in the order in which it would fire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import needs
import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import prune
from torch.optim import optimizer as torch_optimizer

import hooktrace as ht


def accumulator(leaf: torch.Tensor) -> Any:
    """Return the node that accumulates the gradient of a leaf."""
    return torch.autograd.graph.get_gradient_edge(leaf).node


class Fired:
    """Makes hooks that note that they fired."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> Callable[..., None]:
        def hook(*arguments: Any) -> None:
            self.names.append(name)

        hook.__qualname__ = hook.__name__ = name
        return hook


def everything_on(net: nn.Module, optimizer: torch.optim.Optimizer, fired: Fired) -> list[Any]:
    """Register one hook of each kind that a step calls, in no good order."""
    kept: list[Any] = []
    optimizer.register_step_post_hook(fired("step post"))
    optimizer.register_step_pre_hook(fired("step pre"))
    for name, module in reversed(list(net.named_modules())):
        module.register_full_backward_hook(fired(f"{name} full"))
        module.register_full_backward_pre_hook(fired(f"{name} full pre"))
        module.register_forward_hook(fired(f"{name} forward"))
        module.register_forward_pre_hook(fired(f"{name} pre"))
        module.register_forward_pre_hook(fired(f"{name} first"), prepend=True)
        module.register_state_dict_post_hook(fired(f"{name} saved"))
        module.register_state_dict_pre_hook(fired(f"{name} saving"))
        module.register_load_state_dict_post_hook(fired(f"{name} loaded"))
        module.register_load_state_dict_pre_hook(fired(f"{name} loading"))
        for own, leaf in module.named_parameters(recurse=False):
            node = accumulator(leaf)
            kept.append(node)
            node.register_hook(fired(f"{name}.{own} node"))
            leaf.register_post_accumulate_grad_hook(fired(f"{name}.{own} accumulated"))
            node.register_prehook(fired(f"{name}.{own} node pre"))
            leaf.register_hook(fired(f"{name}.{own} tensor"))
    return kept


def test_the_list_has_the_order_in_which_a_step_and_a_checkpoint_call_the_hooks() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 1)))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    fired = Fired()
    kept = everything_on(net, optimizer, fired)
    listed = [hook.name for hook in ht.hooks(net, optimizer)]
    net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    optimizer.step()
    net.load_state_dict(net.state_dict())
    assert len(fired.names) == 5 * 9 + 4 * 4 + 2
    assert listed == fired.names
    assert len(kept) == 4


def test_global_hooks_are_listed_once_and_first_before_a_module() -> None:
    fired = Fired()
    handles = [
        torch_module.register_module_forward_pre_hook(fired("every pre")),
        torch_module.register_module_forward_hook(fired("every forward")),
        torch_module.register_module_parameter_registration_hook(fired("every parameter")),
        torch_optimizer.register_optimizer_step_post_hook(fired("every post")),
    ]
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_forward_pre_hook(fired("own pre"))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    try:
        found = [(hook.name, hook.owner) for hook in ht.hooks(net, optimizer)]
        alone = [hook.name for hook in ht.hooks(optimizer)]
    finally:
        for handle in handles:
            handle.remove()
    assert found == [
        ("every parameter", "every module"),
        ("every pre", "every module"),
        ("every forward", "every module"),
        ("own pre", "0"),
        ("every post", "every optimizer"),
    ]
    assert alone == ["every post"]
    assert len(ht.hooks(net, optimizer)) == 1


def test_tensors_bring_the_hooks_on_the_nodes_behind_them() -> None:
    net = nn.Linear(2, 1)
    hidden = net(torch.ones(1, 2))
    hidden.grad_fn.register_prehook(print)
    result = (hidden * 2).sum()
    result.register_hook(print)
    result.retain_grad()
    hidden.register_hook(print)  # hangs on a tensor that is not given: its node cannot tell
    found = [(hook.kind, hook.owner) for hook in ht.hooks(result)]
    assert found == [
        ("tensor", "tensor t0"),
        ("retain_grad", "tensor t0"),
        ("node_pre", "AddmmBackward0"),
    ]


def test_a_multi_grad_hook_is_one_hook() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    leaves = (net[1].weight, net[0].bias, net[0].weight)
    handle = torch.autograd.graph.register_multi_grad_hook(leaves, lambda gradients: None)
    (hook,) = ht.hooks(net)
    assert (hook.kind, hook.owner, hook.options) == (
        "multi_grad",
        "1.weight, 0.bias, 0.weight",
        ("all",),
    )
    handle.remove()
    assert not ht.hooks(net)


@needs.TOP_PAIR
def test_the_active_pair_of_saved_tensor_hooks_is_listed() -> None:
    def pack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, pack):
        found = [(hook.kind, hook.name) for hook in ht.hooks(nn.ReLU())]
    assert [kind for kind, _ in found] == ["pack", "unpack"]
    assert all(name.endswith("pack") for _, name in found)


def test_hooks_of_features_are_labelled() -> None:
    net = nn.Linear(2, 2)
    prune.l1_unstructured(net, "weight", 0.5)
    net.register_forward_hook(print)
    assert [hook.feature for hook in ht.hooks(net)] == ["prune", ""]


def test_inside_a_trace_a_hook_knows_where_it_was_registered() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(print)
    with ht.trace():
        net.weight.register_hook(print)
        found = ht.hooks(net)
    before, within = found
    assert before.registered_at is None
    assert within.registered_at is not None
    assert within.registered_at.startswith(f"{__file__}:")
    assert "registered at" in str(found)
    assert "registered at" not in str(ht.hooks(net))


def test_listing_leaves_nothing_behind() -> None:
    net = nn.Linear(2, 2)
    loss = net(torch.ones(1, 2)).sum()
    before = (net.weight._backward_hooks, list(loss.grad_fn.next_functions))
    ht.hooks(net, loss)
    assert (net.weight._backward_hooks, list(loss.grad_fn.next_functions)) == before
    loss.backward()
    assert net.weight.grad is not None


def test_a_list_is_printed_as_a_table_and_can_be_filtered() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(print, always_call=True)
    net[0].weight.register_hook(print)
    found = ht.hooks(net)
    header, *lines = str(found).splitlines()
    assert header.split() == ["#", "kind", "on", "function", "defined", "at", "options"]
    assert [line.split()[:4] for line in lines] == [
        ["1", "forward", "0", "print"],
        ["2", "tensor", "0.weight", "print"],
    ]
    assert lines[0].endswith("always_call")
    assert [hook.kind for hook in found.of("tensor")] == ["tensor"]
    assert len(found[:1]) == 1
    with pytest.raises(ht.errors.UnknownNameError, match="forward_pre"):
        found.of("forward_pres")
    assert str(ht.hooks(nn.ReLU())) == "No hooks are registered."


def test_what_has_no_hooks_is_refused() -> None:
    with pytest.raises(TypeError, match="but got int"):
        ht.hooks(nn.ReLU(), 3)


def test_hooks_on_the_nodes_behind_a_tensor_have_the_order_in_which_they_fire() -> None:
    fired = Fired()
    x = torch.ones(2, requires_grad=True)
    short = x * 2
    long = x.exp().sin()
    z = short + long
    for name, tensor in (("mul", short), ("sin", long), ("add", z)):
        tensor.grad_fn.register_hook(fired(f"{name} node"))
        tensor.grad_fn.register_prehook(fired(f"{name} pre"))
    listed = [hook.name for hook in ht.hooks(z)]
    z.sum().backward()
    assert listed == fired.names
    assert listed == ["add pre", "add node", "sin pre", "sin node", "mul pre", "mul node"]
