"""The pictures of every program of the zoo hold together, on every engine there is."""

from __future__ import annotations

import pytest
from layout_audit import ENGINES, audit
from traced_zoo import LIGHT, trace_of

import hooktrace as ht
from hooktrace.errors import RenderError
from hooktrace.render.asked import views

# What a view says of a program that has nothing for it.
NOTHING = ("No module was called", "No autograd graph", "No hook was seen", "Nothing that takes")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LIGHT)
def test_the_pictures_of_every_program_hold_together(name: str, engine: str) -> None:
    trace = trace_of(name)
    for view in views():
        source = drawn(trace, view)
        if source:
            audit(source, engine)


def drawn(trace: ht.Trace, view: str) -> str:
    """The DOT text of a view; empty if the program has nothing for it."""
    try:
        return str(trace.digraph(view=view).source)
    except RenderError as error:
        if str(error).startswith(NOTHING):
            return ""
        raise
