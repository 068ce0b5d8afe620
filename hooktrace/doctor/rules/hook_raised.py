"""Hooks that raised."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import KINDS, spoken

__all__ = ["HookRaised"]

_SILENCED = "an exception that PyTorch silenced"


@rule
class HookRaised(Rule):
    """A hook raised an exception that ended the block, or that PyTorch turned into a warning.

    What it finds: the hook in which the exception arose that left the block; and forward hooks
        with ``always_call=True`` that failed while another exception was on its way.
    Why it matters: a backward run that is cut short leaves some ``.grad`` filled and others not,
        and its graph cannot be run again; of a hook that PyTorch silences nothing was done.
    Instead: mend the hook where the exception says; to leave a run early on purpose, catch the
        exception around the call.
    Limits: an exception that the program caught inside the block is taken for meant.
    Source: PyTorch's source, torch/nn/modules/module.py (``_call_impl``).
    Fires:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad / len(3))
        try:
            with ht.trace() as t:
                (w * 3).sum().backward()
        except TypeError:
            pass
    Silent:
        class Stop(Exception):
            pass
        def stop(module, args, output):
            raise Stop
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        model[0].register_forward_hook(stop)
        with ht.trace(model) as t:
            try:
                model(torch.ones(1, 2))
            except Stop:
                pass
    """

    name = "hook-raised"
    severity = "error"
    explains = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the firings that did not return."""
        raised = [one for one in case.all_firings if one.exception is not None]
        last = _that_ended(case, raised)
        for firing in raised:
            if firing is last:
                yield self._told(case, firing, "raised the exception that ended the block")
            elif firing.exception == _SILENCED:
                why = "raised an exception, which PyTorch turned into a warning"
                yield self._told(case, firing, why)

    def _told(self, case: Case, firing: HookFired, what: str) -> Finding:
        hook = case.log.hooks[firing.hook]
        error = firing.exception or ""
        evidence = (error, *_place(case, firing))
        return self.finding(
            f"The hook {hook.name} on {case.owner(hook)} {what}.",
            hook=hook,
            source=hook.defined_at or hook.registered_at or "",
            events=(firing.seq,),
            evidence=evidence,
            instead=_way_out(hook, error),
        )


_NO_GRAPH = (
    "leave tensors without a graph out: `if output.requires_grad:`; or run without "
    "torch.no_grad(), with an input or a parameter that requires a gradient."
)
_EXPANDED = (
    "return a new tensor, `return {name} * 10`, instead of writing in place, `{name} *= 10`: this "
    "one is expanded, so that several of its elements lie in one place of memory."
)
_NUMPY = (
    "take it out of the graph first, `{name}.detach().cpu().numpy()`; to keep the values, add "
    "`.copy()`."
)


def _way_out(hook: TracedHook, error: str) -> str:
    """Say what to do about a message that is known; empty for others."""
    kind = KINDS[hook.kind]
    name = "grad" if kind.gradient else (kind.arguments or ("tensor",))[-1]
    if "hook on a tensor that doesn't require grad" in error:
        return _NO_GRAPH
    if "more than one element of the written-to tensor refers to a single memory" in error:
        return _EXPANDED.format(name=name)
    if "Can't call numpy() on Tensor that requires grad" in error:
        return _NUMPY.format(name=name)
    wrong = re.match(r"TypeError: (?:.*[.])?(\S+)\(\) (takes .* given|missing .* argument)", error)
    if wrong and hook.name.rpartition(".")[2] == wrong[1]:
        plain = ", ".join(one for one in kind.arguments if one != "kwargs")
        full = ", ".join(kind.arguments)
        more = f"; those with with_kwargs=True with ({full})" if full != plain else ""
        return f"take what it is given: {spoken(hook.kind)}s are called with ({plain}){more}."
    return ""


def _place(case: Case, firing: HookFired) -> list[str]:
    """Say in which call a hook raised, and whether autograd was off there."""
    if firing.call is None:
        return []
    call = case.calls.calls[firing.call]
    off = "torch.inference_mode()" if call.mode.inference else "torch.no_grad()"
    return [f"in the call {call}" + ("" if call.mode.grad else f", under {off}")]


def _that_ended(case: Case, raised: list[HookFired]) -> HookFired | None:
    """Return the firing whose exception left the block: of several inside each other the inmost."""
    same = [one for one in raised if case.log.error and one.exception == case.log.error]
    if not same:
        return None
    last = found = same[-1]
    for one in reversed(same):
        if one.thread == last.thread and one.time_ns >= last.time_ns:
            found = one
    return found
