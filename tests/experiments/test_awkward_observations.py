"""What a trace says of hooks and gradients where it is easy to say something wrong."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    GradientAccumulated,
    HookFired,
    HookRegistered,
    HookRemoved,
    ModuleCalled,
    ModuleExited,
)


def fired(t: ht.Trace) -> list[str]:
    return [f"{t.hooks[e.hook].kind} {t.hooks[e.hook].name}" for e in t.of(HookFired)]


def test_a_tensor_hook_that_removes_itself_while_firing_is_seen_to_be_removed() -> None:
    w = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        handle = w.register_hook(lambda grad: handle.remove())
        (w * 2).sum().backward()
    assert len(t.of(HookRemoved)) == 1
    assert t.of(HookRemoved)[0].hook == t.of(HookRegistered)[0].hook


def test_a_post_accumulate_hook_that_removes_itself_while_firing_is_seen_to_be_removed() -> None:
    w = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        handle = w.register_post_accumulate_grad_hook(lambda p: handle.remove())
        (w * 2).sum().backward()
    assert len(t.of(HookRemoved)) == 1


def test_a_tensor_hook_registered_during_backward_is_seen_to_fire_in_it() -> None:
    w = torch.ones(1, requires_grad=True)
    got: list[torch.Tensor] = []

    def late(grad: torch.Tensor) -> None:
        got.append(grad)

    def registers(grad: torch.Tensor) -> None:
        w.register_hook(late)

    with ht.trace() as t:
        a = w * 2
        a.register_hook(registers)
        a.sum().backward()
    assert len(got) == 1
    assert len(t.of(HookRegistered)) == 2
    assert [name.rpartition(" ")[2] for name in fired(t)] == ["registers", "late"]


def test_a_post_accumulate_hook_registered_during_backward_is_seen_to_fire_in_it() -> None:
    w = torch.ones(1, requires_grad=True)
    got: list[torch.Tensor] = []

    def late(parameter: torch.Tensor) -> None:
        got.append(parameter)

    def registers(grad: torch.Tensor) -> None:
        w.register_post_accumulate_grad_hook(late)

    with ht.trace() as t:
        a = w * 2
        a.register_hook(registers)
        a.sum().backward()
    assert len(got) == 1
    assert fired(t) == ["tensor registers", "post_accumulate_grad late"]


def test_a_hook_registered_before_the_block_on_a_variable_that_is_no_leaf_is_seen() -> None:
    w = torch.ones(1, requires_grad=True)
    a = w * 2
    got: list[torch.Tensor] = []

    def earlier(grad: torch.Tensor) -> None:
        got.append(grad)

    a.register_hook(earlier)
    with ht.trace() as t:
        a.sum().backward()
    assert len(got) == 1
    assert fired(t) == ["tensor earlier"]
    assert t.hooks[0].owner == "a"
    assert t.hooks[0].registered_at is None


@pytest.mark.parametrize("kind", ["full_backward", "full_backward_pre", "forward", "forward_pre"])
def test_one_function_registered_twice_is_two_hooks(kind: str) -> None:
    net = nn.Linear(2, 2)

    def hook(*arguments: Any) -> None: ...

    register = getattr(net, f"register_{kind}_hook")
    register(hook)
    register(hook)
    with ht.trace(net) as t:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    rows = [event.hook for event in t.of(HookFired)]
    assert len(rows) == 2
    assert len(set(rows)) == 2


def test_one_function_on_a_module_and_on_every_module_is_two_hooks() -> None:
    net = nn.Linear(2, 2)

    def hook(*arguments: Any) -> None: ...

    with nn.modules.module.register_module_full_backward_hook(hook):
        net.register_full_backward_hook(hook)
        with ht.trace(net) as t:
            net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    nn.modules.module._global_is_full_backward_hook = None
    owners = [t.hooks[event.hook].owner for event in t.of(HookFired)]
    assert owners == ["every module", "Linear"]


def test_an_always_call_hook_that_raises_is_not_given_the_models_exception() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("model")

    def hook(*arguments: Any) -> None:
        raise TypeError("hook")

    net = Broken()
    net.register_forward_hook(hook, always_call=True)
    with (
        pytest.warns(UserWarning, match="was silenced"),
        pytest.raises(ValueError, match="model"),
        ht.trace(net) as t,
    ):
        net(torch.ones(1))
    (event,) = t.of(HookFired)
    assert event.exception is not None
    assert "ValueError" not in event.exception
    assert t["Broken"].exception == "ValueError: model"
    assert t.log.error == "ValueError: model"


class TimesOne(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1


def test_threads_that_run_one_after_another_lose_no_gradient() -> None:
    net = nn.Sequential(TimesOne(), nn.Linear(2, 2), nn.Tanh())
    x = torch.ones(1, 2, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        for _ in range(12):
            thread = threading.Thread(target=lambda: net(x).sum().backward())
            thread.start()
            thread.join()
    assert len(t.calls()) == 48
    assert [str(call) for call in t.calls() if call.grad_inputs[0] is None] == []
    assert [str(call) for call in t.calls() if call.grad_outputs[0] is None] == []


def test_threads_that_run_at_once_each_have_their_own_stack() -> None:
    net = nn.Sequential(TimesOne(), nn.Linear(2, 2), nn.Tanh())
    x = torch.ones(1, 2, requires_grad=True)
    ready = threading.Barrier(3)

    def work() -> None:
        ready.wait()
        for _ in range(10):
            net(x).sum().backward()

    with ht.trace(net, keep=True) as t:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(t.calls()) == 120
    for call in t.calls():
        assert len(call.children) == (3 if call.parent is None else 0)
        assert len({event.thread for event in call.events}) == 1
        assert call.grad_input is not None
        assert call.grad_output is not None
    assert [event.seq for event in t.events] == list(range(len(t.events)))


def test_backward_in_another_thread_walks_the_same_nodes() -> None:
    net = nn.Sequential(TimesOne(), nn.Linear(2, 2))
    x = torch.ones(1, 2, requires_grad=True)
    with ht.trace(keep=True) as t:
        loss = (net(x) * 2).sum()
        thread = threading.Thread(target=loss.backward)
        thread.start()
        thread.join()
    names = sorted(row.name for row in t.log.nodes)
    accumulators = 3
    assert sum(name.endswith("AccumulateGrad") for name in names) == accumulators
    assert names.count("MulBackward0") == 2
    assert names.count("SumBackward0") == 1
    assert names.count("AddmmBackward0") == 1
    assert t["Sequential"].grad_input.tolist() == x.grad.tolist()


def test_a_hook_that_puts_another_tensor_into_grad_is_an_assignment() -> None:
    w = torch.ones(2, requires_grad=True)

    def assign(parameter: torch.Tensor) -> None:
        parameter.grad = parameter.grad * 3

    with ht.trace() as t:
        w.register_post_accumulate_grad_hook(assign)
        (w * 2).sum().backward()
    (edit,) = t.edits
    assert (edit.how, edit.role, edit.factor) == ("assigned", "param.grad", 3.0)
    assert t.of(GradientAccumulated)[0].after.numbers == (2.0, 2.0)


def test_a_hook_that_sets_grad_to_none_is_an_assignment_of_none() -> None:
    w = torch.ones(2, requires_grad=True)

    def clear(parameter: torch.Tensor) -> None:
        parameter.grad = None

    with ht.trace() as t:
        w.register_post_accumulate_grad_hook(clear)
        (w * 2).sum().backward()
    (edit,) = t.edits
    assert edit.how == "assigned"
    assert edit.after in (None, "None")


def test_a_hook_that_returns_the_very_tensor_it_was_given_changes_nothing() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda m, args, output: output)
    net.register_forward_pre_hook(lambda m, args: args)
    net.weight.register_hook(lambda grad: grad)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    assert len(t.of(HookFired)) == 3
    assert t.edits == []


def test_a_forward_hook_that_wraps_the_output_is_one_edit_of_it() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda m, args, output: {"logits": output, "twice": output * 2})
    with ht.trace(net, keep=True) as t:
        output = net(torch.ones(1, 2))
    assert set(output) == {"logits", "twice"}
    assert {one.role for one in t["Linear"].seen_outputs} == {"output['logits']", "output['twice']"}
    assert torch.equal(t["Linear"].outputs[1], output["twice"])
    assert t.edits


def test_a_forward_pre_hook_with_kwargs_that_edits_the_dictionary_is_seen() -> None:
    class Scale(nn.Module):
        def forward(self, x: torch.Tensor, *, by: float | torch.Tensor = 1.0) -> torch.Tensor:
            return x * by

    net = Scale()

    def change(module: nn.Module, args: Any, kwargs: Any) -> None:
        kwargs["by"] = torch.tensor(3.0)

    net.register_forward_pre_hook(change, with_kwargs=True)
    with ht.trace(net) as t:
        output = net(torch.ones(2), by=torch.tensor(2.0))
    assert output.tolist() == [3.0, 3.0]
    assert t["Scale"].forward_started.inputs is not None
    (edit,) = t.edits
    assert edit.role == "kwargs['by']"
    assert edit.factor == 1.5


def test_a_pre_hook_that_returns_a_list_passes_one_argument() -> None:
    class Total(nn.Module):
        def forward(self, tensors: list[torch.Tensor]) -> torch.Tensor:
            return sum(tensors)

    net = Total()
    net.register_forward_pre_hook(lambda m, args: [args[0], args[0] * 2])
    with ht.trace(net) as t:
        assert net(torch.ones(1)).item() == 3.0
    assert [one.role for one in t["Total"].forward_started.inputs] == ["args[0][0]", "args[0][1]"]


def test_a_deeper_backward_has_gradients_of_its_own_run() -> None:
    w = torch.tensor([3.0], requires_grad=True)
    net = TimesOne()
    with ht.trace(keep=True) as t:
        y = net(w) ** 2
        (gradient,) = torch.autograd.grad(y.sum(), w, create_graph=True)
        gradient.sum().backward()
    assert gradient.item() == 6.0
    assert w.grad.item() == 2.0
    runs = {
        (one.backward, one.gradient.role): one.gradient.numbers for one in t["TimesOne"].gradients
    }
    assert runs[0, "grad_input[0]"] == (6.0,)
    assert runs[1, "grad_input[0]"] == (2.0,)


def test_a_shared_module_has_one_name_and_two_calls() -> None:
    linear = nn.Linear(2, 2)
    net = nn.Sequential(linear, nn.Tanh(), linear)
    with ht.trace(net, keep=True) as t:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert [str(call) for call in t.calls("0")] == ["0@0", "0@1"]
    assert t["0@0"].module.aliases == ("2",)
    with pytest.raises(ht.errors.AmbiguousCallError, match="'0@0', '0@1'"):
        _ = t["0"]
    assert not torch.equal(t["0@0"].grad_output, t["0@1"].grad_output)


def test_a_recursive_module_nests_in_itself() -> None:
    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor, depth: int = 2) -> torch.Tensor:
            return self(self.linear(x), depth - 1) if depth else x

    net = Recursive()
    with ht.trace(net, keep=True) as t:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    roots = t.calls("Recursive")
    assert [call.depth for call in roots] == [0, 1, 2]
    assert [call.seen_inputs[1].summary for call in roots if len(call.seen_inputs) > 1] == [
        "1",
        "0",
    ]
    assert all(call.grad_output is not None for call in roots)
    assert roots[0].grad_input is not None


def test_a_trace_is_readable_while_it_is_open_and_after_the_model_raised() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    net = nn.Sequential(nn.Linear(2, 2), Broken())

    def step(t: ht.Trace) -> None:
        net[0](torch.ones(1, 2))
        assert t["0"].output.shape == (1, 2)
        assert "open" in repr(t)
        net(torch.ones(1, 2))

    with pytest.raises(ValueError, match="no"), ht.trace(net, keep=True) as t:
        step(t)
    assert isinstance(t.events[0], ModuleCalled)
    exits = t.of(ModuleExited)
    assert [event.exception for event in exits] == [None, None, "ValueError: no", "ValueError: no"]
    assert t.log.error == "ValueError: no"
    assert "Ended early by ValueError: no" in str(t)


def test_a_checkpointed_module_runs_again_in_backward() -> None:
    from torch.utils.checkpoint import checkpoint

    body = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    x = torch.ones(1, 2, requires_grad=True)
    with ht.trace({"body": body}, keep=True) as t:
        checkpoint(body, x, use_reentrant=False).sum().backward()
    assert len(t.calls("body.0")) == 2
    assert torch.equal(t["body@0"].grad_input, x.grad)
    backward = [e.seq for e in t.events if type(e).__name__.startswith("Backward")]
    again = t["body.0@1"].called.seq
    assert backward[0] < again < backward[1]


def test_the_trace_of_a_wrapped_copy_warns_and_names_what_ran() -> None:
    net, other = nn.Linear(2, 2), nn.Tanh()
    with pytest.warns(ht.errors.NothingTracedWarning, match="Tanh"), ht.trace(net):
        other(torch.ones(1))
