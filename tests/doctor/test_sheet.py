"""Findings as a table: what a terminal and a notebook show."""

from __future__ import annotations

import io

import torch
from rich.console import Console

import hooktrace as ht


def trace() -> ht.Trace:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(lambda grad: grad.mul_(2))
    with ht.trace() as t:
        (w * 3).sum().backward()
    return t


def shown(thing: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_rich_shows_a_row_for_each_finding_under_a_summary() -> None:
    found = trace().findings(select=["in-place-gradient-edit"])
    text = shown(found, 200)
    assert text.startswith("Doctor: 1 warning")
    (row,) = [line for line in text.splitlines() if "in-place-gradient-edit" in line]
    assert row.split()[0] == "warning"
    assert "test_sheet.py:" in row


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    w = torch.ones(2, requires_grad=True)

    def hook(grad: torch.Tensor) -> torch.Tensor:
        return grad.mul_(2)

    hook.__qualname__ = "[bold]hook[/bold]"
    w.register_hook(hook)
    with ht.trace() as t:
        (w * 3).sum().backward()
    found = t.findings(select=["in-place-gradient-edit"])
    assert "[bold]hook[/bold]" in shown(found, 300)
    assert "[bold]hook[/bold]" in found._repr_html_()


def test_a_notebook_gets_html_without_scripts() -> None:
    html = trace().findings(select=["in-place-gradient-edit"])._repr_html_()
    assert html.startswith("<pre>")
    assert html.endswith("</pre>")
    assert "in-place-gradient-edit" in html
    assert "<script" not in html


def test_where_nothing_was_found_there_is_no_empty_table() -> None:
    with ht.trace() as t:
        torch.ones(2).sum()
    found = t.findings()
    assert shown(found, 200).split() == f"Doctor: {found.summary}".split()
    assert "severity" not in found._repr_html_()
