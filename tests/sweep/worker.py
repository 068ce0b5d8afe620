"""Runs subjects in processes of their own, so that a crash or a hang ends one of them only."""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import IO, Any

from .subjects import Library, NotHere

MODULES = {
    "torch": "databases",
    "torchvision": "vision",
    "timm": "image_models",
    "transformers": "text_models",
}
"""Where the subjects of each library are listed."""

LOADING = 300.0
"""Seconds until a process has loaded its libraries."""


def library(name: str) -> Library:
    """Return a library by its name."""
    found: Library = importlib.import_module(f"{__package__}.{MODULES[name]}").LIBRARY
    return found


def work(name: str) -> None:
    """Run the subjects whose names come in on standard input, one line of JSON for each."""
    import torch

    from .compare import sweep

    os.environ["HOOKTRACE_STRICT"] = "1"
    torch.set_num_threads(1)
    told = os.dup(1)
    os.dup2(2, 1)  # what models print does not belong among the results
    with os.fdopen(told, "w") as out:
        for line in sys.stdin:
            subject = line.strip()
            print(json.dumps({"started": subject}), file=out, flush=True)
            try:
                torch.manual_seed(0)
                built = library(name).build(subject)
                row = built() if callable(built) else sweep(built)
            except NotHere as reason:
                row = {"skipped": str(reason)}
            except Exception:
                row = {"failed": traceback.format_exc()[-3000:]}
            print(json.dumps({"name": subject, **row}), file=out, flush=True)
            built = None
            gc.collect()


def results(name: str, subjects: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Run subjects one after the other and yield a row for each.

    Args:
        name: Of their library.
        subjects: Their names.
        seconds: How long one of them may take.
    """
    left = list(subjects)
    while left:
        process = subprocess.Popen(
            [sys.executable, "-m", __package__ or "sweep", "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        assert process.stdin is not None
        errors = _follow(process.stderr)
        lines = _follow(process.stdout)
        process.stdin.write("\n".join(left) + "\n")
        process.stdin.close()
        limit = LOADING
        while left:
            line: str | None
            try:
                line = lines.get(timeout=limit)
            except queue.Empty:
                process.kill()
                line = None
            if line is None:
                yield {"name": left.pop(0), "failed": _end(process, errors)}
                break
            limit = seconds
            row = json.loads(line)
            if "started" not in row:
                left.remove(row["name"])
                yield row
        else:
            process.wait()


def _end(process: subprocess.Popen[str], errors: queue.Queue[str | None]) -> str:
    """Say how a process ended that should not have."""
    code = process.wait()
    if code == -signal.SIGKILL:
        return "took too long"
    said = []
    while (line := errors.get()) is not None:
        said.append(line)
    return f"ended with {code}: {''.join(said)[-1500:]}"


def _follow(stream: IO[str] | None) -> queue.Queue[str | None]:
    """Read lines in a thread; None is the end."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert stream is not None
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines
