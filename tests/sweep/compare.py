"""Sweeps one subject: prints with and without traces, and gradients against the hooks of a twin."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch

import hooktrace as ht

from .prints import Print, Runs, difference
from .subjects import NotHere, Subject
from .twins import Gradients, Hooked, traced_gradients

Row = dict[str, Any]
Tracing = Callable[[], Any]

VERDICTS = ("equal", "rounding", "zeros", "noted", "differs")

ROUNDING = 1e-9
"""In double precision, what differs by less than this part of the largest element is rounding."""

SINGLE = 1e-5
"""The same for models that do not run in double precision."""


def sweep(subject: Subject) -> Row:
    """Return what was found of a subject: a row of the results."""
    start = time.perf_counter()
    row: Row = {"modes": {}}
    for mode in subject.modes:
        try:
            row["modes"][mode] = _mode(subject, mode)
        except NotHere as reason:
            row["modes"][mode] = {"skipped": str(reason)}
    row["seconds"] = round(time.perf_counter() - start, 2)
    return row


def deviations(
    run: Callable[[Tracing], Print], ways: dict[str, Tracing]
) -> tuple[Print, dict[str, Any]]:
    """Run untraced and in each way traced; return the first print, and how others deviate.

    What deviates is run untraced once more: PyTorch itself warns of some things once per process
    only, and some programs are not repeatable at all, which is noted as ``unsteady``.
    """
    untraced = run(contextlib.nullcontext)
    row: dict[str, Any] = {}
    for way, tracing in ways.items():
        traced = run(tracing)
        found = difference(traced, untraced)
        if found is None:
            continue
        again = run(contextlib.nullcontext)
        if difference(traced, again) is None:
            untraced = again
        elif (unsteady := difference(again, untraced)) is not None:
            row["unsteady"] = unsteady
        else:
            row.setdefault("differs", {})[way] = found
    return untraced, row


def _mode(subject: Subject, mode: str) -> Row:
    runs = Runs(subject, mode)
    traces: list[Any] = []

    def run(tracing: Tracing) -> Print:
        traces.clear()
        found, t = runs.run(tracing)
        traces.append(t)
        return found

    ways: dict[str, Tracing] = {
        "trace()": lambda: ht.trace(),
        "trace(model, keep=True)": lambda: ht.trace(subject.model, keep=True),
    }
    untraced, row = deviations(run, ways)
    row["raised"] = untraced["raised"] and ": ".join(untraced["raised"])[:300]
    row["backward"] = any(untraced["gradients"].values()) or any(untraced["input gradients"])
    if row["backward"] and untraced["raised"] is None:
        traces.clear()
        _, t = runs.run(ways["trace(model, keep=True)"])
        row["calls"], row["events"] = len(t.calls()), len(t.log)
        row["hooks"] = _gradients(subject, runs, t, untraced["output"])
    return row


def _gradients(subject: Subject, runs: Runs, t: Any, output: Any) -> Row:
    """Compare the gradients of a trace with what full backward hooks report."""
    mine, noted = traced_gradients(t)
    del t
    hooked = Hooked(subject.model)
    twin = hooked.run(runs)
    if twin["raised"] is not None:
        return {"do not run": ": ".join(twin["raised"])[:300]}
    if twin["output"] != output:
        return {"do not run": "in-place code that cannot be run out of place"}
    verdicts = compared(mine, hooked.found, noted)
    if verdicts["differs"]:
        verdicts = _in_double_precision(subject, runs) or compared(
            mine, hooked.found, noted, rounding=SINGLE
        )
    row: Row = {"calls": hooked.calls, **{name: len(keys) for name, keys in verdicts.items()}}
    if verdicts["differs"]:
        row["which"] = verdicts["differs"][:5]
    return row


def _in_double_precision(subject: Subject, runs: Runs) -> dict[str, list[str]] | None:
    """Compare once more where rounding cannot hide anything; None if that does not run."""
    try:
        subject.model.double()
        torch.set_default_dtype(torch.float64)
        double = Runs(subject, runs.mode)
        traced, t = double.run(lambda: ht.trace(subject.model, keep=True))
        mine, noted = traced_gradients(t)
        del t
        hooked = Hooked(subject.model)
        twin = hooked.run(double)
        if traced["raised"] is not None or twin["raised"] is not None:
            return None
        return compared(mine, hooked.found, noted, rounding=ROUNDING)
    finally:
        torch.set_default_dtype(torch.float32)
        subject.model.float()


def compared(
    mine: Gradients, theirs: Gradients, noted: set[tuple[str, str]], *, rounding: float = 0.0
) -> dict[str, list[str]]:
    """Return names of gradients by verdict: equal, rounding, zeros, noted, or differs.

    Zeros are those that hooks make up for what has no gradient, such as a mask of integers.  Noted
    are those that are not equal and of which the trace says itself what limits them.
    """
    verdicts: dict[str, list[str]] = {name: [] for name in VERDICTS}
    for key, reported in theirs.items():
        traced = mine.get(key, [])
        latest_first = traced[::-1] if len(traced) == len(reported) else [None] * len(reported)
        for number, (one, other) in enumerate(zip(latest_first, reported, strict=True)):
            verdict = _verdict(one, other, rounding)
            if verdict == "differs" and any(_verdict(any_, other, 0) == "equal" for any_ in traced):
                verdict = "equal"  # the calls of one module came back in another order
            if verdict == "differs" and key in noted:
                verdict = "noted"
            name = f"{key[0] or 'root'}@{len(reported) - 1 - number} {key[1]}"
            verdicts[verdict].append(name + (_how(one, other) if verdict == "differs" else ""))
    return verdicts


def _verdict(one: Any, other: Any, rounding: float) -> str:
    if other is None:
        return "equal" if one is None else "differs"
    if one is None:
        return "differs" if other.any() else "zeros"
    if one.shape != other.shape or one.dtype != other.dtype:
        return "differs"
    if bool(((one == other) | (one.isnan() & other.isnan())).all()):
        return "equal"
    one, other = one.nan_to_num(), other.nan_to_num()
    apart = (one - other).abs().max()
    return "rounding" if float(apart) < rounding * float(other.abs().max()) else "differs"


def _how(one: Any, other: Any) -> str:
    """Say how two gradients differ: the trace's and the hook's."""
    if one is None or other is None:
        size = float((other if one is None else one).abs().max())
        return f": {'nothing' if one is None else f'up to {size:.2g}'} in the trace, " + (
            "nothing in the hook" if other is None else f"up to {size:.2g} in the hook"
        )
    if one.shape != other.shape or one.dtype != other.dtype:
        return f": {tuple(one.shape)} {one.dtype}, {tuple(other.shape)} {other.dtype}"
    return f": {float((one - other).abs().max() / other.abs().max()):.2g} apart"
