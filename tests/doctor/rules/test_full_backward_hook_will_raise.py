"""Where full backward hooks raise or never fire: foretold by check(), explained after a trace."""

from __future__ import annotations

import collections
import contextlib
import copy
import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.modules import module as torch_module

import hooktrace as ht
from hooktrace.errors import CopyError
from hooktrace.experiments.rehearsal import rehearse
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

RULE = "full-backward-hook-will-raise"
Pair = collections.namedtuple("Pair", "first second")


def save(module: nn.Module, *gradients: Any) -> None:
    """A hook that changes nothing."""


class Says(nn.Module):
    """A linear layer, what is made of its output, and a leaf module behind it."""

    def __init__(self, middle: Callable[..., Any], end: Callable[..., Any] = torch.sum) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))
        self.act = nn.Softplus()
        self.middle = Apply(middle)
        self.end = end

    def forward(self, x: torch.Tensor) -> Any:
        return self.end(self.middle(self.act(self.inner(x))))


class Apply(nn.Module):
    """A module made of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def written_without_grad(x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        x.mul_(2)
    return x


def set_first(x: torch.Tensor) -> torch.Tensor:
    x[0] = 0
    return x


class Residual(nn.Module):
    """Adds its input to its output, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.layer(x))
        out += x
        return out


class Differentiating(nn.Module):
    """Differentiates its layer while it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda one: self.layer(one).sum())(x) * self.layer.weight.sum()


def jagged(x: torch.Tensor) -> torch.Tensor:
    return torch.nested.as_nested_tensor([x[0], x[1]], layout=torch.jagged)


NETS: dict[str, Callable[[], nn.Module]] = {
    "in-place modules": lambda: nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(True), nn.Linear(4, 4), nn.Sequential(nn.SiLU(True)), nn.Tanh()
    ),
    "nothing wrong": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Tanh())),
    "augmented addition": lambda: nn.Sequential(Residual(), nn.ReLU(), Residual()),
    "written by index": lambda: Says(set_first),
    "view written": lambda: Says(lambda x: (x.view(-1).mul_(2), x)[1]),
    "detached and written": lambda: Says(lambda x: (x.detach().mul_(2), x * 1)[1]),
    "written without grad": lambda: Says(written_without_grad),
    "functional": lambda: Says(lambda x: nn.functional.relu(x, inplace=True)),
    "output written by the caller": lambda: Says(lambda x: x * 2, lambda x: x.add_(1)),
    "dict": lambda: Says(lambda x: {"a": x * 2}, lambda x: x["a"]),
    "list": lambda: Says(lambda x: [x * 2], lambda x: x[0]),
    "tuple": lambda: Says(lambda x: (x * 2, x), lambda x: x[0]),
    "named tuple": lambda: Says(lambda x: Pair(x * 2, x), lambda x: x.first),
    "nested tuple": lambda: Says(lambda x: (x.detach(), (x * 2,)), lambda x: x[1][0]),
    "class of torch": lambda: Says(lambda x: x.max(0), lambda x: x[0]),
    "sparse": lambda: Says(lambda x: x.to_sparse(), lambda x: x.to_dense()),
    "jagged": lambda: Says(jagged, lambda x: x.values()),
    "without a gradient": lambda: Says(lambda x: x.detach()),
    "unused": lambda: Says(lambda x: torch.ones(2, requires_grad=True) + 0 * x.sum().detach()),
    "torch.func": lambda: nn.Sequential(nn.Linear(4, 4), Differentiating()),
    "dropout": lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5, inplace=True)),
    "shared module": lambda: nn.Sequential(*[nn.Linear(4, 4), nn.ReLU(True)] * 2),
    "frozen": lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(True)).requires_grad_(False),
}


def by_hand(make: Callable[[], nn.Module], x: torch.Tensor) -> dict[str, str]:
    """Put a hook on one module at a time and say what PyTorch does."""
    outcomes = {}
    for name, _ in make().named_modules():
        net = make()
        fired: list[Any] = []
        called: list[Any] = []
        module = dict(net.named_modules())[name]
        module.register_full_backward_hook(lambda *rest, fired=fired: fired.append(1))
        module.register_forward_pre_hook(lambda *rest, called=called: called.append(1))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out = net(x)
                out = out if isinstance(out, torch.Tensor) else next(iter(out))
                if out.requires_grad:
                    out.sum().backward()
        except Exception:
            outcomes[name] = "raises"
        else:
            outcomes[name] = "fires" if fired else "never fires" if called else "not called"
    return outcomes


@pytest.mark.parametrize("name", NETS)
def test_what_is_foretold_of_each_module_is_what_pytorch_does(name: str) -> None:
    x = torch.rand(2, 4)
    expected = by_hand(NETS[name], x)
    trials = rehearse(NETS[name](), x, {}, 100)
    assert {one.module: one.outcome for one in trials} == expected


def test_the_nets_of_this_file_show_every_outcome() -> None:
    outcomes = {one for make in NETS.values() for one in by_hand(make, torch.ones(2, 4)).values()}
    assert outcomes == {"raises", "fires", "never fires"}


@pytest.mark.parametrize(
    ("name", "size", "raising", "modules"),
    [("alexnet", 63, 14, 24), ("resnet18", 32, 26, 68)],
)
def test_known_models_cannot_bear_hooks_on_known_numbers_of_modules(
    name: str, size: int, raising: int, modules: int
) -> None:
    net = getattr(torchvision.models, name)(weights=None)
    (finding,) = ht.check(net, torch.rand(2, 3, size, size))
    assert finding.severity == "note"
    assert finding.message == (
        f"A full backward hook on any of {raising} of {modules} modules would make the model raise."
    )
    assert len(finding.evidence) <= 4


# ------------------------------------------------------------------ what is said


def only(found: Any) -> Finding:
    (one,) = found
    assert one.rule == RULE
    return one


def test_modules_that_raise_alike_share_a_line_that_names_the_culprits() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True), nn.Linear(2, 2), nn.ReLU(True))
    finding = only(ht.check(net, torch.ones(1, 2)))
    assert finding.evidence[:2] == (
        "2x Linear, whose output is overwritten by ReLU: 0 (by 1), 2 (by 3)",
        "2x ReLU, which overwrites its input: 1, 3",
    )
    assert re.search(r"Output 0 of BackwardHookFunction\w* is a view", finding.evidence[2])
    assert finding.where == "modules of Sequential"


def test_code_that_overwrites_is_named_by_its_line() -> None:
    finding = only(ht.check(Residual(), torch.ones(1, 4)))
    line = Residual.forward.__code__.co_firstlineno + 2
    assert finding.message == "A full backward hook on norm (LayerNorm) would make the model raise."
    assert finding.evidence[0] == (
        f"LayerNorm, whose output is overwritten by code in Residual, "
        f"test_full_backward_hook_will_raise.py:{line}: norm"
    )


def test_a_container_is_told_of_the_member_that_overwrites_its_input() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(True)))
    finding = only(ht.check(net, torch.ones(1, 2)))
    assert "Sequential, whose input is overwritten by ReLU: 1 (by 1.0)" in finding.evidence


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sparse", "Apply, of which PyTorch cannot make views: middle"),
        ("jagged", "Apply, of which PyTorch cannot make views: middle"),
        ("class of torch", "Apply, of which PyTorch cannot make views: middle"),
        ("torch.func", "Linear, called in a transform of torch.func: 1.layer"),
    ],
)
def test_other_reasons_to_raise_are_told(name: str, text: str) -> None:
    found = ht.check(NETS[name](), torch.rand(2, 4))
    assert text in next(one for one in found if "raise" in one.message).evidence


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("dict", "it returns a dict, and PyTorch looks only for tensors and tuples of them"),
        ("list", "it returns a list, and PyTorch looks only for tensors and tuples of them"),
        ("nested tuple", "the tensors that it returns are nested in its output"),
        ("without a gradient", "the model returns nothing that requires a gradient"),
        ("unused", "nothing that it returns is used for what the model returns"),
    ],
)
def test_a_hook_that_would_never_fire_is_told_with_the_reason(name: str, reason: str) -> None:
    found = ht.check(NETS[name](), torch.rand(2, 4))
    finding = next(one for one in found if "never fire" in one.message)
    assert finding.severity == "note"
    assert any(text.startswith(reason) for text in finding.evidence)


def test_modules_that_are_not_called_are_told() -> None:
    net = nn.MultiheadAttention(4, 2)
    x = torch.rand(3, 1, 4)
    finding = only(ht.check(net, (x, x, x)))
    assert finding.message.startswith("A full backward hook on out_proj ")
    assert finding.evidence == ("it is not called: out_proj (NonDynamicallyQuantizableLinear)",)


# ------------------------------------------------------------------ hooks that are there


@pytest.mark.parametrize("kind", ["register_full_backward_hook", "register_full_backward_pre_hook"])
def test_a_registered_hook_that_raises_is_an_error(kind: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    getattr(net[0], kind)(save)
    found = ht.check(net, torch.ones(1, 2))
    finding = only(found.errors)
    word = kind.removeprefix("register_").removesuffix("_hook")
    assert finding.message == (
        f"The {spoken(word)} save makes the model raise on 0 (Linear), whose output "
        f"is overwritten by 1 (ReLU)."
    )
    assert finding.where == f"{word} hook save on 0"
    assert finding.source.endswith(f":{save.__code__.co_firstlineno}")
    assert "register_hook" in finding.instead
    assert "grad_output" in finding.instead
    with pytest.raises(RuntimeError, match="BackwardHookFunction"):
        net(torch.ones(1, 2))


def test_one_hook_on_many_modules_is_one_error() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True), nn.Linear(2, 2), nn.ReLU(True), nn.Tanh())
    for module in net:
        module.register_full_backward_hook(save)
    finding = only(ht.check(net, torch.ones(1, 2)))
    assert finding.message == (
        "The full backward hook save makes the model raise on 4 of the 5 modules that have it."
    )
    assert finding.evidence[1] == "2x ReLU, which overwrites its input: 1, 3"


def test_a_global_hook_is_one_on_every_module() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True), nn.Tanh())
    with torch_module.register_module_full_backward_hook(save):
        found = ht.check(net, torch.ones(1, 2), select=[RULE])
    assert only(found).message == (
        "The full backward hook save makes the model raise on 2 of the 4 modules that have it."
    )


def test_registered_hooks_that_do_no_harm_are_not_mentioned() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    for module in net.modules():
        module.register_full_backward_hook(save)
        module.register_full_backward_pre_hook(save)
    assert list(ht.check(net, torch.ones(1, 2))) == []


def test_a_registered_hook_that_never_fires_is_a_warning() -> None:
    net = Says(lambda x: {"a": x * 2}, lambda x: x["a"])
    net.middle.register_full_backward_hook(save)
    finding = only(ht.check(net, torch.ones(2, 4)))
    assert finding.severity == "warning"
    assert finding.message == (
        "The full backward hook save never fires on middle (Apply) with this example."
    )
    assert finding.evidence[0].startswith("it returns a dict")


def test_beside_a_legacy_hook_the_registration_of_a_full_one_raises() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_backward_hook(save)
    finding = only(ht.check(net, torch.ones(1, 2)))
    assert finding.evidence[0] == "Linear, which refuses the hook: 0"
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks"):
        net[0].register_full_backward_hook(save)


# ------------------------------------------------------------------ nothing is touched


def test_the_model_the_example_and_the_generators_stay_as_they_are() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(4, 1)
    )
    net(torch.rand(3, 4)).sum().backward()
    fired: list[str] = []
    net[0].register_forward_hook(lambda *rest: fired.append("forward"))
    net[1].register_full_backward_hook(lambda *rest: fired.append("full"))
    net[4].weight.register_hook(lambda grad: fired.append("tensor"))
    everywhere = torch_module.register_module_forward_hook(lambda *rest: fired.append("every"))
    x = torch.rand(3, 4, requires_grad=True)
    state = {name: one.clone() for name, one in net.state_dict().items()}
    gradients = [one.grad.clone() for one in net.parameters() if one.grad is not None]
    versions = [one._version for one in (*net.parameters(), *net.buffers(), x)]
    hooks = [(hook.kind, hook.owner, hook.defined_at) for hook in ht.hooks(net)]
    before, drawn = torch.get_rng_state(), random.getstate()
    found = ht.check(net, x)
    assert hooks == [(hook.kind, hook.owner, hook.defined_at) for hook in ht.hooks(net)]
    everywhere.remove()
    assert len(found.of(RULE).errors) == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == drawn
    assert all(torch.equal(one, state[name]) for name, one in net.state_dict().items())
    assert all(map(torch.equal, gradients, [one.grad for one in net.parameters()]))
    assert [one._version for one in (*net.parameters(), *net.buffers(), x)] == versions
    assert x.grad is None
    assert fired == []


def test_global_hooks_are_put_back_when_the_model_raises() -> None:
    with torch_module.register_module_forward_hook(save):
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            ht.check(nn.Linear(2, 2), torch.ones(1, 3))
        assert [hook.name for hook in ht.hooks(nn.Linear(2, 2))] == ["save"]


def test_a_model_that_hooks_itself_can_be_checked() -> None:
    class Remembering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.layer.register_forward_hook(self.remember)
            self.seen: torch.Tensor | None = None

        def remember(self, module: nn.Module, args: Any, output: torch.Tensor) -> None:
            self.seen = output

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.layer(x)
            assert self.seen is not None
            return self.seen.relu_()

    net = Remembering()
    finding = only(ht.check(net, torch.ones(1, 2)))
    assert finding.message.startswith("A full backward hook on layer (Linear) would")
    assert net.seen is None


def test_hooks_of_pytorch_run_in_the_copies() -> None:
    net = nn.Sequential(nn.LazyLinear(3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    found = ht.check(net, torch.ones(1, 5), select=[RULE])
    assert [one.message for one in found] == []
    assert isinstance(net[0].weight, nn.UninitializedParameter)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    net = nn.Linear(2, 2)
    net.kept = net(torch.ones(1, 2))
    with pytest.raises(CopyError, match="the model of Linear cannot be copied: RuntimeError: Only"):
        ht.check(net, torch.ones(1, 2))
    assert issubclass(CopyError, TypeError)
    assert list(ht.check(net)) == []


def test_what_the_model_raises_is_raised_and_the_hooks_that_it_lacks_are_noted() -> None:
    features: dict[str, torch.Tensor] = {}
    net = nn.Sequential(nn.Linear(2, 2), Apply(lambda x: features["linear"] + x))

    def keep(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        features["linear"] = output

    net[0].register_forward_hook(keep)
    with pytest.raises(KeyError, match="linear") as caught:
        ht.check(net, torch.ones(1, 2))
    assert "without your forward hooks" in "".join(caught.value.__notes__)
    assert features == {}


# ------------------------------------------------------------------ examples and the limit


class Takes(nn.Module):
    """Takes several arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mul_(scale)


