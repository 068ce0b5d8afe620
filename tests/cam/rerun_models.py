"""Models that make it hard to run them again, and what PyTorch alone makes of whole runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.making import layer_of
from hooktrace.cam.replica import by_role
from hooktrace.cam.trees import mapped, tensors_of
from hooktrace.views.calls import CallIndex

BATCH = 3


def images() -> Tensor:
    return torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def scored(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


class WritesAfterTheLayer(Base):
    """Code, not a module, writes into what the layer returned, and into what came before it."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.first(x)
        after = self.second(before)
        after += before
        functional.relu_(after)
        before.mul_(0.5)
        return self.scored(after * before)


class WritesThroughAView(Base):
    def forward(self, x: Tensor) -> Tensor:
        before = self.first(x)
        after = self.second(before)
        before[:, 2:4].neg_()
        after[:, :3].zero_().add_(before[:, 3:])
        return self.scored(after)


class WritesToItsInput(Base):
    def forward(self, x: Tensor) -> Tensor:
        x.clamp_(-0.5, 0.5)
        after = self.second(self.first(x))
        return self.scored(after + x.mean())


class SharedModules(Base):
    """One ReLU, in place, and one convolution are called on both sides of the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.second(self.second(x)))
        return self.scored(self.relu(self.second(x) - 0.1))


class SharedInAContainer(Base):
    """A ReLU is called inside a container and beside it, before the layer and after."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.block = nn.Sequential(self.first, self.relu)
        self.shift = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.shift(self.block(x)))
        return self.scored(self.relu(self.second(x)) + x)


class WritesToATable(Base):
    """Writes to an argument that is not of the batch."""

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        table += 1
        return self.scored(self.second(self.first(x))) * table


class Outputs(NamedTuple):
    maps: Tensor
    extra: Tensor


@dataclass
class Bundle:
    maps: Tensor
    sizes: tuple[int, int]


class Branches(nn.Module):
    """Returns a tuple, a dict, a named tuple or a dataclass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Any:
        maps, extra = self.conv(x), x.amax((2, 3), keepdim=True)
        return {
            "tuple": (maps, extra),
            "dict": {"maps": maps, "extra": extra},
            "named": Outputs(maps, extra),
            "dataclass": Bundle(maps, (8, 8)),
        }[self.how]


class Structured(Base):
    """The layer is one of several results; the model's own result is a dict."""

    how = "tuple"

    def __init__(self) -> None:
        super().__init__()
        self.before, self.second = Branches(self.how), Branches(self.how)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Any:
        maps = self._maps(self.before(self.first(x)))
        result = self.second(maps)
        kept = self._maps(result)
        kept = kept * result[1] if isinstance(result, tuple) else kept
        return {"logits": self.scored(kept + maps), "loss": kept.square().mean((1, 2, 3))}

    def _maps(self, result: Any) -> Tensor:
        found: Tensor = result["maps"] if isinstance(result, dict) else _first(result)
        return found


def _first(result: Any) -> Tensor:
    found: Tensor = result.maps if isinstance(result, Bundle) else result[0]
    return found


class StructuredDict(Structured):
    how = "dict"


class StructuredNamed(Structured):
    how = "named"


class StructuredDataclass(Structured):
    how = "dataclass"


class Counts(Base):
    """A buffer that a run writes to in place, one that it replaces; both change the result."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.ones(()))
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        x = self.second(self.first(x) * self.runs)
        self.mean = self.mean + 0.1 * x.detach().mean((0, 2, 3))
        return self.scored(x * self.runs + self.mean.reshape(1, -1, 1, 1))


class Drops(Base):
    """Dropout on both sides of the layer, and BatchNorm; in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.late = nn.BatchNorm2d(6), nn.Dropout(0.3), nn.BatchNorm2d(6)
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.drop(self.norm(self.first(x))))
        return self.scored(self.drop(self.late(x)))


KINDS: list[type[Base]] = [
    WritesAfterTheLayer,
    WritesThroughAView,
    WritesToItsInput,
    SharedModules,
    SharedInAContainer,
    Structured,
    StructuredDict,
    StructuredNamed,
    StructuredDataclass,
    Counts,
    Drops,
]
kinds = pytest.mark.parametrize("kind", KINDS)


def evidence_of(model: nn.Module, name: str, args: Any, **kwargs: Any) -> Evidence:
    probe = copy.deepcopy(model)  # the trace's run must not be one of those that are compared
    with ht.trace(probe, keep=[name.partition("@")[0]]) as t, torch.random.fork_rng():
        probe(*mapped(args, torch.clone), **mapped(kwargs, torch.clone))
    index = CallIndex(t.log).refresh()
    own = layer_of(index, index.one(name))
    return Evidence(index, own, [own], None, Rerun(model, args, kwargs))


def whole(model: nn.Module, name: str, role: str, value: Tensor, data: Tensor) -> Any:
    """Return what PyTorch alone makes of a whole run with a value in the layer's place."""
    model = copy.deepcopy(model)
    base, _, number = name.partition("@")
    calls: list[int] = []

    def put(_module: Any, _args: Any, output: Any) -> Any:
        calls.append(1)
        if len(calls) - 1 != int(number or 0):
            return output
        return by_role(output, lambda one, old: value.clone() if one == role else old)

    model.get_submodule(base).register_forward_hook(put)
    with torch.no_grad(), torch.random.fork_rng():
        return model(data.clone())


def same(found: Any, wanted: Any) -> bool:
    pairs = zip(tensors_of(found), tensors_of(wanted), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
