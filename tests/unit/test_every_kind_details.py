"""What hooks of the rarer kinds do, one small program for each."""

from __future__ import annotations

from typing import Any

import needs
import pytest
import torch
import torch.nn.modules.module as every_module
from torch import nn
from torch.autograd.graph import register_multi_grad_hook, save_on_cpu, saved_tensors_hooks

import hooktrace as ht
from hooktrace.events import HookFired, HookRegistered, HookRemoved


def look(*_: Any) -> None:
    """Change nothing."""


def run(net: nn.Module) -> None:
    net(torch.ones(1, 2)).sum().backward()


def whats(t: ht.Trace) -> list[str]:
    """Return what was changed, in order."""
    return [f"{one.hook.name}: {one.what}" for one in t.edits]


# ------------------------------------------------------------------ saving and loading


def test_edits_of_a_state_dict_are_told_by_key() -> None:
    net = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0]]))
        net[0].bias.fill_(3)

    def edit(module: nn.Module, state: dict[str, Any], prefix: str, meta: Any) -> None:
        state[f"{prefix}weight"] = state[f"{prefix}weight"] * 2
        state[f"{prefix}more"] = torch.ones(1)
        del state[f"{prefix}bias"]

    net[0].register_state_dict_post_hook(edit)
    with ht.trace(net) as t:
        net.state_dict()
    assert whats(t) == [
        "edit: state_dict['0.weight'] x2 in place: [1, 2] -> [2, 4]",
        "edit: state_dict['0.bias'] in place: [3] -> absent",
        "edit: state_dict['0.more'] in place: absent -> [1]",
    ]


def test_a_write_into_a_tensor_of_a_state_dict_is_measured() -> None:
    net = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
    net.register_load_state_dict_pre_hook(lambda m, state, *_: state["weight"].mul_(2))
    with ht.trace(net) as t:
        net.load_state_dict({"weight": torch.tensor([[1.0, 2.0]])})
    assert [one.factor for one in t.edits] == [2.0]
    assert net.weight.tolist() == [[2.0, 4.0]]


def test_a_private_hook_may_return_another_state_dict() -> None:
    net = nn.Linear(2, 1)
    net._register_state_dict_hook(lambda m, state, prefix, meta: {"only": 1})
    with ht.trace(net) as t:
        assert net.state_dict() == {"only": 1}
    (edit,) = t.edits
    assert (edit.role, edit.how) == ("state_dict", "returned")


def test_hooks_of_loading_may_edit_the_lists_of_keys() -> None:
    net = nn.Linear(2, 1)

    def forgive(module: nn.Module, incompatible: Any) -> None:
        incompatible.missing_keys.clear()

    def complain(module: nn.Module, state: Any, prefix: str, *lists: Any) -> None:
        lists[3].append("odd")

    net.register_load_state_dict_post_hook(forgive)
    net.register_load_state_dict_pre_hook(complain)
    with ht.trace(net) as t:
        net.load_state_dict({"weight": torch.ones(1, 2)}, strict=False)
    assert whats(t) == [
        "complain: unexpected_keys in place: [] -> ['odd']",
        "forgive: missing_keys in place: ['bias'] -> []",
    ]


def test_hooks_of_modules_outside_the_trace_are_no_part_of_it() -> None:
    net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    fired: list[str] = []
    other.register_state_dict_pre_hook(lambda *_: fired.append("saved"))
    other.register_forward_hook(lambda *_: fired.append("ran"))
    handle = every_module.register_module_parameter_registration_hook(
        lambda *_: fired.append("registered")
    )
    with ht.trace(net) as t:
        run(net)
        run(other)
        other.state_dict()
        other.extra = nn.Parameter(torch.ones(1))
    handle.remove()
    assert fired == ["ran", "saved", "registered"]
    assert t.of(HookFired) == []


def test_a_registration_hook_may_put_another_parameter_in() -> None:
    net = nn.Linear(2, 1)

    def doubled(module: nn.Module, name: str, value: Any) -> Any:
        return nn.Parameter(value.detach() * 2)

    handle = every_module.register_module_parameter_registration_hook(doubled)
    with ht.trace(net) as t:
        net.extra = nn.Parameter(torch.tensor([1.0, 3.0]))
    handle.remove()
    assert whats(t) == ["doubled: parameter x2 returned: [1, 3] -> [2, 6]"]
    assert net.extra.tolist() == [2.0, 6.0]


# ------------------------------------------------------------------ several tensors


@pytest.mark.parametrize("mode", ["all", "any"])
def test_a_hook_on_several_tensors_is_one_hook(mode: Any) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    register_multi_grad_hook(list(net.parameters()), look, mode=mode)
    with ht.trace(net) as t:
        run(net)
        run(net)
    (row,) = t.hooks
    assert row.owner == "0.weight, 0.bias, 1.weight, 1.bias"
    assert (row.kind, row.options) == ("multi_grad", (mode,))
    fired = t.of(HookFired)
    assert [len(one.inputs) for one in fired] == [4 if mode == "all" else 1] * 2


def test_a_hook_on_several_tensors_in_each_step_is_registered_and_removed_once_each() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        for _ in range(3):
            handle = register_multi_grad_hook(list(net.parameters()), look)
            run(net)
            handle.remove()
        run(net)
    assert [len(t.of(kind)) for kind in (HookRegistered, HookFired, HookRemoved)] == [3, 3, 3]
    assert {one.kind for one in t.hooks} == {"multi_grad"}


# ------------------------------------------------------------------ nodes and functions


