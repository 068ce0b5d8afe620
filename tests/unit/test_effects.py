"""Edits by hooks and writes in place: how they read, and what is said where nothing was copied."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import NotKeptError


def edits_of(hook: Any, gradient: float = 5.0, size: int = 1, **options: Any) -> list[Any]:
    """Return the edits of a tensor hook on `w` that is given a gradient of this number."""
    w = torch.ones(size, requires_grad=True)
    with ht.trace(**options) as t:
        w.register_hook(hook)
        (w * gradient).sum().backward()
    return t.edits


def multiply(grad: torch.Tensor) -> None:
    grad *= 2


def look(grad: torch.Tensor) -> None:
    """Change nothing."""


# ------------------------------------------------------------------ how edits read


def test_an_edit_in_place_reads_as_a_sentence() -> None:
    (edit,) = edits_of(multiply)
    assert str(edit) == "tensor hook multiply on w: grad [5] -> [10] (in place, x2)"
    assert repr(edit) == f"<Edit {edit}>"
    assert (edit.role, edit.how, edit.factor) == ("grad", "in_place", 2.0)


def test_a_returned_edit_reads_as_a_sentence() -> None:
    def triple(grad: torch.Tensor) -> torch.Tensor:
        return grad * 3

    (edit,) = edits_of(triple)
    assert str(edit) == "tensor hook triple on w: grad [5] -> [15] (returned, x3)"
    assert edit.before.tolist() == [5.0]
    assert edit.after.tolist() == [15.0]


def test_an_edit_in_place_and_a_returned_one_come_in_the_order_they_happened() -> None:
    def both(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    first, second = edits_of(both)
    assert [(one.how, one.factor) for one in (first, second)] == [("in_place", 2), ("returned", 3)]
    assert first.after.tolist() == second.before.tolist() == [10.0]
    assert first.seq == second.seq


def test_a_tensor_of_more_than_four_elements_is_described_without_its_numbers() -> None:
    (edit,) = edits_of(multiply, size=5)
    assert str(edit) == "tensor hook multiply on w: grad in place, x2"


def test_a_hook_that_only_looks_makes_no_edit() -> None:
    assert edits_of(look) == []


def test_a_hook_that_returns_its_own_argument_makes_no_edit() -> None:
    assert edits_of(lambda grad: grad) == []


def test_a_returned_copy_is_an_edit_that_changed_nothing() -> None:
    (edit,) = edits_of(lambda grad: grad.clone())
    assert (edit.how, edit.change.kind, edit.change.text) == (
        "returned",
        "unchanged",
        "same values",
    )


def test_a_forward_hook_that_replaces_its_output_is_an_edit_of_the_output() -> None:
    net = nn.Linear(2, 1)

    def halve(m: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output / 2

    net.register_forward_hook(halve)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (edit,) = t.edits
    assert (edit.role, edit.how, edit.factor) == ("output", "returned", 0.5)
    assert str(edit).startswith("forward hook halve on Linear: output [")
    assert str(edit).endswith("] (returned, x0.5)")


def test_an_output_of_another_shape_is_replaced() -> None:
    net = nn.Identity()
    net.register_forward_hook(lambda m, args, output: output[:1])
    with ht.trace(net) as t:
        net(torch.ones(2, 3))
    (edit,) = t.edits
    assert (edit.change.kind, edit.factor) == ("replaced", None)
    assert "(2, 3) float32 -> (1, 3) float32" in edit.change.text


def test_an_output_replaced_by_what_is_no_tensor_says_both() -> None:
    net = nn.Identity()
    net.register_forward_hook(lambda m, args, output: "nothing")
    with ht.trace(net) as t:
        assert net(torch.ones(2, 20)) == "nothing"
    (edit,) = t.edits
    assert edit.change.kind == "replaced"
    assert "2x20 float32 -> 'nothing'" in str(edit)


def test_an_assigned_gradient_is_an_edit() -> None:
    def assign(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = parameter.grad * 4

    w = torch.ones(2, requires_grad=True)
    w.register_post_accumulate_grad_hook(assign)
    with ht.trace() as t:
        (w * 3).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [12.0, 12.0]
    (edit,) = t.edits
    assert (edit.role, edit.how, edit.factor) == ("param.grad", "assigned", 4.0)
    assert str(edit) == (
        "post_accumulate_grad hook assign on w: param.grad [3, 3] -> [12, 12] (assigned, x4)"
    )


def test_a_gradient_that_was_removed_is_an_edit() -> None:
    def drop(parameter: torch.Tensor) -> None:
        parameter.grad = None

    w = torch.ones(2, requires_grad=True)
    w.register_post_accumulate_grad_hook(drop)
    with ht.trace() as t:
        (w * 3).sum().backward()
    assert w.grad is None
    (edit,) = t.edits
    assert (edit.how, edit.factor, edit.after) == ("assigned", None, None)


def test_a_hook_that_raises_after_a_write_has_written() -> None:
    def write_then_raise(grad: torch.Tensor) -> None:
        grad *= 2
        raise ValueError("enough")

    w = torch.ones(1, requires_grad=True)
    w.register_hook(write_then_raise)
    t = ht.trace()
    with pytest.raises(ValueError, match="enough"), t:
        (w * 5).sum().backward()
    (edit,) = t.edits
    assert (edit.how, edit.factor) == ("in_place", 2.0)


# ------------------------------------------------------------------ where nothing was copied


def test_versions_mode_copies_nothing_and_says_why() -> None:
    (edit,) = edits_of(multiply, size=20, edits="versions")
    assert (edit.change.kind, edit.factor) == ("unknown", None)
    assert "edits='versions'" in edit.change.reason
    assert str(edit).endswith("in place, changed, not compared (edits='versions' copies nothing)")
    with pytest.raises(NotKeptError, match="1 MiB"):
        edit.before.sum()


def test_versions_mode_still_gives_the_numbers_of_small_tensors() -> None:
    (edit,) = edits_of(multiply, edits="versions")
    assert edit.factor is None
    assert (edit.before.numbers, edit.after.numbers) == ((5.0,), (10.0,))


@pytest.mark.parametrize(("elements", "factor"), [(2**18, 2.0), (2**18 + 1, None)])
def test_tensors_up_to_one_mebibyte_are_compared(elements: int, factor: float | None) -> None:
    (edit,) = edits_of(multiply, size=elements)
    assert edit.factor == factor
    assert ("larger than 1 MiB" in edit.change.reason) == (factor is None)


def test_a_gradient_that_requires_grad_reports_its_version_only() -> None:
    def triple(grad: torch.Tensor) -> torch.Tensor:
        assert grad.requires_grad
        return grad * 3

    x = torch.full((2,), 2.0, requires_grad=True)
    with ht.trace() as t:
        x.register_hook(triple)
        torch.autograd.grad((x**3).sum(), x, create_graph=True)
    (edit,) = t.edits
    assert (edit.how, edit.factor, edit.change.kind) == ("returned", None, "unknown")
    assert edit.change.reason == "a gradient that itself requires grad is not copied"


@pytest.mark.parametrize("wrong", ["value", "", None, True, "Versions"])
def test_an_unknown_way_of_measuring_edits_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="'values' or 'versions'"):
        ht.trace(edits=wrong)


# ------------------------------------------------------------------ writes


def test_an_in_place_module_is_named_as_the_writer() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (write,) = t.writes()
    assert str(write) == "output of 0@0 was overwritten by 1@0 (ReLU)"
    assert repr(write) == f"<Write {write}>"
    assert write.call is t["1"]
    assert write.hook is None
    assert write.after.version == write.before.version + 1


def test_functional_code_is_placed_in_the_call_around_it() -> None:
    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x).add_(1)

    net = Adds()
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (write,) = t.writes()
    assert str(write) == "output of inner@0 was overwritten by functional code in Adds@0 (Adds)"


def test_code_after_the_call_is_outside_of_every_call() -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t, torch.no_grad():
        y = net(torch.ones(1, 2))
        y.add_(1)
        net(y)
    assert [write.by for write in t.writes()] == ["code outside of every traced call"]


def test_a_hook_that_wrote_is_named() -> None:
    net = nn.Linear(2, 2)

    def shift(m: Any, args: Any, output: torch.Tensor) -> None:
        output.add_(1)

    net.register_forward_hook(shift)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (write,) = t.writes()
    assert write.by == "forward hook shift on Linear"
    assert write.hook is t.edits[0].hook
    assert [edit.change.text for edit in t.edits] == ["+1"]


def test_a_write_through_a_view_of_the_same_elements_is_certain() -> None:
    net = nn.Identity()
    x = torch.zeros(4)
    with ht.trace(net) as t:
        net(x)
        x.view(2, 2).add_(1)
        net(x)
    assert [write.certain for write in t.writes()] == [True]


def test_a_write_to_a_sibling_view_is_only_possible() -> None:
    net = nn.Identity()
    base = torch.zeros(4)
    first, second = base[:2], base[2:]
    with ht.trace(net) as t:
        net(first)
        second.add_(1)
        net(first)
    view, whole = t.writes()
    assert not view.certain
    assert "output of Identity@0 was possibly overwritten (shared view) by" in str(view)
    assert whole.certain
    assert str(whole).startswith("tensor base was overwritten by code outside")
    assert first.tolist() == [0, 0]


def test_a_program_without_writes_has_none() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Flatten())
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    assert t.writes() == []


def test_writes_to_parameters_are_told_with_who_wrote() -> None:
    net = nn.Linear(2, 1)

    def shift(module: nn.Module, *arguments: Any) -> None:
        with torch.no_grad():
            module.weight.add_(1)

    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        with torch.no_grad():
            net.bias.sub_(1)
        handle = net.register_forward_hook(shift)
        net(torch.ones(1, 2))
        handle.remove()
        with torch.no_grad():
            net.weight.mul_(2)
    told = [str(write) for write in t.writes()]
    outside = "was overwritten by code outside of every traced call"
    assert told == [
        f"tensor bias {outside}",
        "tensor weight was overwritten by forward hook shift on Linear",
        f"tensor weight {outside}",
    ]


@pytest.mark.parametrize(
    ("result", "role"),
    [
        (lambda output: (output * 2, 1), "output[0]"),
        (lambda output: {"output": output * 2}, "output['output']"),
    ],
)
def test_an_edit_that_wraps_an_output_says_that_it_was_one_tensor(result: Any, role: str) -> None:
    model = nn.Linear(3, 2)
    model.register_forward_hook(lambda module, args, output: result(output))
    with ht.trace(model) as t:
        model(torch.ones(4, 3))
    edit = t.edits[0]
    assert edit.role == role
    assert str(edit.before) == "nothing (output was one tensor, 4x2 float32)"


def test_an_edit_that_unwraps_an_output_names_what_it_was() -> None:
    model = nn.LSTM(3, 2)
    model.register_forward_hook(lambda module, args, output: output[0] * 2)
    with ht.trace(model) as t:
        model(torch.ones(4, 1, 3))
    (edit,) = t.edits
    assert edit.role == "output"
    assert str(edit.before) == "output[0], output[1][0], output[1][1]"


def test_a_gradient_filled_while_other_threads_ran_backward_is_not_laid_to_the_users_code() -> None:
    w, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    started, done = threading.Event(), threading.Event()

    def wait(grad: torch.Tensor) -> None:
        started.set()
        assert done.wait(10)

    def aside() -> None:
        y = v * 2
        y.register_hook(wait)
        y.sum().backward()

    thread = threading.Thread(target=aside)
    with ht.trace() as t:
        thread.start()
        assert started.wait(10)
        (w * 2).sum().backward()
        done.set()
        thread.join()
        assert w.grad is not None
        w.grad.mul_(2)
    (write,) = (one for one in t.writes() if one.what == "w.grad")
    assert write.by.startswith("backward runs on several threads at a time, or code outside")
    with ht.trace() as t:
        (w * 2).sum().backward()
        w.grad.mul_(2)
    (write,) = (one for one in t.writes() if one.what == "w.grad")
    assert write.by == "code outside of every traced call"
