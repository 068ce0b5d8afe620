"""Post-accumulate hooks that treat their argument, the parameter, as its gradient."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, takewhile

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, StepStarted, TracedHook
from hooktrace.findings import Finding

__all__ = ["PostAccumulateHookGotParameter"]


@rule
class PostAccumulateHookGotParameter(Rule):
    """A post-accumulate hook used its argument, the parameter, as if it were the gradient.

    What it finds: hooks of ``register_post_accumulate_grad_hook`` that wrote into the parameter
        without a look at its ``.grad``; and, as possible, those that never name ``.grad`` and
        measure their argument, or call it ``grad`` themselves.
    Why it matters: the parameter is clipped, scaled or logged in the place of its gradient.
    Instead: use ``param.grad`` in the hook, or ``register_hook``, whose argument is the gradient.
    Limits: what functions do that the hook calls is not looked at; a hook that names ``grad``
        anywhere is taken for one that knows.
    Source: https://docs.pytorch.org/docs/stable/generated/
        torch.Tensor.register_post_accumulate_grad_hook.html
    Fires:
        def clip(grad):
            grad.data.clamp_(-1, 1)
        v = torch.full((2,), 3.0, requires_grad=True)
        v.register_post_accumulate_grad_hook(clip)
        with ht.trace() as t:
            (v * 2).sum().backward()
    Silent:
        w = torch.full((2,), 3.0, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        def step(param):
            optimizer.step()
            optimizer.zero_grad()
        w.register_post_accumulate_grad_hook(step)
        with ht.trace() as t:
            (w * 2).sum().backward()
    """

    name = "post-accumulate-hook-got-parameter"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what post-accumulate hooks wrote, and at the names in their code."""
        steps = sorted(case.log.of(StepStarted), key=lambda one: one.time_ns)
        for hook in case.hooks:
            firings = case.firings.get(hook.id, ())
            if hook.kind != "post_accumulate_grad" or not firings or _knows(case, hook):
                continue
            wrote = [one for one in firings if _wrote(one) and not _stepped(steps, one)]
            known = case.log.registrations[hook.id]
            measures = [one for one in known.names if one in _MEASURES]
            if wrote:
                yield self._wrote(case, hook, wrote)
            elif any(_stepped(steps, one) for one in firings):
                continue
            elif measures:
                yield self.finding(
                    f"The hook {hook.name} on {hook.owner} measures its argument, which is the "
                    f"parameter and not its gradient.",
                    hook=hook,
                    events=(firings[0].seq,),
                    evidence=(f"its code uses {', '.join(measures)}, and never grad",),
                    possible="it may be the parameter that it is about",
                )
            elif known.argument in _GRADIENT:
                yield self.finding(
                    f"The hook {hook.name} on {hook.owner} calls its argument {known.argument}, "
                    f"but what it is given is the parameter, not its gradient.",
                    hook=hook,
                    events=(firings[0].seq,),
                    evidence=(
                        f"its argument is called {known.argument}, and its code never asks for "
                        f".grad",
                    ),
                    possible="the name of the argument tells, not what is done with it",
                )

    def _wrote(self, case: Case, hook: TracedHook, wrote: list[HookFired]) -> Finding:
        edits = [one for one in case.edits[hook.id] if one.role == "param"]
        return self.finding(
            f"The hook {hook.name} wrote into the parameter {hook.owner} itself, not into its "
            f"gradient.",
            hook=hook,
            events=tuple(one.seq for one in wrote),
            evidence=tuple(one.what for one in edits[:2]),
        )


_GRADIENT = ("grad", "g", "grads", "gradient", "gradients")


_MEASURES = frozenset(
    {
        "norm",
        "abs",
        "mean",
        "sum",
        "std",
        "var",
        "max",
        "min",
        "amax",
        "amin",
        "isnan",
        "isinf",
        "isfinite",
        "histc",
        "clamp",
        "clip",
        "sign",
        "mul",
        "div",
        "nan_to_num",
    }
)


def _knows(case: Case, hook: TracedHook) -> bool:
    """Whether the code of a hook names the gradient."""
    return any(one in ("grad", "_grad") for one in case.log.registrations[hook.id].names)


def _wrote(firing: HookFired) -> bool:
    return any(one.role == "param" and one.how == "in_place" for one in firing.edits)


def _stepped(steps: list[StepStarted], firing: HookFired) -> bool:
    """Whether an optimizer stepped in a firing."""
    end = firing.time_ns + firing.duration_ns
    first = bisect_left(steps, firing.time_ns, key=lambda one: one.time_ns)
    during = takewhile(lambda one: one.time_ns <= end, islice(steps, first, None))
    return any(one.thread == firing.thread for one in during)
