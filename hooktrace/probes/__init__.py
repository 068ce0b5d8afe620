"""The probes: one file for each family of things that PyTorch lets one see.

A probe module may have ``patches()``, the process-wide patches it needs while any trace is
open, ``begin(recorder)`` for when a trace opens, and ``finish(recorder)`` for when it closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any
from weakref import ref

from hooktrace import _torch, _torch_hooks, parameters, patches
from hooktrace._torch_dynamo import leave_uncompiled
from hooktrace.events import Member
from hooktrace.holdings import Holdings
from hooktrace.patches import Patch
from hooktrace.probes import (
    backward,
    gradients,
    module_calls,
    module_hooks,
    nodes,
    optimizers,
    plain,
    recomputation,
    registrations,
    saved_tensors,
    shared_gradients,
    state_dicts,
)
from hooktrace.recorder import Recorder
from hooktrace.writes import check_models

__all__ = ["Probes"]

_HERE = __file__.rpartition("/probes/")[0]

FAMILIES: tuple[Any, ...] = (
    registrations,
    module_hooks,
    module_calls,
    gradients,
    backward,
    state_dicts,
    optimizers,
    nodes,
    saved_tensors,
)


def _stock(recorder: ref[Recorder]) -> list[Member]:
    """Return the modules of the models of a trace; none when it is gone."""
    alive = recorder()
    return [] if alive is None else parameters.take_stock(alive)


def every_patch() -> Iterator[Patch]:
    """Yield the patches of all probes, for the classes that there are now."""
    for family in FAMILIES:
        yield from family.patches()


class Probes:
    """All probes of one trace, from `begin` to `finish`."""

    def __init__(self, recorder: Recorder, frame: FrameType | None) -> None:
        self.recorder = recorder
        recorder.log.stock = partial(_stock, ref(recorder))  # which the log must not hold
        recorder.holdings = Holdings(recorder.log, recorder.identities)
        recorder.on_backward_end.append(recorder.holdings.run_ended)
        self.gradients = gradients.Gradients(recorder)
        self.recomputations = recomputation.Recomputations(recorder)
        self.nodes = nodes.Nodes(recorder)
        self.plain = plain.Plain(recorder, self.gradients, frame)
        known = self.gradients
        self.shared = shared_gradients.SharedGradients(recorder, lambda: known.leaves.values())

    @_torch.unseen
    def begin(self) -> None:
        """Look at what is registered already, and start to listen."""
        leave_uncompiled(_HERE)
        for family in FAMILIES:
            if hasattr(family, "begin"):
                try:
                    family.begin(self.recorder)
                except Exception:
                    self.recorder.failed("the hooks that were there before the block")
        patches.subscribe(self.recorder, every_patch())

    @_torch.unseen
    def finish(self) -> None:
        """Stop to listen and leave nothing behind."""
        self.recorder.ending = True
        there = self.recorder.scope.parameters()
        try:
            self.recorder.check_gradients()
            check_models(self.recorder, [parameter for _, parameter in there])
            self.recorder.hooks.facts.settle()
            if self.recorder.scope.everything:
                self._look_again()
            self.recorder.holdings.finish()
            self.plain.close()
            self._note_unseen()
        except Exception:
            self.recorder.failed("the caller's variables")
        finally:
            self.gradients.finish()
            patches.unsubscribe(self.recorder)
            for family in FAMILIES:
                if hasattr(family, "finish"):
                    family.finish(self.recorder)
            parameters.settle(self.recorder, there)
            self.recorder.holdings.forget()
            self.recorder.close()

    def _look_again(self) -> None:
        """Look at the hooks of models that were met in the block."""
        recorder = self.recorder
        recorder.hooks.facts.settle_modules(recorder.scope)
        module_hooks.begin(recorder)
        parameters.watch(recorder)

    def _note_unseen(self) -> None:
        """Note which modules ran without being recorded, or in compiled code."""
        scope, unseen = self.recorder.scope, self.recorder.log.unseen
        if scope.outsiders:
            others = [f"{name} ({count}x)" for name, count in scope.outsiders.items()]
            unseen["outside-modules"] = others
        compiled = [
            name or type(module).__name__
            for name, module in scope.modules()
            if _torch_hooks.is_compiled(module)
        ]
        if compiled:
            unseen["compiled-region"] = compiled
        if patches.idle():
            unseen["replaced-function"] = patches.idle()
