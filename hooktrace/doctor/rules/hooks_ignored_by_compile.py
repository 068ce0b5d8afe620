"""Hooks that compiled code ignores."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.never import unfired
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["HooksIgnoredByCompile"]


@rule
class HooksIgnoredByCompile(Rule):
    """A hook is on a module inside of compiled code that was compiled without it.

    What it finds: hooks on modules inside of what ``torch.compile`` compiled, registered after
        the code had been compiled and not followed by a new compilation; full backward hooks on
        what ``torch.compile`` returned; hooks on tensors where only a function transform such as
        ``torch.func.grad`` differentiated.
    Why it matters: compiled code and function transforms do not look into the dictionaries of
        hooks again, so the hook is silently left out.
    Instead: register hooks before the first compiled call, or reset with
        ``torch.compiler.reset()``; see what a hook does without compilation, with
        ``torch.compiler.set_stance("force_eager")``.
    Limits: what fires inside of compiled code is not seen, so that hooks which were there when
        it was compiled are not told; where the compiled model is not the traced one, a finding is
        a note and says "possible".
    Source: https://docs.pytorch.org/docs/stable/torch.compiler_nn_module.html and issues
        https://github.com/pytorch/pytorch/issues/117758,
        https://github.com/pytorch/pytorch/issues/91665.
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        compiled = torch.compile(net, backend="eager")
        with ht.trace() as t:
            compiled(torch.ones(1, 2))
            net[0].register_forward_hook(lambda module, args, output: None)
            compiled(torch.ones(1, 2))
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        with ht.trace() as t:
            net(torch.ones(1, 2))
            net[0].register_forward_hook(lambda module, args, output: None)
            net(torch.ones(1, 2))
    """

    name = "hooks-ignored-by-compile"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look for the hooks whose reason not to fire is that code was compiled."""
        for number, reason in unfired(case).items():
            if reason.rule == self.name:
                hook = case.log.hooks[number]
                yield self.finding(
                    f"The {case.spoken(hook)} was ignored: {reason.text}."
                    if not reason.possible
                    else f"The {case.spoken(hook)} may have been ignored: {reason.text}.",
                    hook=hook,
                    severity=reason.severity,
                    events=reason.events,
                    evidence=reason.evidence,
                    instead=reason.advice,
                    possible=reason.possible,
                )
