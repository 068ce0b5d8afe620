"""What benchmarks are asked for, and where in the documentation goes what they measured."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["asked", "put"]


def asked(description: str | None, rounds: int = 5) -> argparse.Namespace:
    """Read the command line: ``write`` into the documentation or not, and how many ``rounds``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--write", action="store_true", help="put the tables into the docs")
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser.parse_args()


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
