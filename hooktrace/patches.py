"""The process-wide patches, and the traces that listen to them.

PyTorch is patched once, when the first trace opens, and put back when the last one closes, in
whatever order traces end.  Every patch asks `active` for whom it works; with nobody listening
it only passes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hooktrace._torch_dynamo import take_for_own
from hooktrace.recorder import Recorder

__all__ = ["Patch", "active", "idle", "pause", "resume", "subscribe", "unrecorded", "unsubscribe"]

_subscribed: tuple[Recorder, ...] = ()
_active: tuple[Recorder, ...] = ()  # those of them that are not paused
_installed: list[Patch] = []
_below: dict[tuple[Any, str], Patch] = {}  # those that somebody else has patched over
_lock = threading.RLock()
_unheard: dict[int, int] = {}  # threads that nobody listens to -> how often they asked for it


def active() -> tuple[Recorder, ...]:
    """Return the recorders of the traces that are open now, outermost first."""
    if _unheard and threading.get_ident() in _unheard:
        return ()
    return _active


@contextmanager
def unrecorded() -> Iterator[None]:
    """Let no trace record what this thread does: it is hooktrace's own."""
    thread = threading.get_ident()
    _unheard[thread] = _unheard.get(thread, 0) + 1
    try:
        yield
    finally:
        _unheard[thread] -= 1
        if not _unheard[thread]:
            del _unheard[thread]


def idle() -> list[str]:
    """Return what could not be replaced, because somebody else had done so, or PyTorch differs."""
    return [f"{patch.owner.__name__}.{patch.attribute}" for patch in _installed if patch.idle]


class Patch:
    """One attribute of PyTorch that is replaced while a trace is open.

    Args:
        owner: The class or module that has the attribute.
        attribute: Its name.
        replace: Takes the original and returns the replacement.
    """

    def __init__(self, owner: Any, attribute: str, replace: Callable[[Any], Any]) -> None:
        self.owner = owner
        self.attribute = attribute
        self.replace = replace
        self._had: Any = None
        self._put: Any = None

    def install(self) -> None:
        """Put the replacement in place, unless it still stands there below somebody else's."""
        there = vars(self.owner)[self.attribute]
        if self._put is None or there is self._had:
            self._had = there
            self._put = self.replace(there)
            setattr(self.owner, self.attribute, self._put)
            take_for_own(self.owner, self.attribute, there, self._put)

    @property
    def idle(self) -> bool:
        """Whether nothing could be put in the place of the original."""
        return self._put is not None and self._put is self._had

    def restore(self) -> bool:
        """Put the original back; return whether that could be done.

        Where somebody else has patched over ours meanwhile, ours stays below it and passes on.
        """
        if vars(self.owner).get(self.attribute) is not self._put:
            return False
        setattr(self.owner, self.attribute, self._had)
        take_for_own(self.owner, self.attribute, self._put, self._had)
        self._had = self._put = None
        return True


def subscribe(recorder: Recorder, patches: Iterable[Patch]) -> None:
    """Let `recorder` hear what happens from now on; install the patches for the first one."""
    global _active, _subscribed
    with _lock:
        if not _subscribed:
            try:
                for patch in patches:
                    patch = _below.pop((patch.owner, patch.attribute), patch)
                    patch.install()
                    _installed.append(patch)
            except BaseException:
                _restore()
                raise
        _subscribed = (*_subscribed, recorder)
        _active = (*_active, recorder)


def unsubscribe(recorder: Recorder) -> None:
    """Stop telling `recorder`; restore PyTorch after the last one."""
    global _subscribed
    with _lock:
        pause(recorder)
        _subscribed = tuple(one for one in _subscribed if one is not recorder)
        if not _subscribed:
            _restore()


def pause(recorder: Recorder) -> None:
    """Let `recorder` hear nothing for a while, on any thread; the patches stay."""
    global _active
    with _lock:
        _active = tuple(one for one in _active if one is not recorder)


def resume(recorder: Recorder) -> None:
    """Let a paused recorder hear again."""
    global _active
    with _lock:
        heard = (*_active, recorder)
        _active = tuple(one for one in _subscribed if any(one is other for other in heard))


def _restore() -> None:
    while _installed:
        patch = _installed.pop()
        if not patch.restore():
            _below[patch.owner, patch.attribute] = patch
