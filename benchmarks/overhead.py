"""What a trace costs, as ratios within one run on one thread.

    python benchmarks/overhead.py            prints the table
    python benchmarks/overhead.py --write    and puts it into docs/cost.md
    python benchmarks/overhead.py linears    measures only this (a name of `MEASUREMENTS`)

Each figure is the median over interleaved rounds, in CPU time of this process.  They say
nothing of larger batches, where the trace costs relatively less, nor of ``keep=`` and of hooks
with the default ``edits="values"``, whose tensors are copied.
"""

from __future__ import annotations

import argparse
import gc
import statistics as statistics_of
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torchvision
from afterwards import afterwards
from doctables import put
from programs import Floor, Forest, Sum, chain, empty_hooks, loop, step, traced_loop, traced_step

import hooktrace as ht
from hooktrace.errors import NothingTracedWarning
from hooktrace.timing import medians, seconds

PAGE = Path(__file__).parent.parent / "docs" / "cost.md"
_USED = 2 << 30  # bytes that the longest trace here does not need
MARKS = ("<!-- the table of `make bench` -->", "<!-- its end -->")


@dataclass(frozen=True)
class Row:
    """A row of the table: what was done, the figure, and the one aimed at."""

    work: str
    measured: str
    aim: str = ""

    def __str__(self) -> str:
        return f"| {self.work} | {self.measured} | {self.aim} |"


def resnet18(rounds: int) -> Iterator[Row]:
    model = torchvision.models.resnet18()
    batch = torch.randn(1, 3, 224, 224)

    def traced_forward() -> None:
        with ht.trace(model):
            model(batch)

    both, both_traced, forward, forward_traced = medians(
        rounds,
        partial(step, model, batch),
        partial(traced_step, model, batch),
        partial(model, batch),
        traced_forward,
    )
    work = "ResNet-18, forward and backward at batch 1, with opening and closing the trace"
    yield Row(work, f"{both_traced / both:.2f}x", "1.10x")
    yield Row("the same, forward only", f"{forward_traced / forward:.2f}x", "1.05x")


