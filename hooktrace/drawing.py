"""How a recording is drawn: the options of all pictures, in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

if TYPE_CHECKING:
    from hooktrace.render.digraph import Digraph

__all__ = ["Drawing"]


class Drawing:
    """The part of a recording that draws it."""

    if TYPE_CHECKING:

        @property
        def log(self) -> EventLog: ...  # noqa: D102

        @property
        def index(self) -> CallIndex: ...  # noqa: D102

    def _settle(self) -> None:
        """Have measured what edits changed, where that is done only when it is asked for."""

    def digraph(self, **options: Any) -> Digraph:
        """Return the diagram as a `graphviz.Source` that needs no ``dot`` on the PATH.

        Args:
            **options: Those of `draw`.
        """
        from hooktrace.render.diagram import digraph

        self._settle()
        return digraph(self.log, self.index, **options)

    def draw(
        self,
        path: str | Path,
        *,
        view: str | None = None,
        depth: int | None = None,
        expand: str | Sequence[str] | Callable[[Any], bool] | None = None,
        step: int | None = None,
        budget: int | None = None,
        engine: str | None = None,
        **unknown: Never,
    ) -> Path:
        """Draw the diagram into a file, whole or not at all.

        Args:
            path: The file; its ending names the format: ``.svg``, ``.png``, ``.pdf``, ``.dot``,
                or ``.json`` for the layout as Graphviz's JSON.
            view: ``"modules"`` for what flows between module calls (the default if any was
                called), ``"tensors"`` for named tensors and operations, ``"autograd"`` for
                the backward graph, ``"hooks"`` for only what is hooked, ``"timeline"`` for when
                each call ran.
            depth: Levels of nested modules to open, 0 or more; by default as many as can be read
                on one screen, and more where hooks are inside.
            expand: Modules to open whatever the depth: a pattern such as ``"layer4*"``; in code
                also several, or a function that takes a call and says whether to open it.
            step: Which step of a loop to draw, from 0; -1 for the last.
            budget: Boxes, and arrows, that the picture may have, by default 300; if what is asked
                for has more, fewer levels are opened, and the title says so.
            engine: Name or path of the layout program.
            **unknown: None; a misspelt option is told what was meant.

        Raises:
            UnknownNameError: There is no such view, or `expand` names no module that was called.
            UnknownFormatError: The ending of `path` names no format.
            TypeError: There is no such option, or a value is of the wrong type.
            ValueError: An option is out of range, or the view does not have it.
            IndexError: There is no such step.
            RenderError: There is nothing to draw, or the layout engine is missing, or refused
                the diagram, or warned.
        """
        from hooktrace.render.diagram import draw

        self._settle()
        return draw(
            self.log,
            self.index,
            path,
            engine=engine,
            view=view,
            depth=depth,
            expand=expand,
            step=step,
            budget=budget,
            **unknown,
        )
