"""What hooks store and what overwrites it: the oracle is a copy that was made in time."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding

RULE = "stale-activation"
Store = Callable[[], tuple[Any, Callable[[], Any]]]
STORES: dict[str, Store] = {}
OF_THE_MODULE: dict[str, Any] = {}


def store(make: Store) -> Store:
    STORES[make.__name__] = make
    return make


@store
def in_a_dict() -> Any:
    saved = {}

    def hook(module: Any, args: Any, output: Any) -> None:
        saved["conv"] = output

    return hook, lambda: saved["conv"]


@store
def in_a_list_by_a_lambda() -> Any:
    saved: list[Any] = []
    return lambda module, args, output: saved.append(output), lambda: saved[0]


@store
def in_a_global() -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        OF_THE_MODULE["conv"] = output

    return hook, lambda: OF_THE_MODULE["conv"]


@store
def in_a_variable_of_the_closure() -> Any:
    kept = None

    def hook(module: Any, args: Any, output: Any) -> None:
        nonlocal kept
        kept = output

    return hook, lambda: kept


@store
def in_an_attribute_by_a_method() -> Any:
    class Keeper:
        def keep(self, module: Any, args: Any, output: Any) -> None:
            self.kept = output

    keeper = Keeper()
    return keeper.keep, lambda: keeper.kept


@store
def in_an_attribute_of_a_module_by_its_method() -> Any:
    class Keeper(nn.Module):
        def keep(self, module: Any, args: Any, output: Any) -> None:
            self.kept = output

    keeper = Keeper()
    return keeper.keep, lambda: keeper.kept


@store
def by_an_object_that_is_called() -> Any:
    class Keeper:
        def __init__(self) -> None:
            self.kept: deque[Any] = deque(maxlen=3)

        def __call__(self, module: Any, args: Any, output: Any) -> None:
            self.kept.append(output)

    keeper = Keeper()
    return keeper, lambda: keeper.kept[0]


@store
def in_an_argument_of_a_partial() -> Any:
    saved: dict[str, Any] = {}

    def keep(where: Any, module: Any, args: Any, output: Any) -> None:
        where["conv"] = output

    return functools.partial(keep, saved), lambda: saved["conv"]


@store
def in_a_default_argument() -> Any:
    def hook(module: Any, args: Any, output: Any, saved: Any = []) -> None:  # noqa: B006
        saved.append(output)

    return hook, lambda: hook.__defaults__[0][0]  # type: ignore[index]


@store
def on_the_module_itself() -> Any:
    def hook(module: Any, args: Any, output: Any) -> None:
        module.kept, hook.module = output, module  # type: ignore[attr-defined]

    return hook, lambda: hook.module.kept  # type: ignore[attr-defined]


@store
def deep_inside() -> Any:
    state = SimpleNamespace(saved={"layers": [{}]})

    def hook(module: Any, args: Any, output: Any) -> None:
        state.saved["layers"][0]["conv"] = (output,)

    return hook, lambda: state.saved["layers"][0]["conv"][0]


@store
def detached() -> Any:
    saved: list[Any] = []
    return lambda module, args, output: saved.append(output.detach()), lambda: saved[0]


@store
def as_data() -> Any:
    saved: list[Any] = []
    return lambda module, args, output: saved.append(output.data), lambda: saved[0]


@store
def a_slice() -> Any:
    saved: list[Any] = []
    return lambda module, args, output: saved.append(output[0]), lambda: saved[0]


@store
def through_a_helper() -> Any:
    saved: dict[str, Any] = {}

    def keep(output: Any) -> None:
        saved["conv"] = output

    return lambda module, args, output: keep(output), lambda: saved["conv"]


def net(*, inplace: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(inplace=inplace), nn.Flatten())


X = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)


def found_in(t: ht.Trace) -> list[Finding]:
    return list(t.findings().of(RULE))


@pytest.mark.parametrize("edits", ["values", "versions"])
@pytest.mark.parametrize("name", STORES)
def test_a_stored_output_that_an_in_place_relu_overwrites_is_found(name: str, edits: str) -> None:
    model, true = net(), []
    model[0].register_forward_hook(lambda module, args, output: true.append(output.clone()))
    hook, stored = STORES[name]()
    model[0].register_forward_hook(hook)
    with ht.trace(model, edits=edits) as t:
        model(X)
    wrong = true[0].reshape(-1)[: stored().numel()] != stored().reshape(-1)
    assert wrong.any()
    (found,) = found_in(t)
    assert found.severity == "error"
    assert found.possible == ""
    assert "1@0 (ReLU(inplace=True))" in found.message
    if edits == "values":
        count = f"{int(wrong.sum())} of {wrong.numel()} elements of "
        assert found.evidence[0].startswith(count)


@pytest.mark.parametrize("name", STORES)
def test_a_stored_output_that_nothing_overwrites_is_not(name: str) -> None:
    model = net(inplace=False)
    hook, _ = STORES[name]()
    model[0].register_forward_hook(hook)
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []


def test_the_finding_names_hook_place_culprit_and_lines() -> None:
    model, acts = net(), {}

    def save(module: Any, args: Any, output: Any) -> None:
        acts["conv"] = output

    model[0].register_forward_hook(save)
    with ht.trace(model) as t:
        model(X)
    (found,) = found_in(t)
    line = save.__code__.co_firstlineno
    assert found.where == "forward hook save on 0"
    assert found.source == f"{__file__}:{line}"
    assert found.message.startswith(
        "The forward hook save on 0 (Conv2d) stored the output in acts['conv'], which was "
        "overwritten later: by 1@0 (ReLU(inplace=True)), in the statement at "
    )
    called = next(one for one in found.evidence if one.startswith("written at "))
    text = Path(__file__).read_text().splitlines()[int(called.rpartition(":")[2]) - 1]
    assert text.strip() == "model(X)"
    fired, written = (t.events[seq] for seq in found.events)
    assert (fired.label, written.label) == ("hook", "write")
    assert "clone()" in found.instead


class Adds(nn.Module):
    """Writes in its own forward, between two modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.first(x)
        x += 1
        return self.second(x)


