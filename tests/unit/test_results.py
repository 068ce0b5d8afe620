"""What a model returned is described without tensors, and put together again from them."""

from __future__ import annotations

import gc
import weakref
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.descriptions import build
from hooktrace.identity import leaves
from hooktrace.results import describe

Pair = namedtuple("Pair", "mean spread")


@dataclass
class Result:
    logits: Tensor
    note: str = "none"


@dataclass
class Output(OrderedDict):
    """A mapping with attributes, as the outputs of transformers are."""

    logits: Any = None
    hidden: Any = None

    def __post_init__(self) -> None:
        self["logits"], self["hidden"] = self.logits, self.hidden


def one(number: float) -> Tensor:
    return torch.tensor([number])


RESULTS = {
    "a tensor": lambda: one(1),
    "a tuple": lambda: (one(1), None, 3, "four"),
    "a list of dicts": lambda: [{"boxes": one(1), "scores": one(2)}, {"boxes": one(3)}],
    "a named tuple": lambda: Pair(one(1), (one(2),)),
    "a dataclass": lambda: Result(one(1), "noted"),
    "a mapping that is a dataclass": lambda: Output(one(1), (one(2), one(3))),
    "an ordered dict": lambda: OrderedDict(out=one(1), aux=one(2)),
}


def flat(tree: Any) -> list[tuple[str, Any]]:
    return [(role, leaf.tolist() if isinstance(leaf, Tensor) else leaf) for role, leaf in tree]


@pytest.mark.parametrize("kind", RESULTS)
def test_what_was_described_is_put_together_again(kind: str) -> None:
    result = RESULTS[kind]()
    tensors = {role: leaf for role, leaf in leaves(result, "output") if isinstance(leaf, Tensor)}
    again = build(describe(result), tensors)
    assert type(again) is type(result)
    assert flat(leaves(again, "output")) == flat(leaves(result, "output"))


def test_a_dict_with_a_constructor_of_its_own_becomes_a_plain_one() -> None:
    result = defaultdict(list, out=one(1))
    assert build(describe(result), {"output['out']": one(2)}) == {"out": one(2)}


def test_a_description_keeps_nothing_of_the_users_alive() -> None:
    class Thing:
        pass

    thing, tensor = Thing(), one(1)
    gone = [weakref.ref(thing), weakref.ref(tensor)]
    described = describe({"thing": thing, "tensor": tensor})
    del thing, tensor
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert build(described, {"output['tensor']": one(5)})["thing"] == "Thing"


def test_a_trace_that_keeps_something_keeps_how_the_result_is_put_together() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2)

        def forward(self, images: Tensor) -> dict[str, Any]:
            return {"out": self.first(images), "count": 2}

    net = Net()
    with ht.trace(net, keep=["first"]) as t:
        net(torch.ones(1, 2))
    (root,) = t.steps[0][:1]
    assert build(t.log.results[root.id], {"output['out']": one(7)}) == {"out": one(7), "count": 2}
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert t.log.results == {}
