"""graph-broken: where the path from parameters to the loss ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.findings import Finding

Between = Callable[[torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Three layers with something between the first two and the last."""

    def __init__(self, between: Between, size: int = 2) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Linear(2, size), nn.Linear(size, 1)
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(self.between(torch.tanh(self.b(self.a(x)))))


def step(net: nn.Module, *, train: bool = True, loss: Any = torch.sum, batch: int = 1) -> ht.Trace:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        loss(net(torch.randn(batch, 2))).backward()
        if train:
            optimizer.step()
    return t


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["graph-broken"]))


CUTS: dict[str, Between] = {
    "detach": lambda h: h.detach(),
    "data": lambda h: h.data,
    "numpy": lambda h: torch.from_numpy(h.detach().numpy() * 2),
    "list": lambda h: torch.tensor(h.tolist()),
}


@pytest.mark.parametrize("size", [2, 40])
@pytest.mark.parametrize("name", CUTS)
def test_a_cut_between_two_modules_is_told_once_with_the_parameters_before_it(
    name: str, size: int
) -> None:
    (one,) = found(step(Net(CUTS[name], size)))
    assert one.severity == "warning"
    assert one.message == (
        "The graph is broken between b@0 and c@0; 4 parameters got no gradient: "
        "a (weight, bias), b (weight, bias)."
    )
    shape = f"1x{size} float32"
    assert one.evidence[0].startswith(f"b@0 returned {shape}, which requires grad")
    assert one.evidence[1] == f"c@0 was given args[0]: {shape}, which does not"
    assert one.possible.startswith("that c@0 was given what was computed from the output of b@0")


def test_the_very_numbers_make_it_sure() -> None:
    class Plain(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x)).detach())

    (one,) = found(step(Plain(torch.tanh)))
    assert one.possible == ""


def test_the_events_are_the_exit_of_one_call_and_the_beginning_of_the_other() -> None:
    t = step(Net(CUTS["detach"]))
    (one,) = found(t)
    last, following = t["b"], t["c"]
    assert one.events[:2] == (last.exited.seq, following.called.seq)


def test_a_loss_that_was_made_of_item_is_told() -> None:
    def loss(y: torch.Tensor) -> torch.Tensor:
        return torch.tensor(y.sum().item(), requires_grad=True)

    (one,) = found(step(Net(torch.tanh), loss=loss))
    assert one.message.startswith(
        "The loss was not computed from what Net@0 returned, or not by autograd; 6 parameters"
    )


def test_a_module_whose_forward_hides_its_weight_is_told() -> None:
    class Hidden(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return super().forward(x)

    (one,) = found(step(nn.Sequential(Hidden(2, 2), nn.Linear(2, 1))))
    assert one.message.startswith("The graph is broken inside 0@0: what it returned does not")
    assert "0 (weight, bias)" in one.message


def test_a_module_that_an_optimizer_is_to_train_and_that_ran_under_no_grad_is_told() -> None:
    class Half(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                h = self.b(self.a(x))
            return self.c(h)

    made = found(step(Half(torch.tanh)))
    assert {one.where.partition("@")[0] for one in made} == {"a", "b"}
    assert all("ran without autograd, as under torch.no_grad()" in one.message for one in made)
    assert found(step(Half(torch.tanh), train=False)) == []  # it may be a teacher


def test_without_a_step_of_an_optimizer_it_is_a_possible_note() -> None:
    (one,) = found(step(Net(CUTS["detach"]), train=False))
    assert one.severity == "note"
    assert one.possible.startswith("no optimizer took a step")


def test_two_breaks_are_two_findings() -> None:
    class Twice(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(self.b(self.a(x).detach()).detach())

    made = found(step(Twice(torch.tanh)))
    assert len(made) == 1 or [one.message.partition(";")[0] for one in made] == [
        "The graph is broken between a@0 and b@0",
        "The graph is broken between b@0 and c@0",
    ]


# ------------------------------------------------------------------ near misses


@pytest.mark.parametrize(
    "between",
    [torch.tanh, lambda h: h.clone(), lambda h: h.view(-1, 2), lambda h: h + h.detach()],
)
def test_what_keeps_the_graph_is_fine(between: Between) -> None:
    assert found(step(Net(between))) == []


def test_a_gradient_that_arrives_in_another_step_of_the_block_is_enough() -> None:
    """As the generator of a GAN, whose samples are detached for the discriminator's step."""
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    first = torch.optim.SGD(critic.parameters(), lr=0.1)
    second = torch.optim.SGD(generator.parameters(), lr=0.1)
    with ht.trace({"g": generator, "d": critic}) as t:
        fake = generator(torch.randn(4, 2))
        critic(fake.detach()).sum().backward()
        first.step()
        critic(fake).sum().backward()
        second.step()
    assert found(t) == []


def test_the_generator_is_no_matter_where_only_the_discriminator_steps() -> None:
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
    with ht.trace({"g": generator, "d": critic}) as t:
        critic(generator(torch.randn(4, 2)).detach()).sum().backward()
        optimizer.step()
    assert found(t) == []


def test_a_frozen_part_is_no_broken_graph() -> None:
    net = Net(CUTS["detach"])
    net.a.requires_grad_(False)
    net.b.requires_grad_(False)
    assert found(step(net)) == []


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_breaks_nothing(reentrant: bool) -> None:
    class Saving(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = checkpoint(self.b, self.a(x), use_reentrant=reentrant)
            assert isinstance(h, torch.Tensor)
            return self.c(h)

    assert found(step(Saving(torch.tanh))) == []


def test_a_backward_for_some_inputs_tells_nothing() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward(inputs=[net[1].weight])
    assert found(t) == []


def test_a_forward_without_a_backward_tells_nothing() -> None:
    net = Net(CUTS["detach"])
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert found(t) == []
