"""Exceptions leave a block as they are, with a note where the doctor has something to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor import explain
from hooktrace.doctor.case import Case
from hooktrace.doctor.explain import MARK
from hooktrace.doctor.rule import RULES
from hooktrace.findings import Finding

X = torch.ones(1, 2)


def failing() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.ReLU(inplace=True))


def notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def test_type_and_message_stay_and_a_note_is_added() -> None:
    with pytest.raises(RuntimeError) as plain:
        failing()(X).sum().backward()
    net = failing()
    with pytest.raises(RuntimeError) as traced, ht.trace(net):
        net(X).sum().backward()
    assert type(traced.value) is type(plain.value)
    assert str(traced.value) == str(plain.value)
    assert traced.value.args == plain.value.args
    (note,) = notes(traced.value)
    assert note.startswith(f"{MARK}Backward failed because the output of 1@0 was overwritten")
    assert "instead: make 2 a ReLU(inplace=False)" in note


def test_inside_the_block_there_is_no_note_yet() -> None:
    net = failing()
    with ht.trace(net), pytest.raises(RuntimeError) as caught:
        net(X).sum().backward()
    assert notes(caught.value) == []


def test_nested_traces_explain_once() -> None:
    net = failing()
    with pytest.raises(RuntimeError) as caught, ht.trace(), ht.trace(net):
        net(X).sum().backward()
    assert len(notes(caught.value)) == 1


def test_notes_of_the_user_stay() -> None:
    net = failing()

    def step() -> None:
        try:
            net(X).sum().backward()
        except RuntimeError as error:
            error.add_note("in epoch 3")
            raise

    with pytest.raises(RuntimeError) as caught, ht.trace(net):
        step()
    first, second = notes(caught.value)
    assert first == "in epoch 3"
    assert second.startswith(MARK)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(1)])
def test_nothing_is_said_where_there_is_nothing_to_say(error: BaseException) -> None:
    net = nn.Linear(2, 2)

    def step() -> None:
        net(X)
        raise error

    with pytest.raises(type(error)) as caught, ht.trace(net):
        step()
    assert caught.value is error
    assert notes(error) == []


def test_a_rule_that_fails_takes_no_part_in_the_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(self: Any, case: Case) -> Iterator[Finding]:
        raise LookupError("a mistake of ours")

    monkeypatch.setattr(RULES["saved-tensor-modified"], "find", broken)
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    net = failing()
    with pytest.raises(RuntimeError, match="modified by an inplace") as caught, ht.trace(net):
        net(X).sum().backward()
    assert notes(caught.value) == []


def test_only_what_points_at_the_exception_or_quotes_it_explains_it() -> None:
    net = failing()
    with pytest.raises(RuntimeError), ht.trace(net) as t:
        net(X).sum().backward()
    ended = t.of(ht.events.BackwardFinished)[0]
    about = Finding("a", "error", "About it.", events=(ended.seq,))
    other = Finding("a", "error", "About another.", events=(0,), evidence=("RuntimeError",))
    quoting = Finding("a", "error", "Quotes.", evidence=((t.log.error or "")[:60],))
    assert [explain.concerns(t.log, one) for one in (about, other, quoting)] == [True, False, True]


def test_an_exception_that_no_rule_explains_is_told_as_that_in_the_last_line() -> None:
    net = nn.Linear(2, 2)

    def step() -> None:
        net(X)
        raise ValueError("mine. All mine.")

    with pytest.raises(ValueError, match="mine"), ht.trace(net) as t:
        step()
    end = "the block ended with ValueError: mine; no rule explains it"
    assert t.findings().summary == end
    assert str(t.findings()).startswith(f"Doctor: {end}.")
    assert str(t).endswith(f"Doctor: {end}.")
    assert t.findings(["never-fired"]).summary == "nothing wrong was found"


def test_an_unexplained_exception_stands_behind_the_count_of_other_findings() -> None:
    net = nn.Linear(2, 2)

    def step() -> None:
        net(X)
        net.register_forward_hook(lambda module, args, output: None)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), ht.trace(net) as t:
        step()
    end = "; the block ended with ValueError: mine; no rule explains it"
    assert t.findings()
    assert t.findings().summary.endswith(end)


def test_an_exception_that_a_rule_explains_is_not_told_again() -> None:
    net = failing()
    with pytest.raises(RuntimeError), ht.trace(net) as t:
        net(X).sum().backward()
    assert t.findings().summary == "1 error"
