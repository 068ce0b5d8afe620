"""What a file of a million events costs: seconds and memory, each in a process of its own.

    python benchmarks/files.py [EVENTS]

The events are those of a training loop of a small network, repeated under new numbers until there
are as many.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVENTS = 1_000_000


def make(count: int, path: Path) -> None:
    import msgspec
    import torch
    from torch import nn

    import hooktrace as ht
    from hooktrace.events import ModuleCalled

    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with ht.trace(net) as t:
        for _ in range(1000):
            net(torch.rand(3, 4)).sum().backward()
    once = t.log.events
    events, calls = list(once), 1 + max(one.call for one in t.log.of(ModuleCalled))
    while len(events) < count:
        turn = len(events) // len(once)
        for event in once[: count - len(events)]:
            new = {"seq": len(events)}
            if getattr(event, "call", None) is not None:
                new["call"] = event.call + turn * calls
            if getattr(event, "parent", None) is not None:
                new["parent"] = event.parent + turn * calls
            events.append(msgspec.structs.replace(event, **new))
    log = t.log
    log._events, log._by_kind, log.rows, log._read = [], {}, [], 0
    log.put_back(events)
    log.nodes.parts.clear()
    log.nodes.leaves.clear()
    log.producers.clear()
    began = time.perf_counter()
    t.save(path)
    print(f"saved    {time.perf_counter() - began:6.2f} s   {path.stat().st_size / 1e6:.1f} MB")


def load(path: Path) -> None:
    import hooktrace as ht

    began = time.perf_counter()
    t = ht.load(path)
    print(f"loaded   {time.perf_counter() - began:6.2f} s   {_peak_mb():.0f} MB at the peak")
    assert "torch" not in sys.modules
    assert t.log.sealed


def iterate(path: Path) -> None:
    from hooktrace.storage import read_events

    began = time.perf_counter()
    count = sum(1 for _ in read_events(path))
    print(
        f"iterated {time.perf_counter() - began:6.2f} s   {_peak_mb():.0f} MB at the peak, "
        f"{count:,} events"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) > 2:
        what, count, place = sys.argv[1:]
        {"make": lambda: make(int(count), Path(place)), "load": lambda: load(Path(place)),
         "iterate": lambda: iterate(Path(place))}[what]()  # fmt: skip
    else:
        number = sys.argv[1] if len(sys.argv) > 1 else str(EVENTS)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "run.hooktrace")
            for step in ("make", "load", "iterate"):
                subprocess.run([sys.executable, __file__, step, number, file], check=True)
