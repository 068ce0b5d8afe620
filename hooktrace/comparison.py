"""`compare()`: two traces of one architecture side by side.

What the numbers mean: "equal" is bit for bit; an element of a capture is "wrong" if it compares
unequal to what the module returned (NaN beside NaN is right, 0 beside -0 too).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hooktrace import agreement, contrasts
from hooktrace.agreement import Agreement
from hooktrace.captures import Capture, Contents, Overwrite, captures
from hooktrace.contrasts import Timing
from hooktrace.errors import NotKeptError, UnknownFormatError
from hooktrace.events import CallId
from hooktrace.pairing import SIDES, configurations, left_out, matched, nothing_kept, settings
from hooktrace.render.diagram import draw_remarked
from hooktrace.sheets import Pair, pair_sheet
from hooktrace.views.calls import CallIndex

if TYPE_CHECKING:
    from hooktrace.recording import Recording

__all__ = ["Agreement", "Capture", "Comparison", "Overwrite", "Timing", "compare"]

_OF_MODULES = (".svg", ".pdf", ".dot")
_LINES = 60  # most lines of a printed comparison
_NOTHING_LEFT = (
    "No kept value is left in these traces: they were released, or the kept modules returned no "
    "tensors."
)


class Comparison:
    """What `compare` found.

    Attributes:
        structure: What differs in the modules and how often they were called.
        hooks: What differs in the hooks: which there are, how often they fired, in what order.
        edits: What hooks changed in one trace and not, or less often, in the other.
        timings: How long each call took that both traces have.
        captures: One record for each output that both traces kept, in order.
        unkept: Why there are no captures; empty if there are some.
        settings: ``name: first | second`` for each module whose configuration differs.
        left_out: Name of a call -> why it is not among `captures`.
        outputs: Whether the models returned the same.
        gradients: Whether the kept calls' ``grad_outputs`` and ``grad_inputs`` are the same.
        parameter_gradients: Whether the parameters' ``.grad`` are the same.
    """

    def __init__(self, first: Recording, second: Recording) -> None:
        logs = (first.log, second.log)
        indexes = (CallIndex(first.log).refresh(), CallIndex(second.log).refresh())
        pairs = matched(*indexes)
        kept = [(one, other) for one, other in pairs if one.kept and other.kept]
        found = list(captures(kept, logs, indexes))
        self.structure = tuple(contrasts.structure(indexes))
        self.hooks = tuple(contrasts.hooks(logs))
        self.edits = tuple(contrasts.changes(logs))
        self.timings = tuple(contrasts.timings(pairs))
        self.unkept = "" if found else _NOTHING_LEFT if kept else nothing_kept(pairs)
        self._contents: list[tuple[Contents, Contents]] = [(one, other) for _, one, other in found]
        self._log, self._calls = logs[0], indexes[0]
        self._remarks = configurations(pairs)
        self.captures: tuple[Capture, ...] = tuple(capture for capture, *_ in found)
        self.settings = tuple(settings(pairs))
        self.left_out = left_out(pairs, indexes)
        self.outputs = agreement.outputs(pairs, logs)
        self.gradients = agreement.kept_gradients(kept, logs)
        self.parameter_gradients = agreement.parameter_gradients(first, second)
        self._whole = [call for call in pairs if call[0].parent is None]

    # -------------------------------------------------------------- the answers

    @property
    def wrong(self) -> tuple[Capture, ...]:
        """The captures that a naive hook would have got wrong in either trace."""
        return tuple(one for one in self.captures if one.first or one.second)

    @property
    def outputs_equal(self) -> bool | None:
        """Whether the models returned the same; None where it cannot be told."""
        return self.outputs.equal

    @property
    def gradients_equal(self) -> bool | None:
        """Whether all gradients that both traces have are the same; None where there are none.

        These are the gradients of the kept calls and the parameters' ``.grad``; `gradients` and
        `parameter_gradients` tell them apart, and why one of them is not available.
        """
        known = {self.gradients.equal, self.parameter_gradients.equal} - {None}
        return None if not known else known == {True}

    def draw(self, path: str | os.PathLike[str], *, item: int | None = None) -> Path:
        """Draw what differs: the captured values into a ``.png``, else the modules.

        A ``.png`` has every capture that a naive hook gets wrong: returned | what the hook would
        show.  A ``.svg``, ``.pdf`` or ``.dot`` has the modules of the first trace, and at each
        what differs: settings, what was returned, what a naive hook would get wrong.

        Args:
            path: Where to.
            item: Which item of the batch a ``.png`` shows, by default the first.

        Returns:
            The path.

        Raises:
            UnknownFormatError: `path` has another ending.
            NotKeptError: No captured value was overwritten, so a ``.png`` has nothing to show.
            MissingExtraError: Pillow is not installed, which a ``.png`` needs.
            RenderError: The layout engine is missing, or refused the diagram.
            ValueError: `item` was given, but the picture is of modules.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".png":
            return self._draw_values(path, item or 0)
        if ending not in _OF_MODULES:
            raise UnknownFormatError(
                f"A comparison is drawn as .png (values) or {', '.join(_OF_MODULES)} (modules), "
                f"but the path ends in {path.suffix!r}."
            )
        if item is not None:
            raise ValueError(f"item= chooses among values, of which a {ending} shows none.")
        return draw_remarked(self._log, self._calls, path, self._all_remarks())

    def _draw_values(self, path: Path, item: int) -> Path:
        if not self.wrong:
            raise NotKeptError(
                self.unkept
                or "In neither trace was a captured value overwritten, so there is nothing to "
                "draw. Was in-place code traced, and the module *before* it kept? What else "
                f"differs is drawn at the modules: end the path in {', '.join(_OF_MODULES)}."
            )
        captions = ("what the module returned", "what a naive hook would have shown")
        heading = "Captured values that were overwritten in place"
        sheet = pair_sheet(heading, captions, self._pairs(), item=item)
        sheet.save(path)
        return path

    def _all_remarks(self) -> dict[CallId, list[str]]:
        """Say at each call of the first trace what differs."""
        found = {call: [words] for call, words in self._remarks.items()}
        for one in self.captures:
            texts = found.setdefault(self._calls.one(one.name).id, [])
            if not one.returned_equal:
                texts.append(f"{one.role} differs by up to {one.returned_difference:.3g}")
            for side, wrong in zip(SIDES, (one.first, one.second), strict=True):
                if wrong is not None:
                    texts.append(f"{side}: a naive hook holds {one.role} {wrong}")
        return found

    def _pairs(self) -> Iterator[Pair]:
        both = any(one.first for one in self.captures) and any(one.second for one in self.captures)
        for capture, contents in zip(self.captures, self._contents, strict=True):
            for number, found in enumerate((capture.first, capture.second)):
                if found is not None:
                    side = f", {SIDES[number]} trace" if both else ""
                    title = f"{capture.label}  {capture.type}  {capture.summary.dimensions}{side}"
                    yield Pair(
                        title, f"{found.described}; overwritten by {found.by}", *contents[number]
                    )

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        return f"<Comparison: {len(self.wrong)} of {len(self.captures)} captures overwritten>"


