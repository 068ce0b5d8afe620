"""One firing of one hook: what it was given, and what it left behind.

Used by every probe that sees hooks fire, so that "what did it change" has one meaning: an
argument whose version counter went up was written *in place*; a result that is another object
than the argument was *returned*.  Copies of the arguments are made before, on their device,
because afterwards it is too late; they are dropped at once when nothing changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from hooktrace import _torch, _torch_hooks
from hooktrace._torch import version_of
from hooktrace.containers import Contents, equal
from hooktrace.events import Edit, HookFired, HookId, Observation, TensorWritten, Value
from hooktrace.identity import Seen, leaves, text_of
from hooktrace.recorder import COPY_LIMIT_BYTES, Recorder
from hooktrace.threadstate import Open
from hooktrace.writes import check_parameters

__all__ = ["Firing", "describe_error"]

_NOTHING: tuple[Any, Seen | None, Any] = (None, None, None)


class Firing(Open):
    """A hook that has been called and has not returned.

    Args:
        recorder: Whose timeline it goes to.
        hook: Row of the hook.
        arguments: Pairs (role, argument) of its tensors and other arguments; the tensor whose
            in-place edit shall be reported under its own role comes last.  `Contents` stand for
            containers that are not looked into but compared.
        around: The module call that the hook belongs to, if that is not what is open now.
        function: The hook, and `owner` the module it hangs on, to see what it stores.
    """

    __slots__ = (
        "contents",
        "copies",
        "during",
        "function",
        "gradient",
        "inputs",
        "owner",
        "recorder",
        "seen",
        "site",
        "started",
        "state",
        "there",
        "trees",
    )

    def __init__(
        self,
        recorder: Recorder,
        hook: HookId,
        arguments: Iterable[tuple[str, Any]],
        around: Open | None = None,
        *,
        function: Any = None,
        owner: Any = None,
    ) -> None:
        for listener in recorder.on_firing:
            listener()
        state = self.state = recorder.state()
        if around is None and state.stack:
            around = state.stack[-1]
        self.hook = hook
        self.call, self.module = (None, None) if around is None else (around.call, around.module)
        self.recorder = recorder
        self.site: Any = None  # the module whose call runs this forward hook
        self.during = sys.exc_info()[1]  # what was being handled when it was called
        self.trees: Sequence[tuple[str, Any]] = ()  # containers that it could change, by role
        self.seen: dict[str, tuple[Any, Seen | None, Observation]] = {}
        self.copies: dict[Value, torch.Tensor] = {}
        self.contents: list[Contents] = []
        self.gradient = recorder.hooks.gets_gradients(hook)
        for role, thing in arguments:
            self._look(role, thing)
        self.inputs = tuple([looked[2] for looked in self.seen.values()])
        self.function, self.owner = function, owner
        self.there: Any = None if function is None else recorder.holdings.before(self)
        state.stack.append(self)
        self.started = recorder.clock()

    def returned(self, result: Any, role: str) -> None:
        """Record the firing.

        Args:
            result: What the hook returned, with PyTorch's meaning: None changes nothing.
            role: What a result replaces, such as ``output`` or ``grad``.
        """
        duration = self.recorder.clock() - self.started
        edits = self._in_place()
        if result is not None:
            edits += self._replaced(result, role, "returned")
        self._finish(tuple(edits), duration, None)

    def gave(self, result: Any, role: str) -> None:
        """Record a firing whose result is something new, not a change of what it was given."""
        duration = self.recorder.clock() - self.started
        edits = tuple(self._in_place())
        given = self.recorder.observe_leaves(self.state, leaves(result, role))
        self._finish(edits, duration, None, given)

    @_torch.unseen
    def raised(self, error: BaseException | None) -> None:
        """Record the firing of a hook that did not return."""
        duration = self.recorder.clock() - self.started
        known = error is not None and error is not self.during
        what = describe_error(error) if known else "an exception that PyTorch silenced"  # type: ignore[arg-type]
        self._finish(tuple(self._in_place()), duration, what)

    def returned_pair(self, args: Any, kwargs: Any) -> None:
        """Record a pre-hook with keyword arguments, which may have returned both of them."""
        duration = self.recorder.clock() - self.started
        edits = self._in_place()
        if args is not None:
            edits += self._replaced(args, "args", "returned")
            for name, argument in kwargs.items():
                edits += self._replaced(argument, f"kwargs[{name!r}]", "returned")
        self._finish(tuple(edits), duration, None)

    def exchanged(self, result: Any, role: str) -> None:
        """Record a hook that returned a container to be used instead of the one it was given."""
        duration = self.recorder.clock() - self.started
        edits = self._in_place()
        content = next((one for one in self.contents if one.role == role), None)
        if content is None or content.container is not result:
            after = Observation(role, None, str(Contents(role, result)))
            edits.append(Edit(role, "returned", self.seen[role][2], after))
        self._finish(tuple(edits), duration, None)

    def returned_and_assigned(self, gradient: torch.Tensor | None) -> None:
        """Record a post-accumulate hook, which may have put another tensor into ``.grad``."""
        duration = self.recorder.clock() - self.started
        edits = self._in_place()
        replaced = self._replaced(gradient, "param.grad", "assigned")
        if replaced and gradient is not None:
            leaf = self.seen["param"][2].value
            assert leaf is not None
            self.recorder.log.accumulated[leaf.tensor] = self.recorder.identities.seen(gradient).ref
        edits += replaced
        self._finish(tuple(edits), duration, None)

    def abandon(self) -> None:
        """Let go of a firing that could not be recorded."""
        self.state.leave(self)
        self.seen.clear()
        self.copies.clear()
        self.trees = ()
        self.contents.clear()

    # -------------------------------------------------------------- inner workings

    def _look(self, role: str, thing: Any) -> None:
        if isinstance(thing, torch.Tensor):
            # Of a gradient, a write since it was seen last is autograd's own: it sums in place.
            observation, seen = self.recorder.sight(self.state, thing, role, self.gradient)
            self.seen[role] = (thing, seen, observation)
            if self.recorder.copies:
                self._copy(thing, seen.value)
        elif isinstance(thing, Contents):
            self.contents.append(thing)
            self.seen[role] = (thing, None, Observation(role, None, str(thing)))
        else:
            self.seen[role] = (thing, None, Observation(role, None, text_of(thing)))

    def _copy(self, tensor: torch.Tensor, value: Value) -> None:
        if value.version is not None and value not in self.copies:
            if _copiable(tensor, self.gradient):
                self.copies[value] = _torch.content_copy(tensor)

    def _in_place(self) -> list[Edit]:
        if self._untouched():
            return []
        edits: dict[int, Edit] = {}
        for role, (thing, seen, before) in reversed(self.seen.items()):
            if seen is None or before.value is None or seen.id in edits:
                continue
            version = version_of(thing)
            if version == before.value.version:
                copy = self.copies.get(before.value)
                if copy is not None and _torch.differs(copy, thing):
                    edits[seen.id] = self._past_the_counter(role, thing, before)
                continue
            self.recorder.identities.refresh(thing, seen)
            after = self.recorder.describe(thing, seen, role)
            assert after.value is not None
            if before.value in self.copies:
                self._snapshot(before.value)
                self.recorder.keep(after.value, thing)
            edits[seen.id] = Edit(role, "in_place", before, after)
            self.recorder.emit(TensorWritten, before.value, after.value, self.call, self.hook, True)
        found = list(edits.values())
        for edit in found:
            for listener in self.recorder.on_edit:
                copy = self.copies.get(edit.before.value)  # type: ignore[arg-type]
                listener(self.hook, edit, self.seen[edit.role][0], copy)  # type: ignore[arg-type]
        for role, tree in self.trees:
            found += self._replaced(tree, role, "in_place")
        for content in self.contents:
            found += content.edits(self.recorder)
        return found

    def _untouched(self) -> bool:
        """Whether versions alone tell that nothing was changed: so it is with most firings."""
        return not (self.copies or self.trees or self.contents) and all(
            seen is None or (before.value is seen.value and version_of(thing) == seen.value.version)
            for thing, seen, before in self.seen.values()
        )

    def _past_the_counter(self, role: str, tensor: torch.Tensor, before: Observation) -> Edit:
        """Describe a write through ``.data`` or numpy, which the version counter does not see."""
        assert before.value is not None
        recorder = self.recorder
        recorder.identities.seen(tensor).measured = None  # what was measured is no more
        seen = recorder.observe(tensor, role, quiet=True)
        after = recorder.identities.unnumbered(seen)
        self._snapshot(before.value)
        recorder.keep(after.value, tensor)
        past = Value(before.value.tensor, None)
        recorder.emit(TensorWritten, before.value, past, self.call, self.hook, True)
        return Edit(role, "in_place", before, after)

    def _replaced(self, result: Any, role: str, how: str) -> list[Edit]:
        edits = []
        for place, thing in leaves(result, role):
            old, seen, _ = self.seen.get(place, _NOTHING)
            if equal(old, thing):
                continue
            if seen is None:
                before = Observation(place, None, self._stood(place) or text_of(old))
            else:
                before = self.recorder.describe(old, seen, place)
                if before.value is not None:
                    self._snapshot(before.value)
            after = self._after(thing, place)
            edits.append(Edit(place, how, before, after))
        return edits

    def _stood(self, place: str) -> str:
        """Say what was there where a result is nested otherwise; empty where it is not."""
        for role, (_, seen, before) in self.seen.items():
            if seen is not None and place.startswith((f"{role}[", f"{role}.")):
                return f"nothing ({role} was one tensor, {before.summary})"
        return ", ".join(role for role in self.seen if role.startswith((f"{place}[", f"{place}.")))

    def _after(self, thing: Any, place: str) -> Observation:
        if not isinstance(thing, torch.Tensor):
            return Observation(place, None, text_of(thing))
        after = self.recorder.observe(thing, place)
        if self.recorder.copies and _copiable(thing, self.gradient):
            self.recorder.keep(after.value, thing)
        return after

    def _snapshot(self, value: Value) -> None:
        copy = self.copies.get(value)
        if copy is not None:
            self.recorder.log.snapshots.setdefault(value, copy)

    def _finish(
        self,
        edits: tuple[Edit, ...],
        duration: int,
        exception: str | None,
        returned: tuple[Observation, ...] = (),
    ) -> None:
        recorder = self.recorder
        if self.site is not None:
            check_parameters(recorder, _torch_hooks.parameters_of([self.site]))
        if self.there is not None:
            recorder.holdings.after(self)
        state = self.state
        state.leave(self)
        for listener in recorder.on_fired:
            listener()
        what = self.hook, self.call, self.inputs, edits, duration, exception, returned
        recorder.write((HookFired, (self.started, state.number, *what)))


def _copiable(tensor: torch.Tensor, gradient: bool) -> bool:
    if _torch.is_wrapped(tensor) or tensor.nbytes > COPY_LIMIT_BYTES:
        return False
    return not (gradient and tensor.requires_grad and not tensor.is_leaf)


def describe_error(error: BaseException) -> str:
    """Return ``Type: first line of the message``."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
