"""What `TensorBoardLogger` costs, as ratios to a step of training without it.

``python benchmarks/boards.py`` measures and prints: steps that are not written, and steps that are,
with and without histograms.  One thread, interleaved rounds, medians of the process's CPU time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision import models

import hooktrace as ht

ROUNDS = 15


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    model = models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    images, labels = torch.randn(4, 3, 64, 64), torch.arange(4)

    def step(logger: ht.TensorBoardLogger | None) -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        if logger is not None:
            logger.step(loss=loss)

    with tempfile.TemporaryDirectory() as folder:

        def timed(logger: ht.TensorBoardLogger | None) -> float:
            begun = time.process_time()
            step(logger)
            return time.process_time() - begun

        def logger(name: str, **options: bool | int) -> ht.TensorBoardLogger:
            made = ht.TensorBoardLogger(f"{folder}/{name}", model, **options)
            step(made)  # the first step also writes the graph
            return made

        step(None)
        quiet = logger("quiet", every=10**9)
        beside: list[tuple[str, Callable[[], float]]] = [
            ("without a logger", lambda: timed(None)),
            ("a step that is not written", lambda: timed(quiet)),
        ]
        times: dict[str, list[float]] = {name: [] for name, _ in beside}
        for _ in range(ROUNDS):
            for name, measure in beside:
                times[name].append(measure())
        plain = statistics.median(times["without a logger"])
        quiet.close()
        for name, histograms in (("norms alone", False), ("with histograms", True)):
            written = logger(name, every=1, histograms=histograms)
            times[f"a step that is written, {name}"] = [timed(written) for _ in range(ROUNDS // 3)]
            written.close()
    for name, own in times.items():
        print(f"{name:40} {statistics.median(own) / plain:.2f}x")


if __name__ == "__main__":
    main()