def stored_by(model: nn.Module, owner: nn.Module) -> list[Any]:
    saved: list[Any] = []
    owner.register_forward_hook(lambda module, args, output: saved.append(output))
    return saved


def test_a_write_by_functional_code_is_put_between_two_places() -> None:
    model = Adds()
    stored_by(model, model.first)
    with ht.trace(model) as t:
        model(torch.ones(1, 4))
    (found,) = found_in(t)
    assert "by code in Adds@0 (Adds), after first@0 had returned" in found.message
    line = int(found.message.rstrip(".").rpartition(":")[2])
    text = Path(__file__).read_text().splitlines()[line - 1]
    assert text.strip() == "return self.second(x)"


def test_a_write_by_a_later_hook_is_found() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    stored_by(model, model[0])

    def scale(module: Any, args: Any) -> None:
        args[0].mul_(2)

    model[1].register_forward_pre_hook(scale)
    with ht.trace(model) as t:
        model(torch.ones(1, 4))
    (found,) = found_in(t)
    assert f"by the forward pre-hook scale on 1, defined at {__file__}" in found.message


def test_a_write_after_the_call_is_found() -> None:
    model = nn.Linear(4, 4)
    stored_by(model, model)
    with ht.trace(model) as t:
        y = model(torch.ones(1, 4))
        with torch.no_grad():
            y.mul_(2)
    (found,) = found_in(t)
    assert "by code outside of every traced call" in found.message


def test_a_write_past_the_version_counter_is_found_by_the_copy() -> None:
    model = nn.Linear(4, 4)
    stored_by(model, model)
    with ht.trace(model) as t:
        y = model(torch.ones(1, 4))
        y.data.mul_(2)
    (found,) = found_in(t)
    assert found.evidence[0].startswith("4 of 4 elements")


def test_a_stored_argument_is_found_too() -> None:
    model, saved = net(), {}

    def keep(module: Any, args: Any) -> None:
        saved["args"] = args

    model[1].register_forward_pre_hook(keep)
    with ht.trace(model) as t:
        model(X)
    (found,) = found_in(t)
    assert "stored args[0] in saved['args'][0]" in found.message


def test_each_step_counts_but_there_is_one_finding() -> None:
    model, saved = net(), []
    model[0].register_forward_hook(lambda module, args, output: saved.append(output))
    with ht.trace(model) as t:
        for _ in range(5):
            model(X)
    (found,) = found_in(t)
    assert "so it is with 5 tensors that the hook stored in saved" in found.evidence


def test_what_was_cleared_before_the_block_ends_is_found_nevertheless() -> None:
    model, saved = net(), []
    model[0].register_forward_hook(lambda module, args, output: saved.append(output))
    with ht.trace(model) as t:
        model(X)
        saved.clear()
    (found,) = found_in(t)
    assert "it was no longer there when the block ended" in found.evidence


