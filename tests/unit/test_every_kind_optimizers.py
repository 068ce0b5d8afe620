"""Optimizers and learning rate schedulers: their steps, what they write, what their hooks do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer, lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

import hooktrace as ht
from hooktrace.events import (
    BackwardStarted,
    HookFired,
    SchedulerStepped,
    StepFinished,
    StepStarted,
    TensorWritten,
)


def backward(net: nn.Module) -> None:
    net(torch.ones(1, 2)).sum().backward()


def names(t: ht.Trace, finished: StepFinished) -> list[str]:
    """Return the names of what a step wrote to."""
    return [t.log.tensors[one].name for one in finished.written]


# ------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: SGD(ps, lr=0.1, momentum=0.9),
        lambda ps: Adam(ps, foreach=True),
        lambda ps: Adam(ps, foreach=False),
        lambda ps: torch.optim.AdamW(ps),
    ],
    ids=["SGD", "Adam foreach", "Adam", "AdamW"],
)
def test_a_step_tells_what_it_wrote(make: Callable[[Any], Optimizer]) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[1].requires_grad_(False)
    optimizer = make(net.parameters())
    with ht.trace(net) as t:
        backward(net)
        optimizer.step()
    (started,) = t.of(StepStarted)
    (finished,) = t.of(StepFinished)
    assert (started.step, started.optimizer) == (0, type(optimizer).__name__)
    assert names(t, finished) == ["0.weight", "0.bias"]
    assert finished.exception is None
    assert started.seq < finished.seq


def test_a_closure_runs_inside_the_step() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = net(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    with ht.trace(net) as t:
        optimizer.step(closure)
    (started,), (finished,) = t.of(StepStarted), t.of(StepFinished)
    runs = t.of(BackwardStarted)
    assert len(runs) == len(t.calls()) >= 2
    assert all(started.seq < one.seq < finished.seq for one in runs)


def test_two_optimizers_of_one_class_are_told_apart() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    both = [SGD(part.parameters(), lr=0.1) for part in net]
    with ht.trace(net) as t:
        backward(net)
        for optimizer in (*both, both[0]):
            optimizer.step()
    assert [one.optimizer for one in t.of(StepFinished)] == ["SGD", "SGD-2", "SGD"]
    assert [names(t, one)[0] for one in t.of(StepFinished)] == ["0.weight", "1.weight", "0.weight"]


class OddError(Exception):
    """What a step raises."""


class Raising(SGD):
    """An optimizer that cannot."""

    def step(self, closure: Any = None) -> Any:
        raise OddError("no step")


def test_a_step_that_raises_out_of_the_block_says_what() -> None:
    net = nn.Linear(2, 1)
    optimizer = Raising(net.parameters(), lr=0.1)
    backward(net)
    with pytest.raises(OddError, match="no step"), ht.trace(net) as t:
        optimizer.step()
    (finished,) = t.of(StepFinished)
    assert (finished.exception, finished.written) == ("OddError: no step", ())


def test_a_step_whose_exception_was_caught_is_no_longer_open_in_the_next() -> None:
    net = nn.Linear(2, 1)
    bad, good = Raising(net.parameters(), lr=0.1), SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        backward(net)
        for _ in range(2):
            with pytest.raises(OddError):
                bad.step()
            good.step()
    steps = [(one.optimizer, one.exception) for one in t.of(StepFinished)]
    assert steps == [("Raising", "an exception"), ("SGD", None)] * 2


def test_the_optimizer_of_another_model_is_no_part_of_the_trace() -> None:
    net, other = nn.Linear(2, 1), nn.Linear(2, 1)
    fired: list[Any] = []
    handle = register_optimizer_step_post_hook(lambda *given: fired.append(given[0]))
    optimizers = [SGD(one.parameters(), lr=0.1) for one in (net, other)]
    optimizers[1].register_step_pre_hook(lambda *given: None)
    schedule = lr_scheduler.StepLR(optimizers[1], 1)
    with ht.trace(net) as t:
        backward(net)
        backward(other)
        for optimizer in optimizers:
            optimizer.step()
        schedule.step()
        optimizers[1].state_dict()
    handle.remove()
    assert fired == optimizers
    assert [one.optimizer for one in t.of(StepFinished)] == ["SGD"]
    assert [one.owner for one in t.hooks] == ["every optimizer"]
    assert len(t.of(HookFired)) == 1
    assert t.of(SchedulerStepped) == []


def test_without_a_model_every_optimizer_belongs_to_the_trace() -> None:
    optimizers = [SGD(nn.Linear(2, 1).parameters(), lr=0.1) for _ in range(2)]
    with ht.trace() as t:
        for optimizer in optimizers:
            optimizer.step()
    assert [one.optimizer for one in t.of(StepFinished)] == ["SGD", "SGD-2"]


# ------------------------------------------------------------------ what hooks around a step do


def writer(t: ht.Trace, event: TensorWritten) -> str:
    """Return the name of the hook that wrote, or nothing."""
    return "" if event.hook is None else t.hooks[event.hook].name


def test_what_a_hook_writes_around_a_step_is_its_own() -> None:
    net = nn.Linear(2, 1, bias=False)
    optimizer = SGD(net.parameters(), lr=0.1)

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(net.parameters(), 1e-3)

    def shrink(*_: Any) -> None:
        with torch.no_grad():
            net.weight.mul_(0.5)

    optimizer.register_step_pre_hook(clip)
    optimizer.register_step_post_hook(shrink)
    with ht.trace(net) as t:
        backward(net)
        with torch.no_grad():
            net.weight.add_(1)  # this is the program's
        optimizer.step()
    (started,), (finished,) = t.of(StepStarted), t.of(StepFinished)
    by_whom = [
        (writer(t, one), started.seq < one.seq < finished.seq) for one in t.of(TensorWritten)
    ]
    assert by_whom == [("", False), ("clip", True), ("", True), ("shrink", True)]


def test_a_hook_that_sets_the_rate_says_from_what_to_what() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)

    def warm(opt: Optimizer, args: Any, kwargs: Any) -> None:
        opt.param_groups[0]["lr"] = 0.01
        opt.param_groups[0]["momentum"] = 0  # as it was

    optimizer.register_step_pre_hook(warm)
    with ht.trace(net) as t:
        optimizer.step()
    (edit,) = t.edits
    assert edit.what == "param_groups[0]['lr'] in place: 0.1 -> 0.01"


def test_a_hook_may_exchange_the_arguments_of_a_step() -> None:
    calls = []

    def closure() -> float:
        calls.append(1)
        return 0.0

    optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: (args, {"closure": closure}))
    with ht.trace() as t:
        optimizer.step()
    (edit,) = t.edits
    assert (edit.role, edit.how, calls) == ("kwargs['closure']", "returned", [1])


def test_an_edited_state_of_an_optimizer_says_which_entry() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)

    def drop(opt: Optimizer, state: dict[str, Any]) -> None:
        state["state"] = {}

    def other(opt: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "extra": 1}

    optimizer.register_state_dict_post_hook(drop)
    optimizer.register_state_dict_post_hook(other)
    with ht.trace(net) as t:
        backward(net)
        optimizer.step()
        assert optimizer.state_dict()["extra"] == 1
    edits = [(one.hook.name, one.role, one.how) for one in t.edits]
    assert edits == [
        ("drop", "state_dict['state']", "in_place"),
        ("other", "state_dict", "returned"),
    ]


# ------------------------------------------------------------------ schedulers

Schedule = Callable[[Optimizer], Any]

SCHEDULERS: dict[str, Schedule] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.2, cycle_momentum=False),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.2, 10, cycle_momentum=False),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.5**epoch),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.5),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_schedulers_step_tells_the_rates(name: str) -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    scheduler = SCHEDULERS[name](optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    metrics = (1.0,) if name == "ReduceLROnPlateau" else ()
    with ht.trace(net) as t:
        for _ in range(3):
            optimizer.step()
            scheduler.step(*metrics)
            rates.append(optimizer.param_groups[0]["lr"])
    steps = t.of(SchedulerStepped)
    assert [(one.scheduler, one.optimizer) for one in steps] == [(name, "SGD")] * 3
    assert [(one.before, one.after) for one in steps] == [
        ((before,), (after,)) for before, after in itertools.pairwise(rates)
    ]
    assert len(set(rates)) > 1


def test_every_scheduler_of_pytorch_has_been_tried() -> None:
    tried = {*SCHEDULERS, "LRScheduler", "SequentialLR", "ChainedScheduler", "SWALR"}
    classes = {
        name
        for name, one in vars(lr_scheduler).items()
        if isinstance(one, type) and issubclass(one, lr_scheduler.LRScheduler)
    }
    assert classes <= tried | {"_LRScheduler"}


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_a_scheduler_made_of_others_has_theirs_inside() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    parts: list[Any] = [lr_scheduler.StepLR(optimizer, 1), lr_scheduler.ExponentialLR(optimizer, 1)]
    chained = lr_scheduler.ChainedScheduler(parts, optimizer)
    with ht.trace(net) as t:
        optimizer.step()
        chained.step()
    steps = [(one.scheduler, *one.before, *one.after) for one in t.of(SchedulerStepped)]
    low = 0.1 * 0.1
    assert steps == [
        ("StepLR", 0.1, low),
        ("ExponentialLR", low, low),
        ("ChainedScheduler", 0.1, low),
    ]


@pytest.mark.filterwarnings("ignore:The epoch parameter in:UserWarning")
def test_a_sequence_of_schedulers_tells_who_set_the_rate() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    parts: list[Any] = [
        lr_scheduler.ConstantLR(optimizer, factor=0.5),
        lr_scheduler.ExponentialLR(optimizer, 0.9),
    ]
    sequence = lr_scheduler.SequentialLR(optimizer, parts, milestones=[2])
    with ht.trace(net) as t:
        for _ in range(3):
            optimizer.step()
            sequence.step()
    steps = t.of(SchedulerStepped)
    inner = [one.scheduler for one in steps if one.scheduler != "SequentialLR"]
    assert (inner[0], inner[-1]) == ("ConstantLR", "ExponentialLR")
    assert len(steps) - len(inner) == 3
    assert math.isclose(steps[-1].after[0], 0.1 * 0.9)


class Halving(lr_scheduler.LRScheduler):
    """A user's scheduler, with a step of its own."""

    def get_lr(self) -> list[float | torch.Tensor]:
        return [group["lr"] * 0.5 for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)


@pytest.mark.parametrize("inside", [True, False])
def test_a_scheduler_of_the_users_is_told_by_its_name(inside: bool) -> None:
    kind: Any = Halving
    optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    with ht.trace() as t:
        if inside:

            class Later(Halving):
                """A class that was not there when the block began."""

            kind = Later
        scheduler = kind(optimizer)
        optimizer.step()
        scheduler.step()
    steps = [(one.scheduler, *one.before, *one.after) for one in t.of(SchedulerStepped)]
    name = "Later" if inside else "Halving"
    assert steps == [(name, 0.1, 0.05), (name, 0.05, 0.025)]


def test_a_scheduler_that_raises_says_what() -> None:
    class Odd(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float | torch.Tensor]:
            if self.last_epoch:
                raise OddError("no rate")
            return [0.1]

    optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    scheduler = Odd(optimizer)
    optimizer.step()
    with ht.trace() as t, pytest.raises(OddError, match="no rate"):
        scheduler.step()
    (stepped,) = t.of(SchedulerStepped)
    assert stepped.exception == "OddError: no rate"