def statistics(rounds: int) -> Iterator[Row]:
    """What ``stats=True`` costs: a few passes over every value, and over the parameters."""
    model = torchvision.models.resnet18()
    for size in (1, 8):
        batch = torch.randn(size, 3, 224, 224)

        def measured(batch: torch.Tensor = batch) -> None:
            with ht.trace(model, stats=True):
                step(model, batch)

        plain, traced = medians(max(3, rounds // size), partial(step, model, batch), measured)
        work = f"ResNet-18, forward and backward at batch {size}, with `stats=True`"
        yield Row(work, f"{traced / plain:.2f}x")


def linears(rounds: int, depth: int = 50, steps: int = 20) -> Iterator[Row]:
    """The steps of a loop inside one trace."""
    plain, hooked, floor = chain(depth), empty_hooks(chain(depth)), Floor(chain(depth))
    batch = torch.randn(4, 8, requires_grad=True)
    base, full, least, traced = medians(
        rounds,
        *(partial(loop, model, batch, steps) for model in (plain, hooked, floor)),
        partial(traced_loop, plain, batch, steps),
    )
    calls = steps * depth / 1e6
    print(
        f"a Linear takes {base / calls:.1f} us; empty full backward hooks add "
        f"{(full - base) / calls:.1f}, empty hooks on the same nodes and leaves "
        f"{(least - base) / calls:.1f}, the trace {(traced - base) / calls:.1f}"
    )
    yield Row(
        "50 `Linear(8, 8)`, forward and backward: added per module call, over what *empty* full "
        "backward hooks add, which record nothing",
        f"{(traced - base) / (full - base):.2f}x",
        "0.60x",
    )
    yield Row(
        "its floor: empty functions of C as hooks on the same nodes and leaves",
        f"{(least - base) / (full - base):.2f}x",
    )


def hooks(rounds: int, many: int = 100, steps: int = 20) -> Iterator[Row]:
    """What a firing of a hook with one tensor of 8 numbers takes more in a trace."""
    one, all_of_them = Sum(1), Sum(many)
    batch = torch.ones(8)
    few, more, few_traced, more_traced = medians(
        rounds,
        partial(loop, one, batch, steps),
        partial(loop, all_of_them, batch, steps),
        partial(traced_loop, one, batch, steps, "versions"),
        partial(traced_loop, all_of_them, batch, steps, "versions"),
    )
    added = ((more_traced - few_traced) - (more - few)) / (many - 1) / steps
    work = 'a hook of yours with one small tensor, over the bare hook, with `edits="versions"`'
    yield Row(work, f"{added * 1e6:.1f} us", "4 us")


def opening(rounds: int) -> Iterator[Row]:
    model = Forest(10_000)

    def open_and_close() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingTracedWarning)
            with ht.trace(model):
                pass

    listed, opened = medians(rounds, lambda: list(model.named_modules()), open_and_close)
    print(f"listing {len(list(model.modules()))} modules takes {listed * 1e3:.0f} ms")
    work = "`with trace(model): pass` on a model of 10,000 modules"
    yield Row(work, f"{opened * 1e3:.0f} ms", "100 ms")


def outside(rounds: int) -> Iterator[Row]:
    ratio = afterwards(rounds)
    yield Row("a model after the trace, over one in a process without", f"{ratio:.2f}x", "1.00x")


def events(rounds: int) -> Iterator[Row]:
    """Memory per event, and time per event as a trace grows."""
    model, batch = torchvision.models.resnet18(), torch.randn(1, 3, 64, 64)
    traced_step(model, batch)
    tracemalloc.start()
    trace = ht.trace(model)
    with trace:
        loop(model, batch, 10)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    work = "memory per event of a trace of ResNet-18 that was read, with all that belongs to it"
    yield Row(work, f"{held / len(trace.events):.0f} B", "700 B")
    early, late = _growth()
    work = "time per event around the 10^6th, over that of the first 10^4"
    yield Row(work, f"{late / early:.2f}x", "flat")


def _growth(length: int = 1_000_000) -> tuple[float, float]:
    """Seconds per event of a chain's steps, at the beginning of one trace and at its end.

    A virtual machine gives memory that no program has used yet at a fifth of the pace of other
    memory, which shows as soon as a trace reaches it; so as much is used beforehand.
    """
    model, batch = chain(), torch.randn(4, 8)
    torch.ones(_USED // 4)
    traced_loop(model, batch, 2)
    trace = ht.trace(model)
    with trace:
        loop(model, batch, 2)
        per_step = len(trace.events) / 2
        stretch = max(1, round(10_000 / per_step))
        early = _typical(partial(step, model, batch), stretch)
        loop(model, batch, round(length / per_step) - 2 * stretch)
        late = _typical(partial(step, model, batch), stretch)
    return early / per_step, late / per_step


def _typical(work: Callable[[], object], times: int) -> float:
    """Return the median of the CPU times of `work`, with caches as they are in a loop.

    It leaves out the few times in which a table of the trace moves to a larger place.
    """
    spent: list[float] = []

    def run() -> None:
        for _ in range(times):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)

    seconds(run)
    return statistics_of.median(spent)


def device(rounds: int) -> Iterator[Row]:
    """On CUDA: how often a default trace synchronises, and the ratio of a step."""
    work = "CUDA: synchronisations that a default trace adds to a step of ResNet-18"
    if not torch.cuda.is_available():
        yield Row(work, "no device at hand", "0")
        return
    model = torchvision.models.resnet18().cuda()
    batch = torch.randn(1, 3, 224, 224, device="cuda")
    step(model, batch)
    added = _synchronisations(partial(traced_step, model, batch))
    added -= _synchronisations(partial(step, model, batch))
    yield Row(work, str(added), "0")

    def finished(work: Callable[[], object]) -> Callable[[], object]:
        return lambda: (work(), torch.cuda.synchronize())

    plain, traced = medians(
        rounds,
        finished(partial(step, model, batch)),
        finished(partial(traced_step, model, batch)),
    )
    yield Row("CUDA: the same step, traced over untraced", f"{traced / plain:.2f}x")


def _synchronisations(work: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchron" in str(one.message) for one in caught)


MEASUREMENTS: dict[str, tuple[Callable[[int], Iterator[Row]], int]] = {
    "resnet18": (resnet18, 25),
    "statistics": (statistics, 11),
    "linears": (linears, 20),
    "hooks": (hooks, 20),
    "opening": (opening, 9),
    "outside": (outside, 40),
    "events": (events, 1),
    "device": (device, 25),
}
"""What is measured, and in how many rounds."""


def main() -> None:
    parser = argparse.ArgumentParser(description="What a trace costs.")
    parser.add_argument("only", nargs="*", choices=[*MEASUREMENTS, []], help="measure only these")
    parser.add_argument("--write", action="store_true", help="put the table into docs/cost.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = ["| work | measured | aim |", "|---|---|---|"]
    print("\n".join(lines))
    for name in given.only or MEASUREMENTS:
        measure, rounds = MEASUREMENTS[name]
        for row in measure(rounds):
            lines.append(str(row))
            print(row, flush=True)
    if given.write:
        put(PAGE, MARKS, "\n".join(lines))


if __name__ == "__main__":
    main()
