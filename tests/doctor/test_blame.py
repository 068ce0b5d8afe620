"""The history of a gradient: what came, who changed it, what ``.grad`` held in the end.

The oracle is the program itself: the numbers of a history are those that a copy of the run, with
the hooks taken down by hand, gives.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor.blame import Step
from hooktrace.errors import NoGradientError, UnknownNameError

K = torch.tensor([2.0, 3.0])


def kinds(steps: tuple[Step, ...]) -> list[str]:
    return [one.kind for one in steps]


def numbers(step: Step) -> Any:
    return None if step.after is None else step.after.numbers


def double(grad: torch.Tensor) -> torch.Tensor:
    return grad * 2


def add_one(grad: torch.Tensor) -> torch.Tensor:
    return grad + 1


def test_from_what_was_sent_through_each_hook_to_grad() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(double)
    w.register_hook(add_one)
    with ht.trace() as t:
        (w * K).sum().backward()
    found = t.blame("w")
    assert kinds(found.steps) == ["sent", "hook", "hook", "accumulated"]
    assert [numbers(one) for one in found.steps] == [(2, 3), (4, 6), (5, 7), (5, 7)]
    assert "MulBackward0" in found.steps[0].text
    assert "double on w (returned, x2)" in found.steps[1].text
    assert "add_one" in found.steps[2].text
    assert found.steps[1].source.split("/")[-1].startswith("test_blame.py:")
    assert found.complete
    assert w.grad is not None
    assert numbers(found.steps[-1]) == tuple(w.grad.tolist())


def test_a_hook_that_only_looked_is_told_and_changed_nothing() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(lambda grad: None)
    with ht.trace() as t:
        (w * K).sum().backward()
    found = t.blame("w")
    assert kinds(found.steps) == ["sent", "hook", "accumulated"]
    assert "looked at it" in found.steps[1].text
    assert found.hooks == ()


def test_every_run_has_its_passage_and_the_last_is_the_answer() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        for factor in (1, 2, 4):
            (w * K * factor).sum().backward()
    found = t.blame("w")
    assert [one.backward for one in found] == [0, 1, 2]
    last = found.steps[-1]
    assert last.before is not None
    assert last.arrived is not None
    assert last.before.numbers == (6, 9)
    assert last.arrived.numbers == (8, 12)
    assert numbers(last) == (14, 21)
    assert "2 earlier runs in .passages" in str(found)


def test_writes_to_grad_afterwards_are_told_with_what_they_left() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        (w * K).sum().backward()
        torch.nn.utils.clip_grad_norm_([w], 1.0)
    found = t.blame("w")
    assert kinds(found.steps) == ["sent", "accumulated", "written"]
    assert w.grad is not None
    assert numbers(found.steps[-1]) == pytest.approx(w.grad.tolist())
    assert found.complete


def test_a_post_accumulate_hook_comes_after_the_accumulation() -> None:
    w = torch.ones(2, requires_grad=True)

    def halve(param: torch.Tensor) -> None:
        assert param.grad is not None
        param.grad.div_(2)

    w.register_post_accumulate_grad_hook(halve)
    with ht.trace() as t:
        (w * K).sum().backward()
    found = t.blame("w")
    assert kinds(found.steps) == ["sent", "accumulated", "hook"]
    assert numbers(found.steps[-1]) == (1, 1.5)


def test_a_step_and_zero_grad_are_no_part_of_what_made_the_gradient() -> None:
    model = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ht.trace(model) as t:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    found = t.blame("weight")
    assert len(found) == 2
    assert kinds(found[0].steps) == ["sent", "accumulated", "written"]
    assert "cleared" in found[0].steps[-1].text
    assert kinds(found.steps) == ["sent", "accumulated"]
    assert "in Linear@1" in found.steps[0].text


def test_what_a_neighbours_hook_did_to_it_is_told() -> None:
    u, v = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)

    def ten(grad: torch.Tensor) -> None:
        grad.mul_(10)

    u.register_hook(ten)
    with ht.trace() as t:
        ((u + v) * 2).sum().backward()
    found = t.blame("v")
    assert kinds(found.steps) == ["sent", "overwritten", "accumulated"]
    assert [numbers(one) for one in found.steps] == [(2,), (20,), (20,)]
    assert found.complete


def test_hooks_on_the_node_and_on_several_tensors_count() -> None:
    u, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def cut(grads: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (grads[0].clamp(max=2.5),)

    with ht.trace() as t:
        y = u * v
        assert y.grad_fn is not None
        y.register_hook(double)
        y.grad_fn.register_prehook(cut)
        (y * K).sum().backward()
    found = t.blame("y")
    assert [one.text.split()[0] for one in found.hooks] == ["tensor", "node_pre"]
    assert [numbers(one) for one in found.hooks] == [(4, 6), (2.5, 2.5)]


def test_a_multi_grad_hook_that_writes_is_found() -> None:
    u, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def zero(grad: torch.Tensor) -> None:
        grad.zero_()

    torch.autograd.graph.register_multi_grad_hook((u,), zero, mode="any")
    u.register_hook(double)
    with ht.trace() as t:
        (u * v * K).sum().backward()
    assert u.grad is not None
    assert u.grad.tolist() == [0, 0]
    assert any("multi_grad hook zero" in one.text for one in t.blame("u").hooks)


def test_a_tensor_in_between_ends_with_what_it_retained() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        y = w * 3
        y.retain_grad()
        y.register_hook(double)
        (y * K).sum().backward()
    found = t.blame("y")
    assert kinds(found.steps) == ["sent", "hook", "retained"]
    assert numbers(found.steps[-1]) == (4, 6)


def test_the_number_of_a_tensor_does_as_well_as_its_name() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        (w * K).sum().backward()
    number = t.tensor("w").row.id
    assert t.blame(number).steps == t.blame("w").steps


def test_where_nothing_is_copied_it_says_what_may_be_missing() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace(edits="versions") as t:
        (w * K).sum().backward()
    found = t.blame("w")
    assert not found.complete
    assert "incomplete" in str(found)
    assert "edits='versions'" in found[0].gaps[0]


def test_a_change_that_nobody_was_seen_to_make_is_told() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(double)
    with ht.trace() as t:
        (w * K).sum().backward()
        assert w.grad is not None
        w.grad.data = torch.tensor([9.0, 9.0])
        (w * K).sum().backward()
    found = t.blame("w")
    assert numbers(found.steps[-1]) == (13, 15)
    assert found.steps[-1].before is not None
    assert found.steps[-1].before.numbers == (9, 9)
    assert found[0].gaps == (
        "until the next run .grad was changed from [4, 6] to [9, 9], unseen by whom",
    )


def test_asking_for_what_is_not_there_raises() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    with ht.trace(model) as t:
        model["used"](torch.ones(1, 2)).sum().backward()
    with pytest.raises(UnknownNameError, match=r"Did you mean 'used\.weight'"):
        t.blame("used.wieght")
    with pytest.raises(NoGradientError, match="was seen in the backward run"):
        t.blame("idle.weight")
    with pytest.raises(TypeError, match="name of a tensor"):
        t.blame(3.5)
    with ht.trace(model) as silent:
        model["used"](torch.ones(1, 2))
    with pytest.raises(NoGradientError, match="No backward ran"):
        silent.blame("used.weight")


def test_a_write_to_grad_is_told_with_its_statement_and_no_line_is_long() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(double)
    with ht.trace() as t:
        (w * K).sum().backward()
        w.grad.mul_(2)
        here = sys._getframe().f_lineno
        (w * K).sum().backward()
    found = t.blame("w")
    (written,) = (one for one in found[0].steps if one.kind == "written")
    assert written.source == f"{__file__}:{here + 1} or before it"
    assert all(len(line) <= 100 or " " not in line.strip() for line in str(found).splitlines())
    assert any(line.startswith(" " * 14) for line in str(found[0]).splitlines())


def test_a_parameter_itself_names_its_gradient() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        inside = t.blame(net[1].weight).name
    assert inside == "1.weight"
    found = t.blame(net[1].weight)
    assert found.name == "1.weight"
    assert str(found) == str(t.blame("1.weight"))


def test_both_names_of_a_tied_weight_do() -> None:
    model = nn.ModuleDict({"embed": nn.Linear(2, 2, bias=False), "head": nn.Linear(2, 2)})
    model["head"].weight = model["embed"].weight
    with ht.trace(model) as t:
        model["head"](model["embed"](torch.ones(1, 2))).sum().backward()
    assert str(t.blame("head.weight")) == str(t.blame("embed.weight"))
    assert t.blame(model["head"].weight).name == "embed.weight"
    assert t.tensor("head.weight").row == t.tensor("embed.weight").row


def test_both_names_of_a_shared_module_do() -> None:
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    assert t.blame("2.bias").tensor == t.blame("0.bias").tensor


def test_any_tensor_does_inside_of_the_block_and_afterwards_its_name() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        (w * K).sum().backward()
        assert t.blame(w).name == "w"
        with pytest.raises(UnknownNameError, match="was not seen in the block"):
            t.blame(torch.ones(3))
    with pytest.raises(UnknownNameError, match=r"Give its name, such as t\.blame\('w'\)"):
        t.blame(w)
    assert t.blame("w").name == "w"


def test_a_post_accumulate_hook_that_wrote_into_the_parameter_did_not_only_look() -> None:
    w = torch.ones(2, requires_grad=True)

    def clamp(parameter: torch.Tensor) -> None:
        parameter.data.clamp_(-0.01, 0.01)

    w.register_post_accumulate_grad_hook(clamp)
    with ht.trace() as t:
        (w * K).sum().backward()
    assert t.blame("w").steps[-1].text.endswith("clamp on w left it as it was, but changed param")
    assert not t.blame("w").steps[-1].changed
