"""Complaints from public threads about hooks, each as a minimal program that the doctor is shown.

A program is one file in ``programs/``: a docstring (the complaint in a sentence, the thread, the
cause), the program itself, which binds its trace to ``t`` or the findings of ``ht.check`` to
``found``, and three names at its end, behind ``END``, that the page does not show:

* ``SYMPTOM``: whether PyTorch did what the complaint says;
* ``EXPECTED``: the rule that names the cause;
* ``SAYS``: words that the finding contains.

``python -m doctor.complaints`` writes ``docs/complaints.md``.
"""

from __future__ import annotations

import contextlib
import linecache
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

PROGRAMS = Path(__file__).with_name("programs")
END = "# The page ends here.\n"

__all__ = ["PROGRAMS", "Complaint", "Run", "complaint", "outcome"]


@dataclass(frozen=True)
class Complaint:
    """One thread, and the program that shows what it is about."""

    name: str
    asked: str
    link: str
    cause: str
    program: str
    ending: str

    @property
    def file(self) -> str:
        return f"{self.name}.py"

    def run(self) -> Run:
        """Run the program as a file of its own that begins with its first import."""
        scope: dict[str, Any] = {"__name__": self.name}
        lines = self.program.splitlines(keepends=True)
        linecache.cache[self.file] = (len(self.program), None, lines, self.file)
        torch.manual_seed(0)
        with warnings.catch_warnings(), _counted_from_zero():
            warnings.simplefilter("ignore")
            exec(compile(self.program, self.file, "exec"), scope)
            exec(compile(self.ending, f"{self.name} (ending)", "exec"), scope)
        found = scope["found"] if "found" in scope else scope["t"].findings()
        return Run(found, scope["SYMPTOM"], scope["EXPECTED"], scope["SAYS"])


@dataclass(frozen=True)
class Run:
    """What a program did, and what the doctor said of it."""

    findings: Any
    symptom: bool
    expected: str
    says: tuple[str, ...]


@contextlib.contextmanager
def _counted_from_zero() -> Iterator[None]:
    """Let PyTorch number hooks as in a new process."""
    before, RemovableHandle.next_id = RemovableHandle.next_id, 0
    try:
        yield
    finally:
        RemovableHandle.next_id = max(before, RemovableHandle.next_id)


def complaint(name: str) -> Complaint:
    """Read a program's file."""
    text = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    _, doc, rest = text.split('"""', 2)
    asked, link, cause = doc.strip().split("\n\n")
    program, _, ending = rest.strip().partition(END)
    one_line = " ".join(cause.split())
    return Complaint(name, asked, link, one_line, program.strip() + "\n", ending)


@cache
def outcome(name: str) -> Run:
    """Run a program, once."""
    return complaint(name).run()
