"""Hooks whose result PyTorch throws away."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import KINDS

__all__ = ["ReturnIgnored"]


@rule
class ReturnIgnored(Rule):
    """A hook returned a value that PyTorch does not look at.

    What it finds: results of hooks of which PyTorch takes none, such as multi-grad hooks and those
        before ``state_dict()``; and a new dictionary from a private state_dict hook on a module
        that is not the one whose ``state_dict()`` was called.
    Why it matters: what the hook was to change stays as it is, and nothing says so.
    Instead: change what the hook is given in place, or use a kind of hook whose result counts.
    Limits: a result that is neither a tensor nor a container is told as a note only.
    Source: https://github.com/pytorch/pytorch/issues/117437 for state_dict hooks; for the others
        PyTorch's source, torch/autograd/graph.py, torch/nn/modules/module.py and
        torch/optim/optimizer.py.
    Fires:
        v = torch.ones(2, requires_grad=True)
        w = torch.ones(2, requires_grad=True)
        hook = lambda grads: [2 * grad for grad in grads]
        torch.autograd.graph.register_multi_grad_hook((v, w), hook)
        with ht.trace() as t:
            (v * w).sum().backward()
    Silent:
        v = torch.ones(2, requires_grad=True)
        w = torch.ones(2, requires_grad=True)
        seen = []
        torch.autograd.graph.register_multi_grad_hook((v, w), seen.append)
        with ht.trace() as t:
            (v * w).sum().backward()
    """

    name = "return-ignored"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the results of hooks that replace nothing."""
        for hook in case.hooks:
            firings = [one for one in case.firings.get(hook.id, ()) if one.exception is None]
            if hook.kind == "state_dict_post":
                lost = [one for one in firings if _is_no_root(case, hook, one)]
                what = "a new state_dict, which only counts at the module that is saved"
            elif hook.kind in _IGNORED:
                lost = [one for one in firings if one.returned]
                what = _IGNORED[hook.kind]
            else:
                continue
            if lost:
                yield self._of(case, hook, lost, what)

    def _of(self, case: Case, hook: TracedHook, lost: list[HookFired], what: str) -> Finding:
        given = [f"returned {one}" for one in lost[0].returned[:3]]
        given += [f"returned {one.after}" for one in lost[0].edits if one.role == "state_dict"]
        return self.finding(
            f"The hook {hook.name} on {case.owner(hook)} returned {what}.",
            hook=hook,
            severity=None if any(map(_counts, lost)) else "note",
            events=tuple(one.seq for one in lost),
            evidence=tuple(given),
            instead=_INSTEAD.get(hook.kind, ""),
            possible=_UNKNOWN if hook.kind == "state_dict_post" and hook.module is None else "",
        )


_UNKNOWN = "the module is no part of the traced model, so its prefix may have been given by hand"
_VALUE = "a value, which PyTorch ignores"
_GRADIENTS = "gradients, which PyTorch ignores: hooks of this kind only watch"
_IGNORED = {
    kind.name: _GRADIENTS if kind.name == "multi_grad" else _VALUE
    for kind in KINDS.values()
    if not kind.replaces
    and kind.name
    not in ("pack", "unpack", "comm", "function_backward", "retain_grad", "post_accumulate_grad")
    and kind.name != "load_state_dict_post"
}
_INSTEAD = {
    "multi_grad": "register a hook on each of the tensors with Tensor.register_hook, which returns "
    "the new gradient",
    "state_dict_post": "change the given state_dict in place",
}


def _is_no_root(case: Case, hook: TracedHook, firing: HookFired) -> bool:
    """Whether a private hook returned another dictionary for a part of what is saved."""
    prefix = next((str(one.summary)[1:-1] for one in firing.inputs if one.role == "prefix"), "")
    exchanged = any(one.role == "state_dict" and one.how == "returned" for one in firing.edits)
    if not prefix or not exchanged or "private" not in hook.options:
        return False
    if hook.module is None:
        return True
    return f".{case.log.modules[hook.module].name}.".endswith(f".{prefix}")


def _counts(firing: HookFired) -> bool:
    """Whether a result looks as if it was meant."""
    tensors = any(one.value is not None for one in firing.returned)
    return tensors or len(firing.returned) > 1 or bool(firing.edits)
