"""Every error is hooktrace's own and also the builtin that one would catch."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace import errors
from hooktrace.errors import HooktraceError, nearest

ALSO: dict[str, type[BaseException]] = {
    "UnknownNameError": KeyError,
    "AmbiguousCallError": KeyError,
    "NotKeptError": AttributeError,
    "NoGradientError": LookupError,
    "ScriptError": ValueError,
    "TraceFormatError": ValueError,
    "TraceStateError": RuntimeError,
    "UnsupportedKeepError": TypeError,
    "UnsupportedModuleError": TypeError,
    "UnknownFormatError": ValueError,
    "RenderError": RuntimeError,
    "MismatchError": ValueError,
    "MapShapeError": ValueError,
    "MissingExtraError": ImportError,
    "UnsupportedHookError": TypeError,
    "NoStatisticsError": LookupError,
    "ConfigurationError": ValueError,
    "LeakedHookError": AssertionError,
    "CopyError": TypeError,
    "NoGraphError": RuntimeError,
    "GraphFreedError": RuntimeError,
    "TargetError": ValueError,
    "MethodError": ValueError,
    "MissingModelError": TypeError,
}
WARNINGS = {"BlankMapWarning", "NothingTracedWarning", "ProbeFailedWarning"}


def test_the_list_of_errors_here_is_complete() -> None:
    classes = {name for name in errors.__all__ if inspect.isclass(getattr(errors, name))}
    assert classes == {*ALSO, *WARNINGS, "HooktraceError"}
    defined = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and thing.__module__ == errors.__name__
    }
    assert defined == classes


@pytest.mark.parametrize("name", ALSO)
def test_an_error_is_also_the_builtin_it_promises(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, HooktraceError)
    assert issubclass(kind, ALSO[name])
    assert kind.__doc__


@pytest.mark.parametrize("name", sorted(WARNINGS))
def test_a_warning_is_a_user_warning_and_no_error(name: str) -> None:
    assert issubclass(getattr(errors, name), UserWarning)
    assert not issubclass(getattr(errors, name), HooktraceError)


@pytest.mark.parametrize("name", [name for name in ALSO if name != "MissingExtraError"])
def test_a_message_is_shown_as_it_was_written(name: str) -> None:
    error = getattr(errors, name)("It's 'so'.\nReally.")
    assert str(error) == "It's 'so'.\nReally."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(getattr(errors, name)()) == ""


def test_a_missing_extra_names_the_command() -> None:
    error = errors.MissingExtraError("Drawing", "pillow", "images")
    assert str(error) == (
        "Drawing needs the package 'pillow', which is not installed. "
        "Install it with: pip install 'hooktrace[images]'"
    )


def test_nearest_names_at_most_three() -> None:
    assert nearest("layer0", [f"layer{index}" for index in range(1, 9)]).count("layer") == 3


def test_nearest_lists_what_there_is_when_nothing_is_near() -> None:
    assert nearest("zzz", ["a", "", "b"]) == " There are: 'a', 'b'."
    many = nearest("zzz", [f"n{index}" for index in range(20)])
    assert "'n7' and 12 more." in many
    assert "'n8'" not in many


def test_nearest_says_nothing_where_there_is_nothing() -> None:
    assert nearest("zzz", []) == nearest("zzz", [""]) == ""


# ------------------------------------------------------------------ raised where they should be


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU())


def closed(times: int = 1, **options: Any) -> ht.Trace:
    model = net()
    with ht.trace(model, **options) as t:
        for _ in range(times):
            model(torch.ones(1, 2))
    return t


def reenter() -> None:
    with closed():
        pass


@pytest.mark.parametrize(
    ("kind", "words", "wrong"),
    [
        (errors.UnknownNameError, "'nope'", lambda: closed()["nope"]),
        (errors.UnknownNameError, "nope", lambda: closed().graph("nope")),
        (errors.UnknownNameError, "nope", lambda: ht.trace(net(), keep=["nope"])),
        (errors.UnknownNameError, "Did you mean 'timeline'", lambda: closed().graph("timelin")),
        (errors.UnknownNameError, "No tensor named 'nope'", lambda: closed().tensor("nope")),
        (errors.AmbiguousCallError, "called 2 times", lambda: closed(2)["0"]),
        (errors.NotKeptError, "keep=", lambda: closed()["0"].output.sum()),
        (errors.NoGradientError, "backward", lambda: closed()["0"].grad_output),
        (errors.TraceStateError, "entered once", reenter),
        (errors.UnsupportedKeepError, "keep", lambda: ht.trace(net(), keep=3)),  # type: ignore[arg-type]
        (errors.UnsupportedModuleError, "int", lambda: ht.trace(3)),
        (errors.UnknownFormatError, "gif", lambda: closed().draw("x.gif")),
    ],
)
def test_what_is_wrong_is_said_by_its_own_error(
    kind: type[HooktraceError],
    words: str,
    wrong: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HooktraceError, match=words) as caught:
        wrong()
    assert type(caught.value) is kind
    assert list(tmp_path.iterdir()) == []


def test_a_trace_in_which_nothing_of_the_model_ran_warns_and_names_what_did() -> None:
    words = r"No module of Sequential ran.*Linear"
    model = net()
    with pytest.warns(errors.NothingTracedWarning, match=words), ht.trace(model):
        nn.Linear(2, 2)(torch.ones(1, 2))
