"""never-fired: each reason on a program that has it, and on its near miss."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.findings import Finding


def save(*arguments: Any) -> None:
    """A hook that changes nothing."""


def found(t: Any) -> list[Finding]:
    return list(t.findings(select=["never-fired"]))


def only(t: Any) -> Finding:
    (finding,) = found(t)
    assert finding.possible == ""
    return finding


class Net(nn.Module):
    """Two layers, of which the first is used as `how` says."""

    def __init__(self, how: str = "call") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.head = nn.Linear(2, 1)
        self.layers = nn.ModuleList([nn.Linear(2, 2)])
        self.how = how

    def forward(self, x: Any) -> Any:
        if self.how == "forward of body":
            x = self.body.forward(x)
        elif self.how == "parts of body":
            for part in self.body:
                x = part(x)
        else:
            x = self.body(x)
        for layer in self.layers:
            x = layer(x)
        if self.how == "forward of head":
            return self.head.forward(x)
        if self.how == "weights of head":
            return nn.functional.linear(x, self.head.weight, self.head.bias)
        return self.head(x)


X = torch.ones(3, 2)


# ------------------------------------------------------------------ when it was registered


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_a_module_hook_that_comes_after_the_forward_is_told_with_both_moments(kind: str) -> None:
    net = Net()
    with ht.trace(net) as t:
        y = net(X)
        getattr(net.head, f"register_{kind}_hook")(save)
        y.sum().backward()
    finding = only(t)
    assert "registered after the forward" in finding.message
    assert finding.severity == "warning"
    call, registered = finding.events
    assert t["head"].called.seq == call
    assert type(t.events[registered]).__name__ == "HookRegistered"
    assert finding.where == f"{kind} hook save on head"
    assert finding.source.startswith(__file__)


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_a_module_hook_that_is_removed_before_the_forward_is_told(kind: str) -> None:
    net = Net()
    with ht.trace(net) as t:
        getattr(net.head, f"register_{kind}_hook")(save).remove()
        net(X).sum().backward()
    finding = only(t)
    assert "removed before its module was called" in finding.message
    assert type(t.events[finding.events[0]]).__name__ == "HookRemoved"
    assert finding.events[1] == t["head"].called.seq


def test_hooks_that_were_there_in_time_are_not_told() -> None:
    net = Net()
    with ht.trace(net) as t:
        for module in (net, net.body, net.head):
            module.register_forward_pre_hook(save)
            module.register_forward_hook(save)
            module.register_full_backward_pre_hook(save)
            module.register_full_backward_hook(save)
        net.head.weight.register_hook(save)
        net.head.weight.register_post_accumulate_grad_hook(save)
        y = net(X.clone().requires_grad_())
        y.register_hook(save)
        y.sum().backward()
    assert found(t) == []


def test_a_tensor_hook_that_comes_after_the_backward_is_told() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        (w * 3).sum().backward()
        w.register_hook(save)
    finding = only(t)
    assert "registered after the backward" in finding.message
    assert type(t.events[finding.events[0]]).__name__ == "BackwardStarted"


def test_a_tensor_hook_that_is_removed_before_the_backward_is_told() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        w.register_hook(save).remove()
        (w * 3).sum().backward()
    assert "removed before a backward ran" in only(t).message


# ------------------------------------------------------------------ modules that nothing calls


@pytest.mark.parametrize("how", ["forward of body", "parts of body"])
def test_a_module_whose_parts_were_called_from_outside_is_told(how: str) -> None:
    net = Net(how)
    net.body.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X)
    finding = only(t)
    assert "its forward() was called, or its parts one by one" in finding.message
    assert finding.evidence == ("body.0, which is in it, was called by Net@0 directly",)
    assert "self.body(x)" in finding.instead


@pytest.mark.parametrize("how", ["forward of head", "weights of head"])
def test_a_module_whose_weights_were_used_without_it_is_told_with_the_operation(how: str) -> None:
    net = Net(how)
    net.head.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X).sum().backward()
    finding = only(t)
    assert "its forward() was called, or its weights were used by a function" in finding.message
    assert "head." in finding.evidence[0]
    assert finding.evidence[0].endswith("in Net@0")


@pytest.mark.filterwarnings("ignore:No module of Linear ran")
@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)])
def test_a_model_whose_forward_was_called_instead_of_itself_is_told(net: nn.Module) -> None:
    net.register_full_backward_hook(save)
    with ht.trace(net) as t:
        net.forward(X).sum().backward()
    finding = only(t)
    assert f"{type(net).__name__} itself was not called: its forward()" in finding.message
    assert finding.severity == "warning"
    assert "model(x)" in finding.instead
    assert finding.evidence in (
        ("0, which is in it, was called directly",),
        ("weight was used by TBackward0 outside of every call",),
        ("bias was used by AddmmBackward0 outside of every call",),
    )


@pytest.mark.filterwarnings("ignore:No module of Linear ran")
def test_a_model_that_does_nothing_in_the_block_is_not_said_to_be_bypassed() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(save)
    w = torch.ones(1, requires_grad=True)
    with ht.trace(net) as t:
        (w * 3).backward()
    assert "nor a module that contains it was called" in only(t).message


def test_a_tied_module_that_is_not_called_is_not_said_to_be_bypassed() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = nn.Linear(2, 2)
            self.second.weight = self.first.weight

        def forward(self, x: Any) -> Any:
            return self.first(x)

    net = Tied()
    net.second.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X).sum().backward()
    finding = only(t)
    assert "was not called in this run, though Tied" in finding.message


def test_a_module_list_is_told_to_have_no_forward() -> None:
    net = Net()
    net.layers.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X)
    assert "nn.ModuleList has no forward" in only(t).message


def test_the_output_projection_of_an_attention_is_told() -> None:
    attention = nn.MultiheadAttention(4, 2)
    attention.out_proj.register_forward_hook(save)
    with ht.trace(attention) as t:
        attention(*[torch.ones(3, 1, 4)] * 3)
    finding = only(t)
    assert "does not call out_proj" in finding.message
    assert finding.evidence[1] == "out_proj was called 0 times"


def test_a_part_of_an_encoder_layer_on_its_fast_path_is_told() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    layer.linear1.register_full_backward_hook(save)
    with ht.trace(layer) as t, torch.no_grad():
        layer(torch.ones(1, 3, 4))
    finding = only(t)
    assert "took its fast path" in finding.message
    assert "set_fastpath_enabled(False)" in finding.instead


def test_the_advice_against_the_fast_path_helps() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    layer.linear1.register_full_backward_hook(save)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ht.trace(layer) as t:
            layer(torch.ones(1, 3, 4)).sum().backward()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert found(t) == []


def test_a_branch_that_was_not_taken_is_told() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.left(x)

    net = Branches()
    net.right.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X)
    finding = only(t)
    assert "right was not called in this run, though Branches" in finding.message
    assert finding.evidence == ("Branches was called once, right never",)


def test_where_one_line_hooks_all_modules_those_that_nothing_calls_make_a_note() -> None:
    net = nn.TransformerEncoderLayer(4, 2, 8)
    for module in [*net.modules(), nn.ModuleList()]:
        module.register_forward_hook(save)
    with ht.trace(net) as t:
        net(torch.ones(3, 1, 4))
    finding = only(t)
    assert finding.severity == "note"
    assert "out_proj" in finding.message


@pytest.mark.parametrize("where", ["before the block", "in the block"])
def test_a_trace_of_everything_knows_the_hooks_of_models_that_it_meets(where: str) -> None:
    net = Net("forward of head")
    if where == "before the block":
        net.head.register_forward_hook(save)
    with ht.trace() as t:
        if where == "in the block":
            net.head.register_forward_hook(save)
        net(X)
    finding = only(t)
    assert finding.where.endswith("on Net.head")
    assert "Net.head itself was not called: its forward() was called" in finding.message


def test_a_hook_on_a_model_that_never_runs_is_no_hook_on_all_modules() -> None:
    with ht.trace() as t:
        other = nn.Linear(2, 1)
        other.register_forward_hook(save)
        Net()(X)
    finding = only(t)
    assert finding.severity == "note"
    assert "neither Linear nor a module that contains it was called" in finding.message


def test_a_hook_on_all_modules_in_a_block_without_calls_is_a_note() -> None:
    with ht.trace() as t:
        nn.modules.module.register_module_forward_hook(save).remove()
    finding = only(t)
    assert finding.severity == "note"
    assert "no module was called in the block" in finding.message


def test_a_hook_on_several_tensors_none_of_which_is_needed_is_only_possible() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        torch.autograd.graph.register_multi_grad_hook([a, b], save)
        (torch.ones(2, requires_grad=True) * 2).sum().backward()
    (finding,) = found(t)
    assert finding.severity == "note"
    assert "needed the gradients of a, b" in finding.message
    assert finding.possible


def test_a_hook_on_a_node_that_the_backward_does_not_reach_is_told() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        used, unused = w * 2, w * 3
        unused.grad_fn.register_hook(save)
        used.sum().backward()
    assert "the node that it hangs on is no part of the graph" in only(t).message


def test_a_hook_on_all_modules_fires_where_any_is_called() -> None:
    with ht.trace() as t:
        handle = nn.modules.module.register_module_forward_hook(save)
        Net()(X)
        handle.remove()
    assert found(t) == []


def test_a_hook_on_all_modules_that_comes_too_late_is_told() -> None:
    with ht.trace() as t:
        Net()(X)
        handle = nn.modules.module.register_module_forward_hook(save)
        handle.remove()
    finding = only(t)
    assert "on every module never fired: it was registered after the forward" in finding.message


# ------------------------------------------------------------------ no gradient comes back


def test_a_backward_hook_under_no_grad_is_told() -> None:
    net = Net()
    net.head.register_full_backward_hook(save)
    with ht.trace(net) as t, torch.no_grad():
        net(X)
    finding = only(t)
    assert "ran under torch.no_grad()" in finding.message
    assert finding.severity == "note"  # for there was no backward at all


def test_a_backward_hook_on_what_ran_under_no_grad_beside_a_backward_is_a_warning() -> None:
    net = Net()
    net.body.register_full_backward_hook(save)
    with ht.trace(net) as t:
        with torch.no_grad():
            features = net.body(X)
        net.head(features).sum().backward()
    assert only(t).severity == "warning"


def test_a_backward_hook_under_inference_mode_is_told() -> None:
    net = Net()
    net.head.register_full_backward_hook(save)
    with ht.trace(net) as t, torch.inference_mode():
        net(X)
    assert "torch.inference_mode()" in only(t).message


def test_a_backward_hook_on_a_frozen_part_is_told() -> None:
    net = Net()
    net.body.requires_grad_(False)
    net.body.register_full_backward_hook(save)
    with ht.trace(net) as t:
        net(X).sum().backward()
    finding = only(t)
    assert "because neither its inputs nor the parameters that it used do" in finding.message
    assert finding.severity == "warning"


def test_a_backward_hook_on_a_module_that_detaches_is_told() -> None:
    class Detaching(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.detach() * 2

    net = nn.Sequential(nn.Linear(2, 2), Detaching(), nn.Linear(2, 1))
    net[1].register_full_backward_hook(save)
    with ht.trace(net) as t:
        net(X).sum().backward()
    assert "although an input does" in only(t).message


@pytest.mark.parametrize(("container", "name"), [(dict, "dict"), (list, "list")])
def test_a_backward_hook_on_a_module_that_returns_a_container_is_told(
    container: Any, name: str
) -> None:
    class Returning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return {"y": self.fc(x)} if container is dict else [self.fc(x)]

    net = Returning()
    net.register_full_backward_hook(save)
    with ht.trace(net) as t:
        with pytest.warns(UserWarning, match="For backward hooks to be called"):
            y = net(X)
        (y["y"] if container is dict else y[0]).sum().backward()
    finding = only(t)
    assert f"returned a {name}" in finding.message
    assert "call register_hook on the tensor" in finding.instead


def test_a_backward_hook_on_a_module_that_the_loss_does_not_use_is_told() -> None:
    net = Net()
    net.head.register_full_backward_hook(save)
    with ht.trace(net) as t:
        net(X)
        net.body(X).sum().backward()
    finding = only(t)
    assert "no output of head@0 is part of the graph" in finding.message


def test_a_tensor_that_the_loss_does_not_use_is_told_by_name() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        used, unused = w * 2, w * 3
        unused.register_hook(save)
        loss = used.sum()
        loss.backward()
    finding = only(t)
    assert finding.message == (
        "The tensor hook save on unused never fired: unused is no part of the graph of loss."
    )


def test_a_tensor_without_a_name_is_looked_up_by_the_node_under_its_hook() -> None:
    net = Net()
    with ht.trace(net) as t:
        kept: list[Any] = []
        net(X).mul(2).register_hook(save)
        kept.append(net(X).sum())
        kept[0].backward()
    assert "is no part of the graph" in only(t).message


def test_a_detached_parameter_is_told_with_what_makes_new_parameters() -> None:
    net = Net()
    net.body[0].weight.register_hook(save)
    with ht.trace(net) as t:
        net.head(net.body(X).detach()).sum().backward()
    finding = only(t)
    assert "body.0.weight is no part of the graph" in finding.message
    assert "deepcopy" in finding.instead


def test_a_view_whose_base_was_written_to_is_told() -> None:
    w = torch.ones(4, requires_grad=True)
    with ht.trace() as t:
        base = w * 1
        view = base[:2]
        view.register_hook(save)
        base.mul_(2)
        (view * 3).sum().backward()
    finding = only(t)
    assert "is a view, and it or its base was written to in place" in finding.message
    assert "after the write" in finding.instead


def test_a_view_hooked_after_the_write_to_its_base_fires() -> None:
    w = torch.ones(4, requires_grad=True)
    with ht.trace() as t:
        base = w * 1
        view = base[:2]
        base.mul_(2)
        assert view.grad_fn is not None  # which makes the new node; PyTorch 2.6 crashes without
        view.register_hook(save)
        (view * 3).sum().backward()
    assert found(t) == []


def test_autograd_grad_is_told_to_fill_no_grad() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        w.register_post_accumulate_grad_hook(save)
        torch.autograd.grad((w * 3).sum(), w)
    finding = only(t)
    assert "accumulates none into .grad" in finding.message
    assert t.events[finding.events[0]].accumulates is False


def test_autograd_grad_is_told_to_stop_before_full_backward_hooks() -> None:
    net = nn.Linear(2, 1)
    net.register_full_backward_hook(save)
    x = torch.ones(1, 2, requires_grad=True)
    with ht.trace(net) as t:
        torch.autograd.grad(net(x).sum(), net.weight)
    assert "computes only the gradients asked for" in only(t).message


def test_a_backward_with_inputs_is_told_to_leave_other_tensors_out() -> None:
    w = torch.ones(2, requires_grad=True)
    v = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        v.register_hook(save)
        (w * v).sum().backward(inputs=[w])
    assert "backward(inputs=...) computes only the gradients asked for" in only(t).message


def test_the_state_of_an_lstm_is_told_to_be_nested() -> None:
    net = nn.LSTM(2, 3)
    net.register_full_backward_hook(save)
    with ht.trace(net) as t:
        _, (h, _) = net(torch.ones(4, 1, 2))
        h.sum().backward()
    finding = only(t)
    assert "only output[1][0] of LSTM@0 was used" in finding.message


def test_hooks_that_wait_for_a_backward_make_one_note() -> None:
    net = Net()
    for module in (net.body, net.head):
        module.register_full_backward_hook(save)
    net.head.weight.register_hook(save)
    with ht.trace(net) as t:
        net(X)
    finding = only(t)
    assert finding.severity == "note"
    assert "no backward ran in the block" in finding.message
    assert "2 like it" in finding.message


# ------------------------------------------------------------------ other parameters


def test_a_parameter_that_was_replaced_is_told() -> None:
    net = Net()
    net.head.weight.register_hook(save)
    with ht.trace(net) as t:
        net.head.weight = nn.Parameter(torch.ones(1, 2))
        net(X).sum().backward()
    finding = only(t)
    assert "head.weight is another tensor now" in finding.message


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_the_parameters_of_a_copy_are_told_to_have_no_hooks(copied: Any) -> None:
    net = nn.Linear(2, 1)
    with ht.trace() as t:
        net.weight.register_hook(save)
        copied(net)(X).sum().backward()
    finding = only(t)
    assert "is no part of the graph" in finding.message
    assert "deepcopy, pickle" in finding.instead


# ------------------------------------------------------------------ exceptions


class Raising(nn.Module):
    """Raises what it was made with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Any) -> Any:
        raise self.error


