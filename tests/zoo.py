"""Small awkward programs, each built fresh from a fixed seed.

A program is a function that builds its models outside of any trace and returns them, together
with the step to run.  The step returns whatever a user could have noticed: tensors, gradients, what
hooks were given.  Facts of identity are returned as booleans.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PROGRAMS: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {}


def program(build: Any) -> Any:
    """Enter a program into the zoo."""
    PROGRAMS[build.__name__] = build
    return build


def forward_backward(net: nn.Module, *inputs: torch.Tensor) -> Callable[[], Any]:
    """A step that runs forward and backward and returns the output and the inputs' gradients."""

    def step() -> Any:
        output = net(*inputs)
        output = output[0] if isinstance(output, tuple) else output
        output.square().mean().backward()
        return output, [one.grad for one in inputs]

    return step


# ------------------------------------------------------------------ ordinary nets


@program
def mlp() -> Any:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return net, forward_backward(net, torch.randn(3, 4))


@program
def mlp_with_input_gradient() -> Any:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return net, forward_backward(net, torch.randn(3, 4, requires_grad=True))


@program
def conv_and_pool() -> Any:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 2))
    return net, forward_backward(net, torch.ones(1, 1, 4, 4))


@program
def in_place_everything() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.relu = nn.ReLU(inplace=True)
            self.drop = nn.Dropout(0.5, inplace=True)
            self.last = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            y += 1
            y = self.drop(self.relu(y))
            y[:, 0] = 0
            y.view(-1)[3:5].mul_(2)
            z = self.last(y)
            z.add_(x)
            torch.sigmoid_(z)
            with torch.no_grad():
                self.last.weight.add_(0.0)
            return z

    net = Net()
    return net, forward_backward(net, torch.randn(3, 4))


@program
def batch_norm_buffers() -> Any:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    step = forward_backward(net, torch.randn(2, 2, 5, 5))
    return net, lambda: (step(), step())


@program
def dropout_in_training() -> Any:
    net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2))
    step = forward_backward(net, torch.randn(3, 4))
    return net, lambda: (step(), torch.rand(3), step())


@program
def lstm() -> Any:
    net = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)
    return net, forward_backward(net, torch.randn(2, 5, 3, requires_grad=True))


@program
def lstm_with_packed_sequence() -> Any:
    net = nn.LSTM(3, 4)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])

    def step() -> Any:
        output, (h, c) = net(packed)
        (output.data.sum() + h.sum() + c.sum()).backward()
        return output.data, h, c

    return net, step


@program
def multi_input_residual() -> Any:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Bilinear(3, 3, 3)
            self.norm = nn.LayerNorm(3)

        def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return self.norm(self.mix(x, other)) + x

    net = Block()
    x = torch.randn(2, 3, requires_grad=True)
    return net, forward_backward(net, x, torch.randn(2, 3, requires_grad=True))


@program
def transformer_layer_training() -> Any:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return net, forward_backward(net, torch.randn(2, 5, 8))


@program
def transformer_fast_path() -> Any:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    def step() -> Any:
        with torch.no_grad():
            return net(x), net(x, src_key_padding_mask=padding)

    return net, step


@program
def transformer_eval_with_gradient() -> Any:
    net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    return net, forward_backward(net, x, x)


@program
def alexnet() -> Any:
    torchvision = __import__("torchvision")
    with torch.device("meta"):
        net = torchvision.models.alexnet()
    for place, sizes in ((1, (9216, 32)), (4, (32, 32)), (6, (32, 10))):  # 57 million fewer
        net.classifier[place] = nn.Linear(*sizes)
    net.to_empty(device="cpu").apply(lambda m: m.reset_parameters() if hasattr(m, "bias") else None)
    return net, forward_backward(net, torch.randn(1, 3, 64, 64))


@program
def resnet18() -> Any:
    torchvision = __import__("torchvision")
    net = torchvision.models.resnet18(num_classes=10)
    return net, forward_backward(net, torch.randn(2, 3, 32, 32))


# ------------------------------------------------------------------ calls of odd shapes


@program
def shared_module_called_twice() -> Any:
    linear = nn.Linear(3, 3)
    net = nn.Sequential(linear, nn.ReLU(inplace=True), linear)
    net.alias = linear
    return net, forward_backward(net, torch.randn(2, 3))


@program
def recursion() -> Any:
    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor, depth: int = 3) -> torch.Tensor:
            return self(self.linear(x), depth - 1) if depth else x

    net = Recursive()
    return net, forward_backward(net, torch.randn(2, 3))


