"""`no_leaked_hooks()`: a block that leaves hooks behind fails, any other passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import prune
from torch.optim import optimizer as torch_optimizer

import hooktrace as ht
from hooktrace.errors import HooktraceError, LeakedHookError


def hook(*arguments: Any) -> None:
    """A hook that changes nothing."""


def accumulator(leaf: torch.Tensor) -> Any:
    return torch.autograd.graph.get_gradient_edge(leaf).node


WHEN = ("pre", "post")


def leaked(block: Callable[[], Any], *things: Any) -> str:
    """Run a block that leaves hooks behind; return what is said of it."""

    def run() -> None:
        with ht.no_leaked_hooks(*things):
            block()

    with pytest.raises(AssertionError) as caught:
        run()
    assert type(caught.value) is LeakedHookError
    return str(caught.value)


def registrations() -> dict[str, Callable[[nn.Module, torch.optim.Optimizer, Any], Any]]:
    """Return a registration of each kind on a model, its optimizer or a node, or for everything."""
    on_modules = ["forward_pre", "forward", "full_backward_pre", "full_backward", "backward"]
    on_modules += [f"{kind}_{when}" for kind in ("state_dict", "load_state_dict") for when in WHEN]
    on_optimizers = [f"{kind}_{when}" for kind in ("step", "state_dict") for when in WHEN]
    everywhere = on_modules[:4]
    found: dict[str, Any] = {}
    for kind in on_modules:
        found[f"module {kind}"] = lambda net, sgd, node, kind=kind: getattr(
            net[0], f"register_{kind}_hook"
        )(hook)
    for kind in on_optimizers:
        found[f"optimizer {kind}"] = lambda net, sgd, node, kind=kind: getattr(
            sgd, f"register_{kind}_hook"
        )(hook)
    for kind in everywhere:
        found[f"every module {kind}"] = lambda net, sgd, node, kind=kind: getattr(
            torch_module, f"register_module_{kind}_hook"
        )(hook)
    found["every parameter"] = lambda *_: torch_module.register_module_parameter_registration_hook(
        hook
    )
    found["every step"] = lambda *_: torch_optimizer.register_optimizer_step_post_hook(hook)
    found["parameter"] = lambda net, sgd, node: net[0].weight.register_hook(hook)
    found["accumulated"] = lambda net, sgd, node: net[0].weight.register_post_accumulate_grad_hook(
        hook
    )
    found["node"] = lambda net, sgd, node: node.register_hook(hook)
    found["several tensors"] = lambda net, sgd, node: torch.autograd.graph.register_multi_grad_hook(
        list(net.parameters()), hook
    )
    return found


KINDS = registrations()


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_of_each_kind_that_stays_is_named_and_one_that_is_removed_is_not(kind: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    node = accumulator(net[0].weight)
    handles: list[Any] = []
    text = leaked(lambda: handles.append(KINDS[kind](net, sgd, node)), net, sgd)
    handles[0].remove()
    line = f"{__file__}:{hook.__code__.co_firstlineno}"
    (told,) = [one for one in text.splitlines() if one.startswith("  ")]
    assert " hook hook on " in told
    assert told.endswith(f", defined at {line}")
    assert text.startswith("1 hook is registered that was not before:")
    with ht.no_leaked_hooks(net, sgd):
        KINDS[kind](net, sgd, node).remove()


def test_hooks_from_before_are_none_of_its_business() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    first = net[0].register_forward_hook(hook)
    net[1].register_forward_hook(hook)
    with ht.no_leaked_hooks(net):
        first.remove()
    assert "forward hook hook on 0" in leaked(lambda: net[0].register_forward_hook(hook), net)


def test_a_hook_that_takes_the_place_of_another_is_new() -> None:
    net = nn.Linear(2, 2)
    handle = net.register_forward_hook(hook)
    text = leaked(lambda: (handle.remove(), net.register_forward_hook(hook)), net)
    assert "forward hook hook on Linear" in text


def test_several_hooks_are_counted_each_on_its_line() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = torch.ones(1, 2, requires_grad=True)

    def block() -> None:
        x.register_hook(hook)
        net[1].register_forward_pre_hook(hook)
        net[0].register_forward_hook(hook)

    lines = leaked(block, net, x).splitlines()
    assert lines[0] == "3 hooks are registered that were not before:"
    assert [one.split()[0] for one in lines[1:4]] == ["forward", "forward_pre", "tensor"]


def test_inside_a_trace_it_is_told_where_a_hook_was_registered() -> None:
    net = nn.Linear(2, 2)

    def block() -> None:
        net.register_forward_hook(hook)

    with ht.trace():
        text = leaked(block, net)
    assert f", registered at {__file__}:{block.__code__.co_firstlineno + 1}\n" in text


def test_an_exception_of_the_block_passes_unchanged() -> None:
    net = nn.Linear(2, 2)
    error = KeyError("mine")

    def run() -> None:
        with ht.no_leaked_hooks(net):
            net.register_forward_hook(hook)
            raise error

    with pytest.raises(KeyError) as caught:
        run()
    assert caught.value is error
    assert error.__context__ is None


def test_what_a_healthy_step_does_is_no_leak() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    with ht.no_leaked_hooks(net, sgd):
        hidden = net(torch.ones(1, 2))
        hidden.retain_grad()
        hidden.register_hook(hook)
        hidden.sum().backward()
        sgd.step()
        with net[0].register_forward_hook(hook):
            net.load_state_dict(net.state_dict())


def test_a_hook_of_pytorch_counts_as_well() -> None:
    net = nn.Linear(2, 2)
    text = leaked(lambda: prune.l1_unstructured(net, "weight", 0.5), net)
    assert "forward_pre hook L1Unstructured on Linear" in text


def test_only_what_has_hooks_can_be_watched() -> None:
    message = "takes modules, tensors and optimizers, but got list"
    with pytest.raises(TypeError, match=message), ht.no_leaked_hooks([nn.Linear(2, 2)]):
        pass
    assert issubclass(LeakedHookError, HooktraceError)
    assert issubclass(LeakedHookError, AssertionError)
