"""PyTorch's error of a saved tensor that was modified, explained: which, by whom, where."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

import hooktrace as ht
from hooktrace._torch_saved import TELLS_HOOKS
from hooktrace.findings import Finding

RULE = "saved-tensor-modified"
X = torch.ones(1, 2)
Program = Callable[[], tuple[nn.Module, Callable[[], Any]]]
PROGRAMS: dict[str, tuple[Program, list[str]]] = {}
NEEDS_CONTENT = pytest.mark.skipif(
    not TELLS_HOOKS, reason="PyTorch before 2.10 does not show saved tensors"
)


def program(*expected: str) -> Callable[[Program], Program]:
    def enter(make: Program) -> Program:
        PROGRAMS[make.__name__] = make, list(expected)
        return make

    return enter


@program(
    "the output of 1@0 was overwritten in place by 2@0 (ReLU(inplace=True)), in the statement at",
    "after the operation Sigmoid (SigmoidBackward0) in 1@0 (Sigmoid) had saved it",
)
def a_module_in_place() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.ReLU(inplace=True))
    return net, lambda: net(X).sum().backward()


@program(
    "the output of 1@0 was overwritten in place by the forward pre-hook scale on 2, defined at",
    "after the operation Sigmoid (SigmoidBackward0) in 1@0 (Sigmoid) had saved it",
)
def a_hook_in_place() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))

    def scale(module: Any, args: Any) -> None:
        args[0].mul_(2)

    net[2].register_forward_pre_hook(scale)
    return net, lambda: net(X).sum().backward()


@program("the output of 1@0 was overwritten in place by code outside of every traced call")
def code_after_the_model() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid())

    def step() -> None:
        y = net(X)
        with torch.no_grad():
            y.mul_(2)
        y.sum().backward()

    return net, step


@program(
    f"1.weight was overwritten in place by a step of SGD at {__file__}:",
    "after the linear map (AddmmBackward0) in 1@0 (Linear)",
)
def a_step_before_the_second_backward() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)

    def step() -> None:
        loss = net(X).sum()
        loss.backward(retain_graph=True)
        optimizer.step()
        loss.backward()

    return net, step


class Adds(nn.Module):
    """Writes to a tensor that no module takes or returns before it does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> Any:
        y = torch.sigmoid(self.layer(x))
        y += 1
        return y


@program(
    "was overwritten in place by the addition (AddBackward0) in Adds@0 (Adds)",
    "after the operation Sigmoid (SigmoidBackward0) in Adds@0 (Adds) had saved it",
)
def functional_code() -> Any:
    net = Adds()
    return net, lambda: net(X).sum().backward()


@program("the output of 1@0 was overwritten in place by 2@0 (ReLU(inplace=True))")
def of_two_modified_tensors_the_one_that_backward_needs_first() -> Any:
    net = nn.Sequential(
        nn.Linear(2, 2), nn.Sigmoid(), nn.ReLU(inplace=True), nn.Linear(2, 2), nn.Tanh()
    )

    return net, lambda: net(X).sum().backward()


def traced(net: nn.Module | None, step: Callable[[], Any]) -> tuple[ht.Trace, RuntimeError]:
    with pytest.raises(RuntimeError) as caught, ht.trace(net) as t:
        step()
    return t, caught.value


def found_in(t: ht.Trace) -> list[Finding]:
    return list(t.findings().of(RULE))


@NEEDS_CONTENT
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_error_is_explained(name: str) -> None:
    make, expected = PROGRAMS[name]
    t, error = traced(*make())
    assert "has been modified by an inplace operation" in str(error)
    (found,) = found_in(t)
    for text in expected:
        assert text in found.message
    assert found.severity == "error"
    told = "the write itself was not seen" if name == "functional_code" else ""
    assert found.possible.startswith(told)
    assert bool(found.possible) == bool(told)
    last = t.events[found.events[-1]]
    assert last.label == "backward done"
    assert any("hooktrace: Backward failed because" in note for note in error.__notes__)


