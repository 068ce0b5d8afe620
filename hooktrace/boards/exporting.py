"""A trace, written for TensorBoard: what `Recording.tensorboard` does."""

from __future__ import annotations

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
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.outline import inside
from hooktrace.views.rounds import rounds
from hooktrace.views.values import Unkept

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["export", "places"]

_BINS = 64


def export(
    log: EventLog,
    calls: CallIndex,
    folder: str | os.PathLike[str],
    texts: Mapping[str, str] | None = None,
    feature_maps: Mapping[str, Image.Image] | None = None,
    *,
    modules: str = "*",
    filename_suffix: str = "",
) -> Path:
    """Write a trace for TensorBoard.

    The graph has every module call of the first step as a node, and every hook.  Where statistics
    were taken there are norms of activations, gradients and parameters for each module and step;
    of what was kept, how activations and their gradients are distributed.

    Args:
        log: The trace.
        calls: Its calls.
        folder: The folder of the run, which is made.
        texts: What is to be read beside, by title.
        feature_maps: Pictures by the names of calls.
        modules: An fnmatch pattern of the modules that curves and histograms are written of.
        filename_suffix: End of the name of the file.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """
    file = BoardFile(folder, filename_suffix)
    try:
        steps = rounds(log, calls)
        starts = [step[0].called.seq for step in steps]
        for number, extent in enumerate(pairwise([*starts, len(log.events)])):
            own = inside(steps[number])
            values = _step(log, own, extent, lambda name: fnmatchcase(name, modules))
            file.add([*values, *_pictures(own, feature_maps or {})], number)
        if log.stats.taken:
            file.add([chart(CHARTS)])
        if steps:
            file.add_graph(graph(board_nodes(log, calls, steps[0])))
        file.add(text(name, _fenced(words)) for name, words in (texts or {}).items())
    finally:
        file.close()
    return Path(folder)


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

    found = [_array(one) for one in values if hasattr(one, "shape") and not isinstance(one, Unkept)]
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
