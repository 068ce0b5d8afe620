"""A table with every way to register a hook in PyTorch, and a small program that lets it fire."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.modules.module as every_module
from torch import nn
from torch.autograd import Variable
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

TOP_PAIR = hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks")  # from 2.8 on
node_creation_hook: Any = getattr(torch.autograd.graph, "node_creation_hook", None)


class Cube(torch.autograd.Function):
    """A node that is written in Python."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 3 * grad * x * x


class World:
    """What the hooks of the table hang on."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        self.linear: Any = self.net[0]
        self.linear.register_buffer("scale", torch.ones(2))
        self.x = torch.tensor([[1.0, 2.0]], requires_grad=True)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        self.optimizer.load_state_dict(self.optimizer.state_dict())
        self.y = torch.zeros(())
        self.keep: list[Any] = []  # what would die otherwise, such as nodes

    def forward(self) -> None:
        self.y = Cube.apply(self.net(self.x)).flatten() @ torch.ones(2)

    def backward(self) -> None:
        self.y.backward()

    def run(self) -> None:
        self.forward()
        self.backward()


@dataclass
class Case:
    """One way to register a hook.

    Attributes:
        kind: What a trace calls it.
        owner: What a trace says that it hangs on; of what has no name only the beginning.
        register: Registers a hook; its last line does.
        prepare: What has to happen before.
        run: Lets it fire once.
        result: What the hook has to return, given its arguments.
        options: What a trace says of the registration.
        stored: Those of the options that can be told afterwards.
        before: Whether it is seen where it was registered before the block.
        removable: Whether it can be removed.
        in_place: Whether it may write into a tensor that it is given.
    """

    kind: str
    owner: str
    register: Callable[[World, Any], Any]
    prepare: Callable[[World], None]
    run: Callable[[World], Any]
    result: Callable[..., Any]
    options: tuple[str, ...]
    stored: tuple[str, ...]
    before: bool
    removable: bool
    in_place: bool

    @property
    def line(self) -> str:
        """Where the hook is registered."""
        lines, first = inspect.getsourcelines(self.register)
        return f"{__file__}:{first + len(lines) - 1}"


CASES: dict[str, Case] = {}


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def case(
    kind: str,
    owner: str,
    *options: str,
    prepare: Callable[[World], None] = nothing,
    run: Callable[[World], Any] = World.run,
    result: Callable[..., Any] = nothing,
    stored: tuple[str, ...] = (),
    before: bool = True,
    removable: bool = True,
    in_place: bool = False,
) -> Callable[[Callable[[World, Any], Any]], Callable[[World, Any], Any]]:
    """Enter a way to register a hook into the table, under the name of the function."""

    def enter(register: Callable[[World, Any], Any]) -> Callable[[World, Any], Any]:
        CASES[register.__name__] = Case(
            kind,
            owner,
            register,
            prepare,
            run,
            result,
            options,
            stored,
            before,
            removable,
            in_place,
        )
        return register

    return enter


def remove(handle: Any) -> None:
    """Take a hook away again: by its handle, or by leaving its context."""
    if hasattr(handle, "remove"):
        handle.remove()
    else:
        handle.__exit__(None, None, None)


# ------------------------------------------------------------------ modules


@case("forward_pre", "0", in_place=True)
def forward_pre(w: World, hook: Any) -> Any:
    return w.linear.register_forward_pre_hook(hook)


@case("forward_pre", "0", "prepend", "with_kwargs", stored=("with_kwargs",), in_place=True)
def forward_pre_with_options(w: World, hook: Any) -> Any:
    return w.linear.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)


@case("forward", "0", in_place=True)
def forward(w: World, hook: Any) -> Any:
    return w.linear.register_forward_hook(hook)


@case(
    "forward",
    "0",
    "prepend",
    "with_kwargs",
    "always_call",
    stored=("with_kwargs", "always_call"),
    in_place=True,
)
def forward_with_options(w: World, hook: Any) -> Any:
    options: Any = dict.fromkeys(("prepend", "with_kwargs", "always_call"), True)
    return w.linear.register_forward_hook(hook, **options)


@case("full_backward_pre", "0", in_place=True)
def full_backward_pre(w: World, hook: Any) -> Any:
    return w.linear.register_full_backward_pre_hook(hook)


@case("full_backward_pre", "0", "prepend")
def full_backward_pre_in_front(w: World, hook: Any) -> Any:
    return w.linear.register_full_backward_pre_hook(hook, prepend=True)


@case("full_backward", "0", in_place=True)
def full_backward(w: World, hook: Any) -> Any:
    return w.linear.register_full_backward_hook(hook)


@case("full_backward", "0", "prepend")
def full_backward_in_front(w: World, hook: Any) -> Any:
    return w.linear.register_full_backward_hook(hook, prepend=True)


@case("backward", "0", in_place=True)
def backward(w: World, hook: Any) -> Any:
    return w.linear.register_backward_hook(hook)


# ------------------------------------------------------------------ every module


def run_linear(w: World) -> None:
    (w.linear(w.x).flatten() @ torch.ones(2)).backward()


@case("forward_pre", "every module", run=run_linear, in_place=True)
def every_forward_pre(w: World, hook: Any) -> Any:
    return every_module.register_module_forward_pre_hook(hook)


@case("forward", "every module", run=run_linear, in_place=True)
def every_forward(w: World, hook: Any) -> Any:
    return every_module.register_module_forward_hook(hook)


@case("forward", "every module", "always_call", run=run_linear, stored=("always_call",))
def every_forward_always(w: World, hook: Any) -> Any:
    return every_module.register_module_forward_hook(hook, always_call=True)


@case("full_backward_pre", "every module", run=run_linear, in_place=True)
def every_full_backward_pre(w: World, hook: Any) -> Any:
    return every_module.register_module_full_backward_pre_hook(hook)


@case("full_backward", "every module", run=run_linear, in_place=True)
def every_full_backward(w: World, hook: Any) -> Any:
    return every_module.register_module_full_backward_hook(hook)


@case("backward", "every module", run=run_linear, in_place=True)
def every_backward(w: World, hook: Any) -> Any:
    return every_module.register_module_backward_hook(hook)


def new_parameter(w: World) -> None:
    w.linear.extra = nn.Parameter(torch.ones(2))


def new_buffer(w: World) -> None:
    w.linear.register_buffer("extra", torch.ones(2))


def new_module(w: World) -> None:
    w.linear.extra = nn.ReLU()


@case("parameter_registration", "every module", run=new_parameter, in_place=True)
def parameter_registration(w: World, hook: Any) -> Any:
    return every_module.register_module_parameter_registration_hook(hook)


@case("buffer_registration", "every module", run=new_buffer, in_place=True)
def buffer_registration(w: World, hook: Any) -> Any:
    return every_module.register_module_buffer_registration_hook(hook)


@case("module_registration", "every module", run=new_module)
def module_registration(w: World, hook: Any) -> Any:
    return every_module.register_module_module_registration_hook(hook)


# ------------------------------------------------------------------ tensors


@case("tensor", "0.weight", in_place=True)
def on_parameter(w: World, hook: Any) -> Any:
    return w.linear.weight.register_hook(hook)


@case("tensor", "tensor t", prepare=World.forward, run=World.backward, in_place=True)
def on_result(w: World, hook: Any) -> Any:
    return w.y.register_hook(hook)


@case("post_accumulate_grad", "0.weight", in_place=True)
def post_accumulate_grad(w: World, hook: Any) -> Any:
    return w.linear.weight.register_post_accumulate_grad_hook(hook)


@case("multi_grad", "0.weight, 0.bias", "all", stored=("all",), in_place=True)
def multi_grad_all(w: World, hook: Any) -> Any:
    return register_multi_grad_hook((w.linear.weight, w.linear.bias), hook)


@case("multi_grad", "0.weight, 0.bias", "any", stored=("any",), in_place=True)
def multi_grad_any(w: World, hook: Any) -> Any:
    return register_multi_grad_hook((w.linear.weight, w.linear.bias), hook, mode="any")


# ------------------------------------------------------------------ autograd nodes

ON_NODE: Any = {"prepare": World.forward, "run": World.backward, "in_place": True}


@case("node", "DotBackward0", **ON_NODE)
def on_node(w: World, hook: Any) -> Any:
    return w.y.grad_fn.register_hook(hook)


@case("node_pre", "DotBackward0", **ON_NODE)
def before_node(w: World, hook: Any) -> Any:
    return w.y.grad_fn.register_prehook(hook)


def cube_node(w: World) -> Any:
    return w.y.grad_fn.next_functions[0][0].next_functions[0][0]  # type: ignore[union-attr]


@case("node", "CubeBackward", **ON_NODE)
def on_python_node(w: World, hook: Any) -> Any:
    return cube_node(w).register_hook(hook)


@case("node_pre", "CubeBackward", **ON_NODE)
def before_python_node(w: World, hook: Any) -> Any:
    return cube_node(w).register_prehook(hook)


def accumulator(w: World) -> Any:
    node = w.linear.bias.view_as(w.linear.bias).grad_fn.next_functions[0][0]
    w.keep.append(node)
    return node


@case("node", "AccumulateGrad of 0.bias", in_place=True)
def on_accumulator(w: World, hook: Any) -> Any:
    return accumulator(w).register_hook(hook)


@case("node_pre", "AccumulateGrad of 0.bias", in_place=True)
def before_accumulator(w: World, hook: Any) -> Any:
    return accumulator(w).register_prehook(hook)


# ------------------------------------------------------------------ threads and runs

SAVED = "tensors saved on this thread"


def first(thing: Any) -> Any:
    return thing


def save(w: World) -> None:
    w.y = w.x.exp().sum()


def save_and_use(w: World) -> None:
    save(w)
    w.backward()


@case("pack", SAVED, run=save, result=first, before=TOP_PAIR)
def pack(w: World, hook: Any) -> Any:
    context = saved_tensors_hooks(hook, first)
    return context.__enter__() or context


@case("unpack", SAVED, run=save_and_use, result=first, before=TOP_PAIR)
def unpack(w: World, hook: Any) -> Any:
    context = saved_tensors_hooks(first, hook)
    return context.__enter__() or context


@case("unpack", "one saved tensor", prepare=save, run=World.backward, result=first,
      before=False, removable=False)  # fmt: skip
def unpack_one(w: World, hook: Any) -> Any:
    return w.y.grad_fn.next_functions[0][0]._raw_saved_result.register_hooks(first, hook)


if node_creation_hook is not None:

    @case("node_creation", "nodes created on this thread", run=lambda w: w.x.exp(), before=False)
    def node_creation(w: World, hook: Any) -> Any:
        context = node_creation_hook(hook)
        return context.__enter__() or context


@case("queue_callback", "the running backward", before=False, removable=False)
def queue_callback(w: World, hook: Any) -> Any:
    def queue(grad: torch.Tensor) -> None:
        Variable._execution_engine.queue_callback(hook)

    return w.x.register_hook(queue)


# ------------------------------------------------------------------ saving and loading


def save_state(w: World) -> Any:
    return w.net.state_dict()


def load_state(w: World) -> Any:
    return w.net.load_state_dict(w.net.state_dict())


@case("state_dict_pre", "0", run=save_state)
def state_dict_pre(w: World, hook: Any) -> Any:
    return w.linear.register_state_dict_pre_hook(hook)


@case("state_dict_post", "0", run=save_state)
def state_dict_post(w: World, hook: Any) -> Any:
    return w.linear.register_state_dict_post_hook(hook)


@case("state_dict_post", "0", "private", run=save_state, stored=("private",))
def state_dict_post_private(w: World, hook: Any) -> Any:
    return w.linear._register_state_dict_hook(hook)


@case("load_state_dict_pre", "0", run=load_state)
def load_state_dict_pre(w: World, hook: Any) -> Any:
    return w.linear.register_load_state_dict_pre_hook(hook)


@case("load_state_dict_pre", "0", "private", run=load_state, stored=("private",))
def load_state_dict_pre_private(w: World, hook: Any) -> Any:
    return w.linear._register_load_state_dict_pre_hook(hook)


@case("load_state_dict_pre", "0", "private", run=load_state)
def load_state_dict_pre_private_with_module(w: World, hook: Any) -> Any:
    return w.linear._register_load_state_dict_pre_hook(hook, with_module=True)


@case("load_state_dict_post", "0", run=load_state)
def load_state_dict_post(w: World, hook: Any) -> Any:
    return w.linear.register_load_state_dict_post_hook(hook)


def save_optimizer(w: World) -> Any:
    return w.optimizer.state_dict()


def load_optimizer(w: World) -> Any:
    state = {"state": {}, "param_groups": [{"params": [0, 1], "lr": 0.2}]}
    return w.optimizer.load_state_dict(state)


@case("optimizer_state_dict_pre", "SGD", "prepend", run=save_optimizer)
def optimizer_state_dict_pre(w: World, hook: Any) -> Any:
    return w.optimizer.register_state_dict_pre_hook(hook, prepend=True)


@case("optimizer_state_dict_post", "SGD", run=save_optimizer)
def optimizer_state_dict_post(w: World, hook: Any) -> Any:
    return w.optimizer.register_state_dict_post_hook(hook)


@case("optimizer_load_state_dict_pre", "SGD", run=load_optimizer)
def optimizer_load_state_dict_pre(w: World, hook: Any) -> Any:
    return w.optimizer.register_load_state_dict_pre_hook(hook)


@case("optimizer_load_state_dict_post", "SGD", "prepend", run=load_optimizer)
def optimizer_load_state_dict_post(w: World, hook: Any) -> Any:
    return w.optimizer.register_load_state_dict_post_hook(hook, prepend=True)


# ------------------------------------------------------------------ optimizers


def step(w: World) -> None:
    w.optimizer.step()


@case("optimizer_step_pre", "SGD", prepare=World.run, run=step)
def optimizer_step_pre(w: World, hook: Any) -> Any:
    return w.optimizer.register_step_pre_hook(hook)


@case("optimizer_step_post", "SGD", prepare=World.run, run=step)
def optimizer_step_post(w: World, hook: Any) -> Any:
    return w.optimizer.register_step_post_hook(hook)


@case("optimizer_step_pre", "every optimizer", prepare=World.run, run=step)
def every_optimizer_step_pre(w: World, hook: Any) -> Any:
    return register_optimizer_step_pre_hook(hook)


@case("optimizer_step_post", "every optimizer", prepare=World.run, run=step)
def every_optimizer_step_post(w: World, hook: Any) -> Any:
    return register_optimizer_step_post_hook(hook)


# ------------------------------------------------------------------ what a hook was given


def tensors_in(thing: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in what a hook was given."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (tuple, list)):
        for one in thing:
            yield from tensors_in(one)
    elif isinstance(thing, Mapping):
        for one in thing.values():
            yield from tensors_in(one)


def numbers(tensor: torch.Tensor) -> tuple[float, ...]:
    """Return the elements of a tensor."""
    return tuple(tensor.detach().flatten().tolist())