def test_a_forward_hook_after_an_exception_is_told_of_always_call() -> None:
    net = Raising(ValueError("no"))
    net.register_forward_hook(save)
    with pytest.raises(ValueError, match="no"), ht.trace(net) as t:
        net(X)
    finding = only(t)
    assert "raised ValueError in its forward" in finding.message
    assert "always_call=True" in finding.instead


def test_a_backward_hook_on_a_module_that_raised_is_told() -> None:
    net = Raising(ValueError("no"))
    net.register_full_backward_hook(save)
    with pytest.raises(ValueError, match="no"), ht.trace(net) as t:
        net(X)
    assert "raised ValueError, so there was nothing to differentiate" in only(t).message


def test_always_call_is_told_not_to_include_base_exceptions() -> None:
    net = Raising(KeyboardInterrupt())
    net.register_forward_hook(save, always_call=True)
    with pytest.raises(KeyboardInterrupt), ht.trace(net) as t:
        net(X)
    finding = only(t)
    assert "KeyboardInterrupt, which is no Exception" in finding.message


def test_always_call_fires_after_an_exception() -> None:
    net = Raising(ValueError("no"))
    net.register_forward_hook(save, always_call=True)
    with pytest.raises(ValueError, match="no"), ht.trace(net) as t:
        net(X)
    assert found(t) == []


