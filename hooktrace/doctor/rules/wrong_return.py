"""Hooks that returned something that PyTorch cannot use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hooktrace.doctor.case import Case
from hooktrace.doctor.misfits import Misfit, misfits
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import Edit, HookFired, HookId, TensorSummary
from hooktrace.findings import Finding

__all__ = ["WrongReturn"]


@rule
class WrongReturn(Rule):
    """A hook returned a value of a type, shape or number that PyTorch refuses.

    What it finds: hooks whose result made PyTorch raise, such as a gradient of another shape or
        dtype, a tensor where a tuple is due, or anything from a post-accumulate hook; and forward
        hooks that put something that is no tensor into the place of a tensor.
    Why it matters: PyTorch names the hook in its message at best by ``__name__``, and not where
        it was registered; what stands in the place of a tensor fails later, or goes unnoticed.
    Instead: return None to change nothing, else what the kind of hook replaces: a tensor hook one
        gradient like its argument, a node's or module's backward hook a tuple with one entry for
        each that it was given, a forward hook the whole output.
    Limits: an exception that PyTorch raises outside of module calls and backward runs is seen
        only if it ends the block.
    Source: PyTorch's source, torch/csrc/autograd/python_hook.cpp, torch/utils/hooks.py and
        torch/nn/modules/module.py.
    Fires:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad[:1])
        with ht.trace() as t:
            try:
                (w * 3).sum().backward()
            except RuntimeError:
                pass
    Silent:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad[:1].expand(2))
        with ht.trace() as t:
            (w * 3).sum().backward()
    """

    name = "wrong-return"
    severity = "error"
    explains = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what PyTorch raised, and at what took the place of tensors."""
        told: set[int] = set()
        for error, seq in case.exceptions:
            refusal = next((one for one in _REFUSALS if re.search(one.pattern, error)), None)
            firing = None if refusal is None else _culprit(case, refusal, error, seq)
            if refusal is not None and firing is not None and firing.seq not in told:
                told.add(firing.seq)
                yield self._refused(case, refusal, error, firing)
        unfit = {one.firing.hook: one for one in misfits(case)}
        for misfit in unfit.values():
            yield self._misfit(case, misfit)
        yield from self._no_tensors(case, {*unfit})

    def _misfit(self, case: Case, misfit: Misfit) -> Finding:
        hook, firing = case.log.hooks[misfit.firing.hook], misfit.firing
        kept = ""
        if misfit.type in ("tuple", "list"):
            kept = "; to store what it computed, append it to a list of your own"
        return self.finding(
            f"After the hook {hook.name} on {case.owner(hook)}, the output is a "
            f"{misfit.type}, not a tensor; {misfit.raiser} raised because of it.",
            hook=hook,
            events=(firing.seq, misfit.seq) if misfit.seq < len(case.log.events) else (firing.seq,),
            evidence=(misfit.error, *(f"{one.role} is {one.after}" for one in firing.edits[:3])),
            instead=f"return None to change nothing, else one tensor to replace the output{kept}",
            possible="" if misfit.sure else f"the exception may speak of another {misfit.type}",
        )

    def _refused(self, case: Case, refusal: _Refusal, error: str, firing: HookFired) -> Finding:
        hook = case.log.hooks[firing.hook]
        bare = [one for one in firing.edits if hook.kind in _FULL and "[" not in one.role]
        gave = [f"{one.role}: {one.before} became {one.after}" for one in firing.edits]
        returned = refusal.returned
        if bare:
            gave = [f"returned the tensor {bare[0].after}"]
            returned = "a tensor, not a tuple: each of its rows was taken for a gradient"
        return self.finding(
            f"The hook {hook.name} on {case.owner(hook)} returned {returned}, so PyTorch "
            f"raised an error.",
            hook=hook,
            events=(firing.seq,),
            evidence=(error, *gave[:3]),
            instead=f"{_TUPLE}: `return (grad,)`" if bare else refusal.instead,
        )

    def _no_tensors(self, case: Case, told: set[HookId]) -> Iterator[Finding]:
        """Look at forward hooks that put other things into the place of a tensor."""
        for firing in (one for firings in case.firings.values() for one in firings):
            hook = case.log.hooks[firing.hook]
            role = {"forward": "output", "forward_pre": "args[0]"}.get(hook.kind)
            edits = [one for one in firing.edits if one.how == "returned"]
            if role is None or hook.feature or firing.hook in told or not _lost(firing, role):
                continue
            told.add(firing.hook)
            raised = case.raised_after(firing)
            listed = ": a pre-hook's result that is no tuple counts as one argument"
            yield self.finding(
                f"After the hook {hook.name} on {case.owner(hook)}, the {role} is no tensor any "
                f"more{listed if role == 'args[0]' else ''}.",
                hook=hook,
                severity=None if raised else "warning",
                events=(firing.seq,),
                evidence=(*(f"{one.role} is {one.after}" for one in edits[:3]), raised)[:4],
                possible="" if raised else "what takes it may do without a tensor",
            )