def test_several_hooks_on_one_node_see_what_the_ones_before_left() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x.exp()
    node: Any = y.grad_fn
    node.register_hook(lambda grads, _: (grads[0] * 2,))
    node.register_prehook(lambda grads: (grads[0] * 3,))
    with ht.trace() as t:
        node.register_hook(lambda grads, _: (grads[0] * 5,))
        y.backward(torch.tensor([1.0, 0.0]))
    assert [(one.hook.kind, one.factor) for one in t.edits] == [
        ("node_pre", 3.0),
        ("node", 2.0),
        ("node", 5.0),
    ]
    assert {one.owner for one in t.hooks} == {"ExpBackward0"}


def test_a_hook_on_a_node_removed_before_backward_does_not_fire() -> None:
    x = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        y = x.exp()
        handle = y.grad_fn.register_hook(look)  # type: ignore[union-attr]
        handle.remove()
        y.sum().backward()
    assert [len(t.of(kind)) for kind in (HookRegistered, HookFired, HookRemoved)] == [1, 0, 1]


class Both(torch.autograd.Function):
    """Written with a context of its own."""

    @staticmethod
    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x, y = ctx.saved_tensors
        return grad * y, grad * x


class Vjp(torch.autograd.Function):
    """Written with ``vjp`` in the place of ``backward``."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def vjp(ctx: Any, grad: torch.Tensor) -> Any:
        return grad * 2


class OddError(Exception):
    """What is raised on purpose."""


class Odd(torch.autograd.Function):
    """Cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        raise OddError("no gradient")


def test_the_backward_of_a_custom_function_is_a_hook() -> None:
    x, y = (torch.tensor([value], requires_grad=True) for value in (2.0, 3.0))
    with ht.trace() as t:
        Vjp.apply(Both.apply(x, y)).sum().backward()
    told = [
        (row.owner, row.name, [str(one) for one in (*fired.inputs, *fired.returned)])
        for fired in t.of(HookFired)
        for row in (t.hooks[fired.hook],)
    ]
    assert told == [
        ("Vjp", "Vjp.vjp", ["[1]", "[2]"]),
        ("Both", "Both.backward", ["[2]", "[6]", "[4]"]),
    ]
    assert {one.kind for one in t.hooks} == {"function_backward"}


def test_the_backward_of_a_custom_function_may_raise() -> None:
    x = torch.ones(1, requires_grad=True)
    y = Odd.apply(x).sum()
    with ht.trace() as t, pytest.raises(OddError):
        y.backward()
    (fired,) = t.of(HookFired)
    assert fired.exception == "OddError: no gradient"


# ------------------------------------------------------------------ saved tensors


@needs.TOP_PAIR
def test_only_the_innermost_pair_packs_and_each_unpacks_its_own() -> None:
    def outer(tensor: torch.Tensor) -> Any:
        return tensor

    def inner(tensor: torch.Tensor) -> Any:
        return (tensor, 1)

    def outer_back(packed: Any) -> Any:
        return packed

    def inner_back(packed: Any) -> Any:
        return packed[0]

    x = torch.ones(2, requires_grad=True)
    around = saved_tensors_hooks(outer, outer_back)
    around.__enter__()  # before the block, and left inside it
    with ht.trace() as t:
        a = x.exp()
        with saved_tensors_hooks(inner, inner_back):
            b = a.exp()
        c = b.exp()
        around.__exit__()
        with save_on_cpu():
            d = c.tanh()
        d.sum().backward()
    names = [t.hooks[one.hook].name for one in t.of(HookFired)]
    assert names == [
        *("outer", "inner", "outer", "pack_to_cpu"),
        *("unpack_from_cpu", "outer_back", "inner_back", "outer_back"),
    ]
    removed = [t.hooks[one.hook].name for one in t.of(HookRemoved)]
    assert removed == [
        *("inner", "inner_back", "outer", "outer_back"),
        *("pack_to_cpu", "unpack_from_cpu"),
    ]
    (packed, one) = t.of(HookFired)[1].returned
    assert (packed.role, one.role, str(one)) == ("packed[0]", "packed[1]", "1")


@needs.TOP_PAIR
def test_the_users_pair_is_the_one_on_top_again_after_the_block() -> None:
    top = torch._C._autograd._top_saved_tensors_default_hooks
    with saved_tensors_hooks(look, look):
        with ht.trace():
            pass
        assert top(True) == (look, look)


def test_retain_grad_is_a_hook_of_the_tensor_that_fires_when_its_gradient_arrives() -> None:
    x = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        y = x * 3
        y.retain_grad()
        y.register_hook(lambda grad: grad * 2)
        y.sum().backward()
    (hook,) = (one for one in t.hooks if one.kind == "retain_grad")
    assert (hook.owner, hook.registered_at) == ("y", None)
    kinds = [t.hooks[event.hook].kind for event in t.of(HookFired)]
    assert kinds == ["tensor", "retain_grad"]
    (seen,) = t.of(HookFired)[-1].inputs
    assert seen.numbers == tuple(y.grad.tolist()) == (2.0, 2.0)
    assert "retain-grad-line" in {spot.name for spot in t.blind_spots()}


def test_retain_grad_fires_once_in_a_run_though_several_calls_return_the_tensor() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 1)))
    with ht.trace(net) as t:
        y = net(torch.ones(1, 2))
        y.retain_grad()
        y.sum().backward(retain_graph=True)
        y.sum().backward()
    assert [t.hooks[event.hook].kind for event in t.of(HookFired)] == ["retain_grad"] * 2
