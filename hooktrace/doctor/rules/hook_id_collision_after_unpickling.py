"""Hooks that came by unpickling under a number that PyTorch will give out again."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["HookIdCollisionAfterUnpickling"]


@rule
class HookIdCollisionAfterUnpickling(Rule):
    """A hook that was loaded has a number that PyTorch will give to another hook.

    What it finds: hooks whose number in PyTorch's dictionary is not below the number that the next
        registration gets: they came by unpickling from another process.
    Why it matters: numbers count anew in each process, and unpickling a module does not move the
        counter on. A hook of the same kind that is registered on the same module and gets the
        number takes the place of the loaded one, silently.
    Instead: remove hooks before a model is pickled, or save its ``state_dict()``, and register
        hooks anew after loading.
    Limits: whether the number will be reached, and by a registration on that very module, is up to
        the program.
    Source: PyTorch's source, torch/utils/hooks.py: ``RemovableHandle.next_id`` is moved on when a
        handle is unpickled, but not when a module with hooks is.
    Fires:
        from torch.utils.hooks import RemovableHandle
        net = nn.Linear(2, 2)
        net._forward_hooks[RemovableHandle.next_id + 5] = print  # as unpickling leaves it
        found = ht.check(net)
    Silent:
        net = nn.Linear(2, 2)
        net.register_forward_hook(print)
        found = ht.check(net)
    """

    name = "hook-id-collision-after-unpickling"
    severity = "warning"
    static = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the numbers."""
        for hook in case.hooks:
            known = case.log.registrations.get(hook.id)
            if known is not None and known.beyond:
                yield self.finding(
                    f"The {case.spoken(hook)} has the number {known.number}, which PyTorch "
                    f"will give out again: it would replace this hook.",
                    hook=hook,
                    evidence=(f"number {known.number} was not given out in this process yet",),
                )
