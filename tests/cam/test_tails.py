"""What follows a layer, run alone, on models that make it hard.

The oracle is the model itself, run whole by PyTorch with a hook that puts the value in the layer's
place; all comparisons are bit for bit.
"""

from __future__ import annotations

import copy

import pytest
import torch
from rerun_models import (
    BATCH,
    KINDS,
    Base,
    Counts,
    Drops,
    SharedModules,
    WritesToATable,
    WritesToItsInput,
    evidence_of,
    images,
    kinds,
    same,
    whole,
)
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam.evidence import Rerun
from hooktrace.cam.replica import Tail
from hooktrace.errors import TargetError

LAYERS = {SharedModules: ["relu@0", "second@0", "second@1", "second@2"]}
MIXING = (Drops, Counts, WritesToItsInput)
"""What one image gets depends on the others of the batch."""

CASES = [
    (kind, layer, rows)
    for kind in KINDS
    for layer in LAYERS.get(kind, ["first", "second"])
    for rows in ([[0, 1, 2]] if kind in MIXING else [[0, 1, 2], [1, 1, 1, 1], [2, 0]])
]


@pytest.mark.parametrize(("kind", "layer", "rows"), CASES)
def test_a_tail_gives_what_a_whole_run_gives(kind: type[Base], layer: str, rows: list[int]) -> None:
    model, data = kind(), images()
    evidence = evidence_of(model, layer, (data,))
    value = evidence.layer.value[rows].clone()
    value[:, 2] = 0
    with torch.no_grad():
        tail = Tail(evidence.rerun("test"), evidence)
        for _ in range(3):  # as often as one likes
            found = tail.run(evidence.layer.role, value.clone(), torch.tensor(rows))
            assert same(found, whole(model, layer, evidence.layer.role, value, data[rows]))


@kinds
def test_nothing_of_the_model_or_its_inputs_changes(kind: type[Base]) -> None:
    model, data = kind(), images()
    evidence = evidence_of(model, "second@0", (data,))
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    with torch.no_grad():
        tail = Tail(evidence.rerun("test"), evidence)
        tail.run(evidence.layer.role, evidence.layer.value.clone(), torch.arange(BATCH))
    assert same(dict(model.state_dict()), dict(before))
    assert torch.equal(data, images())
    assert torch.equal(torch.get_rng_state(), state)
    assert all("forward" not in vars(one) for one in model.modules())
    assert all(one.grad is None for one in model.parameters())


def test_the_tail_runs_nothing_before_the_layer_but_what_must_be() -> None:
    ran: list[str] = []

    class Told(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            ran.append(self.told)
            return super().forward(x)

    model = nn.Sequential(*(Told(3, 3, 1) for _ in range(4)), nn.Flatten(), nn.Linear(192, 2))
    for number in range(4):
        model[number].told = str(number)
    evidence = evidence_of(model, "2", (images(),))
    with torch.no_grad():
        tail = Tail(evidence.rerun("test"), evidence)
        ran.clear()
        tail.run("output", evidence.layer.value, torch.arange(BATCH))
    assert ran == ["3"]


def test_arguments_by_name_that_are_of_the_batch_go_along_and_others_stay() -> None:
    class Named(Base):
        def forward(self, x: Tensor, *, weights: Tensor, table: Tensor, scale: float) -> Tensor:
            maps = self.second(self.first(x)) * weights.reshape(-1, 1, 1, 1)
            return self.scored(maps * scale) @ table

    model, data = Named(), images()
    named = {"weights": torch.tensor([1.0, 2.0, 3.0]), "table": torch.randn(4, 5), "scale": 2.0}
    evidence = evidence_of(model, "second", (data,), **named)
    rows = torch.tensor([2, 2, 0, 1, 2])
    with torch.no_grad():
        found = Tail(evidence.rerun("test"), evidence).run(
            "output", evidence.layer.value[rows], rows
        )
        wanted = model(data[rows], **{**named, "weights": named["weights"][rows]})  # type: ignore[index]
    torch.testing.assert_close(found, wanted)


def test_an_argument_that_the_model_writes_to_is_never_the_callers() -> None:
    model, data, table = WritesToATable(), images(), torch.zeros(4)
    evidence = evidence_of(model, "second", (data,), table=table)
    rows = torch.tensor([1, 1])
    with torch.no_grad():
        tail = Tail(evidence.rerun("test"), evidence)
        first, again = (tail.run("output", evidence.layer.value[rows], rows) for _ in range(2))
        wanted = model(data[rows], torch.zeros(4))
    assert torch.equal(table, torch.zeros(4))
    assert torch.equal(first, wanted)
    assert torch.equal(again, wanted)


def test_a_layer_that_is_not_called_again_is_named() -> None:
    class Sometimes(Base):
        def forward(self, x: Tensor, deep: bool = True) -> Tensor:
            x = self.first(x)
            return self.scored(self.second(x) if deep else x)

    model, data = Sometimes(), images()
    evidence = evidence_of(model, "second", (data, True))
    rerun = Rerun(model, (data, False), {})
    with pytest.raises(TargetError, match="does not call second"):
        Tail(rerun, evidence)


class Tokens(nn.Module):
    """A transformer over (T, N, C), with a shortcut past the layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.patch = nn.Conv2d(3, 8, 2, 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).permute(2, 0, 1)
        return self.head(self.block(tokens).mean(0))


@pytest.mark.parametrize("layer", ["block.norm1", "block.linear2"])
@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_before_images_are_ablated_image_by_image(layer: str, batch: int) -> None:
    model, data = Tokens().double(), images()[:batch].double()
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    with torch.no_grad():
        own = model(data)[:, 1]
        handle.remove()
        weights = []
        for channel in range(8):
            value = kept[0].clone()
            value[:, :, channel] = 0
            weights.append(1 - whole(model, layer, "output", value, data)[:, 1] / own)
    expected = torch.einsum("cn,tnc->nt", torch.stack(weights), kept[0]).reshape(batch, 4, 4)
    for reshape in (None, lambda tokens: tokens.permute(1, 2, 0).reshape(batch, -1, 4, 4)):
        found = ht.explain(
            model, data, target=1, layer=layer, method="ablationcam", reshape=reshape
        ).raw
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_model_that_takes_a_list_is_given_one_image_at_a_time() -> None:
    class Lister(Base):
        def forward(self, several: list[Tensor]) -> list[dict[str, Tensor]]:
            maps = self.second(self.first(torch.stack(several)))
            return [{"score": one.amax()} for one in self.scored(maps)]

    def score(output: list[dict[str, Tensor]]) -> Tensor:
        return torch.stack([one["score"] for one in output])

    class Twin(Base):
        def forward(self, x: Tensor) -> Tensor:
            return self.scored(self.second(self.first(x)))

    data = images()[:1]
    found = ht.explain(
        Lister(), (list(data),), target=score, layer="second", method="ablationcam"
    ).raw
    twin = ht.explain(
        Twin(), data, target=lambda z: z.amax(1), layer="second", method="ablationcam"
    ).raw
    torch.testing.assert_close(found, twin)