@dataclass(frozen=True)
class _Refusal:
    """A way in which PyTorch refuses a result.

    Attributes:
        pattern: Of its message, with the type of the exception.
        kinds: Of the hooks.
        returned: What the hook returned.
        instead: What it should return.
    """

    pattern: str
    kinds: tuple[str, ...]
    returned: str
    instead: str


_NODES = ("node", "node_pre", "backward")
_FULL = ("full_backward", "full_backward_pre")
_TUPLE = "return None, or a tuple with one gradient (or None) for each that the hook was given"
_NONE = "return nothing; change what the hook was given in place"
_PAIR = "return None, or a pair (args, kwargs): a tuple and a dict"
_REFUSALS = (
    _Refusal(
        r"^RuntimeError: hook '.*' has changed the (size|type) of value",
        ("tensor", *_NODES, *_FULL),
        "a gradient of another shape, dtype or device than the one that it replaces",
        "return a gradient of the same shape, dtype and device; from a backward hook of a module "
        "or node, a tuple of them",
    ),
    _Refusal(
        r"^TypeError: expected Variable, but hook returned",
        ("tensor",),
        "something that is no tensor",
        "return None, or one tensor of the shape and dtype of the gradient",
    ),
    _Refusal(
        r"^TypeError: expected tuple, but hook returned",
        _NODES,
        "something that is no tuple",
        _TUPLE,
    ),
    _Refusal(
        r"^RuntimeError: hook '.*' has returned an incorrect number of values",
        _NODES,
        "a tuple of another length than the one that it was given",
        _TUPLE,
    ),
    _Refusal(
        r"^RuntimeError: Backward (pre )?hook returned an invalid number of",
        _FULL,
        "a tuple of another length than the one that it was given",
        _TUPLE,
    ),
    _Refusal(
        r"^RuntimeError: Backward hook for Modules where no input requires gradient should",
        _FULL,
        "a gradient, though no input of the module requires one",
        "return None, or let an input of the module require a gradient",
    ),
    _Refusal(
        r"^TypeError: object of type '.*' has no len\(\)",
        _FULL,
        "something that is no tuple",
        _TUPLE,
    ),
    _Refusal(
        r"^RuntimeError: Tensor post accumulate grad hooks should return None",
        ("post_accumulate_grad",),
        "a value, which hooks of this kind must not",
        "return nothing; write to param.grad, in place or by assignment",
    ),
    _Refusal(
        r"^RuntimeError: forward pre-hook must return None or a tuple",
        ("forward_pre",),
        "no pair (args, kwargs), though it was registered with with_kwargs=True",
        _PAIR,
    ),
    _Refusal(
        r"must return None or a tuple of \(new_args, new_kwargs\)",
        ("optimizer_step_pre",),
        "no pair (args, kwargs)",
        _PAIR,
    ),
    _Refusal(
        r"^RuntimeError: state_dict post-hook must return None",
        ("state_dict_post",),
        "a value, which hooks of this kind must not",
        _NONE,
    ),
    _Refusal(
        r"^AssertionError: Hooks registered with ``register_load_state_dict_post_hook``",
        ("load_state_dict_post",),
        "a value, which hooks of this kind must not",
        _NONE,
    ),
)


def _culprit(case: Case, refusal: _Refusal, error: str, seq: int) -> HookFired | None:
    """Return the firing whose result PyTorch refused: the last that fits what it says."""
    firings = [one for one in case.fired_before(seq) if _may_be(case, refusal, one)]
    quoted = re.match(r"\w+: hook '(.*)' has", error)
    if quoted and quoted[1] != "hook":
        names = [one for one in firings if case.log.hooks[one.hook].name.endswith(quoted[1])]
        firings = names or firings
    wrong = [one for one in firings if any(map(_is_wrong, one.edits))]
    if "has no len()" in error:
        return wrong[-1] if wrong and wrong[-1] is firings[-1] else None
    fitting = wrong or firings
    return fitting[-1] if fitting else None


def _may_be(case: Case, refusal: _Refusal, firing: HookFired) -> bool:
    return firing.exception is None and case.log.hooks[firing.hook].kind in refusal.kinds


def _is_wrong(edit: Edit) -> bool:
    """Whether a result is of another shape, dtype or device than what it replaces."""
    before, after = edit.before.summary, edit.after.summary
    if edit.how != "returned":
        return False
    if not isinstance(before, TensorSummary) or not isinstance(after, TensorSummary):
        return True
    return (before.shape, before.dtype, before.device) != (after.shape, after.dtype, after.device)


def _lost(firing: HookFired, role: str) -> bool:
    """Whether a tensor had this role, and what the hook returned for it holds none."""
    given = any(one.role == role and one.value is not None for one in firing.inputs)
    returned = [one for one in firing.edits if one.how == "returned" and one.role.startswith(role)]
    if not given or not returned:
        return False
    if role == "args[0]":  # a list of tensors is no argument that a tensor was
        return all(one.role != role or one.after.value is None for one in returned)
    return all(one.after.value is None for one in returned)
