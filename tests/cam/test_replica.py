"""Models run again: replicas, runs that are recorded, and tails, on models that make it hard.

The oracle is the model itself, run whole by PyTorch with a hook that puts the value in the layer's
place; all comparisons are bit for bit.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.making import layer_of
from hooktrace.cam.recordedrun import RecordedRun
from hooktrace.cam.replica import Replica, Tail, by_role
from hooktrace.cam.trees import mapped, repeated, tensors_of
from hooktrace.errors import MapShapeError, TargetError
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


@kinds
def test_a_replica_gives_what_the_model_gives_every_time(kind: type[Base]) -> None:
    model, data = kind(), images()
    with torch.no_grad(), torch.random.fork_rng():
        wanted = copy.deepcopy(model)(data.clone())
    replica = Replica(Rerun(model, (data,), {}))
    with torch.no_grad():
        assert all(same(replica.run(), wanted) for _ in range(3))
        assert same(replica.run_rows(torch.arange(BATCH), BATCH), wanted)


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


def test_the_images_are_found_and_replaced_wherever_they_are() -> None:
    class Nested(Base):
        def forward(self, batch: dict[str, Any]) -> Tensor:
            return self.scored(self.first(batch["pair"][1]) + batch["pair"][0].reshape(-1, 1, 1, 1))

    data, shift = images(), torch.tensor([1.0, 2.0, 3.0])
    model = Nested()
    replica = Replica(Rerun(model, ({"pair": [shift, data]},), {}))
    assert torch.equal(replica.images(BATCH, (8, 8)), data)
    rows, other = torch.tensor([1, 1]), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        found = replica.run_rows(rows, BATCH, other)
        assert torch.equal(found, model({"pair": [shift[rows], other]}))
    ((changed,), _) = replica.arguments(other)
    assert changed["pair"][1] is other
    with pytest.raises(MapShapeError, match=r"no batch of 3 images of the size \(7, 7\)"):
        replica.images(BATCH, (7, 7))


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


def test_what_the_model_raises_passes_through_and_leaves_no_override_behind() -> None:
    class Fails(Base):
        def forward(self, x: Tensor) -> Tensor:
            if self.second(self.first(x)).sum().isfinite():
                raise ArithmeticError("mine")
            return x

    model = Fails()
    replica = Replica(Rerun(model, (images(),), {}))
    forwards = [one.forward for one in replica.model.modules()]
    with pytest.raises(ArithmeticError, match="mine"):
        RecordedRun(replica, replica.model.get_submodule("second"), 0, "second")
    now = [one.forward for one in replica.model.modules()]
    assert [one.__func__ for one in now] == [one.__func__ for one in forwards]  # type: ignore[attr-defined]


def test_a_recorded_run_tells_who_wrote_and_what_may_be_shared() -> None:
    model, data = SharedModules(), images()
    replica = Replica(Rerun(model, (data,), {}))
    place = replica.model.get_submodule("second")
    with torch.no_grad():
        found = RecordedRun(replica, place, 1, "second@1")
        assert torch.equal(found.output, model(data.clone()))
    assert not found.writes_inputs
    names = {one: name for name, one in replica.model.named_modules()}
    kept = {(names[one], n): call for (one, n), call in found.replayed(careful=False).items()}
    assert set(kept) == {("first", 0), ("relu", 0)}
    assert torch.equal(kept["first", 0].result, kept["relu", 0].result)  # as it is by then
    careful = {(names[one], n) for one, n in found.replayed(careful=True)}
    assert careful == {("first", 0)}
    replica = Replica(Rerun(WritesToItsInput(), (data,), {}))
    with torch.no_grad():
        written = RecordedRun(replica, replica.model.get_submodule("second"), 0, "second")
    assert written.writes_inputs


# ------------------------------------------------------------------ tokens


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


# ------------------------------------------------------------------ trees


def test_trees_keep_their_classes() -> None:
    one, two = torch.zeros(2), torch.ones(2)
    numbers: defaultdict[int, Any] = defaultdict(list, {3: one})
    tree = (Outputs(one, two), {"a": [one, 5]}, OrderedDict({2: two}), Bundle(one, (1, 2)), numbers)
    changed: Any = mapped(tree, lambda tensor: tensor + 1)
    assert [type(part) for part in changed] == [type(part) for part in tree]
    assert torch.equal(changed[0].extra, two + 1)
    assert changed[1]["a"][1] == 5
    assert list(changed[2]) == [2]
    assert changed[3].sizes == (1, 2)
    assert changed[4][9] == []
    assert tree[3].maps is one
    assert [int(part.sum()) for part in tensors_of(tree)] == [0, 2, 0, 2, 0, 0]


@pytest.mark.parametrize("shared", [False, True])
def test_repeated_takes_the_images_and_leaves_what_is_not_of_the_batch(shared: bool) -> None:
    batch, other, number = torch.arange(6.0).reshape(3, 2), torch.zeros(5), torch.tensor(1.0)
    for rows in (torch.tensor([1, 1, 1]), torch.tensor([2, 0])):
        found: Any = repeated([batch, other, number], rows, 3, shared=shared)
        assert torch.equal(found[0], batch[rows])
        assert (found[1] is other) is shared
        assert (found[2] is number) is shared
        if not shared:
            found[0].zero_()
    assert torch.equal(batch, torch.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize("shared", [False, True])
def test_repeated_along_another_axis_where_that_fits(shared: bool) -> None:
    tokens, images_first = torch.arange(24.0).reshape(4, 3, 2), torch.arange(3.0)
    for rows in (torch.tensor([1, 1]), torch.tensor([2, 0, 1, 1])):
        tree = (tokens, images_first)
        found, first = repeated(tree, rows, 3, shared=shared, axis=1)
        assert torch.equal(found, tokens[:, rows])
        assert torch.equal(first, images_first[rows])


def test_the_role_of_each_tensor_is_told() -> None:
    tree = (Bundle(torch.zeros(1), (1, 2)), {"a": torch.zeros(1)}, torch.zeros(1))
    told: list[str] = []

    def note(role: str, tensor: Tensor) -> Tensor:
        told.append(role)
        return tensor

    by_role(tree, note)
    assert told == ["output[0].maps", "output[1]['a']", "output[2]"]


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
