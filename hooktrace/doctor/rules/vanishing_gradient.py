"""Gradients that get lost on the way to the first layers."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.depth import LOST, Profile, profiles
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["VanishingGradient"]


@rule
class VanishingGradient(Rule):
    """The gradient shrinks from layer to layer until little is left for the first ones.

    What it finds: models of four layers or more in which the norm of the gradient falls, from the
        output of the last layer to that of the first, below 3.5e-4 of what it was, most layers
        having a share in it and none more than half, and with it the gradient of the weights,
        relative to the weights. Of a recurrent net, whose layer is one cell in many steps, a note.
    Why it matters: one learning rate serves all layers, so that the first ones, whose gradient is
        thousands of times smaller, stay as they were drawn; in the norm of all gradients they
        count for nothing.
    Instead: ReLU instead of sigmoid or tanh, weights of Glorot's or He's initialisation, residual
        connections, a normalisation between the layers; in recurrent nets gates, as in LSTM.
    Limits: it needs ``stats=True``. The bound is a principle, not a law: the square root of the
        rounding of single precision, at which the square of one norm is lost in the sum with that
        of the other. A layer is a call of a module with parameters and without inner modules; what
        happens inside ``nn.RNN`` or ``nn.LSTM`` is not seen. Gradients of exactly zero are another
        matter, as where a head starts from zero, and are left out.
    Source: Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
        networks (https://proceedings.mlr.press/v9/glorot10a.html), and Pascanu, Mikolov and
        Bengio 2013, On the difficulty of training recurrent neural networks
        (https://arxiv.org/abs/1211.5063).
    Fires:
        layers = [nn.Sequential(nn.Linear(16, 16), nn.Sigmoid()) for _ in range(8)]
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

    name = "vanishing-gradient"
    severity = "warning"
    statistics = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the norms over depth; tell of each model the worst run."""
        worst: dict[str, Profile] = {}
        for one in profiles(case):
            if one.ratio < LOST and one.steady and _lost(one):
                known = worst.get(one.root.name)
                if known is None or one.ratio < known.ratio:
                    worst[one.root.name] = one
        for one in worst.values():
            first, last = one.layers[0][0], one.layers[-1][0]
            yield self.finding(
                f"The gradient vanishes on its way from {last} to {first}: its norm falls to "
                f"{one.ratio:.2g} of what it was.",
                call=one.root,
                severity="note" if one.again else None,
                events=one.events,
                evidence=one.figures,
            )


def _lost(one: Profile) -> bool:
    """Whether the gradients of the weights differ as much, where the layers have their own."""
    if one.again or not one.first or not one.last:
        return one.again
    return one.first < LOST * one.last
