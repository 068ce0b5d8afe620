"""fires-after-removal: hooks that PyTorch had collected before they were removed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


def found(t: Any) -> list[Any]:
    return list(t.findings(select=["fires-after-removal"]))


def x() -> torch.Tensor:
    return torch.ones(1, 2, requires_grad=True)


@pytest.mark.parametrize("kind", ["full_backward", "full_backward_pre"])
def test_a_hook_removed_between_forward_and_backward_is_told_with_all_three_moments(
    kind: str,
) -> None:
    ran = []
    net = nn.Linear(2, 1)
    handle = getattr(net, f"register_{kind}_hook")(lambda *_: ran.append(1))
    with ht.trace(net) as t:
        y = net(x())
        handle.remove()
        y.sum().backward()
    assert ran == [1]
    (finding,) = found(t)
    assert finding.severity == "note"
    removed, fired = finding.events
    assert type(t.events[removed]).__name__ == "HookRemoved"
    assert type(t.events[fired]).__name__ == "HookFired"
    assert finding.evidence == (
        f"removed at #{removed}, fired at #{fired}; it was collected at "
        f"#{t['Linear'].called.seq} by Linear@0",
    )


def test_one_that_changes_a_gradient_after_its_removal_is_a_warning() -> None:
    net = nn.Linear(2, 1)
    handle = net.register_full_backward_pre_hook(lambda module, grads: (grads[0] * 2,))
    with ht.trace(net) as t:
        y = net(x())
        handle.remove()
        y.sum().backward()
    (finding,) = found(t)
    assert finding.severity == "warning"
    assert "and changed a gradient" in finding.message


def test_hooks_that_remove_themselves_are_not_told() -> None:
    net = nn.Linear(2, 1)
    handles: list[Any] = []
    handles.append(net.register_full_backward_hook(lambda *_: handles[0].remove()))
    handles.append(net.register_forward_hook(lambda *_: handles[1].remove()))
    handles.append(net.weight.register_hook(lambda *_: handles[2].remove()))
    with ht.trace(net) as t:
        net(x()).sum().backward()
    assert len(t.of(ht.events.HookFired)) == 3
    assert found(t) == []


def test_a_tensor_hook_that_is_removed_in_time_does_not_fire() -> None:
    net = nn.Linear(2, 1)
    handle = net.weight.register_hook(lambda grad: grad * 2)
    with ht.trace(net) as t:
        y = net(x())
        handle.remove()
        y.sum().backward()
    assert found(t) == []
