"""global-hook-left-behind: hooks for everything, and the flag that stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.optim.optimizer import register_optimizer_step_post_hook

import hooktrace as ht

RULE = "global-hook-left-behind"


def save(*arguments: Any) -> None:
    """A hook that changes nothing."""


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Collect handles, which are removed afterwards, as is the flag."""
    monkeypatch.setattr(torch_module, "_global_is_full_backward_hook", None)
    found: list[Any] = []
    yield found
    for handle in found:
        handle.remove()


@pytest.mark.parametrize(
    ("register", "kind"),
    [
        (torch_module.register_module_forward_hook, "forward hook"),
        (torch_module.register_module_forward_pre_hook, "forward pre-hook"),
        (torch_module.register_module_full_backward_hook, "full backward hook"),
        (torch_module.register_module_full_backward_pre_hook, "full backward pre-hook"),
        (torch_module.register_module_parameter_registration_hook, "parameter registration hook"),
    ],
)
def test_one_that_the_block_leaves_is_a_warning(
    register: Any, kind: str, handles: list[Any]
) -> None:
    with ht.trace() as t:
        handles.append(register(save))
        nn.Linear(2, 2)(torch.ones(1, 2))
    (finding,) = t.findings(select=[RULE])
    assert finding.severity == "warning"
    assert finding.message == (
        f"The {kind} save for every module is still registered when the block ends."
    )
    assert len(finding.events) == 1
    assert finding.source.startswith(f"{__file__}:")


def test_one_for_every_optimizer_is_told(handles: list[Any]) -> None:
    with ht.trace() as t:
        handles.append(register_optimizer_step_post_hook(save))
    (finding,) = t.findings(select=[RULE])
    assert "hook save for every optimizer is still registered" in finding.message


def test_one_that_was_there_before_is_a_note(handles: list[Any]) -> None:
    handles.append(torch_module.register_module_forward_hook(save))
    net = nn.Linear(2, 2)
    (finding,) = ht.check(net)
    assert (finding.rule, finding.severity) == (RULE, "note")
    assert finding.message == "The forward hook save for every module is registered."
    with ht.trace() as t:
        net(torch.ones(1, 2))
    assert [one.severity for one in t.findings(select=[RULE])] == ["note"]


def test_one_that_was_removed_is_not_told(handles: list[Any]) -> None:
    with ht.trace() as t:
        with torch_module.register_module_forward_hook(save):
            nn.Linear(2, 2)(torch.ones(1, 2))
        handles.append(nn.Linear(2, 2).register_forward_hook(save))
    assert list(t.findings(select=[RULE])) == []


@pytest.mark.usefixtures("handles")
def test_the_flag_that_a_full_backward_hook_leaves_is_a_note() -> None:
    with ht.trace() as t:
        torch_module.register_module_full_backward_hook(save).remove()
    (finding,) = t.findings(select=[RULE])
    assert finding.severity == "note"
    assert torch_module._global_is_full_backward_hook is True
    with ht.trace() as later:
        nn.Linear(2, 2)(torch.ones(1, 2))
    assert list(later.findings(select=[RULE])) == []


@pytest.mark.usefixtures("handles")
def test_the_exception_to_which_the_flag_leads_is_explained() -> None:
    torch_module.register_module_full_backward_hook(save).remove()
    with pytest.raises(RuntimeError, match="as a global Module hook"), ht.trace() as t:
        torch_module.register_module_backward_hook(save)
    (finding,) = t.findings(select=[RULE])
    assert finding.severity == "warning"
    assert "as a global Module hook" in finding.evidence[0]
    assert "register_module_full_backward_hook" in finding.instead
