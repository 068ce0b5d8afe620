"""Gradients that grow out of all bounds on the way to the first layers."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.depth import LOST, Profile, profiles
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["ExplodingGradient"]


_TOO_FAR = 1000
"""At this quotient of gradient and weight a step at a learning rate of 0.001 is as long as the
weights are."""


@rule
class ExplodingGradient(Rule):
    """The gradient grows from layer to layer until that of the first ones dwarfs all others.

    What it finds: models of four layers or more in which the norm of the gradient grows, from the
        output of the last layer to that of the first, to more than 2,900 times what it was, most
        layers having a share in it and none more than half; and the gradient of the first weights
        is more than 1,000 times the weights, so that a step at a learning rate of 0.001 is longer.
    Why it matters: a learning rate that suits the last layers throws the first ones off, and one
        that suits the first leaves the last as they are; a few layers more, and it overflows.
    Instead: weights of Glorot's or He's initialisation, a normalisation between layers, and
        for recurrent nets ``torch.nn.utils.clip_grad_norm_``.
    Limits: it needs ``stats=True``. The bound is a principle, not a law: one over the square root
        of the rounding of single precision, at which the square of one norm is lost in the sum
        with that of the other. A layer is a call of a module with parameters and without inner
        modules; what happens inside ``nn.RNN`` or ``nn.LSTM`` is not seen. Of gradients that are no
        longer finite ``nan-born-here`` tells.
    Source: Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural
        networks (https://arxiv.org/abs/1211.5063), and He et al. 2015, Delving Deep into Rectifiers
        (https://arxiv.org/abs/1502.01852).
    Fires:
        layers = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(12)]
        for layer in layers:
            nn.init.normal_(layer[0].weight)
        net = nn.Sequential(*layers, nn.Linear(16, 1))
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 16)).sum().backward()
    Silent:
        layers = [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(8)]
        for layer in layers:
            nn.init.kaiming_normal_(layer[0].weight)
        net = nn.Sequential(*layers, nn.Linear(16, 1))
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 16)).sum().backward()
    """

    name = "exploding-gradient"
    severity = "warning"
    statistics = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the norms over depth; tell of each model the worst run."""
        worst: dict[str, Profile] = {}
        for one in profiles(case):
            if one.ratio > 1 / LOST and one.steady and (one.first or 0) > _TOO_FAR:
                known = worst.get(one.root.name)
                if known is None or one.ratio > known.ratio:
                    worst[one.root.name] = one
        for one in worst.values():
            first, last = one.layers[0][0], one.layers[-1][0]
            yield self.finding(
                f"The gradient explodes on its way from {last} to {first}: its norm grows to "
                f"{one.ratio:.2g} times what it was.",
                call=one.root,
                events=one.events,
                evidence=one.figures,
            )