@program
def keyword_arguments_only() -> Any:
    class Scale(nn.Module):
        def forward(self, *, x: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
            return x * options["by"] + options["more"][0]

    net = Scale()
    by, more = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def step() -> Any:
        net(x=torch.ones(2), options={"by": by, "more": [more, "text", None]}).sum().backward()
        return by, more

    return net, step


@program
def containers_as_outputs() -> Any:
    from collections import OrderedDict, namedtuple
    from dataclasses import dataclass

    pair = namedtuple("pair", "a b")

    @dataclass
    class Output:
        logits: torch.Tensor
        hidden: Any = None

    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.linear(x)
            self.given = {
                "named": pair(y * 1, [y * 2, None, 3, "s", {1, 2}]),
                "data": Output(y * 3, (y * 4,)),
                "ordered": OrderedDict(k=y * 5),
                "none": None,
                "same": (y, y),
                3: object(),
            }
            return self.given

    net = Many()

    def step() -> Any:
        output = net(torch.ones(1, 2))
        (output["named"].a + output["data"].hidden[0] + output["same"][0]).sum().backward()
        return output, output is net.given, output["same"][0] is output["same"][1]

    return net, step


@program
def pass_through_and_none() -> Any:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            self.saw = x

    net = nn.ModuleDict({"identity": nn.Identity(), "nothing": Nothing()})
    x = torch.randn(2, requires_grad=True)

    def step() -> Any:
        y = net["identity"](x)
        nothing = net["nothing"](y)
        (y * y).sum().backward()
        same = net["nothing"].saw is x
        del net["nothing"].saw
        return y is x, nothing, same, x.grad

    return net, step


@program
def views_written_later() -> Any:
    class View(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[0]

    net = View()
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        base = x * 1
        view = net(base)
        view.mul_(2)
        base.add_(1)
        base.sum().backward()
        return x.grad, view, base

    return net, step


@program
def module_that_writes_into_its_view_input() -> Any:
    class Write(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(3)

    net = Write()
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        base = x * 1
        net(base[0])
        base.sum().backward()
        return x.grad, base

    return net, step


@program
def parameter_as_output() -> Any:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self) -> torch.Tensor:
            return self.weight

    net = Token()

    def step() -> Any:
        output = net()
        (output * 2).sum().backward()
        return output is net.weight, output

    return net, step


@program
def auxiliary_loss_on_an_attribute() -> Any:
    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            self.aux = (y * 3).sum()
            return y

    net = Aux()

    def step() -> Any:
        y = net(torch.ones(1, 2))
        (y.sum() + net.aux).backward()
        aux = net.aux
        del net.aux
        return y, aux

    return net, step


@program
def modules_made_inside_the_block() -> Any:
    class Maker(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.LayerNorm(2)(nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))(x))

    net = Maker()
    return net, forward_backward(net, torch.randn(3, 2))


@program
def lazy_modules() -> Any:
    net = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(inplace=True))
    step = forward_backward(net, torch.randn(3, 5))
    return net, lambda: (step(), step(), [type(one).__name__ for one in net])


@program
def plain_tensors() -> Any:
    def step() -> Any:
        w = torch.tensor([1.0], requires_grad=True)
        x = torch.tensor([2.0], requires_grad=True)
        a = w + x
        b = w + 1
        y = a * b
        a.retain_grad()
        seen: list[torch.Tensor] = []
        a.register_hook(seen.append)
        y.backward()
        return w, x, a, b, y, seen, a.grad

    return None, step


@program
def two_models_and_a_module_that_is_no_part_of_them() -> Any:
    models = {"g": nn.Linear(2, 2), "d": nn.Linear(2, 1)}
    other = nn.ReLU(inplace=True)

    def step() -> Any:
        y = models["d"](other(models["g"](torch.ones(1, 2))))
        y.sum().backward()
        return y

    return models, step


@program
def integers_and_complex_numbers() -> Any:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)

        def forward(self, x: torch.Tensor) -> Any:
            y = torch.fft.rfft(self.embed(x))
            return y, x, y.real.argmax(-1), torch.tensor(float("nan")), torch.empty(0)

    net = Mixed()

    def step() -> Any:
        output = net(torch.tensor([1, 2, 3]))
        output[0].abs().sum().backward()
        return output

    return net, step


@program
def sparse_gradients_and_outputs() -> Any:
    net = nn.EmbeddingBag(6, 3, mode="sum", sparse=True)

    def step() -> Any:
        net(torch.tensor([1, 2, 4]), torch.tensor([0, 2])).sum().backward()
        grad = net.weight.grad
        net.weight.grad = None
        return grad.is_sparse, grad.to_dense()

    return net, step


# ------------------------------------------------------------------ hooks


def note(log: list[Any], name: str) -> Callable[..., None]:
    """A hook that notes what it was given."""

    def hook(*arguments: Any) -> None:
        log.append([name, *map(described, arguments)])

    return hook


def described(thing: Any) -> Any:
    """Copies of the tensors and everything that a hook could notice of them."""
    if isinstance(thing, torch.Tensor):
        version = None if thing.is_inference() else thing._version
        detached = thing.detach().clone()
        return [
            detached,
            thing.requires_grad,
            thing.is_leaf,
            type(thing).__name__,
            version,
            thing._is_view(),
        ]
    if isinstance(thing, (tuple, list)):
        return [type(thing).__name__, *map(described, thing)]
    if isinstance(thing, dict):
        return [type(thing).__name__, *[(key, described(item)) for key, item in thing.items()]]
    return type(thing).__name__


