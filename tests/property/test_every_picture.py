"""The picture of every program of the zoo holds together, on every engine there is."""

from __future__ import annotations

import pytest
from layout_audit import ENGINES, audit
from traced_zoo import LIGHT, trace_of

from hooktrace.errors import RenderError


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LIGHT)
def test_the_pictures_of_every_program_hold_together(name: str, engine: str) -> None:
    trace = trace_of(name)
    audit(trace.digraph(view="tensors").source, engine)
    try:
        source = trace.digraph(view="modules").source
    except RenderError:  # no module was called
        return
    audit(source, engine)