def test_versions_and_remedy_are_told() -> None:
    t, _ = traced(*a_module_in_place())
    (found,) = found_in(t)
    assert found.evidence[:2] == (
        "SigmoidBackward0 saved 'result' at version 0",
        "it is at version 1 now",
    )
    assert found.where == "2@0 (ReLU)"
    assert found.instead == "make 2 a ReLU(inplace=False)."
    text = Path(__file__).read_text().splitlines()[int(found.source.rpartition(":")[2]) - 1]
    assert "net(X).sum().backward()" in text


def test_what_pytorch_runs_first_is_what_it_is_about() -> None:
    """Both sigmoids are overwritten; backward comes to the second one first."""
    net = nn.Sequential(nn.Sigmoid(), nn.ReLU(inplace=True), nn.Sigmoid(), nn.ReLU(inplace=True))
    x = torch.ones(1, 2, requires_grad=True)
    t, _ = traced(net, lambda: net(x).sum().backward())
    (found,) = found_in(t)
    assert "after the operation Sigmoid (SigmoidBackward0) in 2@0" in found.message


@NEEDS_CONTENT
def test_plain_tensors_go_by_their_names_and_anomaly_detection_tells_lines() -> None:
    w = torch.ones(2, requires_grad=True)
    here = sys._getframe().f_lineno
    anomalies = torch.autograd.set_detect_anomaly(True, check_nan=False)
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError), anomalies, ht.trace() as t:
        warnings.simplefilter("ignore")
        y = w.exp()
        loss = y.sum()
        y.mul_(2)
        loss.backward()
    (found,) = found_in(t)
    assert found.message.startswith("Backward failed because y was overwritten in place by ")
    first = here + 3
    assert (
        found.evidence[0] == f"ExpBackward0 saved 'result' at version 0 at {__file__}:{first + 1}"
    )
    assert found.source == f"{__file__}:{first + 3}"


def test_no_unpack_hook_is_called_to_explain() -> None:
    calls = [0, 0]
    for number, tracing in enumerate((None, ht.trace)):
        w = torch.ones(2, requires_grad=True)

        def unpack(tensor: Any, number: int = number) -> Any:
            calls[number] += 1
            return tensor

        def step(w: Any = w, unpack: Any = unpack) -> None:
            with saved_tensors_hooks(lambda tensor: tensor, unpack):
                a = w.exp()
            y = a.sigmoid()
            y.mul_(2)
            y.sum().backward()

        with pytest.raises(RuntimeError), tracing() if tracing else contextlib.nullcontext():
            step()
    assert calls[0] == calls[1]


def test_an_error_that_was_caught_is_found_and_explains_no_other() -> None:
    net, step = a_module_in_place()

    def caught_inside() -> None:
        with contextlib.suppress(RuntimeError):
            step()
        raise RuntimeError("something else")

    t, error = traced(net, caught_inside)
    assert found_in(t)
    assert not hasattr(error, "__notes__")


def test_who_wrote_is_not_guessed() -> None:
    """No module took or returned the tensor, and it is gone: only what saved it is known."""

    class Adds(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            y = torch.sigmoid(x)
            y += 1
            return y * 1

    x = torch.ones(2, requires_grad=True)
    net = Adds()
    t, _ = traced(net, lambda: net(x).sum().backward())
    (found,) = found_in(t)
    assert found.message == (
        "Backward failed because the result of the operation Sigmoid (SigmoidBackward0) was "
        "overwritten in place by code that was not seen, after the operation Sigmoid "
        "(SigmoidBackward0) in Adds@0 (Adds) had saved it for its gradient."
    )


def test_other_errors_of_backward_are_not_taken_for_it() -> None:
    w = torch.ones(2, requires_grad=True)

    def step() -> None:
        loss = (w * w).sum()
        loss.backward()
        loss.backward()

    t, error = traced(None, step)
    assert "second time" in str(error)
    assert found_in(t) == []
    assert t.log.modified == []


def test_writes_that_backward_does_not_mind_are_not_found() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    with ht.trace(net) as t:
        y = net(X)
        y += 1
        y.sum().backward()
    assert found_in(t) == []


@NEEDS_CONTENT
def test_the_lines_of_the_step_and_of_the_failing_backward_are_told() -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], 0.1)
    first = sys._getframe().f_lineno
    with contextlib.suppress(RuntimeError), ht.trace() as t:
        loss = (w * w).sum()
        loss.backward(retain_graph=True)
        optimizer.step()
        loss.backward()
    (found,) = found_in(t)
    assert f"by a step of SGD at {__file__}:{first + 4}, after the multiplication" in found.message
    assert found.source == f"{__file__}:{first + 4}"
    assert found.evidence[-1] == f"backward was called at {__file__}:{first + 5}"