@program
def hooks_of_every_kind() -> Any:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    log: list[Any] = []
    net[0].register_forward_pre_hook(note(log, "pre"))
    net[0].register_forward_pre_hook(note(log, "pre kw"), with_kwargs=True)
    net[0].register_forward_pre_hook(note(log, "pre first"), prepend=True)
    net[0].register_forward_hook(note(log, "forward"))
    net[0].register_forward_hook(note(log, "forward kw"), with_kwargs=True, always_call=True)
    net[0].register_forward_hook(note(log, "forward first"), prepend=True)
    net[0].register_full_backward_pre_hook(note(log, "bpre"))
    net[0].register_full_backward_pre_hook(note(log, "bpre first"), prepend=True)
    net[0].register_full_backward_hook(note(log, "full"))
    net.register_full_backward_hook(note(log, "root full"))
    net[2].register_backward_hook(note(log, "legacy"))
    net[0].weight.register_hook(note(log, "weight"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))
    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        x.register_hook(note(log, "input"))
        y = net(x)
        y.register_hook(note(log, "output"))
        y.retain_grad()
        y.grad_fn.register_prehook(note(log, "node pre"))
        y.grad_fn.register_hook(note(log, "node post"))
        torch.autograd.graph.register_multi_grad_hook((x, y), note(log, "multi"))
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return y, x, log

    return net, step


@program
def global_hooks_of_every_kind() -> Any:
    import torch.nn.modules.module as global_

    log: list[Any] = []
    global_.register_module_forward_pre_hook(note(log, "pre"))
    global_.register_module_forward_hook(note(log, "forward"))
    global_.register_module_forward_hook(note(log, "always"), always_call=True)
    global_.register_module_full_backward_pre_hook(note(log, "bpre"))
    global_.register_module_full_backward_hook(note(log, "full"))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    step = forward_backward(net, torch.randn(2, 3, requires_grad=True))
    return net, lambda: (step(), log)


@program
def hooks_that_change_what_they_are_given() -> Any:
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net[0].register_forward_pre_hook(lambda m, args: args[0] + 1)
    net[0].register_forward_hook(lambda m, args, out: out.mul_(3))
    net[0].register_forward_hook(lambda m, args, out: out * 3)
    net[1].register_full_backward_hook(lambda m, gi, go: tuple(g * 2 for g in gi))
    net[1].register_full_backward_pre_hook(lambda m, go: tuple(g * 2 for g in go))
    net[2].register_forward_pre_hook(
        lambda m, args, kwargs: ((args[0].clamp(-0.1, 0.1),), kwargs), with_kwargs=True
    )
    net[2].register_forward_hook(lambda m, args, out: {"out": (out, out * 2)})

    def both(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    net[0].weight.register_hook(both)
    net[0].bias.register_hook(lambda grad: grad.mul_(2))
    net[2].weight.register_post_accumulate_grad_hook(lambda p: [p.grad.mul_(2), None][1])
    net[2].bias.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))

    def step() -> Any:
        output = net(torch.ones(1, 3))["out"]
        (output[0] + output[1]).sum().backward()
        return output

    return net, step


@program
def hooks_that_get_the_very_objects() -> Any:
    net = nn.Linear(2, 2)
    facts: list[Any] = []
    x = torch.ones(1, 2)
    kwargs_seen: list[Any] = []

    def pre(module: Any, args: Any, kwargs: Any) -> None:
        kwargs_seen.append(kwargs)
        facts.append((module is net, args[0] is x, len(args)))

    def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        facts.append((module is net, args[0] is x, kwargs is kwargs_seen[-1]))
        kwargs_seen.append(output)

    net.register_forward_pre_hook(pre, with_kwargs=True)
    net.register_forward_hook(after, with_kwargs=True)
    net.weight.register_post_accumulate_grad_hook(lambda p: facts.append(p is net.weight))

    def step() -> Any:
        y = net(x)
        facts.append(y is kwargs_seen[-1])
        y.sum().backward()
        return facts

    return net, step