def compare(first: Recording, second: Recording) -> Comparison:
    """Put two traces of one architecture side by side.

    It tells how they differ in modules and calls, hooks and their order, edits and time; and
    where values were kept, whether the two models computed the same.  Of a model with
    ``inplace=True`` against the same with ``inplace=False`` it tells which kept outputs a hook
    without a clone would have got wrong, and by how much.

    Args:
        first: A trace, or one that was loaded.  Values are compared of what both kept with
            ``keep=``.
        second: Another one, whose modules have the same names; settings and weights may differ.

    Returns:
        The comparison; print it, or draw it with `Comparison.draw`.

    Raises:
        MismatchError: No module of one name was called in both.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import hooktrace as ht
        >>> traces = []
        >>> for inplace in (True, False):
        ...     net = nn.Sequential(nn.Identity(), nn.Hardtanh(inplace=inplace))
        ...     with ht.trace(net, keep=True) as t:
        ...         _ = net(torch.tensor([[-3.0, 0.5]]))
        ...     traces.append(t)
        >>> found = ht.compare(*traces)
        >>> found.outputs_equal, [(one.name, str(one.first)) for one in found.wrong]
        (True, [('0', '50 % wrong by up to 2')])
    """
    for side, one in zip(SIDES, (first, second), strict=True):
        if not hasattr(one, "log"):
            raise TypeError(
                f"compare() takes two traces, but the {side} is a {type(one).__name__}."
            )
    first._settle()
    second._settle()
    return Comparison(first, second)