def test_an_example_is_a_tensor_a_tuple_or_a_dict() -> None:
    x = torch.ones(1, 2)
    expected = "A full backward hook on layer (Linear) would make the model raise."
    assert only(ht.check(Takes(), {"x": x, "scale": x})).message == expected
    assert list(ht.check(nn.Bilinear(2, 2, 1), (x, x))) == []
    with pytest.raises(
        TypeError, match="takes as example a tensor, a tuple of arguments or a dict"
    ):
        ht.check(nn.Linear(2, 2), "x")
    with pytest.raises(TypeError, match="one model, but got 2"):
        ht.check([nn.Linear(2, 2), nn.Linear(2, 2)], x)


@pytest.mark.parametrize("leaf", [False, True])
def test_an_example_that_requires_a_gradient_does_so_in_the_copies(leaf: bool) -> None:
    net = nn.Sequential(nn.ReLU(True), nn.Linear(2, 2))
    x = torch.ones(1, 2, requires_grad=True)
    if leaf:
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            ht.check(net, x)
        return
    trials = rehearse(net, x * 1, {}, 10)
    assert [one.outcome for one in trials] == ["raises", "raises", "fires"]
    assert next(one.outcome for one in rehearse(net, x.detach(), {}, 10)) == "fires"


def test_what_the_limit_leaves_out_is_told() -> None:
    net = nn.Sequential(*[nn.Linear(2, 2), nn.ReLU(True)] * 1, nn.Linear(2, 2), nn.SiLU(True))
    found = ht.check(net, torch.ones(1, 2), limit=3)
    note = next(one for one in found if one.possible)
    assert note.message == "Full backward hooks were not tried on 3 modules."
    assert note.evidence[0].startswith("written to in place, so that it would raise: ")
    assert note.severity == "note"
    with pytest.raises(ValueError, match="at least once, but got 0"):
        ht.check(net, torch.ones(1, 2), limit=0)