@program
def hooks_that_remove_themselves_and_add_others() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    log: list[Any] = []
    handles: dict[str, Any] = {}

    def once(name: str) -> Any:
        def hook(*arguments: Any) -> None:
            log.append(name)
            handles[name].remove()

        return hook

    def add(*arguments: Any) -> None:
        log.append("add")
        net[1].register_forward_hook(lambda *a: log.append("added forward"))
        net[0].weight.register_hook(lambda g: log.append("added tensor"))

    handles["pre"] = net[0].register_forward_pre_hook(once("pre"))
    net[0].register_forward_pre_hook(lambda *a: log.append("second pre"))
    handles["forward"] = net[0].register_forward_hook(once("forward"))
    net[0].register_forward_hook(add)
    handles["full"] = net[0].register_full_backward_hook(once("full"))
    handles["tensor"] = net[0].weight.register_hook(once("tensor"))
    net[0].weight.register_hook(lambda g: log.append("second tensor"))
    handles["post"] = net[1].weight.register_post_accumulate_grad_hook(once("post"))

    def during_backward(grad: torch.Tensor) -> None:
        log.append("during backward")
        net[0].bias.register_hook(lambda g: log.append("registered in backward"))
        net[0].bias.register_post_accumulate_grad_hook(lambda p: log.append("post in backward"))

    net[1].bias.register_hook(during_backward)

    def step() -> Any:
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()
        return log, {name: handle.id for name, handle in handles.items()}

    return net, step


@program
def the_same_hook_registered_twice() -> Any:
    net = nn.Linear(2, 2)
    log: list[Any] = []
    hook = note(log, "hook")
    for register in (
        net.register_forward_pre_hook,
        net.register_forward_hook,
        net.register_full_backward_hook,
        net.weight.register_hook,
        net.weight.register_post_accumulate_grad_hook,
    ):
        register(hook)
        register(hook)

    def step() -> Any:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        return log

    return net, step


@program
def handles_registered_and_removed_inside_the_block() -> Any:
    net = nn.Linear(2, 2)
    log: list[Any] = []

    def step() -> Any:
        with net.register_forward_hook(note(log, "with")) as handle:
            net(torch.ones(1, 2))
        late = net.register_forward_hook(note(log, "late"))
        forever = net.weight.register_hook(note(log, "tensor"))
        y = net(torch.ones(1, 2))
        y.sum().backward()
        late.remove()
        late.remove()
        return log, handle is not None, late.id, forever.id

    return net, step


@program
def no_hook_fires_in_no_grad() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    log: list[Any] = []
    net[0].register_forward_hook(note(log, "forward"))
    net[0].register_full_backward_hook(note(log, "full"))

    def step() -> Any:
        with torch.no_grad():
            y = net(torch.ones(1, 2))
        with torch.inference_mode():
            z = net(torch.ones(1, 2))
        return y, z, log

    return net, step


# ------------------------------------------------------------------ exceptions