def test_a_backward_that_raised_before_it_came_to_a_hook_is_told() -> None:
    def refuse(grad: Any) -> None:
        raise ValueError("no")

    net = Net()
    net.body.register_full_backward_hook(save)
    net.body[0].weight.register_hook(save)
    with ht.trace(net) as t:
        y = net(X)
        y.register_hook(refuse)
        with pytest.raises(ValueError, match="no"):
            y.sum().backward()
    messages = [one.message for one in found(t)]
    assert len(messages) == 2
    assert all("the backward raised before it came to" in one for one in messages)


# ------------------------------------------------------------------ transforms, and silence


def test_a_transform_is_told_to_work_on_wrappers() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        w.register_hook(save)
        torch.func.grad(lambda w: (w * 2).sum())(w)
    assert "torch.func.grad" in only(t).message


def test_hooks_that_had_no_occasion_are_not_told() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        optimizer.register_step_pre_hook(save)
        net.register_state_dict_pre_hook(save)
        net.register_load_state_dict_post_hook(save)
        optimizer.register_state_dict_post_hook(save)
        net(X)
    assert found(t) == []


def test_a_step_hook_that_comes_after_the_last_step_is_told() -> None:
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        net(X).sum().backward()
        optimizer.step()
        optimizer.register_step_post_hook(save)
    assert "registered after the last step" in only(t).message


