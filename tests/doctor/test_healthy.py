"""The doctor has nothing to say against healthy programs."""

from __future__ import annotations

import functools

import needs
import pytest
import torch
from healthy import HEALTHY, Healthy
from healthy.program import Tracing
from torch import nn
from torch.utils.hooks import RemovableHandle

import hooktrace as ht
from hooktrace.doctor import Findings
from hooktrace.doctor.rule import RULES


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count hooks from zero, as in a fresh process."""
    monkeypatch.setattr(RemovableHandle, "next_id", 0)


def findings(program: Healthy, trace: Tracing) -> Findings:
    torch.manual_seed(0)
    return program.run(trace).findings()


def refused(found: Findings, program: Healthy) -> list[str]:
    """Return the errors, and the warnings nobody agreed to."""
    return [
        str(one)
        for one in found
        if one.severity == "error" or (one.severity == "warning" and one.rule not in program.agreed)
    ]


TRACED: dict[str, Tracing] = {
    "as usual": ht.trace,
    "with statistics": functools.partial(ht.trace, stats=True),
}


MARKS = {"sharded_data_parallel_alone": [needs.FSDP_ON_CPU]}

CASES = [
    pytest.param(name, tracing, marks=MARKS.get(name, []))
    for name, program in HEALTHY.items()
    for tracing in TRACED
    if tracing == "with statistics" or not program.run.__module__.endswith("vision")  # for time
]


@pytest.mark.filterwarnings("ignore:The epoch parameter in .scheduler.step")  # of SequentialLR
@pytest.mark.parametrize(("name", "tracing"), CASES)
def test_nothing_is_found_wrong_with_a_healthy_program(name: str, tracing: str) -> None:
    found = findings(HEALTHY[name], TRACED[tracing])
    assert refused(found, HEALTHY[name]) == []
    expected = {rule for rule in HEALTHY[name].agreed if runs(rule, tracing)}
    assert expected <= {one.rule for one in found}


def runs(rule: str, tracing: str) -> bool:
    """Tell whether a rule finds anything in a trace that was made in this way."""
    return tracing == "with statistics" or not RULES[rule].statistics


def test_only_warnings_are_agreed_to_and_for_a_reason() -> None:
    for program in HEALTHY.values():
        for rule, reason in program.agreed.items():
            assert RULES[rule].severity == "warning"
            assert reason.endswith(".")


def test_the_zoo_is_large() -> None:
    assert len(HEALTHY) >= 60


def test_a_sick_program_would_be_found() -> None:
    def sick(trace: Tracing) -> ht.Trace:
        net = nn.Linear(2, 1)
        net.weight.register_hook(lambda grad: grad.mul_(2))
        with trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
        return t

    found = findings(Healthy(sick, {}), ht.trace)
    (text,) = refused(found, Healthy(sick, {}))
    assert "in-place-gradient-edit" in text
    assert refused(found, Healthy(sick, {"in-place-gradient-edit": "It is meant."})) == []
