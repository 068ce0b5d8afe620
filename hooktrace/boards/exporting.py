"""A trace, written for TensorBoard: what `Recording.tensorboard` does."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooktrace.boards.files import BoardFile
from hooktrace.boards.nodes import board_nodes
from hooktrace.boards.norms import CHARTS, norms
from hooktrace.boards.protocol import Counts, Value, chart, graph, histogram, picture, scalar, text
from hooktrace.doctor import diagnose
from hooktrace.log import EventLog
from hooktrace.render.text import table
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.outline import inside
from hooktrace.views.rounds import rounds
from hooktrace.views.values import Unkept

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["event_file", "export", "places"]

_BINS = 64


def export(
    log: EventLog,
    calls: CallIndex,
    folder: str | os.PathLike[str],
    feature_maps: Mapping[str, Image.Image] | None = None,
    *,
    modules: str = "*",
    filename_suffix: str = "",
) -> Path:
    """Write a trace as a run of TensorBoard.

    Args:
        log: The trace; its edits should be measured already.
        calls: Its calls.
        folder: The folder of the run, which is made.
        feature_maps: Pictures by the names of calls.
        modules: An fnmatch pattern of the modules that curves and histograms are written of.
        filename_suffix: End of the name of the file.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    file = BoardFile.open(folder, filename_suffix)
    try:
        _fill(file, log, calls, modules, feature_maps or {})
    finally:
        file.close()
    return Path(folder)


def event_file(log: EventLog, calls: CallIndex, modules: str) -> bytes:
    """Return what is in the file that `export` writes."""
    stream = io.BytesIO()
    _fill(BoardFile.into(stream, _time_s(log, 0)), log, calls, modules, {})
    return stream.getvalue()


def _fill(
    file: BoardFile,
    log: EventLog,
    calls: CallIndex,
    modules: str,
    feature_maps: Mapping[str, Image.Image],
) -> None:
    """Write what there is of a trace.

    The graph has every module call of the first step as a node, and every hook.  Where statistics
    were taken there are norms of activations, gradients and parameters for each module and step;
    of what was kept, how activations and their gradients are distributed.
    """
    steps = rounds(log, calls)
    starts = [step[0].called.seq for step in steps]
    numbers = _numbers(log, calls, steps)
    for place, extent in enumerate(pairwise([*starts, _end(log)])):
        own = inside(steps[place])
        values = _step(log, own, extent, lambda name: fnmatchcase(name, modules))
        when = _time_s(log, own[0].called.time_ns)
        file.add([*values, *_pictures(own, feature_maps)], numbers[place], when)
    begun = _time_s(log, log.events[0].time_ns if log.events else 0)
    if log.stats.taken:
        file.add([chart(CHARTS)], None, begun)
    if steps:
        file.add_graph(graph(board_nodes(log, calls, steps[0])), begun)
    found = diagnose(log, calls)
    texts = {"trace": table(log, calls, found.line), "findings": str(found)}
    file.add((text(name, _fenced(words)) for name, words in texts.items()), None, begun)


def _numbers(log: EventLog, calls: CallIndex, steps: Sequence[Sequence[Call]]) -> Sequence[int]:
    """Return the numbers of the steps: those of the whole run, where a file has only some of it."""
    known = () if log.origin is None else log.origin.steps
    if len(known) == len(steps) == len(calls.roots()):
        return known
    return range(len(steps))


def _time_s(log: EventLog, time_ns: int) -> float:
    """Return when something was recorded, in seconds since 1970 if that is known."""
    return (time_ns + (log.surroundings.epoch_ns or 0)) / 1e9


def _end(log: EventLog) -> int:
    """Return the number after that of the last event."""
    return log.events[-1].seq + 1 if log.events else 0


def _step(
    log: EventLog, own: Sequence[Call], extent: tuple[int, int], chosen: Callable[[str], bool]
) -> Iterator[Value]:
    """Yield what is known of one step: norms, the time of forward, how kept values spread."""
    for tag, number in sorted(norms(log, own, extent, chosen).items()):
        yield scalar(tag, number)
    times = (call.duration_ns or 0 for call in own if call.parent is None)
    yield scalar("forward_ms", sum(times) / 1e6)
    for call, place in places(own):
        if chosen(call.name):
            gradients = call.runs[-1].grad_outputs if call.runs else ()
            for tag, values in (("activation", call.outputs), ("activation_gradient", gradients)):
                counts = _counted(values)
                if counts is not None:
                    yield histogram(f"{tag}/{place}", counts)


def _pictures(own: Sequence[Call], drawn: Mapping[str, Image.Image]) -> Iterator[Value]:
    for call, place in places(own):
        image = drawn.get(str(call), drawn.get(call.name))
        if image is not None:
            yield picture(f"feature_maps/{place}", image)


def places(own: Sequence[Call]) -> Iterator[tuple[Call, str]]:
    """Yield the calls of one step with names that are the same in every step.

    A module that is called several times in it gets numbers: ``relu@0``, ``relu@1``.
    """
    times = Counter(call.name for call in own)
    met: Counter[str] = Counter()
    for call in own:
        again = f"@{met[call.name]}" if times[call.name] > 1 else ""
        met[call.name] += 1
        yield call, f"{call.name}{again}"


def _counted(values: Sequence[Any]) -> Counts | None:
    """Count the values of the tensors that were kept; None if there is none."""
    import numpy

    kept = [one for one in values if hasattr(one, "shape") and not isinstance(one, Unkept)]
    found = [_array(one) for one in kept if "complex" not in str(one.dtype)]
    every = numpy.concatenate([one.ravel() for one in found]) if found else numpy.empty(0)
    every = every[numpy.isfinite(every)]
    if not every.size:
        return None
    counts, edges = numpy.histogram(every, bins=_BINS)
    return Counts(
        edges[1:].tolist(),
        counts.tolist(),
        float(every.min()),
        float(every.max()),
        int(every.size),
        float(every.sum()),
        float((every**2).sum()),
    )


def _array(kept: Any) -> Any:
    """Return what was kept as an array of doubles; a tensor of PyTorch by its own means."""
    import numpy

    if hasattr(kept, "detach"):
        kept = kept.detach().cpu().double().numpy()
    return numpy.asarray(kept, dtype=numpy.float64)


def _fenced(words: str) -> str:
    """Return text as Markdown that keeps its columns."""
    return "\n".join(f"    {line}" for line in words.splitlines())