def test_a_hook_that_was_removed_is_found() -> None:
    model, saved = net(), []
    with ht.trace(model) as t:
        handle = model[0].register_forward_hook(lambda module, args, output: saved.append(output))
        model(X)
        handle.remove()
    (found,) = found_in(t)
    assert found.possible == ""


# ------------------------------------------------------------------ near misses


def test_a_copy_is_a_copy() -> None:
    model, saved = net(), []
    model[0].register_forward_hook(lambda module, args, output: saved.append(output.clone()))
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []
    assert t.log.holdings == []


def test_the_output_of_the_relu_is_not_stale() -> None:
    model, saved = net(), {}

    def save(name: str) -> Any:
        return lambda module, args, output: saved.update({name: output})

    model[1].register_forward_hook(save("relu"))
    model[2].register_forward_hook(save("flat"))
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []


def test_two_hooks_of_one_function_are_told_apart() -> None:
    model, saved = net(), {}

    def save(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            saved[name] = output

        return hook

    model[0].register_forward_hook(save("conv"))
    model[1].register_forward_hook(save("relu"))
    with ht.trace(model) as t:
        model(X)
    (found,) = found_in(t)
    assert "saved['conv']" in found.message


def test_what_is_stored_again_at_the_same_place_is_not_stale() -> None:
    model, saved = net(), {}

    def last(module: Any, args: Any, output: Any) -> None:
        saved["last"] = output

    for module in model:
        module.register_forward_hook(last)
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []


def test_what_another_hook_may_have_stored_again_is_possible_only() -> None:
    model, saved = net(), {}

    def first(module: Any, args: Any, output: Any) -> None:
        saved["last"] = output

    def second(module: Any, args: Any, output: Any) -> None:
        saved["last"] = output

    model[0].register_forward_hook(first)
    model[1].register_forward_hook(second)
    with ht.trace(model) as t:
        model(X)
    (found,) = found_in(t)
    assert "second was given the same tensor later" in found.possible


def test_what_was_taken_out_before_the_write_is_not_stale() -> None:
    model, saved = net(), []
    model[0].register_forward_hook(lambda module, args, output: saved.append(output))
    model[1].register_forward_pre_hook(lambda module, args: saved.clear())
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []


def test_what_the_program_stored_itself_is_none_of_the_hooks() -> None:
    model, state = net(), SimpleNamespace(batch=None)
    model.register_forward_pre_hook(lambda module, args: state.batch.sum() and None)
    with ht.trace(model) as t:
        state.batch = X.clone()
        model(state.batch)
        state.batch.mul_(2)
    assert found_in(t) == []


def test_a_relu_that_changes_nothing_makes_nothing_wrong() -> None:
    model, saved = net(), []
    with torch.no_grad():
        model[0].bias.fill_(10)
    model[0].register_forward_hook(lambda module, args, output: saved.append(output))
    with ht.trace(model) as t:
        model(X)
    assert found_in(t) == []


def test_a_write_to_another_part_of_the_same_memory_is_not_one_to_this() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            one, other = x.clone().chunk(2, dim=1)
            return one, other

    model, saved = Halves(), []
    model.register_forward_hook(lambda module, args, output: saved.append(output[0]))
    with ht.trace(model) as t:
        _, other = model(torch.ones(1, 4))
        other.mul_(3)
    assert found_in(t) == []
    with ht.trace(model, edits="versions") as t:
        _, other = model(torch.ones(1, 4))
        other.mul_(3)
    assert all(one.possible for one in found_in(t))


def test_a_stored_parameter_is_there_to_change() -> None:
    model, saved = nn.Linear(2, 2), []

    def hook(module: Any, args: Any, output: Any) -> None:
        saved.append(module.weight)

    model.register_forward_hook(hook)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert found_in(t) == []


def test_the_advice_names_the_module_at_hand_and_what_was_stored() -> None:
    net = nn.Sequential(nn.Identity(), nn.Linear(2, 2), nn.ReLU(inplace=True))
    stored: list[torch.Tensor] = []
    net[1].register_forward_hook(lambda module, args, output: stored.append(output))
    net[2].register_forward_pre_hook(lambda module, args: stored.append(args[0]))
    torch.manual_seed(0)
    with ht.trace(net) as t:
        net(torch.randn(8, 2))
    after, before = t.findings(select=["stale-activation"])
    assert after.instead.startswith("store a copy: `output.detach().clone()`. Or let hooktrace")
    assert '`ht.trace(model, keep=["1"])`' in after.instead
    assert before.instead == "store a copy: `args[0].detach().clone()`."