def test_hooks_of_a_library_are_not_told() -> None:
    net = nn.utils.spectral_norm(nn.Linear(2, 2))
    other = nn.Linear(2, 2)
    with ht.trace({"net": net, "other": other}) as t:
        other(X)
    assert t.hooks[0].feature
    assert found(t) == []


def test_one_line_that_hooks_many_tensors_makes_one_finding_for_those_that_never_fire() -> None:
    net = Net()
    with ht.trace(net) as t:
        for parameter in net.parameters():
            parameter.register_hook(save)
        net.body(X).sum().backward()
    finding = only(t)
    assert finding.severity == "note"  # other hooks of that line fired
    assert "3 like it" in finding.message


@pytest.mark.parametrize(
    ("take", "made"),
    [
        (lambda scores: scores[0], "a part of scores (SelectBackward0)"),
        (lambda scores: scores[1:], "a part of scores (SliceBackward0)"),
        (lambda scores: scores.view(-1), "a view of scores (ViewBackward0)"),
        (lambda scores: scores * 1, "made by MulBackward0"),
    ],
)
def test_a_tensor_that_is_made_anew_each_time_is_told_by_what_made_it(take: Any, made: str) -> None:
    weights = torch.ones(4, requires_grad=True)
    with ht.trace() as t:
        scores = weights * 2
        take(scores).register_hook(save)
        loss = take(scores).sum()
        loss.backward()
    finding = only(t)
    assert finding.message.endswith(f", {made}, is no part of the graph of loss.")
    assert "keep the tensor in a variable" in finding.instead


