"""PyTorch is patched while a trace is open, and never a moment longer."""

from __future__ import annotations

import functools
import itertools
import threading
from typing import Any

import pytest
import torch
from observed import class_attributes
from torch import nn

import hooktrace as ht
from hooktrace import patches
from hooktrace.patches import Patch


class Greeter:
    def greet(self) -> str:
        return "hello"


ORIGINAL = Greeter.greet


@pytest.fixture(autouse=True)
def _restored() -> Any:
    before = class_attributes()
    yield
    Greeter.greet = ORIGINAL  # type: ignore[method-assign]
    assert patches.active() == ()
    assert all(a is b for a, b in zip(class_attributes(), before, strict=True))


def louder(original: Any) -> Any:
    def greet(self: Greeter) -> str:
        return f"{original(self)}!"

    return greet


def recorder() -> Any:
    return object()


# ------------------------------------------------------------------ one patch


def test_a_patch_replaces_and_puts_back_the_very_same_object() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    assert Greeter().greet() == "hello!"
    patch.restore()
    assert vars(Greeter)["greet"] is ORIGINAL


def test_a_patch_can_be_installed_again_after_it_was_restored() -> None:
    patch = Patch(Greeter, "greet", louder)
    for _ in range(3):
        patch.install()
        assert Greeter().greet() == "hello!"
        patch.restore()
    assert Greeter().greet() == "hello"


def test_restoring_twice_does_no_harm() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    patch.restore()
    patch.restore()
    assert vars(Greeter)["greet"] is ORIGINAL


def test_somebody_elses_patch_on_top_is_left_alone() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    ours = vars(Greeter)["greet"]
    theirs = louder(ours)
    Greeter.greet = theirs  # type: ignore[method-assign]
    patch.restore()
    assert vars(Greeter)["greet"] is theirs
    assert Greeter().greet() == "hello!!"


def test_a_patch_below_somebody_elses_is_not_installed_a_second_time() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    theirs = louder(vars(Greeter)["greet"])
    Greeter.greet = theirs  # type: ignore[method-assign]
    patch.restore()
    patch.install()
    assert vars(Greeter)["greet"] is theirs
    assert Greeter().greet() == "hello!!"


def test_a_patch_goes_once_somebody_elses_is_gone() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    ours = vars(Greeter)["greet"]
    Greeter.greet = louder(ours)  # type: ignore[method-assign]
    patch.restore()
    Greeter.greet = ours  # type: ignore[method-assign]
    patch.install()
    assert Greeter().greet() == "hello!"
    patch.restore()
    assert vars(Greeter)["greet"] is ORIGINAL


def test_a_patch_is_installed_anew_where_somebody_put_the_original_back() -> None:
    patch = Patch(Greeter, "greet", louder)
    patch.install()
    Greeter.greet = ORIGINAL  # type: ignore[method-assign]
    patch.install()
    assert Greeter().greet() == "hello!"
    patch.restore()
    assert vars(Greeter)["greet"] is ORIGINAL


# ------------------------------------------------------------------ subscribers


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_patches_stay_until_the_last_of_several_leaves_in_any_order(order: tuple[int, ...]) -> None:
    several = [recorder() for _ in range(3)]
    for one in several:
        patches.subscribe(one, [Patch(Greeter, "greet", louder)])
    assert patches.active() == tuple(several)
    for index in order:
        assert Greeter().greet() == "hello!"
        patches.unsubscribe(several[index])
        assert several[index] not in patches.active()
    assert vars(Greeter)["greet"] is ORIGINAL


def test_patches_of_one_attribute_are_taken_off_in_reverse() -> None:
    one = recorder()
    patches.subscribe(one, [Patch(Greeter, "greet", louder), Patch(Greeter, "greet", louder)])
    assert Greeter().greet() == "hello!!"
    patches.unsubscribe(one)
    assert vars(Greeter)["greet"] is ORIGINAL


def test_a_patch_that_cannot_be_installed_takes_the_others_back() -> None:
    bad = Patch(Greeter, "not_there", louder)
    with pytest.raises(KeyError):
        patches.subscribe(recorder(), [Patch(Greeter, "greet", louder), bad])
    assert vars(Greeter)["greet"] is ORIGINAL
    assert patches.active() == ()