class Broken(nn.Module):
    """A module that raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("the model's own\nmessage") from error


@program
def a_module_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Broken()))
    log: list[Any] = []
    net[1][0].register_forward_hook(note(log, "never"))
    net[1][0].register_forward_hook(note(log, "always"), always_call=True)
    net.register_forward_hook(note(log, "always root"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_module_whose_error_is_caught() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), Broken())
    log: list[Any] = []
    net[1].register_forward_hook(note(log, "always"), always_call=True)

    def step() -> Any:
        try:
            net(torch.ones(1, 2))
        except ValueError as error:
            log.append(str(error))
        net[0](torch.ones(1, 2)).sum().backward()
        return log

    return net, step


@program
def an_always_call_hook_that_raises_too() -> Any:
    net = nn.Sequential(Broken())

    def hook(*arguments: Any) -> None:
        raise TypeError("from the hook")

    net[0].register_forward_hook(hook, always_call=True)
    return net, lambda: net(torch.ones(1, 2))


def raising(message: str) -> Any:
    def hook(*arguments: Any) -> None:
        raise OSError(message)

    return hook


@program
def a_forward_pre_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_pre_hook(raising("pre"))
    return net, lambda: net(torch.ones(1, 2))


@program
def a_forward_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    log: list[Any] = []
    net[0].register_forward_hook(raising("forward"))
    net[0].register_forward_hook(note(log, "always"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_full_backward_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].register_full_backward_hook(raising("full"))
    return net, lambda: net(torch.ones(1, 2, requires_grad=True)).sum().backward()


@program
def a_tensor_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].weight.register_hook(raising("tensor"))
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_tensor_hook_that_returns_the_wrong_shape() -> Any:
    net = nn.Linear(2, 2)

    def wrong_shape(grad: torch.Tensor) -> torch.Tensor:
        return grad[0]

    net.weight.register_hook(wrong_shape)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_post_accumulate_hook_that_returns_something() -> Any:
    net = nn.Linear(2, 2)

    def returns(parameter: torch.Tensor) -> torch.Tensor:
        return parameter

    net.weight.register_post_accumulate_grad_hook(returns)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_full_backward_hook_that_returns_the_wrong_length() -> Any:
    net = nn.Linear(2, 2)
    net.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    return net, lambda: net(torch.ones(1, 2, requires_grad=True)).sum().backward()


@program
def a_pre_hook_with_kwargs_that_returns_the_wrong_thing() -> Any:
    net = nn.Linear(2, 2)
    net.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_full_backward_hook_before_an_in_place_relu() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].register_full_backward_hook(lambda m, gi, go: None)
    return net, lambda: net(torch.ones(1, 2))


@program
def backward_twice_through_a_freed_graph() -> Any:
    net = nn.Linear(2, 2)

    def step() -> None:
        loss = net(torch.ones(1, 2)).square().sum()
        loss.backward()
        loss.backward()

    return net, step


@program
def keyboard_interrupt_in_a_module() -> Any:
    class Interrupt(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    net = nn.Sequential(nn.Linear(2, 2), Interrupt())
    log: list[Any] = []
    net[1].register_forward_hook(note(log, "not called"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def keyboard_interrupt_in_a_tensor_hook() -> Any:
    net = nn.Linear(2, 2)

    def interrupt(grad: torch.Tensor) -> None:
        raise KeyboardInterrupt

    net.weight.register_hook(interrupt)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def the_wrong_number_of_arguments() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    return net, lambda: net(torch.ones(1, 2), 3, nonsense=True)


# ------------------------------------------------------------------ autograd


@program
def autograd_grad_and_backward_with_inputs() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))
    net[0].register_full_backward_hook(note(log, "full"))
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        first = torch.autograd.grad(net(x).sum(), [x, net[0].weight])
        second = torch.autograd.grad(net(x).sum(), [x, net[0].bias], allow_unused=True)
        net(x).sum().backward(inputs=[net[2].weight, x])
        middle = net[1](net[0](x))
        net[2](middle).sum().backward(inputs=[middle, net[0].weight])
        vectors = torch.autograd.grad(
            net(x), net[2].bias, grad_outputs=torch.eye(2)[:, :, None], is_grads_batched=True
        )
        return first, second, vectors, x, log

    return net, step


@program
def double_backward() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[1].register_full_backward_hook(note(log, "full"))
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        (gradient.square().sum()).backward()
        net(x).square().sum().backward(create_graph=True)
        gradients = [one.grad for one in net.parameters()]
        result = [gradient, x.grad, *gradients], log
        for one in (x, *net.parameters()):
            one.grad = one.grad.detach()
        return result

    return net, step


@program
def gradients_that_accumulate() -> Any:
    net = nn.Linear(2, 2)

    def step() -> Any:
        y = net(torch.ones(1, 2)).square().sum()
        y.backward(retain_graph=True)
        kept = net.weight.grad
        y.backward()
        same = kept is net.weight.grad
        net.zero_grad(set_to_none=False)
        net(torch.ones(1, 2)).sum().backward()
        return same, kept

    return net, step


@program
def backward_inside_a_hook() -> Any:
    net = nn.Linear(2, 2)
    other = torch.ones(2, requires_grad=True)

    def again(grad: torch.Tensor) -> None:
        with torch.enable_grad():
            (other * 2).sum().backward()

    net.weight.register_hook(again)
    net.weight.register_post_accumulate_grad_hook(lambda p: again(p))

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        return other

    return net, step


@program
def custom_function() -> Any:
    log: list[str] = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, unused: torch.Tensor, n: int) -> Any:
            ctx.save_for_backward(x)
            ctx.mark_non_differentiable(unused)
            ctx.set_materialize_grads(False)
            return x * n, unused

        @staticmethod
        def backward(ctx: Any, grad: Any, other: Any) -> Any:
            log.append(f"{other} {ctx.saved_tensors[0]._version}")
            return grad * 2, None, None

    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = Double.apply(x, torch.ones(2), 2)
            return InPlace.apply(y)

    net = Net()
    step = forward_backward(net, torch.randn(2, requires_grad=True))
    return net, lambda: (step(), log)


def checkpointed(reentrant: bool, *, around: bool) -> Any:
    from torch.utils.checkpoint import checkpoint

    body = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(3, 3))
    log: list[Any] = []
    body[0].register_forward_hook(note(log, "forward"))
    body[3].register_forward_hook(note(log, "always"), always_call=True)
    body[0].weight.register_hook(note(log, "tensor"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.body, x, use_reentrant=reentrant) + x

    net = Net()
    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        y = checkpoint(net.body, x, use_reentrant=reentrant) if around else net(x)
        y.sum().backward()
        return y, x, log

    return net, step


@program
def checkpoint_not_reentrant() -> Any:
    return checkpointed(False, around=False)


@program
def checkpoint_reentrant() -> Any:
    return checkpointed(True, around=False)


@program
def checkpoint_outside_of_all_modules() -> Any:
    return checkpointed(False, around=True)


@program
def saved_tensor_hooks() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        log.append(("pack", tensor.shape, type(tensor).__name__))
        return tensor.clone()

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        log.append(("unpack", tensor.shape))
        return tensor

    def step() -> Any:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = net(torch.ones(2, 2, requires_grad=True))
        y.sum().backward()
        return y, [str(one) for one in log]

    return net, step


@program
def forward_mode() -> Any:
    import torch.autograd.forward_ad as forward_ad

    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())

    def step() -> Any:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(torch.ones(1, 2), torch.ones(1, 2))
            primal, tangent = forward_ad.unpack_dual(net(dual))
            return primal, tangent

    return net, step


@program
def anomaly_detection() -> Any:
    net = nn.Linear(2, 2)

    def step() -> Any:
        with torch.autograd.set_detect_anomaly(True, check_nan=True):
            net(torch.ones(1, 2)).sum().backward()

    return net, step


@program
def queued_callbacks() -> Any:
    net = nn.Linear(2, 2)
    log: list[str] = []

    def queue(grad: torch.Tensor) -> None:
        torch.autograd.Variable._execution_engine.queue_callback(lambda: log.append("callback"))

    net.weight.register_hook(queue)

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        return log

    return net, step


# ------------------------------------------------------------------ torch.func and friends


@program
def func_grad() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    log: list[str] = []
    net[0].register_forward_hook(lambda m, a, o: log.append(type(o).__name__))
    x = torch.randn(4, 2)

    def step() -> Any:
        def loss(parameters: Any, row: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(net, parameters, (row,)).sum()

        parameters = dict(net.named_parameters())
        gradients = torch.func.grad(loss)(parameters, x)
        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        mapped = torch.func.vmap(net)(x)
        jacobian = torch.func.jacrev(net)(x[0])
        forward = torch.func.jacfwd(net)(x[0])
        _, tangent = torch.func.jvp(net, (x,), (x,))
        with torch.no_grad():
            tangent = tangent.detach()
        return gradients, each, mapped, jacobian, forward, tangent, log

    return net, step


@program
def autocast() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(3, 2, requires_grad=True)

    def step() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(x)
        y.float().sum().backward()
        return y, x

    return net, step


@program
def pruned() -> Any:
    from torch.nn.utils import prune

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    step = forward_backward(net, torch.randn(2, 4))

    def pruning() -> Any:
        result = step()
        prune.random_unstructured(net[0], "weight", 0.25)
        again = step()
        prune.remove(net[0], "weight")
        return result, again, step(), prune.is_pruned(net)

    return net, pruning


@program
def weight_norm_and_spectral_norm() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Linear(3, 3))
    net = nn.Sequential(old, nn.utils.spectral_norm(nn.Linear(3, 3)))
    step = forward_backward(net, torch.randn(2, 3))

    def norms() -> Any:
        result = step()
        nn.utils.remove_weight_norm(net[0])
        nn.utils.remove_spectral_norm(net[1])
        return result, step()

    return net, norms


@program
def parametrizations() -> Any:
    parametrizations = nn.utils.parametrizations
    net = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 3)),
        parametrizations.spectral_norm(nn.Linear(3, 3)),
        parametrizations.orthogonal(nn.Linear(3, 3)),
    )
    step = forward_backward(net, torch.randn(2, 3))

    def change() -> Any:
        result = step()
        nn.utils.parametrize.remove_parametrizations(net[0], "weight")
        with nn.utils.parametrize.cached():
            return result, step()

    return net, change


def module_hook(module: nn.Module, *rest: Any) -> None:
    """A hook that can be pickled."""


def tensor_hook(grad: torch.Tensor) -> torch.Tensor:
    """A hook that can be pickled."""
    return grad * 2


@program
def copied_and_pickled_inside_the_block() -> Any:
    import copy
    import io
    import pickle

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(module_hook)
    net[2].register_full_backward_hook(module_hook)
    net[0].register_state_dict_post_hook(lambda *a: None) if False else None
    net[0].weight.register_hook(tensor_hook)

    def step() -> Any:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        twin = copy.deepcopy(net)
        loaded = pickle.loads(pickle.dumps(net))
        buffer = io.BytesIO()
        torch.save(net.state_dict(), buffer)
        buffer.seek(0)
        twin.load_state_dict(torch.load(buffer))
        outputs = []
        for one in (twin, loaded, copy.copy(net)):
            y = one(torch.ones(1, 2))
            y.sum().backward()
            outputs.append((y, [p.grad for p in one.parameters()]))
            outputs.append([(key, value is module_hook) for key, value in one[0]._forward_hooks.items()])
            outputs.append([(key, value is module_hook) for key, value in one[2]._backward_hooks.items()])
        return outputs, [str(one) for one in pickle.loads(pickle.dumps(net.state_dict()))]

    return net, step


@program
def optimizers_and_training_loop() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    optimizers = [
        torch.optim.Adam(net[:2].parameters(), lr=0.1),
        torch.optim.SGD(net[3].parameters(), lr=0.1, momentum=0.9),
    ]

    def step() -> Any:
        losses = []
        for _ in range(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = net(torch.randn(5, 2)).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
        return losses

    return net, step


@program
def optimizer_in_backward() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    for parameter in net.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.1)

        def stepping(parameter: Any, optimizer: Any = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(stepping)
    return net, forward_backward(net, torch.randn(3, 2))


# ------------------------------------------------------------------ other tracers


@program
def function_mode_of_the_user() -> Any:
    from torch.overrides import TorchFunctionMode

    calls: list[str] = []

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(getattr(func, "__qualname__", str(func)))
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)
    net[0].weight.register_hook(tensor_hook)
    net[2].weight.register_post_accumulate_grad_hook(lambda p: None)

    def step() -> Any:
        with Mode():
            x = torch.ones(1, 2, requires_grad=True)
            y = net(x)
            y.register_hook(lambda g: g * 2)
            y.retain_grad()
            y.sum().backward()
            y2 = net(x)
            y2.sum().backward()
        return y, x, calls

    return net, step


@program
def dispatch_mode_of_the_user() -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: list[str] = []

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o.mul_(2))
    net[0].weight.register_hook(tensor_hook)
    net[2].weight.register_post_accumulate_grad_hook(lambda p: None)

    def step() -> Any:
        with Mode():
            x = torch.ones(1, 2, requires_grad=True)
            y = net(x)
            y.register_hook(lambda g: g * 2)
            y.retain_grad()
            y.sum().backward()
            y2 = net(x)
            y2.sum().backward()
        return y, x, calls

    return net, step


@program
def tensor_subclass() -> Any:
    calls: list[str] = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(getattr(func, "__qualname__", str(func)))
            return super().__torch_function__(func, types, args, kwargs or {})

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        x = torch.ones(1, 2).as_subclass(Logged).requires_grad_()
        y = net(x)
        y.register_hook(lambda g: g * 2)
        y.sum().backward()
        return list(calls), type(y).__name__, type(x.grad).__name__

    return net, step


@program
def profiler_active() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))

    def step() -> Any:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            y = net(torch.ones(1, 2))
            y.sum().backward()
        names = {event.key for event in profile.key_averages()}
        return y, "aten::addmm" in names

    return net, step


@program
def fx_symbolic_trace() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))

    def step() -> Any:
        graph = torch.fx.symbolic_trace(net)
        y = graph(torch.ones(1, 2))
        y.sum().backward()
        return graph.code, y

    return net, step


@program
def make_fx() -> Any:
    from torch.fx.experimental.proxy_tensor import make_fx as make

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        return [
            make(net, tracing_mode=mode)(torch.ones(3, 2)).code
            for mode in ("real", "fake", "symbolic")
        ]

    return net, step


@program
def jit_trace() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        traced = torch.jit.trace(net, torch.ones(1, 2))
        return str(traced.inlined_graph).count("aten::"), traced(torch.ones(1, 2))

    return net, step


@program
def fake_and_meta_tensors() -> Any:
    from torch._subclasses import FakeTensorMode

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    meta = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.ReLU(inplace=True))

    def step() -> Any:
        y = meta(torch.ones(3, 2, device="meta"))
        y.sum().backward()
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(torch.ones(5, 2))
            z = net(fake)
        return tuple(y.shape), tuple(z.shape), type(z).__name__

    return {"net": net, "meta": meta}, step


@program
def export() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

    def step() -> Any:
        return torch.export.export(net, (torch.ones(3, 2),), strict=False).graph_module.code

    return net, step


@program
def two_threads() -> Any:
    import threading

    nets = {str(n): nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)) for n in range(2)}

    def step() -> Any:
        results: dict[str, Any] = {}

        def work(name: str) -> None:
            for _ in range(5):
                y = nets[name](torch.ones(1, 2))
                y.sum().backward()
            results[name] = y

        threads = [threading.Thread(target=work, args=(name,)) for name in nets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[name] for name in sorted(results)]

    return nets, step


@program
def backward_in_another_thread() -> Any:
    import threading

    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))

    def step() -> Any:
        y = net(torch.ones(1, 2))
        thread = threading.Thread(target=lambda: y.sum().backward())
        thread.start()
        thread.join()
        return y, log

    return net, step


@program
def generator_and_inner_class_attributes() -> Any:
    """A module that overrides what is looked up on the class and on the instance."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def __call__(self, *args: Any) -> Any:
            return super().__call__(*args) * 2

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

        def __getattr__(self, name: str) -> Any:
            if name == "anything":
                return 7
            return super().__getattr__(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError("modules are compared by identity")

        __hash__ = nn.Module.__hash__

    net = Own()
    net.linear.forward = lambda x: x * 2
    return net, forward_backward(net, torch.ones(1, 2, requires_grad=True))


# ------------------------------------------------------------------ tensors that are not plain


@program
def wrapper_subclass() -> Any:
    from torch.utils._pytree import tree_map

    calls: list[str] = []

    class Wrapper(torch.Tensor):
        inner: torch.Tensor

        @staticmethod
        def __new__(cls: Any, inner: torch.Tensor) -> Any:
            made = torch.Tensor._make_wrapper_subclass(
                cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad
            )
            made.inner = inner
            return made

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(str(func))
            unwrap = lambda one: one.inner if isinstance(one, cls) else one  # noqa: E731
            wrap = lambda one: cls(one) if isinstance(one, torch.Tensor) else one  # noqa: E731
            return tree_map(wrap, func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {})))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        x = Wrapper(torch.ones(1, 2)).requires_grad_()
        y = net(x)
        y.register_hook(lambda g: g * 2)
        y.sum().backward()
        result = list(calls), type(y).__name__, type(x.grad).__name__, x.grad.inner
        for parameter in net.parameters():
            parameter.grad = None
        return result

    return net, step


