"""What a picture costs, with the trace at hand, beside torchview's on the same engine.

    python benchmarks/draw.py              prints the table
    python benchmarks/draw.py --write      and puts it into docs/pictures.md

Wall time, as the engine is a process of its own; medians of interleaved rounds.  torchview's time
is that of its own capture, which runs the model, and of the layout; its full depth has no folding.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchview
import torchvision
from doctables import asked, put
from torch import nn

import hooktrace as ht
from hooktrace.render.engine import find_engine

PAGE = Path(__file__).parent.parent / "docs" / "pictures.md"
MARKS = ("<!-- the table of `benchmarks/draw.py` -->", "<!-- its end -->")
NETS = ("resnet152", "swin_t", "vit_b_16", "densenet121")
FULL = 99


def traced(net: nn.Module, image: torch.Tensor) -> ht.Trace:
    with ht.trace(net) as t:
        net(image).sum().backward()
    return t


def peer(net: nn.Module, image: torch.Tensor) -> None:
    graph = torchview.draw_graph(
        net,
        input_data=image,
        depth=FULL,
        expand_nested=True,
        hide_inner_tensors=False,
        hide_module_functions=False,
    )
    source = graph.visual_graph.source.encode()
    subprocess.run([find_engine(), "-Tsvg"], input=source, capture_output=True, check=True)


def seconds(rounds: int, *works: Callable[[], object]) -> list[float]:
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, spent in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            if number:
                spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]


def rows(rounds: int) -> list[str]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.svg")
        for name in NETS:
            net = getattr(torchvision.models, name)().eval()
            image = torch.randn(1, 3, 224, 224)
            t = traced(net, image)
            usual, full, back, other = seconds(
                rounds,
                lambda t=t: t.draw(path),
                lambda t=t: t.draw(path, depth=FULL),
                lambda t=t: t.draw(path, view="autograd"),
                lambda net=net, image=image: peer(net, image),
            )
            cells = (f"{one:.2f} s" for one in (usual, full, back, other))
            found.append(f"| {name} | {' | '.join(cells)} | {full / other:.2f}x |")
            print(found[-1], flush=True)
    return found


def main() -> None:
    options = asked(__doc__)
    torch.set_num_threads(1)
    head = (
        '| net | default | `depth=99` | `view="autograd"` | torchview, full depth '
        "| `depth=99` over torchview |",
        "|---|---|---|---|---|---|",
    )
    table = "\n".join([*head, *rows(options.rounds)])
    if options.write:
        put(PAGE, MARKS, table)


if __name__ == "__main__":
    main()
