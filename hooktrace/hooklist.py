"""What `hooks()` returns: a list of hooks that prints as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import TracedHook
from hooktrace.kinds import KINDS

__all__ = ["HookList"]


class HookList(Sequence[TracedHook]):
    """Hooks in the order in which they would fire; printed, a table.

    Args:
        rows: The hooks.
    """

    def __init__(self, rows: Sequence[TracedHook]) -> None:
        self._rows = tuple(rows)

    def of(self, *kinds: str) -> HookList:
        """Return those of some kinds, such as ``hooks(model).of("forward", "forward_pre")``.

        Raises:
            UnknownNameError: There is no such kind of hook.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise UnknownNameError(f"{kind!r} is no kind of hook.{nearest(kind, KINDS)}")
        return HookList([row for row in self._rows if row.kind in kinds])

    @overload
    def __getitem__(self, place: int) -> TracedHook: ...
    @overload
    def __getitem__(self, place: slice) -> HookList: ...
    def __getitem__(self, place: int | slice) -> TracedHook | HookList:
        return HookList(self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        from hooktrace.render.hooklist import table

        return table(self._rows)

    def __repr__(self) -> str:
        return f"<HookList: {len(self)} hooks>"