# ------------------------------------------------------------------ as text


def _lines(found: Comparison) -> list[str]:
    """Return the lines of a printed comparison, at most `_LINES`."""
    count = len(found.captures)
    head = [
        f"{count} capture{'s' * (count != 1)} kept in both traces, "
        f"{len(found.wrong)} of them overwritten after the module returned",
        *([found.unkept] if found.unkept else []),
        "",
        *_facts(found),
        "",
        *_listed("modules (first | second)", list(found.structure), limit=4),
        *_listed("hooks (first | second)", list(found.hooks), limit=4),
        *_listed("edits (first | second)", list(found.edits), limit=4),
        *_listed("settings that differ (first | second)", list(found.settings), limit=4),
    ]
    head += [""] if head[-1] else []
    tail = _listed("left out", list(_grouped(found.left_out))) if count else []
    room = _LINES - len(head) - len(tail) - 5
    shown = list(found.captures) if count <= room else list(found.wrong)[:room]
    title = "What a naive hook, one that stores `output` without a clone, holds in the end:"
    more = [f"... and {count - len(shown)} more in .captures"] if count > len(shown) else []
    table = [title, *_rows(shown), *more] if count else []
    lines = [*head, *table, *([""] if tail else []), *tail]
    return lines if lines[-1] else lines[:-1]


def _facts(found: Comparison) -> Iterator[str]:
    """Yield a line for each thing that can be the same or not."""
    sides = (("modules and calls", found.structure), ("hooks and order", found.hooks),
             ("edits by hooks", found.edits))  # fmt: skip
    for name, differences in sides:
        count = len(differences)
        differ = f"{count} difference{'s' * (count != 1)}, listed below"
        yield f"{name:<26}{differ if count else 'the same'}"
    yield f"outputs of the models     {found.outputs}"
    yield f"gradients of kept calls   {found.gradients}"
    yield f"gradients of parameters   {found.parameter_gradients}"
    roots = {str(one) for one, _ in found._whole}
    times = [one for one in found.timings if one.name in roots]
    if times:
        whole = Timing("", sum(one.first_ns for one in times), sum(one.second_ns for one in times))
        yield f"time of outermost calls   {whole}"


def _grouped(left_out: dict[str, str], limit: int = 5) -> Iterator[str]:
    """Yield a line for each reason, with the first names that it holds for."""
    for why in dict.fromkeys(left_out.values()):
        names = [name for name, reason in left_out.items() if reason == why]
        rest = f" and {len(names) - limit} more" if len(names) > limit else ""
        yield f"{why}: {', '.join(names[:limit])}{rest}"


def _listed(title: str, items: list[str], limit: int = 8) -> list[str]:
    """Return a titled list, cut off after `limit` items."""
    if not items:
        return []
    rest = [f"  ... and {len(items) - limit} more"] if len(items) > limit else []
    return [f"{title}:", *(f"  {item}" for item in items[:limit]), *rest]


def _rows(captures: Iterable[Capture]) -> list[str]:
    """Return an aligned table of captures with a line of headings."""
    cells = [("call", "module", "shape", "first trace", "second trace", "really returned")]
    for one in captures:
        sides = ["right" if side is None else str(side) for side in (one.first, one.second)]
        same = "the same" if one.returned_equal else f"differs by {one.returned_difference:.3g}"
        cells.append((one.label, one.type, one.summary.dimensions, sides[0], sides[1], same))
    widths = [max(len(row[column]) for row in cells) for column in range(6)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    return [f"  {line}" for line in lines]