def test_a_part_in_a_variable_is_told_by_its_name_only() -> None:
    weights = torch.ones(4, requires_grad=True)
    with ht.trace() as t:
        first = (weights * 2)[0]
        first.register_hook(save)
        loss = weights.sum()
        loss.backward()
    assert only(t).message.endswith("never fired: first is no part of the graph of loss.")


class Fails(nn.Module):
    """Raises between its two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.first(x)
        raise ValueError("halfway")
        return self.second(x)


def test_what_an_exception_kept_from_firing_is_no_finding_and_why_names_the_exception() -> None:
    net = Fails()
    net.first.register_full_backward_hook(save)
    net.first.weight.register_hook(save)
    net.second.register_forward_hook(save)
    with pytest.raises(ValueError, match="halfway"), ht.trace(net) as t:
        net(X)
    assert found(t) == []
    told = [story.reason.text for story in t.why("save") if story.reason]
    assert sorted(told) == [
        "Fails@0 raised ValueError before second was called",
        "the block ended with ValueError before a backward ran",
        "the block ended with ValueError before a backward ran",
    ]


def test_advice_ends_with_a_full_stop() -> None:
    net = Net("forward of body")
    net.body.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X)
    assert only(t).instead.endswith(".")
    (advice,) = [one for one in str(t.why("save")).splitlines() if one.startswith("  instead:")]
    assert advice.endswith(".")


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(checkpoint(self.stem, x, use_reentrant=True))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", ["stem", "stem.0"])
def test_a_reentrant_checkpoint_without_an_input_that_requires_grad_is_named(name: str) -> None:
    net = Checkpointed()
    net.get_submodule(name).register_full_backward_hook(lambda *arguments: None)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    (found,) = t.findings(select=["never-fired"])
    assert f"{name}@0 ran in checkpoint(use_reentrant=True), and no input" in found.message
    assert found.instead == "pass use_reentrant=False to checkpoint()."
    assert found.possible == ""
    with ht.trace(net) as t, torch.no_grad():
        net(torch.ones(1, 2))
    (found,) = t.findings(select=["never-fired"])
    assert "ran under torch.no_grad()" in found.message


def test_a_reentrant_checkpoint_is_not_blamed_where_gradients_could_come() -> None:
    net, x = Checkpointed(), torch.ones(1, 2, requires_grad=True)
    net.stem.register_full_backward_hook(lambda *arguments: None)
    with ht.trace(net) as t:
        net(x).sum().backward()
    assert list(t.findings(select=["never-fired"])) == []
    with ht.trace(net) as t:
        net(x)
    (found,) = t.findings(select=["never-fired"])
    assert "no backward ran in the block" in found.message


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_parameters_that_a_reentrant_checkpoint_leaves_untrained_are_told_with_it() -> None:
    net = Checkpointed()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    (found,) = t.findings(select=["graph-broken"])
    assert "stem@0 ran in checkpoint(use_reentrant=True) with no input" in found.message
    assert found.instead == "pass use_reentrant=False to checkpoint()."