def test_one_module_of_each_kind_is_tried_before_the_second_of_a_kind() -> None:
    net = nn.Sequential(
        nn.Linear(2, 2),
        nn.ReLU(True),
        nn.Linear(2, 2),
        nn.ReLU(True),
        nn.Linear(2, 2),
        nn.SiLU(True),
    )
    trials = rehearse(net, torch.ones(1, 2), {}, 6)
    tried = [one.module for one in trials if one.outcome == "raises"]
    assert tried == ["0", "1", "4", "5"]


def test_a_few_unforeseen_modules_are_found_by_halving() -> None:
    layers = [nn.Linear(4, 4) for _ in range(12)]
    net = nn.Sequential(*layers, Apply(lambda x: x.to_sparse()), Apply(lambda x: x.to_dense()))
    trials = rehearse(net, torch.rand(2, 4), {}, 16)
    assert [one.module for one in trials if one.outcome == "raises"] == ["12", "13"]
    assert [one.module for one in trials if one.outcome == "not tried"] == []


# ------------------------------------------------------------------ what to do instead


def test_the_advice_gives_the_gradient_that_a_full_backward_hook_would_give() -> None:
    x = torch.rand(3, 2)
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True), nn.Linear(2, 1))
    twin = copy.deepcopy(net)
    twin[1] = nn.ReLU()
    right: list[torch.Tensor] = []
    twin[0].register_full_backward_hook(lambda module, grad_in, grad_out: right.append(grad_out[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin(x).sum().backward()
    got: list[torch.Tensor] = []
    net[0].register_forward_hook(
        lambda module, args, output: output.register_hook(got.append) and None
    )
    with ht.trace(net, keep=["0"]) as t:
        net(x).sum().backward()
    assert torch.equal(got[0], right[0])
    assert torch.equal(t["0"].grad_output, right[0])


# ------------------------------------------------------------------ in a trace


def raised(net: nn.Module, x: torch.Tensor, after: Callable[..., Any] = torch.sum) -> Any:
    """Run until it raises; return the findings of the rule."""
    with pytest.raises((RuntimeError, TypeError)), ht.trace(net) as t:
        after(net(x)).backward()
    return t.findings(select=[RULE])


def test_a_block_that_raised_tells_hook_module_and_culprit() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    net[0].register_full_backward_hook(save)
    finding = only(raised(net, torch.ones(1, 2)))
    assert finding.severity == "error"
    assert finding.message == (
        "The full backward hook save on 0 (Linear) made the model raise: its output is overwritten "
        "in place by 1 (ReLU)."
    )
    assert finding.where == "full_backward hook save on 0"
    assert finding.evidence[0].startswith(f"raised at {__file__}:")
    assert "Output 0 of BackwardHookFunction" in finding.evidence[1]
    assert len(finding.events) == 1
    assert finding.possible == ""


def test_a_module_that_overwrites_its_own_input_is_told() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    net[1].register_full_backward_pre_hook(save)
    finding = only(raised(net, torch.ones(1, 2)))
    assert finding.message == (
        "The full backward pre-hook save on 1 (ReLU) made the model raise: it overwrites its input "
        "in place."
    )


def test_an_augmented_assignment_after_the_model_is_told() -> None:
    net = nn.Linear(2, 2)
    net.register_full_backward_hook(save)
    finding = only(raised(net, torch.ones(1, 2), lambda y: y.add_(1).sum()))
    assert finding.message.endswith(
        "its output is overwritten in place by code outside of every call."
    )
    assert finding.possible == ""


def test_of_two_modules_that_may_be_meant_neither_is_said_for_sure() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.one(x), self.two(x)
            a += b
            return a

    net = Two()
    net.one.register_full_backward_hook(save)
    net.two.register_full_backward_hook(save)
    found = raised(net, torch.ones(1, 2))
    assert {one.where for one in found} == {
        f"full_backward hook save on {n}" for n in ("one", "two")
    }
    assert all(one.possible for one in found)


@pytest.mark.parametrize("name", ["sparse", "jagged", "class of torch"])
def test_an_output_that_cannot_be_wrapped_is_told(name: str) -> None:
    net = NETS[name]()
    net.middle.register_full_backward_hook(save)
    finding = only(raised(net, torch.rand(2, 4)))
    assert "PyTorch cannot make views of the" in finding.message
    assert finding.where == "full_backward hook save on middle"


def test_a_transform_of_torch_func_is_told() -> None:
    net = Differentiating()
    net.layer.register_full_backward_hook(save)
    finding = only(raised(net, torch.rand(2, 4)))
    assert finding.message.endswith("it was called in a transform of torch.func.")


def test_a_global_hook_is_told_by_the_module_that_raised() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    with torch_module.register_module_full_backward_hook(save):
        found = raised(net, torch.ones(1, 2))
    assert only(found).where == "full_backward hook save on 1"


def test_in_a_loop_it_is_the_last_step_that_is_told() -> None:
    net = nn.Linear(2, 2)
    net.register_full_backward_hook(save)
    x = torch.ones(1, 2, requires_grad=True)

    def steps() -> None:
        for step in range(3):
            y = net(x)
            y.sum().backward(retain_graph=True)
            if step == 2:
                y += 1

    with pytest.raises(RuntimeError, match="BackwardHookFunction"), ht.trace() as t:
        steps()
    finding = only(t.findings(select=[RULE]))
    assert finding.message.endswith("is overwritten in place by code outside of every call.")
    assert finding.possible == ""


def test_a_hook_that_is_registered_in_a_trace_of_everything_is_told() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    with contextlib.suppress(RuntimeError), ht.trace() as t:
        net[0].register_full_backward_hook(save)
        net(torch.ones(1, 2))
    assert only(t.findings(select=[RULE])).where == "full_backward hook save on Sequential.0"


def test_other_exceptions_are_not_put_down_to_a_hook() -> None:
    def refuse(*arguments: Any) -> None:
        raise RuntimeError("no")

    shapes = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3))
    shapes[1].register_full_backward_hook(save)
    hooked = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    hooked[1].register_full_backward_hook(save)
    hooked[1].register_forward_hook(refuse)
    bare = nn.Sequential(nn.Linear(2, 2), nn.ReLU(True))
    bare[1].register_full_backward_hook(refuse)
    for net in (shapes, hooked):
        assert list(raised(net, torch.ones(1, 2))) == []
    twice = nn.Linear(2, 2)
    twice.register_full_backward_hook(save)
    leaf = torch.ones(2, requires_grad=True)
    assert list(raised(twice, torch.ones(1, 2), lambda y: leaf.add_(1))) == []


def test_a_call_under_torch_func_whose_exception_the_program_caught_is_told_too() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    parameters = dict(net.named_parameters())
    net[0].register_full_backward_hook(save)

    def loss(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(net, given, (torch.rand(2, 4),)).sum()  # type: ignore[no-any-return]

    with ht.trace(net) as t, contextlib.suppress(RuntimeError):
        torch.func.grad(loss)(parameters)
    (one,) = t.findings(["full-backward-hook-will-raise"])
    assert one.severity == "error"
    assert one.message == (
        "The full backward hook save on 0 (Linear) made the model raise: it was called in a "
        "transform of torch.func."
    )


def test_an_exception_of_its_own_that_the_program_caught_is_not_the_hooks() -> None:
    net = nn.Sequential(Says(lambda x: x[:, :1] @ x), nn.Tanh())
    net[0].register_full_backward_hook(save)
    with ht.trace(net) as t, contextlib.suppress(RuntimeError):
        net(torch.rand(2, 4))
    assert not t.findings(["full-backward-hook-will-raise"])


def test_what_is_no_model_is_refused_in_the_name_of_check() -> None:
    with pytest.raises(ht.errors.UnsupportedModuleError, match=r"^check\(\) takes a module"):
        ht.check(3)
