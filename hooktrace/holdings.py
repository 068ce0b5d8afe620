"""What the user's hooks store of what they are given, and what becomes of it.

A tensor that a hook stores without a copy is one with the module's output or the gradient that is
``.grad``: what PyTorch writes there later, it finds in its store.  What a function can reach
is looked at before and after each firing; what is new and shares memory with what the hook was
given was stored.  It is looked at again when the outermost module call, the backward run and the
block end.  Only weak references are held meanwhile, and copies of small tensors.

One look goes over at most 200 things; of a container it compares the latest 1,024 entries as a
whole, and looks into the latest 64 that are no tensors.  It costs some tens of microseconds.  So it
is spared for functions that cannot store anything, and after the first 1,024 firings it is taken at
every 32nd.  The look at the end of the block goes over at most 20,000 things for each hook that
stored something.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch

from hooktrace import _torch
from hooktrace._torch_saved import graph_bytes, storage_of
from hooktrace.events import HookFired, HookId, TensorId, Value
from hooktrace.held import Held
from hooktrace.hold import Hold, code_of, may_store
from hooktrace.identity import Identities
from hooktrace.log import EventLog
from hooktrace.looks import Look, Looks
from hooktrace.reach import Place, Reach
from hooktrace.spies import user_hook

__all__ = ["Holdings"]

_RECENT = 256  # as many of what was stored last are looked at again when a call or run ends
_MANY = 1000  # entries, before those of dead tensors are looked for
_COPIES_BYTES = 64 << 20  # in all
_COPY_BYTES = 1 << 20  # of one tensor
_NODES = 20_000  # of the autograd graphs that what is held keeps alive
_ALWAYS = 1024  # firings that are looked at, and after them
_THEN = 32  # every so many
KINDS = frozenset(
    {
        "forward",
        "forward_pre",
        "full_backward",
        "full_backward_pre",
        "backward",
        "tensor",
        "multi_grad",
        "post_accumulate_grad",
        "node",
        "node_pre",
    }
)
"""Kinds of hooks that are looked at: to store what they get is not the trade of these."""


class Holdings:
    """What the hooks of one trace hold.

    Args:
        log: Whose `holdings` are filled at the end.
        identities: Of the trace.
    """

    def __init__(self, log: EventLog, identities: Identities) -> None:
        self.log = log
        self.identities = identities
        self._reach = Looks(64, 200)
        self._holds: dict[tuple[int, Any], Hold] = {}
        self._gone: list[Hold] = []  # no longer there, but were overwritten while they were
        self._recent: deque[Hold] = deque(maxlen=_RECENT)
        self._many = _MANY
        self._copied = 0
        self._looks: dict[HookId, bool] = {}  # which hooks are looked at
        self._codes: dict[int, tuple[Any, bool]] = {}  # and which code may store something
        self._fired = 0  # how often those have fired

    # -------------------------------------------------------------- around a firing

    def before(self, firing: Any) -> Look | None:
        """Return which tensors a hook can reach that is about to be called; None to ignore it."""
        looks = self._looks.get(firing.hook)
        if looks is None:
            row = self.log.hooks[firing.hook]
            looks = not row.feature and row.kind in KINDS and self._may_store(firing.function)
            self._looks[firing.hook] = looks
        if not looks:
            return None
        self._fired += 1
        if self._fired > _ALWAYS and self._fired % _THEN:
            return None
        look = self._reach.look(firing.function, firing.owner)
        look.things = [], []
        return look

    def _may_store(self, function: Any) -> bool:
        """Return what `may_store` says, asked once for functions of the same code."""
        code = code_of(user_hook(function))
        known = self._codes.get(id(code))
        if known is None:
            known = self._codes[id(code)] = code, may_store(function)
        return known[1]

    def after(self, firing: Any) -> None:
        """Note what a hook stored of what it was given, in the `Firing` that ends."""
        given = {
            id(thing): (role, thing, seen)
            for role, (thing, seen, _) in firing.seen.items()
            if seen is not None
        }
        if not given:
            return
        look = self._reach.look(firing.function, firing.owner, firing.there)
        new, old = look.changes(firing.there, set(given))
        stored: set[int] = set()
        storages: dict[int, Any] = {}
        for place in new:
            found = given.get(id(place.tensor)) or _sharing(place.tensor, given, storages)
            if found is not None:
                self._hold(firing, place, found)
                stored.add(id(place.tensor))
        for place in old:
            hold = self._holds.get((place.container, place.key))
            again = given.get(id(place.tensor))
            if hold is None or again is None or id(place.tensor) in stored:
                continue
            if again[0] == hold.role:  # hooks of one trade take from where they took before
                self._maybe_again(hold, place, firing)

    def _hold(self, firing: Any, place: Place, found: Any) -> None:
        hold = Hold(self.identities, firing, place, found)
        hold.copy = self._copy(firing, place.tensor, hold.version)
        key = place.container, place.key
        former = self._holds.get(key)
        if former is not None:
            self._let_go(former)
        self._holds[key] = hold
        self._recent.append(hold)

    def _copy(self, firing: Any, tensor: torch.Tensor, value: Value) -> torch.Tensor | None:
        known = firing.copies.get(value)
        if known is not None:
            return known  # type: ignore[no-any-return]
        if not firing.recorder.copies or _torch.is_wrapped(tensor):
            return None
        if tensor.nbytes > _COPY_BYTES or self._copied + tensor.nbytes > _COPIES_BYTES:
            return None
        self._copied += tensor.nbytes
        return _torch.content_copy(tensor)

    def _maybe_again(self, hold: Hold, place: Place, firing: Any) -> None:
        """A tensor that is stored was given to a hook again, which may have stored it again."""
        if hold.entry.ref() is not place.tensor:
            return
        if hold.told is None and _torch.version_of(place.tensor) == hold.version.version:
            return
        first = hold.function()
        if first is not None and code_of(first) is code_of(firing.function):
            self._let_go(hold)
            self._holds.pop((place.container, place.key), None)
        elif firing.hook != hold.hook:
            name = self.log.hooks[firing.hook].name
            hold.doubt = f"{name} was given the same tensor later, and may have stored it again"

    def _let_go(self, hold: Hold) -> None:
        """Forget what is stored no more, unless it was overwritten while it was."""
        if hold.told is not None:
            self._gone.append(hold)
        elif hold.copy is not None:
            self._copied = max(0, self._copied - hold.copy.nbytes)
        hold.copy = None

    # -------------------------------------------------------------- later

    def run_ended(self, number: int) -> None:
        """Look again at the end of a backward run."""
        self.check()

    def check(self) -> None:
        """Look whether what was stored a moment ago was overwritten, and is still stored."""
        waiting = [hold for hold in self._recent if hold.told is None]
        if not waiting:
            return
        self._recent.clear()
        for hold in waiting:
            tensor = hold.entry.ref()
            if tensor is None:
                continue
            self._recent.append(hold)
            if hold.rewritten(tensor) and hold.is_there(tensor, self._reach):
                hold.told = hold.now(tensor)
        self._prune()

    def _prune(self) -> None:
        if len(self._holds) > self._many:
            for key, hold in tuple(self._holds.items()):
                if hold.entry.ref() is None:
                    self._let_go(self._holds.pop(key))
            self._many = max(_MANY, 2 * len(self._holds))

    # -------------------------------------------------------------- at the end

    def finish(self) -> None:
        """Enter in the log what is held when the block ends."""
        holds = [*self._gone, *self._holds.values()]
        if not holds:
            return
        with _torch.hidden():
            leaves = self._leaves()
            seqs = {(one.hook, one.time_ns): one.seq for one in self.log.of(HookFired)}
            reach, budget = Reach(10_000, 20_000), [_NODES]
            found = [self._held(hold, seqs, leaves, reach, budget) for hold in holds]
        records = [one for one in found if one is not None]
        self.log.holdings = sorted(records, key=lambda one: (one.firing, one.path))

    def _held(
        self,
        hold: Hold,
        seqs: dict[Any, int],
        leaves: dict[int, TensorId],
        reach: Reach,
        budget: list[int],
    ) -> Held | None:
        tensor = hold.entry.ref()
        still = False if tensor is None else hold.is_there(tensor, reach)
        if still is False and hold.told is None:
            return None
        seq = seqs.get((hold.hook, hold.started))
        if seq is None:
            return None
        told, kept, leaf = hold.told, None, None
        if still is None and told is None and not hold.doubt:
            hold.doubt = "the hook is gone, so it may have been taken out of where it was stored"
        if tensor is not None and still is not False:
            told = hold.now(tensor) if told is None or hold.copy is not None else told
            kept = graph_bytes(tensor, budget)
            leaf = leaves.get(storage_of(tensor))
        assert told is not None
        value, change = told
        values = hold.version, value
        if change is not None and change.kind == "unchanged":
            change = None if values[0] == values[1] else change
        return Held(
            hold.hook, seq, hold.role, hold.path, values, change, kept, leaf, still, hold.doubt
        )

    def _leaves(self) -> dict[int, TensorId]:
        """Return by their storages the leaves whose ``.grad`` was filled."""
        found = {}
        for leaf, ref in self.log.accumulated.items():
            gradient = ref()
            storage = 0 if gradient is None else storage_of(gradient)
            if storage:
                found[storage] = leaf
        return found

    def forget(self) -> None:
        """Drop what refers to the traced program."""
        self._holds.clear()
        self._gone.clear()
        self._recent.clear()
        self._reach.forget()
        self._looks.clear()
        self._codes.clear()


def _sharing(tensor: torch.Tensor, given: dict[int, Any], storages: dict[int, Any]) -> Any:
    """Return what was given and shares memory with `tensor`."""
    if not storages:
        for one in given.values():
            storages[storage_of(one[1])] = one
        storages.pop(0, None)
    return storages.get(storage_of(tensor)) if storages else None