@NEEDS_CONTENT
def test_an_assignment_into_a_part_is_called_so() -> None:
    w = torch.ones(2, 3, requires_grad=True)
    v = torch.ones(3, requires_grad=True)
    first = sys._getframe().f_lineno
    with contextlib.suppress(RuntimeError), ht.trace() as t:
        x = w * 2
        x[0] = x[0] * v
        x.sum().backward()
    (found,) = found_in(t)
    assert found.message == (
        "Backward failed because x was overwritten in place by an assignment into a part of it "
        "(CopySlices), such as x[0] = ..., after the multiplication (MulBackward0) had saved it "
        "for its gradient."
    )
    assert found.source == f"{__file__}:{first + 4}"
    assert "x[0].clone() * v" in found.instead


def add(module: Any, args: Any, output: torch.Tensor) -> None:
    output.add_(0.1)


def add_unrecorded(module: Any, args: Any, output: torch.Tensor) -> None:
    with torch.no_grad():
        output.add_(0.1)


def double_first(module: Any, args: Any, output: torch.Tensor) -> None:
    output.mul_(2)
    output.clamp_(0, 1)


def clamp(module: Any, args: Any, output: torch.Tensor) -> None:
    output.clamp_(0.1, 0.5)


WRITERS = {
    add: ", such as `return output + 0.1`.",
    add_unrecorded: ", such as `return output + 0.1`.",
    double_first: ".",
    clamp: ", such as `return output.clamp(0.1, 0.5)`.",
}


@pytest.mark.parametrize("hook", WRITERS, ids=lambda hook: hook.__name__)
def test_a_forward_hook_on_what_saved_it_is_named(hook: Any) -> None:
    """The result that was saved is gone once it was overwritten; the write tells who it was."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2.0], [-3.0, 0.5]]))
    net[1].register_forward_hook(hook)
    x = torch.tensor([[1.0, -1.0], [0.5, 0.2]])
    t, error = traced(net, lambda: net(x).sum().backward())
    (found,) = found_in(t)
    line = f"{__file__}:{hook.__code__.co_firstlineno}"
    by = f"by the forward hook {hook.__name__} on 1, defined at {line}, after the operation Sigmoid"
    assert by in found.message
    assert by in error.__notes__[0]
    assert (found.where, found.source) == (f"forward hook {hook.__name__} on 1", line)
    assert found.possible == ""
    alone = f"let {hook.__name__} return a new tensor instead of writing into the one it got"
    assert found.instead == alone + WRITERS[hook]


def test_a_line_stands_beside_what_is_there() -> None:
    """Where nothing tells the line of the write, that of backward is not given for it."""
    net = nn.Linear(2, 2)

    def step() -> None:
        s = net(X).sigmoid()
        with torch.no_grad():
            s.mul_(2)
        s.sum().backward()

    t, _ = traced(net, step)
    (found,) = found_in(t)
    text = Path(__file__).read_text().splitlines()[int(found.source.rpartition(":")[2]) - 1]
    assert (found.where, text.strip()) == ("backward()", "s.sum().backward()")


@NEEDS_CONTENT
def test_parameters_are_to_be_written_to_after_backward() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))

    def step() -> None:
        loss = net(X).sum()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.clamp_(-0.01, 0.01)
        loss.backward()

    t, error = traced(net, step)
    (found,) = found_in(t)
    assert "code outside of every traced call, before backward() at" in found.message
    assert found.source in error.__notes__[0]
    assert found.where == "backward()"
    assert found.instead.startswith("write to parameters after backward()")
