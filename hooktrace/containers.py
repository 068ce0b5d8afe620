"""What a hook changed in a container that it was given, such as a ``state_dict``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hooktrace._torch import is_wrapped, numbers_of, version_of
from hooktrace.events import Edit, Observation, Value
from hooktrace.identity import SMALL, text_of
from hooktrace.recorder import Recorder

__all__ = ["Contents", "equal"]

_ABSENT = object()
_COMPARED = frozenset({bool, int, float, complex, str, bytes, range, torch.Size, torch.device})


def equal(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; what else there may be is not asked, it is the user's."""
    return one is other or (
        type(one) is type(other) and type(one) in _COMPARED and bool(one == other)
    )


class Contents:
    """What is in a mapping or a list now, to be compared later.

    Only the numbers in small tensors are copied: that a tensor was written to is told by its
    version.

    Args:
        role: What the hook knows it by, such as ``state_dict``.
        container: A mapping or a sequence.
    """

    def __init__(self, role: str, container: Mapping[Any, Any] | Sequence[Any]) -> None:
        self.role = role
        self.container = container
        self._before = {key: (thing, *_state(thing)) for key, thing in self._items()}
        self._text = str(self)

    def _items(self) -> list[tuple[Any, Any]]:
        container = self.container
        pairs = container.items() if isinstance(container, Mapping) else enumerate(container)
        return list(pairs)

    def __str__(self) -> str:
        """Write a list of a few names out, and the size of anything else."""
        name = type(self.container).__name__
        if isinstance(self.container, list) and len(self.container) <= 8:
            return f"[{', '.join(map(text_of, self.container))}]"
        return f"{name} of {len(self.container)}"

    def edits(self, recorder: Recorder) -> list[Edit]:
        """Return what has changed: for each key of a mapping, or for a list as a whole."""
        now = dict(self._items())
        if not isinstance(self.container, Mapping):
            if now.keys() == self._before.keys() and all(
                equal(thing, self._before[key][0]) for key, thing in now.items()
            ):
                return []
            before = Observation(self.role, None, self._text)
            return [Edit(self.role, "in_place", before, Observation(self.role, None, str(self)))]
        edits = []
        for key in (*self._before, *(key for key in now if key not in self._before)):
            old, version, numbers = self._before.get(key, (_ABSENT, None, None))
            new = now.get(key, _ABSENT)
            if not equal(old, new) or _state(new)[0] != version:
                role = f"{self.role}[{key!r}]"
                after = _observed(recorder, new, role)
                before = _earlier(recorder, old, version, numbers, role)
                edits.append(Edit(role, "in_place", before, after))
        return edits


def _state(thing: Any) -> tuple[int | None, tuple[float, ...] | None]:
    """Return the version of a tensor, and the numbers in a small one."""
    if not isinstance(thing, torch.Tensor):
        return None, None
    small = thing.numel() <= SMALL and thing.device.type == "cpu" and not is_wrapped(thing)
    return version_of(thing), numbers_of(thing) if small else None


def _observed(recorder: Recorder, thing: Any, role: str) -> Observation:
    if isinstance(thing, torch.Tensor):
        return recorder.observe(thing, role, quiet=True)
    return Observation(role, None, "absent" if thing is _ABSENT else text_of(thing))


def _earlier(
    recorder: Recorder, thing: Any, version: int | None, numbers: Any, role: str
) -> Observation:
    """Describe a thing as it was: a tensor that was written to since has an earlier version."""
    now = _observed(recorder, thing, role)
    if now.value is None or now.value.version == version:
        return now
    value = Value(now.value.tensor, version)
    return Observation(role, value, now.summary, now.storage, numbers)
