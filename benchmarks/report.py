"""What a report costs: to write, to keep, and to look at.

    python benchmarks/report.py              prints the tables
    python benchmarks/report.py --write      and puts them into docs/report.md

Writing is wall time with the trace at hand, beside one forward and backward of the net; medians of
rounds.  Looking is the time between frames while a picture or a timeline is moved, in a headless
Chromium that draws in software: 16.7 ms is as fast as it shows frames.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from doctables import asked, put
from playwright.sync_api import sync_playwright
from torch import nn

import hooktrace as ht

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT / "tests")]

PAGE = ROOT / "docs" / "report.md"
MARKS = ("<!-- the tables of `benchmarks/report.py` -->", "<!-- their end -->")
NETS = ("alexnet", "resnet18", "resnet152", "vit_b_16", "swin_t", "densenet121")
BARS = {1_000: 20, 5_000: 33}  # boxes: milliseconds a frame

FRAMES = """([selector, count]) => new Promise((done) => {
  const target = document.querySelector(selector);
  const box = target.getBoundingClientRect();
  const times = [];
  let last, frame = 0;
  const next = (now) => {
    if (last !== undefined) times.push(now - last);
    last = now;
    if (times.length >= count) { done(times); return; }
    frame += 1;
    target.dispatchEvent(new WheelEvent("wheel", { bubbles: true, cancelable: true,
      shiftKey: selector.includes("canvas"), deltaX: 40 * Math.cos(frame / 7),
      deltaY: 40 * Math.sin(frame / 11), clientX: box.x + 200, clientY: box.y + 100 }));
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
})"""


def step(net: nn.Module, image: torch.Tensor) -> float:
    start = time.perf_counter()
    net(image).sum().backward()
    return time.perf_counter() - start


def written(folder: Path, rounds: int) -> list[str]:
    rows = ["| net | events | page | written in | over one step |", "|---|---|---|---|---|"]
    for name in NETS:
        net = getattr(torchvision.models, name)()
        image = torch.randn(2, 3, 224, 224)
        with ht.trace(net) as t:
            step(net, image)
        spent, steps = [], []
        for number in range(rounds + 1):
            start = time.perf_counter()
            path = t.report(folder / f"{name}.html")
            took = time.perf_counter() - start
            one = step(net, image)
            if number:
                spent.append(took)
                steps.append(one)
        took, one = statistics.median(spent), statistics.median(steps)
        size = path.stat().st_size / 1000
        rows.append(
            f"| {name} | {len(t.events):,} | {size:.0f} kB | {took:.2f} s | {took / one:.1f}x |"
        )
        print(rows[-1], flush=True)
    return rows


def wide(boxes: int) -> nn.Module:
    """A net of so many modules in blocks of nine, no two neighbours of one shape."""
    chance = random.Random(0)
    widths = [4] + [chance.randrange(2, 64) for _ in range(boxes)]
    layers = [nn.Linear(*pair) for pair in pairwise(widths[: boxes * 9 // 10 + 1])]
    return nn.Sequential(*(nn.Sequential(*layers[at : at + 9]) for at in range(0, len(layers), 9)))


def looked_at(folder: Path, chromium: str) -> list[str]:
    from long_log import long_log

    from hooktrace.report import Extras, Options, page
    from hooktrace.views.calls import CallIndex

    rows = ["| | items | frame, median | 95 % within | bar |", "|---|---|---|---|---|"]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        log = long_log(100_000)
        path = folder / "long.html"
        options = Options(limit_bytes=20_000_000)
        path.write_text(page(log, CallIndex(log).refresh(), Extras(), options), "utf-8")
        rows.append(frames(browser, path, "#timeline canvas.time", "timeline", 100_000, 33))
        for boxes, bar in BARS.items():
            net = wide(boxes)
            with ht.trace(net) as t:
                net(torch.ones(1, 4))
            path = t.report(folder / f"{boxes}.html", limit=20_000_000)
            rows.append(frames(browser, path, "svg.graph-picture", "graph", boxes, bar))
        browser.close()
    return rows


def frames(browser: Any, path: Path, selector: str, name: str, items: int, bar: int) -> str:
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
    if name == "graph":
        tab.get_by_role("button", name="Open all modules").click()
        tab.keyboard.press("f")
        tab.wait_for_timeout(1000)
    times = sorted(tab.evaluate(FRAMES, [selector, 120]))
    tab.close()
    half, most = times[len(times) // 2], times[-len(times) // 20]
    row = f"| {name} | {items:,} | {half:.1f} ms | {most:.1f} ms | {bar} ms |"
    print(row, flush=True)
    return row


def main() -> None:
    import conftest

    options = asked(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = ["\n".join(written(folder, options.rounds))]
        chromium = conftest.chromium()
        if chromium is None:
            print("No Chromium: what it costs to look at a page was not measured.")
        else:
            tables.append("\n".join(looked_at(folder, chromium)))
    if options.write:
        put(PAGE, MARKS, "\n\n".join(tables))


if __name__ == "__main__":
    main()
