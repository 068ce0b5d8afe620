"""`TensorBoardLogger`: curves, histograms, pictures and the graph from a training loop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace import images, patches
from hooktrace.boards.exporting import places
from hooktrace.boards.files import BoardFile, usual_folder
from hooktrace.boards.nodes import board_nodes
from hooktrace.boards.norms import CHARTS, norms
from hooktrace.boards.protocol import Counts, Value, chart, graph, histogram, picture, scalar
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.explaining import explain
from hooktrace.pixels import package
from hooktrace.session import Trace
from hooktrace.tracedsteps import TracedSteps
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.outline import inside

__all__ = ["TensorBoardLogger"]

_BINS = 64
_MOST_PHOTOS = 4
_SMALLEST_PHOTO = 160  # pixels
_VALIDATION = "validation"


class TensorBoardLogger:
    """Writes what a model does while it is trained; every n-th step is traced for it.

        >>> logger = TensorBoardLogger("runs/first", model, every=50)    # doctest: +SKIP
        >>> for inputs, labels in loader:                                # doctest: +SKIP
        ...     ...                       # forward, backward, optimizer.step()
        ...     logger.step(loss=loss)

    A step is all that happened since the last call of `step`.  The first one and every n-th after
    it are written: the numbers that `step` is given; norms of activations, gradients and parameters
    for each module (tab *Scalars*, together in *Custom Scalars*); histograms of parameters,
    gradients and activations; the graph with its hooks, once.  What runs under ``no_grad`` in
    between, such as a validation, is left out.  The steps that are not written cost a comparison.

    Histograms of gradients show what ``.grad`` holds when `step` is called: call it before
    ``optimizer.zero_grad()``.

    Args:
        log_dir: The folder of the run; an open ``SummaryWriter``; or None for a folder below
            ``runs`` with the time and the name of the machine, as ``SummaryWriter`` takes.
        model: What is trained.
        every: How many steps lie between those that are written, plus one.
        modules: An fnmatch pattern, or several, of the modules that are looked at.
        histograms: Whether to write histograms.  For those of activations, a copy of the outputs
            of these modules is held during a step that is written.
        feature_maps: Whether to draw the outputs of convolutions, for the first item of the batch.
        cam: Images (N, C, H, W), of which heat maps are drawn over the first four, from the model
            as it then is: ``hooktrace.explain(model, cam)``.
        comment: End of the name of the folder that is taken where none is given; else it has no
            effect, as in ``SummaryWriter``.
        filename_suffix: End of the name of the event file.

    Attributes:
        log_dir: The folder of the run.

    Raises:
        MissingExtraError: TensorBoard is not installed (the extra ``tensorboard``); or for pictures
            torchvision or Pillow (the extra ``images``).
        UnknownNameError: `modules` names no module of the model.
        TypeError: `filename_suffix` where the writer has its file already.
    """

    def __init__(
        self,
        log_dir: Any,
        model: nn.Module,
        *,
        every: int = 50,
        modules: str | Sequence[str] = "*",
        histograms: bool = True,
        feature_maps: bool = False,
        cam: Tensor | None = None,
        comment: str = "",
        filename_suffix: str = "",
    ) -> None:
        if feature_maps:
            package("torchvision", "torchvision.utils")
        self._patterns = [modules] if isinstance(modules, str) else list(modules)
        self._model, self._cam = model, cam
        self._histograms, self._feature_maps = histograms, feature_maps
        self._chosen = self._choose()
        keep = self._innermost() if histograms or feature_maps else []
        self._steps = TracedSteps(model, every, keep)
        self._file = _file(log_dir, comment, filename_suffix)
        self.log_dir = self._file.folder
        self._first = True
        self._steps.begin()

    @property
    def number(self) -> int:
        """How many steps there were."""
        return self._steps.number

    def _choose(self) -> set[str]:
        """Return the modules that are looked at: names that curves have."""
        every = [name or type(one).__name__ for name, one in self._model.named_modules()]
        for pattern in self._patterns:
            if not any(fnmatchcase(name, pattern) for name in every):
                raise UnknownNameError(
                    f"modules={pattern!r} names no module of the model.{nearest(pattern, every)}"
                )
        found = {one for one in every if any(fnmatchcase(one, own) for own in self._patterns)}
        return found | ({"model"} if type(self._model).__name__ in found else set())

    # -------------------------------------------------------------- the loop

    def step(self, **numbers: Any) -> None:
        """End a step of training.

        Args:
            **numbers: What is shown as curves, such as ``loss=loss``: numbers, or tensors of one
                element, which are read only if the step is written.
        """
        trace = self._steps.end()
        if trace is not None:
            self._write(trace, numbers)
        self._steps.begin()

    def validation(self, **numbers: Any) -> None:
        """Write numbers of a validation, in the same charts as those of the training.

        They are a run of their own in TensorBoard, ``validation``, at the step that ended last.
        """
        values = [scalar(name, _number(one)) for name, one in numbers.items()]
        run = self._file.run(_VALIDATION)
        run.add(values, max(self.number - 1, 0))
        run.flush()

    def close(self) -> None:
        """End the trace of a step that did not end, and close the files."""
        self._steps.abandon()
        self._file.close()

    def __enter__(self) -> TensorBoardLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -------------------------------------------------------------- one step

    def _innermost(self) -> list[nn.Module]:
        """Return those of the modules that are looked at in which there are no others."""
        return [
            one
            for name, one in self._model.named_modules()
            if (name or type(one).__name__) in self._chosen and not any(one.children())
        ]

    def _write(self, trace: Trace, numbers: dict[str, Any]) -> None:
        step = self.number - 1
        with patches.unrecorded():
            calls = CallIndex(trace.log).refresh()
            roots = [one for one in calls.roots() if one.mode.grad and one.first is None]
            own = inside(roots)
            values = [scalar(name, _number(one)) for name, one in numbers.items()]
            extent = (0, len(trace.log.events))
            found = norms(trace.log, own, extent, self._chosen.__contains__)
            values += [scalar(tag, one) for tag, one in sorted(found.items())]
            values += self._distributions(own) if self._histograms else []
            values += self._maps(own) if self._feature_maps else []
            self._file.add(values, step)
            if self._first and roots:
                self._first = False
                trace.edits  # noqa: B018 - measures what hooks changed, which the graph says
                self._file.add([chart(CHARTS)])
                self._file.add_graph(graph(board_nodes(trace.log, calls, roots)))
            trace.release()
        if self._cam is not None:
            self._file.add(self._heat(), step)
        self._file.flush()

    def _distributions(self, own: Sequence[Call]) -> Iterator[Value]:
        for name, one in self._model.named_parameters():
            if (name.rpartition(".")[0] or "model") in self._chosen:
                for tag, tensor in (("parameter", one), ("gradient", one.grad)):
                    counts = None if tensor is None else counted([tensor])
                    if counts is not None:
                        yield histogram(f"{tag}/{name}", counts)
        for call, place in places(own):
            counts = counted([one for one in call.outputs if isinstance(one, Tensor)])
            if counts is not None:
                yield histogram(f"activation/{place}", counts)

    def _maps(self, own: Sequence[Call]) -> Iterator[Value]:
        for call, place in places(own):
            if call.kept and images.is_convolution(call):
                yield picture(f"feature_maps/{place}", images.feature_maps(call))

    def _heat(self) -> Iterator[Value]:
        assert self._cam is not None
        heat = explain(self._model, self._cam).single
        for item, photo in enumerate(self._cam[:_MOST_PHOTOS]):
            yield picture(f"cam/{heat.layer}/{item}", heat.overlay(_shown(photo), item))


def _shown(photo: Tensor) -> Tensor:
    """Return an image (C, H, W) as it can be seen: from 0 to 1, in colours or grey, not tiny."""
    wide = photo.detach().float()
    low, high = wide.amin(), wide.amax()
    scaled = (wide - low) / (high - low).clamp_min(torch.finfo(wide.dtype).tiny)
    plain = scaled if scaled.shape[0] in (1, 3) else scaled.mean(0, keepdim=True)
    times = max(1, _SMALLEST_PHOTO // max(plain.shape[1:]))
    return plain.repeat_interleave(times, 1).repeat_interleave(times, 2)


def counted(tensors: Sequence[Tensor]) -> Counts | None:
    """Count the finite values of tensors, on their device; None if there is none."""
    with torch.no_grad():
        plain = [one.detach() for one in tensors if not (one.is_meta or one.is_complex())]
        flat = [one.float().reshape(-1) for one in plain if one.numel()]
        if not flat:
            return None
        every = flat[0] if len(flat) == 1 else torch.cat(flat)
        ends = torch.stack(every.aminmax())
        if not ends.isfinite().all():
            every = every[every.isfinite()]
            if not every.numel():
                return None
            ends = torch.stack(every.aminmax())
        low, high = ends
        width = torch.where(high > low, high - low, 1) / _BINS
        places = ((every - low) / width).to(torch.uint8).clamp_(max=_BINS - 1)
        counts = torch.bincount(places, minlength=_BINS)
        squares = torch.linalg.vector_norm(every, dtype=torch.float64).square()
        told = [
            low.double(),
            high.double(),
            width.double(),
            every.sum(dtype=torch.float64),
            squares,
        ]
        first, last, step, total, square = torch.stack(told).tolist()
        limits = [first + step * (number + 1) for number in range(_BINS)]
        return Counts(limits, counts.tolist(), first, last, every.numel(), total, square)


def _number(one: Any) -> float:
    return float(one.detach().item() if isinstance(one, Tensor) else one)


def _file(log_dir: Any, comment: str, suffix: str) -> BoardFile:
    if log_dir is None:
        return BoardFile.open(usual_folder(comment), suffix)
    if isinstance(log_dir, (str, os.PathLike)):
        return BoardFile.open(log_dir, suffix)
    if suffix:
        raise TypeError("filename_suffix= ends a file's name, but the SummaryWriter has its file.")
    return BoardFile.of(log_dir)
