"""What a trace costs, as ratios within one run on one thread.

    python benchmarks/overhead.py

Three figures, each the median over interleaved rounds:

* ResNet-18, forward + backward at batch 1: traced over untraced.
* 50 Linear(8, 8), forward + backward: what the trace adds per module call, over what *empty*
  full backward hooks add, which record nothing.
* memory per event, over one step of ResNet-18.

They say nothing of CUDA, of larger batches (where the trace costs relatively less), or of
``keep=`` and hooks, whose tensors are copied.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable

import torch
import torchvision
from torch import nn

import hooktrace as ht


def step(model: nn.Module, batch: torch.Tensor) -> None:
    model.zero_grad()
    model(batch).sum().backward()


def traced_step(model: nn.Module, batch: torch.Tensor) -> None:
    with ht.trace(model):
        step(model, batch)


def seconds(work: Callable[[], None]) -> float:
    gc.collect()
    gc.disable()
    start = time.process_time()
    work()
    spent = time.process_time() - start
    gc.enable()
    return spent


def medians(rounds: int, *works: Callable[[], None]) -> list[float]:
    """Run the works in turns, after two rounds of warming up; return the median of each."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 2):
        for work, spent in zip(works, times, strict=True):
            took = seconds(work)
            if number >= 2:
                spent.append(took)
    return [statistics.median(spent) for spent in times]


def resnet18(rounds: int = 25) -> float:
    model = torchvision.models.resnet18()
    batch = torch.randn(1, 3, 224, 224)
    plain, traced = medians(rounds, lambda: step(model, batch), lambda: traced_step(model, batch))
    print(f"ResNet-18 step: {plain * 1e3:.1f} ms plain, {traced * 1e3:.1f} ms traced")
    return traced / plain


def linears(rounds: int = 20, depth: int = 50, steps: int = 20) -> float:
    def chain() -> nn.Sequential:
        return nn.Sequential(*(nn.Linear(8, 8) for _ in range(depth)))

    plain, hooked = chain(), chain()
    for layer in hooked:
        layer.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    batch = torch.randn(4, 8, requires_grad=True)

    def inside() -> None:  # the steps of a loop inside one trace
        with ht.trace(plain):
            for _ in range(steps):
                step(plain, batch)

    base, full, traced = medians(
        rounds,
        lambda: [step(plain, batch) for _ in range(steps)] and None,
        lambda: [step(hooked, batch) for _ in range(steps)] and None,
        inside,
    )
    calls = steps * depth
    added, by_hooks = (traced - base) / calls * 1e6, (full - base) / calls * 1e6
    print(
        f"50 Linear: {base / calls * 1e6:.1f} us a module, full backward hooks add "
        f"{by_hooks:.1f}, the trace adds {added:.1f}"
    )
    return added / by_hooks


def memory() -> float:
    model = torchvision.models.resnet18()
    batch = torch.randn(1, 3, 64, 64)
    traced_step(model, batch)
    step(model, batch)
    tracemalloc.start()
    trace = ht.trace(model)
    with trace:
        for _ in range(10):
            step(model, batch)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / len(trace.events)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"ResNet-18 traced / untraced:                 {resnet18():.3f}  (bar 1.15)")
    print(f"50 Linear, added / added by empty full hooks: {linears():.3f}  (bar 0.80)")
    print(f"bytes per event:                              {memory():.0f}  (bar 700)")


if __name__ == "__main__":
    main()