def test_who_is_paused_hears_nothing_and_the_patches_stay() -> None:
    first, second = recorder(), recorder()
    patches.subscribe(first, [Patch(Greeter, "greet", louder)])
    patches.pause(first)
    assert patches.active() == ()
    patches.subscribe(second, [Patch(Greeter, "greet", louder)])
    assert Greeter().greet() == "hello!"
    patches.resume(first)
    patches.resume(first)
    assert patches.active() == (first, second)
    patches.pause(second)
    patches.unsubscribe(second)
    patches.resume(second)
    assert patches.active() == (first,)
    patches.pause(first)
    patches.unsubscribe(first)
    assert Greeter().greet() == "hello"


def test_leaving_without_having_come_changes_nothing() -> None:
    one = recorder()
    patches.subscribe(one, [Patch(Greeter, "greet", louder)])
    patches.unsubscribe(recorder())
    assert Greeter().greet() == "hello!"
    patches.unsubscribe(one)


# ------------------------------------------------------------------ real traces


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_traces_that_end_in_any_order_each_record_until_their_own_end(
    order: tuple[int, ...],
) -> None:
    before = class_attributes()
    net = nn.Linear(2, 2)
    traces = [ht.trace(net) for _ in range(3)]
    for t in traces:
        t.__enter__()
    expected = [0, 0, 0]
    for number, index in enumerate(order, start=1):
        net(torch.ones(1, 2))
        traces[index].__exit__(None, None, None)
        expected[index] = number
    assert [len(t.calls()) for t in traces] == expected
    assert all(a is b for a, b in zip(class_attributes(), before, strict=True))


def test_a_trace_ends_under_somebody_elses_patch_and_a_second_one_counts_once() -> None:
    net = nn.Linear(2, 2)
    original = vars(nn.Module)["__call__"]
    counted = []
    with ht.trace(net) as first:
        ours = vars(nn.Module)["__call__"]

        def theirs(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            counted.append(type(self).__name__)
            return ours(self, *args, **kwargs)

        nn.Module.__call__ = theirs  # type: ignore[method-assign]
        net(torch.ones(1, 2))
    try:
        net(torch.ones(1, 2))
        with ht.trace(net) as second:
            net(torch.ones(1, 2))
    finally:
        nn.Module.__call__ = original  # type: ignore[method-assign]
    assert counted == ["Linear"] * 3
    assert (len(first.calls()), len(second.calls())) == (1, 1)
    with ht.trace(net) as third:
        net(torch.ones(1, 2))
    assert len(third.calls()) == 1


def test_traces_in_several_threads_leave_pytorch_as_it_was() -> None:
    net = nn.Linear(2, 2)
    barrier = threading.Barrier(4)
    counts = []

    def work() -> None:
        barrier.wait()
        for _ in range(5):
            with ht.trace(net) as t:
                net(torch.ones(1, 2))
            counts.append(len(t.calls()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 20
    assert min(counts) >= 1


@pytest.mark.parametrize("name", ["__call__", "_call_impl"])
def test_what_somebody_put_around_a_function_before_the_trace_is_called_in_it(name: str) -> None:
    original = vars(nn.Module)[name]
    called: list[str] = []

    @functools.wraps(original)
    def theirs(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        called.append(type(self).__name__)
        return original(self, *args, **kwargs)

    net = nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, name, theirs)
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
        assert vars(nn.Module)[name] is theirs
    assert called == ["Linear"]
    assert len(t.calls()) == 1


def test_a_wrapped_call_reports_exceptions_and_wrong_arguments_as_ever() -> None:
    original = nn.Module.__call__

    @functools.wraps(original)
    def theirs(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    net = nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "__call__", theirs)
        with ht.trace(net) as t:
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                net(torch.ones(1, 3))
            with pytest.raises(TypeError, match="missing"):
                nn.Module.__call__()  # type: ignore[call-arg]
    (call,) = t.calls()
    assert "shapes cannot be multiplied" in str(call.exception)
