"""What a pass of the doctor's rules costs, on traces of 10^5 events of several shapes.

    python benchmarks/doctor.py              prints the tables
    python benchmarks/doctor.py --write      and puts the first into docs/cost.md
    python benchmarks/doctor.py hooks        traces only this program (a name of `PROGRAMS`)
    python benchmarks/doctor.py --events 10000

All rules together share what they look up in a log.  In the second table each rule has that for
itself, so its times add up to more; it shows which rule is slow, and on which program.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from doctables import put
from torch import nn

import hooktrace as ht
from hooktrace.doctor import diagnose
from hooktrace.doctor.rule import RULES
from hooktrace.views.calls import CallIndex

PAGE = Path(__file__).parent.parent / "docs" / "cost.md"
MARKS = ("<!-- the table of `benchmarks/doctor.py` -->", "<!-- its end -->")
BAR_SECONDS = 2.0

Step = Callable[[int], None]


def hooked(net: nn.Module) -> None:
    """Put a hook of every common kind on each leaf module and its parameters."""
    for module in net.modules():
        if list(module.children()):
            continue
        module.register_forward_pre_hook(lambda module, args: None)
        module.register_forward_hook(lambda module, args, output: None)
        module.register_full_backward_pre_hook(lambda module, grad_output: None)
        module.register_full_backward_hook(lambda module, grad_input, grad_output: None)
        for parameter in module.parameters(recurse=False):
            parameter.register_hook(lambda grad: grad * 1)
            parameter.register_post_accumulate_grad_hook(lambda parameter: None)


def training(net: nn.Module, width: int) -> Step:
    """A step of training a net, with an optimizer that has hooks."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    optimizer.register_step_pre_hook(lambda *arguments: None)

    def step(number: int) -> None:
        optimizer.zero_grad()
        net(torch.randn(4, width, requires_grad=True)).square().mean().backward()
        optimizer.step()

    return step


def block(width: int, *, inplace: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace))


class Residual(nn.Module):
    """Adds a little of what a body returns, so that a deep net neither explodes nor vanishes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.05 * self.body(x)


def many_steps() -> tuple[nn.Module, Step]:
    """Many steps of a small net with hooks of six kinds on every module."""
    net = nn.Sequential(*(block(8) for _ in range(4)), nn.Linear(8, 1))
    hooked(net)
    return net, training(net, 8)


def many_modules() -> tuple[nn.Module, Step]:
    """Few steps of a net of 1,250 modules with in-place activations; hooks store all outputs."""
    net = nn.Sequential(*(Residual(block(8, inplace=True)) for _ in range(250)))
    stored: dict[nn.Module, torch.Tensor] = {}
    for module in net.modules():
        module.register_forward_hook(
            lambda module, args, output: stored.__setitem__(module, output.detach())
        )
    return net, training(net, 8)


def many_hooks() -> tuple[nn.Module, Step]:
    """Hooks that are registered anew in every step, kept, removed, and writing in place."""
    net = nn.Sequential(block(8), nn.Linear(8, 1))
    train = training(net, 8)
    kept: list[Any] = []

    def step(number: int) -> None:
        handles = [one.register_forward_hook(lambda module, args, out: None) for one in net]
        handles += [one.register_hook(lambda grad: grad.mul_(0.5)) for one in net.parameters()]
        train(number)
        for handle in handles[:-1]:
            handle.remove()
        kept.append(handles[-1])
        if len(kept) > 20:
            kept.pop(0).remove()

    return net, step


PROGRAMS: dict[str, Callable[[], tuple[nn.Module, Step]]] = {
    "steps": many_steps,
    "modules": many_modules,
    "hooks": many_hooks,
}


def recorded(program: Callable[[], tuple[nn.Module, Step]], events: int) -> ht.Trace:
    """Run a program with statistics until its trace has so many events."""
    net, step = program()
    number = 0
    with ht.trace(net, stats=True) as t:
        while len(t.log) < events:
            step(number)
            number += 1
    str(t.edits)  # measures what edits changed
    return t


def seconds(work: Callable[[], object]) -> float:
    """CPU time of the best of three runs."""
    times = []
    for _ in range(3):
        gc.collect()
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measured(t: ht.Trace) -> Iterator[tuple[str, float, int]]:
    """Yield name, time and number of findings of all rules together, then of each alone."""
    calls = CallIndex(t.log).refresh()
    for name in ("", *RULES):
        select = [name] if name else list(RULES)
        took = seconds(lambda select=select: diagnose(t.log, calls, select=select))
        yield name, took, len(diagnose(t.log, calls, select=select))


def main() -> None:
    parser = argparse.ArgumentParser(description="What a pass of the doctor's rules costs.")
    parser.add_argument("only", nargs="*", choices=[*PROGRAMS, []], help="trace only these")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="put the table into docs/cost.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = ["| trace | events | all rules | aim | the slowest alone |", "|---|---|---|---|---|"]
    alone: list[tuple[float, str, str, int]] = []
    for name in given.only or PROGRAMS:
        t = recorded(PROGRAMS[name], given.events)
        (_, together, _), *each = measured(t)
        alone += [(took, rule, name, found) for rule, took, found in each]
        slowest = sorted(each, key=lambda one: -one[1])[:3]
        what = (PROGRAMS[name].__doc__ or "").rstrip(".")
        lines.append(
            f"| {what} | {len(t.log):,} | {together:.2f} s | {BAR_SECONDS:g} s "
            f"| {', '.join(f'`{rule}` {took:.2f} s' for rule, took, _ in slowest)} |"
        )
    print("\n".join(lines))
    print(f"\n{'alone':>8}  {'rule':34} {'program':8} findings")
    for took, rule, program, found in sorted(alone, reverse=True):
        slow = "  slow" if took > BAR_SECONDS / 4 else ""
        print(f"{took:7.3f}s  {rule:34} {program:8} {found:8}{slow}")
    if given.write:
        put(PAGE, MARKS, "\n".join(lines))


if __name__ == "__main__":
    main()