@program
def nested_jagged_tensors() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())

    def step() -> Any:
        x = torch.nested.nested_tensor(
            [torch.ones(2, 2), torch.ones(3, 2)], layout=torch.jagged, requires_grad=True
        )
        y = net(x)
        y.values().sum().backward()
        return y.values(), x.grad.values(), type(y).__name__

    return net, step


@program
def sparse_inputs_and_outputs() -> Any:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> Any:
            y = torch.sparse.mm(x, self.linear.weight.t())
            return y, (y * 1).to_sparse(), x

    net = Sparse()
    net.register_forward_hook(lambda m, args, output: None)

    def step() -> Any:
        x = torch.eye(3).to_sparse()
        y, sparse, same = net(x)
        torch.sparse.sum(sparse).backward()
        return y, sparse.to_dense(), same is x

    return net, step


@program
def tensors_that_are_swapped() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    one, other = torch.ones(2), torch.zeros(3)

    def step() -> Any:
        net(torch.ones(1, 2))
        net[1](one)
        net[1](other)
        torch.utils.swap_tensors(one, other)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            net.to(torch.float64)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
        return one, other, net(torch.ones(1, 2, dtype=torch.float64))

    return net, step


@program
def deep_copies_of_tensors_and_storage_tricks() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))

    def step() -> Any:
        y = net(torch.ones(1, 2))
        y.detach().numpy()[:] = 3
        y.data.add_(1)
        z = y.detach().set_(torch.zeros(4))
        w = torch.ones(2)
        net[1](w)
        w.resize_(1)
        w.untyped_storage().resize_(0)
        empty = torch.empty(0, requires_grad=True)
        net[1](empty * 1).sum().backward()
        return y, z, tuple(w.shape), empty

    return net, step


