"""What a write in place says it wrote over: by the name that its reader knows it by."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import TensorWritten
from hooktrace.render.listing import told


def look(*_: Any) -> None:
    pass


def silence(module: Any, inputs: Any, output: torch.Tensor) -> None:
    output.mul_(0)


def test_a_parameter_that_a_hook_was_given_goes_by_its_name() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.weight.register_post_accumulate_grad_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert sorted(one.what for one in t.writes()) == ["tensor bias", "tensor weight"]


def test_an_output_that_only_hooks_saw_is_that_of_its_call() -> None:
    net = nn.Sequential(nn.Linear(2, 1))
    net[0].register_forward_hook(look)
    net[0].register_forward_hook(silence)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert [one.what for one in t.writes()] == ["output of 0@0"]


def test_a_write_is_listed_as_a_step_from_version_to_version() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (write,) = t.of(TensorWritten)
    (shown,) = t.writes()
    text = told(t.log, write, shown.call)
    assert text.startswith(f"1@0 ReLU  {write.before} -> {write.after}  line ")
    assert "certain" not in text


def test_a_write_through_a_sibling_view_is_listed_as_possible() -> None:
    net = nn.Identity()
    base = torch.zeros(4)
    first, second = base[:2], base[2:]
    with ht.trace(net) as t:
        net(first)
        second.add_(1)
        net(first)
    texts = [told(t.log, write, None) for write in t.of(TensorWritten)]
    assert sorted(text.startswith("possibly ") for text in texts) == [False, True]
