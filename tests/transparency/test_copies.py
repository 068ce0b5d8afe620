"""Nothing is copied but what keep= names and what hooks are given."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import hooktrace as ht

COPIES = ("aten::clone", "aten::copy_")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 2))


def copies(work: Callable[[], None]) -> int:
    """Count the copies of tensors in a piece of work."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    return sum(event.count for event in found.key_averages() if event.key in COPIES)


def step(model: nn.Module) -> None:
    model(torch.ones(2, 1, 8, 8)).sum().backward()


def traced(model: nn.Module, **options: object) -> Callable[[], None]:
    def work() -> None:
        with ht.trace(model, **options):  # type: ignore[arg-type]
            step(model)

    return work


def test_a_default_trace_copies_nothing() -> None:
    assert copies(traced(net())) == copies(lambda: step(net()))


def test_keep_copies_the_output_and_both_gradients_and_no_more() -> None:
    model = net()
    plain = copies(lambda: step(net()))
    kept = copies(traced(model, keep=["3"])) - plain
    assert kept == 2 * 3  # output, grad_output, grad_input; each shows as a clone and its copy_


def test_a_hook_has_its_arguments_copied_once_unless_versions_will_do() -> None:
    plain = copies(lambda: step(net()))
    model = net()
    model[3].register_forward_hook(lambda module, args, output: None)
    assert copies(traced(model)) - plain == 2 * 2  # args[0] and output
    assert copies(traced(model, edits="versions")) - plain == 0
