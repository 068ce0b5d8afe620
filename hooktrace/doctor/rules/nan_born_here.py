"""Where the first NaN or infinity of a run came from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hooktrace.doctor.births import Births
from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["NanBornHere"]


@rule
class NanBornHere(Rule):
    """A NaN or an infinity appeared, and this is the call or the hook that made it.

    What it finds: the first value of a forward, and the first gradient of a backward whose loss
        is finite, that holds NaN or infinity, and where it was made: by a module whose arguments,
        parameters and buffers are finite, by a hook that was given finite numbers, by code between
        two modules or outside of all, or that it came in with the data or was in a parameter.
    Why it matters: all that is computed from it is NaN as well, after one step of the optimizer
        every parameter; what prints NaN, the loss, is seldom what made it.
    Instead: look at the operation that is named: a division by zero, the logarithm or root of zero
        (whose gradient is infinite), an overflow of float16, a mask that leaves a row of a softmax
        empty, a learning rate that is too high.
    Limits: it needs ``stats=True``. Of code between modules only the place is known. Values that
        hold minus infinity alone are passed over, for so masks are written. What is not measured
        (subclasses, sparse and complex tensors) may have brought it. A gradient is
        a note if it overflowed in float16, or if no step of the optimizer followed though others
        did: a GradScaler finds those by itself and passes over the step.
    Source: https://docs.pytorch.org/docs/stable/notes/numerical_accuracy.html and
        https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling.
    Fires:
        class Log(nn.Module):
            def forward(self, x):
                return x.log()

        net = nn.Sequential(nn.Linear(4, 4), Log(), nn.Linear(4, 1))
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 4)).sum().backward()
    Silent:
        class Log(nn.Module):
            def forward(self, x):
                return x.exp().log()

        net = nn.Sequential(nn.Linear(4, 4), Log(), nn.Linear(4, 1))
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 4)).sum().backward()
    """

    name = "nan-born-here"
    severity = "warning"
    statistics = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Go along the timeline to the first value and the first gradient that is not finite."""
        births = Births(self, case)
        if births.any:
            yield from itertools.islice(births.forward(), 1)
            yield from itertools.islice(births.backward(), 1)
