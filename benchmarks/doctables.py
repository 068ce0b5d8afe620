"""Puts what was measured into a page of the documentation, between two marks."""

from __future__ import annotations

from pathlib import Path

__all__ = ["put"]


def put(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between two marks of a page.

    Raises:
        ValueError: The page does not have both marks, in this order.
    """
    before, begin, rest = page.read_text("utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise ValueError(f"{page} has no place for a table: {marks[0]} and then {marks[1]}.")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", "utf-8")
