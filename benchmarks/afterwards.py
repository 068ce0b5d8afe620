"""A process that has traced against one that has not, step by step in turns.

python benchmarks/afterwards.py [traced]     is one of the two: prints a time for each line it reads
"""

from __future__ import annotations

import statistics
import subprocess
import sys

import torch
from programs import chain, loop, traced_loop

from hooktrace.timing import seconds

__all__ = ["afterwards"]


def afterwards(rounds: int) -> float:
    """Return the time of a step in a process where a trace has ended, over one without."""
    fresh, traced = (
        subprocess.Popen(
            [sys.executable, __file__, *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for extra in ((), ("traced",))
    )
    ratios = []
    for number in range(rounds + 2):
        first, second = (fresh, traced) if number % 2 else (traced, fresh)
        times = {id(one): _ask(one) for one in (first, second)}
        if number >= 2:
            ratios.append(times[id(traced)] / times[id(fresh)])
    for one in (fresh, traced):
        one.communicate()
    return statistics.median(ratios)


def _ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main() -> None:
    torch.set_num_threads(1)
    model, batch = chain(), torch.randn(4, 8)
    if "traced" in sys.argv[1:]:
        traced_loop(model, batch, 5)
    for _ in sys.stdin:
        print(seconds(lambda: loop(model, batch, 20)), flush=True)


if __name__ == "__main__":
    main()
