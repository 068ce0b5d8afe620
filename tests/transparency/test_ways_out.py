"""However a block is left, PyTorch is as it was before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from observed import class_attributes, state_of
from torch import nn
from torch.utils.hooks import RemovableHandle

import hooktrace as ht
from hooktrace import patches

UNPATCHED: list[Any] = []


@pytest.fixture(autouse=True)
def unpatched() -> None:
    """PyTorch itself patches some of its classes when it first compiles, so look each time."""
    assert patches.active() == ()
    UNPATCHED[:] = class_attributes()


def restored() -> bool:
    return all(now is then for now, then in zip(class_attributes(), UNPATCHED, strict=True))


@pytest.mark.parametrize(
    "error", [None, ValueError("x"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()]
)
def test_class_attributes_are_put_back_whatever_ends_the_block(error: BaseException | None) -> None:
    with contextlib.suppress(BaseException), ht.trace():
        assert not restored()
        if error is not None:
            raise error
    assert restored()


def test_class_attributes_are_put_back_when_entering_fails() -> None:
    with pytest.raises(ht.errors.UnknownNameError), ht.trace(nn.Linear(1, 1), keep=["no such"]):
        pass
    assert restored()
    t = ht.trace()
    with t:
        pass
    with pytest.raises(ht.errors.TraceStateError), t:
        pass
    assert restored()


def test_a_trace_that_is_made_but_not_entered_touches_nothing() -> None:
    t = ht.trace(nn.Linear(1, 1), keep=True)
    assert restored()
    assert t.events == ()


@pytest.mark.parametrize("first_out", ["outer", "inner"])
def test_overlapping_traces_end_in_either_order(first_out: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].weight.register_hook(lambda grad: grad * 2)
    outer, inner = ht.trace(net, keep=True), ht.trace(net, keep=True)
    outer.__enter__()
    net(torch.ones(1, 2)).sum().backward()
    inner.__enter__()
    net(torch.ones(1, 2)).sum().backward()
    first, last = (outer, inner) if first_out == "outer" else (inner, outer)
    first.__exit__(None, None, None)
    seen = len(first.events)
    net(torch.ones(1, 2)).sum().backward()
    assert len(first.events) == seen
    assert not restored()
    last.__exit__(None, None, None)
    assert restored()
    expected = {"outer": (2, 2), "inner": (3, 1)}[first_out]
    assert (len(outer.calls("0")), len(inner.calls("0"))) == expected
    assert (len(outer.edits), len(inner.edits)) == expected
    assert all(call.grad_output is not None for t in (outer, inner) for call in t.calls())


def test_a_trace_that_opens_in_the_middle_of_a_call_and_closes_after_it() -> None:
    t = ht.trace()

    class Opens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            t.__enter__()
            return self.inner(x)

    net = Opens()
    y = net(torch.ones(1, 2))
    t.__exit__(None, None, None)
    y.sum().backward()
    assert restored()
    assert [call.module.type for call in t.calls()] == ["Linear"]


def test_a_trace_that_closes_in_the_middle_of_a_call_or_of_backward() -> None:
    t = ht.trace()

    class Closes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            t.__exit__(None, None, None)
            return self.inner(y)

    net = Closes()
    with contextlib.ExitStack():
        t.__enter__()
        net(torch.ones(1, 2)).sum().backward()
    assert restored()
    assert len(t.calls()) == 2

    w = torch.ones(2, requires_grad=True)
    again = ht.trace()
    again.__enter__()
    a = w * 2
    a.register_hook(lambda grad: again.__exit__(None, None, None))
    w.register_hook(lambda grad: grad * 2)
    a.sum().backward()
    assert restored()
    assert w.grad.tolist() == [4.0, 4.0]
    assert [function.__name__ for function in w._backward_hooks.values()] == ["<lambda>"]
    assert not w._post_accumulate_grad_hooks


def test_a_trace_in_a_generator_that_is_never_finished_is_put_back_with_it() -> None:
    def generator() -> Iterator[int]:
        with ht.trace():
            yield 1

    going = generator()
    next(going)
    assert not restored()
    going.close()
    assert restored()


def test_a_trace_lives_in_a_coroutine() -> None:
    net = nn.Linear(2, 2)

    async def work() -> ht.Trace:
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
            await asyncio.sleep(0)
            net(torch.ones(1, 2))
        return t

    async def both() -> list[ht.Trace]:
        return await asyncio.gather(work(), work())

    traces = asyncio.run(both())
    assert restored()
    assert all(len(t.calls()) >= 2 for t in traces)


def test_two_threads_with_a_trace_each_leave_nothing_behind() -> None:
    def work() -> None:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        for _ in range(10):
            with ht.trace(net, keep=True) as t:
                net(torch.ones(1, 2)).sum().backward()
            assert len(t.calls()) == 3
            assert t["1"].grad_output.tolist() == [[1.0, 1.0]]

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert restored()


def test_somebody_elses_patch_over_ours_survives() -> None:
    original = nn.Module.__call__
    calls: list[str] = []
    with ht.trace():
        ours = nn.Module.__call__

        def patched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            calls.append(type(self).__name__)
            return ours(self, *args, **kwargs)

        nn.Module.__call__ = patched
    try:
        assert nn.Module.__call__ is patched
        nn.Linear(1, 1)(torch.ones(1))
        with ht.trace() as t:
            nn.Linear(1, 1)(torch.ones(1))
        assert calls == ["Linear", "Linear"]
        assert len(t.calls()) == 1
    finally:
        nn.Module.__call__ = original
    assert restored()


# ------------------------------------------------------------------ tracebacks


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")


def test_an_exception_that_leaves_the_block_has_none_of_our_frames() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Raises()))
    with pytest.raises(ValueError, match="no") as caught, ht.trace(net):
        net(torch.ones(1, 2))
    files = [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not any("/hooktrace/hooktrace/" in file or "/main/hooktrace/" in file for file in files)
    assert files.count(__file__) == 2  # this test and the module


def test_inside_the_block_there_is_at_most_one_of_our_frames_for_each_open_call() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Raises()))
    package = ht.__file__.rpartition("/")[0]
    with ht.trace(net):
        try:
            net(torch.ones(1, 2))
        except ValueError as error:
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    assert sum(file.startswith(package) for file in files) <= 3


def test_an_exception_group_and_a_chain_are_cleaned_too() -> None:
    net = Raises()

    def chained() -> None:
        try:
            net(torch.ones(1))
        except ValueError as error:
            raise RuntimeError("outer") from error

    def several() -> None:
        errors = []
        for _ in range(2):
            try:
                net(torch.ones(1))
            except ValueError as error:
                errors.append(error)
        raise ExceptionGroup("several", errors)

    with pytest.raises(RuntimeError) as caught, ht.trace(net):
        chained()
    package = ht.__file__.rpartition("/")[0]
    cause = caught.value.__cause__
    files = [frame.filename for frame in traceback.extract_tb(cause.__traceback__)]
    assert not any(file.startswith(package) for file in files)

    with pytest.raises(ExceptionGroup) as grouped, ht.trace(net):
        several()
    for error in grouped.value.exceptions:
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        assert not any(file.startswith(package) for file in files)


# ------------------------------------------------------------------ nothing kept alive


def test_outputs_and_modules_die_with_their_last_reference_without_a_collection() -> None:
    gc.collect()
    gc.disable()
    try:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        with ht.trace(net) as t:
            y = net(torch.ones(1, 2, requires_grad=True))
            output = weakref.ref(y)
            y.sum().backward()
            del y
            assert output() is None
        module, weight = weakref.ref(net), weakref.ref(net[0].weight)
        del net
        assert (module(), weight()) == (None, None)
        assert len(t.calls()) == 3
    finally:
        gc.enable()


class Context(torch.autograd.Function):
    """Its contexts are autograd nodes that Python can see die."""

    alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        Context.alive.add(ctx)
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * 2


class UsesContext(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Context.apply(x)


@pytest.mark.parametrize("how", ["module", "plain"])
def test_autograd_nodes_die_with_their_output(how: str) -> None:
    net = UsesContext()
    with ht.trace(net if how == "module" else None) as t:
        x = torch.ones(2, requires_grad=True)
        y = net(x)
        y.sum().backward(retain_graph=True)
        assert len(Context.alive) == 1
        del y
        gc.collect()
        assert len(Context.alive) == 0
    assert t.events


def test_kept_calls_hold_their_graph_until_release() -> None:
    net = UsesContext()
    with ht.trace(net, keep=True) as t:
        net(torch.ones(2, requires_grad=True))
    gc.collect()
    assert len(Context.alive) == 1
    t.release()
    gc.collect()
    assert len(Context.alive) == 0


def test_a_dropped_trace_lets_go_of_what_it_kept() -> None:
    net = UsesContext()
    with ht.trace(net, keep=True) as t:
        net(torch.ones(2, requires_grad=True))
    kept = weakref.ref(t["UsesContext"].output)
    assert kept() is not None
    del t
    gc.collect()
    assert kept() is None
    assert len(Context.alive) == 0


def test_local_variables_of_the_callers_function_are_not_kept_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        with ht.trace() as t:
            w = torch.ones(2, requires_grad=True)
            a = w * 2
            loss = a.sum()
            loss.backward()
            ref = weakref.ref(a)
            del a
            assert ref() is None
            late = weakref.ref(loss)
        del loss
        assert late() is None
        assert t["a"].value.numbers == (2.0, 2.0)
    finally:
        gc.enable()


def test_the_callers_frame_is_not_kept() -> None:
    class Marker:
        pass

    def work() -> tuple[ht.Trace, weakref.ref[Any]]:
        marker = Marker()
        with ht.trace() as t:
            w = torch.ones(2, requires_grad=True)
            (w * 2).sum().backward()
        return t, weakref.ref(marker)

    gc.collect()
    gc.disable()
    try:
        t, marker = work()
        assert marker() is None
        assert t["w"].grad.numbers == (2.0, 2.0)
    finally:
        gc.enable()


def test_the_users_hooks_and_closures_die_when_they_are_removed() -> None:
    class Hook:
        def __call__(self, *arguments: Any) -> None: ...

    net = nn.Linear(2, 2)
    refs = []
    with ht.trace(net) as t:
        handles = []
        for register in (
            net.register_forward_pre_hook,
            net.register_forward_hook,
            net.register_full_backward_hook,
            net.weight.register_hook,
            net.weight.register_post_accumulate_grad_hook,
        ):
            hook = Hook()
            refs.append(weakref.ref(hook))
            handles.append(register(hook))
        del hook, register
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 5
    assert len(t.hooks) == 5


def test_an_exception_of_the_model_does_not_keep_its_tensors_alive() -> None:
    class RaisesLate(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = weakref.ref(local := x * 2)
            raise ValueError(str(local.shape))

    net = RaisesLate()
    try:
        with ht.trace(net) as t:
            net(torch.ones(2))
    except ValueError:
        pass
    gc.collect()
    assert net.seen() is None
    assert t.log.error


# ------------------------------------------------------------------ after the block


def test_a_graph_made_inside_runs_backward_outside_as_ever() -> None:
    def step(traced: bool) -> Any:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
        got: list[Any] = []
        net[1].register_full_backward_hook(lambda m, gi, go: got.append((gi[0], go[0])))
        net[0].weight.register_hook(got.append)
        x = torch.ones(1, 2, requires_grad=True)
        with ht.trace(net, keep=True) if traced else contextlib.nullcontext() as t:
            y = net(x)
        events = len(t.events) if traced else 0
        y.sum().backward()
        assert not traced or len(t.events) == events
        return [x.grad, *[p.grad for p in net.parameters()], *got[0], got[1]]

    assert all(torch.equal(a, b) for a, b in zip(step(True), step(False), strict=True))


def test_node_hook_dictionaries_are_empty_again_after_the_block() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(net):
        y = net(torch.ones(1, 2, requires_grad=True))
    found: list[Any] = []

    class StopError(Exception):
        pass

    from torch.autograd.function import _HookMixin

    original = vars(_HookMixin)["_register_hook"]

    def peek(hooks: Any, hook: Any) -> Any:
        found.append(hooks)
        raise StopError

    _HookMixin._register_hook = staticmethod(peek)
    try:
        queue = [y.grad_fn]
        while queue:
            node = queue.pop()
            for register in (node.register_hook, node.register_prehook):
                with contextlib.suppress(StopError):
                    register(lambda *a: None)
            queue += [one for one, _ in node.next_functions if one is not None]
    finally:
        _HookMixin._register_hook = original
    assert len(found) >= 8
    assert [hooks for hooks in found if hooks] == []


def test_the_handles_numbers_are_those_of_the_untraced_run() -> None:
    net = nn.Linear(2, 2)
    before = RemovableHandle.next_id
    with ht.trace(net, keep=True):
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        handle = net.register_forward_hook(lambda *a: None)
    assert handle.id == before
    assert RemovableHandle.next_id == before + 1


def test_leaves_that_had_no_hook_dictionary_have_none_afterwards() -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net):
        net(torch.ones(1, 2)).sum().backward()
        net(torch.ones(1, 2)).sum().backward()
    assert net.weight._backward_hooks is None
    assert net.weight._post_accumulate_grad_hooks is None


def test_flags_and_attributes_of_a_module_are_as_before() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval(), nn.Dropout())
    net[0].bias.requires_grad_(False)
    before = [state_of(module) for module in net.modules()]
    with ht.trace(net, keep=True):
        net(torch.ones(3, 2))
    after = [state_of(module) for module in net.modules()]
    assert [one["attributes"] for one in after] == [one["attributes"] for one in before]
    assert [one["training"] for one in after] == [True, True, False, True]
    assert not net[0].bias.requires_grad
