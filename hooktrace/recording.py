"""What was recorded, as it is read and shown: the part of a trace that needs no running model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooktrace.errors import UnknownNameError
from hooktrace.events import Event
from hooktrace.leaving import Leaving
from hooktrace.views import effects, tensors
from hooktrace.views.blindspots import BlindSpot, blind_spots
from hooktrace.views.calls import Call

if TYPE_CHECKING:
    from hooktrace.cam.heatmaps import HeatMaps
    from hooktrace.doctor import Findings
    from hooktrace.doctor.blame import Blame
    from hooktrace.doctor.why import Stories
    from hooktrace.log import EventT
    from hooktrace.summaries import Summary

__all__ = ["Recording"]


class Recording(Leaving):
    """A log and all that can be asked of it.  Each method is one call downwards."""

    # -------------------------------------------------------------- what happened

    @property
    def events(self) -> tuple[Event, ...]:
        """The timeline."""
        return tuple(self.log.events)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one kind, such as ``ht.events.HookFired``, in order."""
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"t.of() takes a kind of event out of ht.events, but got {kind!r}.")
        return self.log.of(kind)

    @property
    def hooks(self) -> Any:
        """The hooks that were seen; ``t.hooks[event.hook]`` describes one."""
        return self.log.hooks

    @property
    def edits(self) -> list[effects.EditView]:
        """Every change that a hook made, in order."""
        self._settle()
        return effects.edits(self.log)

    def writes(self) -> list[effects.WriteView]:
        """Return every write in place to a tensor that was seen, in order."""
        return effects.writes(self.log, self.index)

    def __getitem__(self, name: str) -> Any:
        """Return the module call of this name, or the named tensor.

        Args:
            name: ``"features.0"``; ``"features.1@0"`` for a module called several times; or the
                name of a parameter or of a tensor variable, such as ``"w"``.

        Raises:
            UnknownNameError: There is neither; the message gives the nearest names.
            AmbiguousCallError: The module was called several times; the message lists the calls.
        """
        if not isinstance(name, str):
            raise TypeError(
                f"t[...] takes the name of a call or tensor, but got {type(name).__name__}; "
                f"t.calls()[i] counts calls, t.events[i] events."
            )
        try:
            return self.index.one(name)
        except UnknownNameError:
            known = tensors.named_tensors(self.log)
            if name in known:
                return tensors.tensor_view(self.log, name)
            raise

    def calls(self, pattern: str = "*") -> list[Call]:
        """Return the module calls whose name matches an fnmatch pattern, in order."""
        return self.index.matching(pattern)

    @property
    def steps(self) -> list[list[Call]]:
        """The calls grouped by outermost call: the steps of a training loop."""
        steps: dict[int, list[Call]] = {}
        for call in self.index:
            steps.setdefault(call.root.id, []).append(call)
        return list(steps.values())

    def tensor(self, name: str) -> tensors.TensorView:
        """Return the story of a named tensor: its value, gradients, and hooks."""
        return tensors.tensor_view(self.log, name)

    def blind_spots(self) -> list[BlindSpot]:
        """Return what happened in this run that could not be seen, each with the reason."""
        return blind_spots(self.log)

    # -------------------------------------------------------------- kept

    def save(self, path: str | Path, *, force: bool = True) -> Path:
        """Write everything to a file, whole or not at all, from which `hooktrace.load` reads it.

        The file holds records and kept tensors: no code, no pickle, no model.

        Args:
            path: The file, by custom ``name.hooktrace``.
            force: Whether to replace a file that is there.

        Raises:
            FileExistsError: There is such a file, and `force` is False.
            OSError: The folder does not exist or cannot be written to.
        """
        from hooktrace import storage

        path = Path(path)
        if not force and path.exists():
            raise FileExistsError(f"{path} exists already.")
        self._settle()
        return storage.save(self.log, path)

    # -------------------------------------------------------------- shown

    def findings(self, select: Iterable[str] | None = None, ignore: Iterable[str] = ()) -> Findings:
        """Return what is wrong, or surprising, in what was recorded; print it.

        Args:
            select: Names of the rules to run, how names begin, or severities, such as
                ``["never-fired"]`` or ``["error", "warning"]``; None for what
                ``[tool.hooktrace]`` in ``pyproject.toml`` selects, or else all.
            ignore: The same for rules to leave out, besides those that the project ignores.

        Raises:
            UnknownNameError: There is no such rule; the message names the nearest.
            ConfigurationError: ``pyproject.toml`` says what cannot be.
        """
        from hooktrace.doctor import diagnose

        self._settle()
        return diagnose(self.log, self.index, select=select, ignore=ignore)

    def why(self, hook: Any) -> Stories:
        """Return what a hook did, or why it never fired; print it.

        Args:
            hook: The name of its function, ``"kind:name"`` or ``"name on owner"`` (of several with
                one name, all are told); a hook out of ``t.hooks``, its number, or its function.

        Raises:
            UnknownNameError: There is no such hook; the message names the nearest.
        """
        from hooktrace.doctor.why import why

        found = self.findings()
        return why(self.log, self.index, hook, found)

    def blame(self, tensor: Any) -> Blame:
        """Return where a tensor's gradient came from, and who changed it on the way; print it.

        Args:
            tensor: The name of a parameter, another leaf or a tensor in between, or its number;
                a parameter of a traced model itself, and inside the block any tensor.

        Raises:
            UnknownNameError: No tensor has this name; the message names the nearest.
            NoGradientError: No backward run gave it a gradient.
        """
        from hooktrace.doctor.blame import blame

        self._settle()
        return blame(self.log, self.index, tensor)

    def summary(self, **options: Any) -> Summary:
        """Return a row for each module: shapes, parameters, memory, time, hooks; print it.

        Args:
            **options: ``depth``: levels of modules to show (3; None for all).  ``sort``: a column
                to sort by, largest first, such as ``"forward"``.  ``columns``: which to show.

        Raises:
            UnknownNameError: There is no such column; the message names them.
        """
        from hooktrace.summaries import Summary

        return Summary(self.log, self.index, **options)

    def feature_maps(self, name: str | None = None, **options: Any) -> Any:
        """Draw kept outputs of convolutions as grids, one tile for each channel.

        Args:
            name: A call as in ``t[name]``; None draws every kept convolution.
            options: Those of `hooktrace.images.feature_maps`: ``item`` of the batch, ``scale``
                (pixels for a value), and torchvision's ``nrow``, ``padding``, ``normalize``,
                ``value_range`` and ``scale_each``.

        Returns:
            A ``PIL.Image``, or without a name a dict of them by name.
        """
        from hooktrace import images

        return images.draw(self.index, name, **options)

    def cam(self, layers: str | Sequence[str] | None = None, **options: Any) -> HeatMaps:
        """Make class activation maps of kept layers, one signed map for each image.

        Nothing of the model runs but, for gradient methods, the recorded graph from the result
        back to the earliest of the layers; hooks of yours on tensors in between fire as in any
        backward.  ``.grad`` of parameters stays as it is.

        Args:
            layers: Calls as in ``t[name]``, which ``keep=`` named, one or several; None chooses
                one, and ``.why`` of the map says why.
            **options: ``target``: a class for all images, a list with one for each, a callable
                on what the model returned, ``"backward"`` for the gradients that a backward inside
                the block has brought, or None for the predicted class.  ``classes``: several
                classes, each with a map of its own, instead of a target.  ``method``: names out
                of `hooktrace.cam.METHODS` or methods with options, one or several
                (``"gradcam"``).  ``reshape``: from what a layer returned to (N, C, *S), for
                layouts that are not found.  ``model`` and ``inputs``: for methods that run the
                model again.  ``seed``: for methods that draw random numbers (0).

        Returns:
            Heat maps by (method, layer, target); a single one has ``.raw`` (N, *S) itself.

        Raises:
            UnknownNameError: There is no such layer or method; the message names the nearest.
            NotKeptError: A layer was not kept.
            MapShapeError: A layer has no spatial extent.
            NoGraphError: No gradient can be had; a `GraphFreedError` where a backward freed the
                graph.
            TargetError: The target does not fit the batch or the classes.
            MissingModelError: The method needs ``model=`` and ``inputs=``.
        """
        from hooktrace.cam.making import cam

        return cam(self.index, layers, **options)

    def __str__(self) -> str:
        from hooktrace.render.text import table

        found = self.findings()
        return table(self.log, self.index, found.line)

    def tensorboard(self, log_dir: str | Path, *, images: bool = False, **options: str) -> Path:
        """Write the trace for TensorBoard: graph with hooks, table, findings, curves over steps.

        Args:
            log_dir: The folder of the run, which is made and returned.
            images: Whether to draw kept convolutions.
            **options: ``modules``: pattern of those that curves and histograms are written of;
                ``filename_suffix``: end of the name of the event file.

        Raises:
            MissingExtraError: TensorBoard is not installed (the extra ``tensorboard``).
            NotKeptError: `images` without any convolution that was kept.
        """
        from hooktrace.boards.exporting import export

        self._settle()
        drawn = self.feature_maps() if images else {}
        return export(self.log, self.index, log_dir, drawn, **options)
