"""Results that PyTorch refuses: each kind of hook, and results that are as they should be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor import Findings

RULE = "wrong-return"


def traced(step: Callable[[], Any]) -> tuple[Findings, Exception | None]:
    """Trace a step that may raise; return the findings of all rules, and what it raised."""
    raised = None
    try:
        with ht.trace() as t:
            step()
    except Exception as error:
        raised = error
    return t.findings([RULE]), raised


def on_tensor(result: Callable[[Any], Any]) -> Callable[[], None]:
    def step() -> None:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: result(grad))
        (w * torch.tensor([2.0, 3.0])).sum().backward()

    return step


def on_node(result: Callable[[Any], Any], before: bool) -> Callable[[], None]:
    def step() -> None:
        y = torch.ones(2, requires_grad=True) * torch.tensor([2.0, 3.0])
        assert y.grad_fn is not None
        if before:
            y.grad_fn.register_prehook(lambda grads: result(grads))
        else:
            y.grad_fn.register_hook(lambda grads, _: result(grads))
        y.sum().backward()

    return step


def on_module(register: str, result: Callable[[Any], Any], **options: Any) -> Callable[[], None]:
    def step() -> None:
        model = nn.Sequential(nn.Linear(2, 2))

        def hook(module: nn.Module, *given: Any) -> Any:
            return result(given[-1] if register == "register_forward_hook" else given[0])

        getattr(model[0], register)(hook, **options)
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()

    return step


def on_accumulated() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_post_accumulate_grad_hook(lambda param: param.grad)  # type: ignore[arg-type,return-value]
    (w * 2).sum().backward()


def on_state_dict() -> None:
    model = nn.Linear(2, 2)
    model.register_state_dict_post_hook(lambda *_: {})
    model.state_dict()


def on_load() -> None:
    model = nn.Linear(2, 2)
    model.register_load_state_dict_post_hook(lambda *_: 5)  # type: ignore[arg-type,return-value]
    model.load_state_dict(model.state_dict())


def on_step() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: 5)  # type: ignore[arg-type,return-value]
    optimizer.step()


FULL, FULL_PRE = "register_full_backward_hook", "register_full_backward_pre_hook"
WRONG: dict[str, Callable[[], None]] = {
    "tensor: shape": on_tensor(lambda grad: grad[:1]),
    "tensor: a scalar": on_tensor(lambda grad: grad.sum()),
    "tensor: dtype": on_tensor(lambda grad: grad.double()),
    "tensor: a number": on_tensor(lambda grad: 3),
    "tensor: a tuple": on_tensor(lambda grad: (grad,)),
    "node_pre: a tensor": on_node(lambda grads: grads[0], True),
    "node_pre: a list": on_node(list, True),
    "node_pre: too many": on_node(lambda grads: grads * 2, True),
    "node: a tensor": on_node(lambda grads: grads[0], False),
    "node: too many": on_node(lambda grads: grads * 2, False),
    "full_backward: a tensor": on_module(FULL, lambda grads: grads[0]),
    "full_backward: too many": on_module(FULL, lambda grads: grads * 2),
    "full_backward: shape": on_module(FULL, lambda grads: (grads[0][:, :1],)),
    "full_backward: a number": on_module(FULL, lambda grads: 3),
    "full_backward_pre: a tensor": on_module(FULL_PRE, lambda grads: grads[0]),
    "full_backward_pre: too many": on_module(FULL_PRE, lambda grads: grads * 2),
    "backward: a tensor": on_module("register_backward_hook", lambda grads: grads[0]),
    "backward: too many": on_module("register_backward_hook", lambda grads: grads * 2),
    "forward_pre: a list": on_module("register_forward_pre_hook", list),
    "forward_pre: a number": on_module("register_forward_pre_hook", lambda args: 3),
    "forward_pre: no pair": on_module(
        "register_forward_pre_hook", lambda args: args, with_kwargs=True
    ),
    "forward: a text": on_module("register_forward_hook", lambda output: "text"),
    "forward: a shape": on_module("register_forward_hook", lambda output: output.shape),
    "post_accumulate_grad": on_accumulated,
    "state_dict_post": on_state_dict,
    "load_state_dict_post": on_load,
    "optimizer_step_pre": on_step,
}
RIGHT: dict[str, Callable[[], None]] = {
    "tensor": on_tensor(lambda grad: grad * 2),
    "tensor: nothing": on_tensor(lambda grad: None),
    "node_pre": on_node(lambda grads: (grads[0] * 2,), True),
    "node": on_node(lambda grads: (grads[0] * 2, grads[1]), False),
    "full_backward": on_module(FULL, lambda grads: (grads[0] * 2,)),
    "full_backward: a list": on_module(FULL, lambda grads: [grads[0] * 2]),
    "full_backward_pre": on_module(FULL_PRE, lambda grads: (grads[0] * 2,)),
    "backward": on_module("register_backward_hook", lambda grads: grads),
    "forward_pre": on_module("register_forward_pre_hook", lambda args: (args[0] * 2,)),
    "forward_pre: a tensor": on_module("register_forward_pre_hook", lambda args: args[0] * 2),
    "forward_pre: a pair": on_module(
        "register_forward_pre_hook", lambda args: ((args[0] * 2,), {}), with_kwargs=True
    ),
    "forward": on_module("register_forward_hook", lambda output: output * 2),
}


@pytest.mark.filterwarnings("ignore:Using.*non-full backward hook")
@pytest.mark.parametrize("name", WRONG)
def test_a_result_that_makes_pytorch_raise_is_an_error_of_its_hook(name: str) -> None:
    found, raised = traced(WRONG[name])
    assert raised is not None
    (one,) = found.of(RULE)
    assert one.severity == "error"
    kind = name.partition(":")[0]
    assert one.where.startswith(f"{kind} hook ")
    assert one.source.split("/")[-1].startswith("test_wrong_return.py:")


@pytest.mark.filterwarnings("ignore:Using.*non-full backward hook")
@pytest.mark.parametrize("name", RIGHT)
def test_a_result_that_pytorch_takes_is_right(name: str) -> None:
    found, raised = traced(RIGHT[name])
    assert raised is None
    assert not found.of(RULE)


def test_of_several_hooks_the_one_with_the_wrong_result_is_named() -> None:
    def halve(grad: torch.Tensor) -> torch.Tensor:
        return grad / 2

    def cut(grad: torch.Tensor) -> torch.Tensor:
        return grad[:1]

    def step() -> None:
        w = torch.ones(2, requires_grad=True)
        v = torch.ones(2, requires_grad=True)
        w.register_hook(halve)
        v.register_hook(halve)
        w.register_hook(cut)
        (w * v * torch.tensor([2.0, 3.0])).sum().backward()

    found, _ = traced(step)
    (one,) = found.of(RULE)
    assert "hook cut on" in one.message
    assert "grad: [1, 1.5] became [1]" in one.evidence


def test_a_refusal_that_the_program_catches_is_told_too() -> None:
    with ht.trace() as t, contextlib.suppress(RuntimeError):
        on_tensor(lambda grad: grad[:1])()
    (one,) = t.findings([RULE])
    assert one.severity == "error"


def test_an_output_that_became_no_tensor_is_possible_where_nothing_raised() -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda module, args, output: output.shape)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    (one,) = t.findings([RULE])
    assert one.severity == "warning"
    assert one.possible


def test_an_output_that_was_wrapped_is_still_a_tensor() -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda module, args, output: {"logits": output, "count": 3})
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    assert not t.findings([RULE])


def test_an_error_of_the_programs_own_is_no_hooks() -> None:
    def step() -> None:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad * 2)
        (w * 2).sum().backward()
        len(3)  # type: ignore[arg-type]

    found, raised = traced(step)
    assert isinstance(raised, TypeError)
    assert not found.of(RULE)


@pytest.mark.parametrize("kind", ["hook", "pre_hook"])
def test_a_gradient_that_is_returned_without_its_tuple_is_told_as_that(kind: str) -> None:
    def pass_on(module: nn.Module, *gradients: Any) -> Any:
        return gradients[0][0]

    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    getattr(net[1], f"register_full_backward_{kind}")(pass_on)
    with contextlib.suppress(RuntimeError), ht.trace(net) as t:
        net(torch.ones(1, 3)).sum().backward()
    (one,) = t.findings(["wrong-return"])
    assert "pass_on on 1 (Linear) returned a tensor, not a tuple" in one.message
    assert "`return (grad,)`" in one.instead


@pytest.mark.parametrize(
    ("result", "type_"),
    [
        (lambda output: (output, output.detach()), "tuple"),
        (lambda output: [output], "list"),
        (lambda output: {"output": output}, "dict"),
        (lambda output: "saved", "str"),
        (lambda output: 3, "int"),
        (lambda output: 0.5, "float"),
        (lambda output: output.shape, "torch.Size"),
    ],
)
def test_an_output_that_is_no_tensor_is_an_error_where_the_next_module_raised(
    result: Callable[[Any], Any], type_: str
) -> None:
    def grab(module: nn.Module, args: Any, output: torch.Tensor) -> Any:
        return result(output)

    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].register_forward_hook(grab)
    with pytest.raises(TypeError) as raised, ht.trace(model) as t:
        model(torch.ones(2, 3))
    (one,) = t.findings([RULE])
    message = (
        f"After the hook grab on 0 (Linear), the output is a {type_}, not a tensor; "
        f"1@0 raised because of it."
    )
    assert (one.severity, one.message, one.possible) == ("error", message, "")
    assert message in raised.value.__notes__[0]


def test_a_tuple_that_the_code_after_the_model_cannot_use_is_only_possibly_the_hooks() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].register_forward_hook(lambda module, args, output: (output,))
    with pytest.raises(AttributeError), ht.trace(model) as t:
        model(torch.ones(2, 3)).sum()
    (one,) = t.findings([RULE])
    assert "the code after it raised" in one.message
    assert one.possible


def test_an_exception_about_another_tuple_than_a_hooks_is_not_its() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    with pytest.raises(TypeError), ht.trace(model) as t:
        torch.relu((model(torch.ones(2, 3)),))  # type: ignore[arg-type]
    assert not t.findings([RULE])
