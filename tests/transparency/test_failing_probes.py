"""When hooktrace itself fails, the traced program goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from observed import Outcome, differs, run, run_with_trace
from zoo import PROGRAMS

import hooktrace as ht
from hooktrace.firing import Firing
from hooktrace.identity import Identities
from hooktrace.recorder import Recorder

SURVIVORS = (
    "mlp",
    "in_place_everything",
    "hooks_of_every_kind",
    "hooks_that_change_what_they_are_given",
    "a_module_that_raises",
    "a_tensor_hook_that_raises",
    "plain_tensors",
    "double_backward",
    "checkpoint_not_reentrant",
)

WHERE: dict[str, tuple[type, str]] = {
    "seeing a tensor": (Recorder, "observe"),
    "describing a tensor": (Recorder, "describe"),
    "naming a tensor": (Identities, "name"),
    "keeping a value": (Recorder, "keep"),
    "checking for writes": (Recorder, "check"),
    "finishing a firing": (Firing, "returned"),
}


class InjectedError(Exception):
    """What the injected faults raise."""


def failing(function: Callable[..., Any], first: int) -> Callable[..., Any]:
    """Fail at the call of this number and at every third one after it."""
    calls = 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls >= first and (calls - first) % 3 == 0:
            raise InjectedError(function.__name__)
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("name", SURVIVORS)
@pytest.mark.parametrize("where", WHERE)
def test_a_failing_probe_does_not_disturb_the_program(
    name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(PROGRAMS[name])
    expected = run(PROGRAMS[name])
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    owner, attribute = WHERE[where]
    original = getattr(owner, attribute)
    for first in (1, 2, 5, 11):
        monkeypatch.setattr(owner, attribute, failing(original, first))
        outcome, t = run_with_trace(PROGRAMS[name], lambda models: ht.trace(models, keep=True))
        monkeypatch.setattr(owner, attribute, original)
        own = [one for one in outcome.warned if one[0] is ht.errors.ProbeFailedWarning]
        outcome.warned = [one for one in outcome.warned if one not in own]
        for field in fields(Outcome):
            one, other = getattr(outcome, field.name), getattr(expected, field.name)
            same(one, other, f"{where} {first}: {field.name}")
        if t is not None and t.of(ht.events.ProbeFailed):
            assert len(own) == 1
            assert "InjectedError" in t.of(ht.events.ProbeFailed)[0].traceback
            str(t)


def same(one: Any, other: Any, where: str) -> None:
    found = differs(one, other, where)
    assert found is None, found


def test_a_failing_probe_raises_when_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "observe", failing(Recorder.observe, 1))
    models, step = PROGRAMS["mlp"]()
    with pytest.raises(InjectedError), ht.trace(models):
        step()
