"""Questions that a trace cannot answer get an error that says what to do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import HooktraceError, NotKeptError, UnknownNameError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Tanh())


@pytest.fixture
def stand_in() -> Any:
    model = net()
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    return t["0"].output


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "a method": lambda one: one.mean(),
    "a torch function": lambda one: torch.relu(one),
    "addition": lambda one: one + 1,
    "addition from the right": lambda one: 1 + one,
    "a tensor plus it": lambda one: torch.ones(1, 2) + one,
    "negation": operator.neg,
    "a matrix product": lambda one: one @ one,
    "a comparison": lambda one: one > 0,
    "equality": lambda one: one == one,
    "its truth": bool,
    "its length": len,
    "an element": lambda one: one[0],
    "iteration": list,
    "a number": float,
    "an array": np.asarray,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_value_that_was_not_kept_says_how_to_keep_it(question: str, stand_in: Any) -> None:
    with pytest.raises(NotKeptError, match=r"keep=\['0'\]"):
        QUESTIONS[question](stand_in)


def test_what_is_known_of_a_value_that_was_not_kept_can_be_asked_for(stand_in: Any) -> None:
    assert stand_in.shape == (1, 2)
    assert stand_in.dtype == "float32"
    assert stand_in.device == "cpu"
    assert len(stand_in.numbers) == 2
    assert "1x2 float32" in repr(stand_in)
    assert not hasattr(stand_in, "no_such_attribute")


@pytest.mark.parametrize("keep", [3, 2.5, object()])
def test_keep_that_is_nothing_to_keep_is_refused(keep: Any) -> None:
    with pytest.raises(TypeError, match="keep= takes names, patterns and modules"):
        ht.trace(net(), keep=keep)


@pytest.mark.parametrize("keep", [["feature"], ["0", "2"], nn.Linear(1, 1), [nn.Linear(1, 1)]])
def test_keep_that_names_no_module_of_the_model_is_refused(keep: Any) -> None:
    with pytest.raises(UnknownNameError, match="keep="):
        ht.trace(net(), keep=keep)


@pytest.mark.parametrize("model", [3, "net", [1], {"a": None}, print, torch.ones(1)])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(HooktraceError, match="takes"):
        ht.trace(model)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_script_module_is_refused_with_a_way_out() -> None:
    scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ht.errors.UnsupportedModuleError, match="ScriptModule"):
        ht.trace(scripted)
    with ht.trace() as t:
        scripted(torch.ones(1, 2))
    assert t.log.sealed


def test_a_gradient_after_the_block_is_explained() -> None:
    model = net()
    with ht.trace(model, keep=True) as t:
        y = model(torch.ones(1, 2))
    y.sum().backward()
    with pytest.raises(ht.errors.NoGradientError, match=r"the block ended before backward\(\)"):
        _ = t["0"].grad_output


def test_variables_left_over_from_before_the_block_are_not_listed() -> None:
    old = (torch.ones(3, requires_grad=True) * 2).sum()
    older = old * 3
    w = torch.ones(1, requires_grad=True)
    used = w * 5
    with ht.trace() as t:
        new = used * 2
        new.backward()
    names = {row.name for row in t.log.tensors if row.name}
    assert {"w", "used", "new"} <= names
    assert not names & {"old", "older"}
    assert "older" not in str(t)
    assert older.item() == 18