@program
def conjugate_and_strided_views() -> Any:
    class View(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x.conj(), x.real, x.t()[::2], x.expand(2, *x.shape), x.unsqueeze(0).neg()

    net = View()
    net.register_forward_hook(lambda m, args, output: output[0].mul_(2) and None if False else None)
    x = torch.randn(3, 2, dtype=torch.complex64, requires_grad=True)

    def step() -> Any:
        outputs = net(x * 1)
        sum(one.abs().sum() for one in outputs).backward()
        return outputs, x

    return net, step


# ------------------------------------------------------------------ backward in odd places


@program
def backward_inside_forward() -> Any:
    class Inner(nn.Module):
        """Takes a step downhill on its input, as meta-learning and energy models do."""

        def __init__(self) -> None:
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
                x = x - 0.1 * gradient
            with torch.enable_grad():
                self.energy(x.detach()).sum().backward()
            return x

    net = Inner()
    return net, forward_backward(net, torch.randn(3, 2, requires_grad=True))


@program
def selective_checkpoint() -> Any:
    import functools

    from torch.utils.checkpoint import (
        CheckpointPolicy,
        checkpoint,
        create_selective_checkpoint_contexts,
    )

    body = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    body[1].register_forward_hook(lambda m, args, output: output * 2)

    def policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> Any:
        save = op == torch.ops.aten.addmm.default
        return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE

    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        contexts = functools.partial(create_selective_checkpoint_contexts, policy)
        y = checkpoint(body, x, use_reentrant=False, context_fn=contexts)
        y.sum().backward()
        return y, x

    return body, step


@program
def a_leaf_that_changes_its_mind() -> Any:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)

    def step() -> Any:
        net(x).sum().backward()
        x.requires_grad_(False)
        net.weight.requires_grad_(False)
        net(x).sum().backward()
        x.mul_(net.bias)  # the former leaf is now the output of a node
        net(x).sum().backward()
        net.weight = nn.Parameter(torch.ones(2, 2))
        net(torch.ones(1, 2)).sum().backward()
        del net.bias
        net.register_parameter("bias", None)
        net(torch.ones(1, 2)).sum().backward()
        return x, net.weight

    return net, step


@program
def hooks_that_trace_compute_and_call_modules() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    probe = nn.Linear(2, 1)
    log: list[Any] = []

    def calls_a_module(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        log.append(probe(output).detach())

    def calls_in_backward(grad: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            value = probe(grad.detach().requires_grad_())
            log.append(torch.autograd.grad(value.sum(), probe.weight)[0])
        return grad

    net[0].register_forward_hook(calls_a_module)
    net[0].weight.register_hook(calls_in_backward)
    step = forward_backward(net, torch.randn(2, 2))
    return {"net": net, "probe": probe}, lambda: (step(), log)
