"""hooks-ignored-by-compile: what PyTorch left out, counted by the hooks themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding

RULES = ["hooks-ignored-by-compile", "never-fired"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Counter:
    """A hook that counts how often it really ran."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *arguments: Any) -> None:
        self.count += 1


def model() -> tuple[nn.Module, Any]:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    return net, torch.compile(net, backend="eager")


def found(t: Any) -> list[Finding]:
    return list(t.findings(select=RULES))


X = torch.ones(1, 2)


@pytest.mark.parametrize("kind", ["forward", "forward_pre"])
def test_a_hook_that_comes_after_the_compilation_is_told_and_really_ignored(kind: str) -> None:
    net, compiled = model()
    hook = Counter()
    with ht.trace() as t:
        compiled(X)
        getattr(net[0], f"register_{kind}_hook")(hook)
        compiled(X)
    assert hook.count == 0
    (finding,) = found(t)
    assert finding.rule == "hooks-ignored-by-compile"
    assert finding.severity == "warning"
    assert finding.possible == ""
    assert "had been compiled before the hook was registered" in finding.message
    before, registered, after = finding.events
    assert before < registered < after
    assert type(t.events[registered]).__name__ == "HookRegistered"


def test_the_advice_to_reset_helps() -> None:
    net, compiled = model()
    hook = Counter()
    with ht.trace() as t:
        compiled(X)
        net[0].register_forward_hook(hook)
        torch.compiler.reset()
        compiled(X)
    assert hook.count == 1
    assert all(one.possible for one in found(t))


def test_a_hook_that_was_there_when_it_was_compiled_is_not_told() -> None:
    net, compiled = model()
    hook = Counter()
    with ht.trace() as t:
        net[0].register_forward_hook(hook)
        compiled(X)
        compiled(X)
    assert hook.count == 2
    assert not [one for one in found(t) if not one.possible]


def test_a_full_backward_hook_on_the_compiled_module_is_told_and_really_ignored() -> None:
    _, compiled = model()
    hook = Counter()
    with ht.trace() as t:
        compiled.register_full_backward_hook(hook)
        compiled(X).sum().backward()
    assert hook.count == 0
    (finding,) = found(t)
    assert "what torch.compile() returned" in finding.message


def test_a_forward_hook_on_the_compiled_module_fires() -> None:
    _, compiled = model()
    hook = Counter()
    with ht.trace() as t:
        compiled.register_forward_hook(hook)
        compiled(X)
    assert hook.count == 1
    assert found(t) == []


def test_where_the_original_is_traced_and_the_compiled_one_runs_it_is_only_possible() -> None:
    net, compiled = model()
    hook = Counter()
    t = ht.trace(net)

    def run() -> None:
        with t:
            compiled(X)
            net[0].register_forward_hook(hook)
            compiled(X)

    with pytest.warns(UserWarning, match="compiled copy"):
        run()
    assert hook.count == 0
    (finding,) = found(t)
    assert finding.severity == "note"
    assert finding.possible == "what fires inside of compiled code is not seen"


def test_without_compilation_there_is_nothing_to_tell() -> None:
    net, compiled = model()
    hook = Counter()
    with ht.trace() as t, torch.compiler.set_stance("force_eager"):
        compiled(X)
        net[0].register_forward_hook(hook)
        compiled(X)
    assert hook.count == 1
    assert found(t) == []
