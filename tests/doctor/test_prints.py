"""Printed findings: those alike stand together, and what all say is said once."""

from __future__ import annotations

import torch
from torch import nn

import hooktrace as ht


def edited(count: int) -> ht.Trace:
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(count)))
    for parameter in net.parameters():
        parameter.register_hook(lambda grad: grad.mul_(2))
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


def test_what_one_line_brought_about_is_printed_once() -> None:
    found = edited(10).findings(select=["in-place-gradient-edit"])
    assert len(found) == 20
    text = str(found)
    assert text.count("[in-place-gradient-edit]") == 1
    assert "likewise:  19 more: " in text
    assert "and 13 more" in text
    assert text.endswith("Doctor: 20 warnings.")
    assert len(text.splitlines()) < 20


def test_what_two_lines_brought_about_is_printed_twice_with_one_reason() -> None:
    u, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    u.register_hook(lambda grad: grad.mul_(2))
    v.register_hook(lambda grad: grad.mul_(3))
    with ht.trace() as t:
        (u * v).sum().backward()
    text = str(t.findings(select=["in-place-gradient-edit"]))
    assert text.count("[in-place-gradient-edit]") == 2
    assert text.count("  why:") == 1
    assert "likewise" not in text
