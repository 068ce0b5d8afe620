"""`trace()` and `Trace`: the user's facade.  Each method is one call downwards."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hooktrace import measure
from hooktrace.errors import (
    NothingTracedWarning,
    TraceStateError,
    UnknownNameError,
    nearest,
)
from hooktrace.events import Event, HookFired, ModuleCalled, SchedulerStepped, StepStarted
from hooktrace.firing import describe_error
from hooktrace.hooktable import caller_frame
from hooktrace.log import EventLog
from hooktrace.probes import Probes
from hooktrace.recorder import Recorder
from hooktrace.scope import Keep, Scope, resolve_models
from hooktrace.tracebacks import unlink_own_frames
from hooktrace.views import effects, tensors
from hooktrace.views.blindspots import BlindSpot, blind_spots
from hooktrace.views.calls import Call, CallIndex

if TYPE_CHECKING:
    import networkx

    from hooktrace.log import EventT
    from hooktrace.render.engine import Digraph

__all__ = ["Trace", "trace"]

_RAN: tuple[type[Event], ...] = (ModuleCalled, HookFired, StepStarted, SchedulerStepped)


class Trace:
    """What happened in a ``with trace(...)`` block: readable inside it and after it.

    Attributes:
        log: The event log with its tables.
    """

    def __init__(self, model: Any = None, *, keep: Keep = False, edits: str = "values") -> None:
        if edits not in ("values", "versions"):
            raise ValueError(f"edits= is 'values' or 'versions', but got {edits!r}.")
        self.log = EventLog()
        models, everything = resolve_models(model)
        self._scope = Scope(self.log, models, everything=everything, keep=keep)
        strict = os.environ.get("HOOKTRACE_STRICT", "") == "1"
        self._recorder = Recorder(self.log, self._scope, copies=edits == "values", strict=strict)
        self.log.copies = edits == "values"
        self._calls = CallIndex(self.log)
        self._probes: Probes | None = None

    # -------------------------------------------------------------- the block

    def __enter__(self) -> Trace:
        if self._probes is not None or self.log.sealed:
            raise TraceStateError("A trace can be entered once; make a new one with trace(...).")
        self._probes = Probes(self._recorder, caller_frame(2))
        self._probes.begin()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._probes is not None
        if error is not None:
            self.log.error = describe_error(error)
            unlink_own_frames(error)
        try:
            self._probes.finish()
        finally:
            self.log.sealed = True
            self._probes = None
        if error is None:
            self._warn()

    def _warn(self) -> None:
        called = len(self.log.of(ModuleCalled)) > 0
        ran = called or (not self._scope.outsiders and any(self.log.of(kind) for kind in _RAN))
        if not self._scope.everything and not ran:
            model = " and ".join(type(one).__name__ for one in self._scope.models()) or "the model"
            others = ", ".join(f"{name} ({n}x)" for name, n in self._scope.outsiders.items())
            message = f"No module of {model} ran inside the block."
            if others:
                message += f" These did: {others}. Was a wrapped or compiled copy called?"
            warnings.warn(message, NothingTracedWarning, stacklevel=3)
        elif self._scope.everything:
            for pattern in self._scope.unknown_patterns():
                hint = nearest(pattern, [row.name for row in self.log.modules])
                message = f"keep={pattern!r} matched no module that ran.{hint}"
                warnings.warn(message, NothingTracedWarning, stacklevel=3)

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
        measure.settle(self.log)
        return effects.edits(self.log)

    def writes(self) -> list[effects.WriteView]:
        """Return every write in place to a tensor that was seen, in order."""
        return effects.writes(self.log, self._calls.refresh())

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
            return self._calls.refresh().one(name)
        except UnknownNameError:
            known = tensors.named_tensors(self.log)
            if name in known:
                return tensors.tensor_view(self.log, name)
            raise

    def calls(self, pattern: str = "*") -> list[Call]:
        """Return the module calls whose name matches an fnmatch pattern, in order."""
        return self._calls.refresh().matching(pattern)

    @property
    def steps(self) -> list[list[Call]]:
        """The calls grouped by outermost call: the steps of a training loop."""
        steps: dict[int, list[Call]] = {}
        for call in self._calls.refresh():
            steps.setdefault(call.root.id, []).append(call)
        return list(steps.values())

    def tensor(self, name: str) -> tensors.TensorView:
        """Return the story of a named tensor: its value, gradients, and hooks."""
        return tensors.tensor_view(self.log, name)

    def blind_spots(self) -> list[BlindSpot]:
        """Return what happened in this run that could not be seen, each with the reason."""
        return blind_spots(self.log)

    def release(self) -> None:
        """Let go of every kept tensor and gradient edge."""
        self.log.released = True
        for held in (self.log.snapshots, self.log.overwritten, self.log.edges):
            held.clear()

    # -------------------------------------------------------------- shown

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

        return images.draw(self._calls.refresh(), name, **options)

    def __str__(self) -> str:
        from hooktrace.render.text import table

        measure.settle(self.log)
        return table(self.log, self._calls.refresh())

    def graph(self, view: str = "all") -> networkx.MultiDiGraph:
        """Return the trace as a graph, or one of its sub-views.

        Args:
            view: ``"all"``, ``"timeline"``, ``"dataflow"``, ``"gradients"`` or ``"hooks"``.

        Raises:
            UnknownNameError: There is no such view; the message names the nearest.
        """
        from hooktrace.views.graph import graph

        measure.settle(self.log)
        return graph(self.log, self._calls.refresh(), view)

    def digraph(self, **options: Any) -> Digraph:
        """Return the diagram as a `graphviz.Source` that needs no ``dot`` on the PATH.

        Args:
            **options: ``view`` (``"modules"`` or ``"tensors"``), ``depth`` (levels of nested
                modules to open), ``step`` (of a loop, from 0), ``engine`` (name or path of the
                layout program).

        Raises:
            UnknownNameError: There is no such view.
        """
        from hooktrace.render.diagram import digraph

        measure.settle(self.log)
        return digraph(self.log, self._calls.refresh(), **options)

    def draw(self, path: str | Path, **options: Any) -> Path:
        """Draw the diagram into a ``.svg``, ``.png`` or ``.dot`` file, whole or not at all.

        Args:
            path: The file; its ending names the format.
            **options: Those of `digraph`.

        Raises:
            UnknownFormatError: No renderer writes files with this ending.
            RenderError: The layout engine is missing, or refused the diagram, or warned.
        """
        from hooktrace.render.diagram import draw

        measure.settle(self.log)
        return draw(self.log, self._calls.refresh(), path, **options)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from hooktrace.render.diagram import mimebundle

        measure.settle(self.log)
        return mimebundle(self.log, self._calls.refresh(), str(self))

    def __repr__(self) -> str:
        state = "closed" if self.log.sealed else "open" if self._probes else "not entered"
        return f"<Trace ({state}): {len(self._calls.refresh())} calls, {len(self.log)} events>"


def trace(model: Any = None, *, keep: Keep = False, edits: str = "values") -> Trace:
    """Record what happens in a ``with`` block, and what hooks do in it.

    Args:
        model: A module, several (a dict of names or a sequence), or nothing: then every module
            that runs in the block is recorded, and every computation that autograd records and
            that is reachable from a backward root or from the caller's variables.
        keep: Names (fnmatch patterns), modules, or True for all: whose outputs and per-call
            gradients are kept as values, by a copy at that moment.  Their gradient edges are
            held until `Trace.release` or until the trace is dropped.
        edits: ``"values"`` copies the tensor arguments of hooks up to 1 MiB around each firing, to
            tell what a hook did in place; ``"versions"`` copies nothing.

    Returns:
        A context manager, which is also the result.

    Raises:
        UnsupportedModuleError: `model` is not made of modules, or is a ScriptModule.
        UnknownNameError: `keep` names no module of the model.
        ValueError: `edits` is neither of the two.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with trace(net) as t:
        ...     net(torch.ones(1, 2)).sum().backward()
        >>> [str(call) for call in t.calls()]
        ['Sequential@0', '0@0', '1@0']
    """
    return Trace(model, keep=keep, edits=edits)
