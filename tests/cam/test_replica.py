"""Replicas of models that make it hard, and recorded runs of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from rerun_models import (
    BATCH,
    Base,
    SharedModules,
    WritesToItsInput,
    images,
    kinds,
    same,
)
from torch import Tensor

from hooktrace.cam.evidence import Rerun
from hooktrace.cam.recordedrun import RecordedRun
from hooktrace.cam.replica import Replica
from hooktrace.errors import MapShapeError


@kinds
def test_a_replica_gives_what_the_model_gives_every_time(kind: type[Base]) -> None:
    model, data = kind(), images()
    with torch.no_grad(), torch.random.fork_rng():
        wanted = copy.deepcopy(model)(data.clone())
    replica = Replica(Rerun(model, (data,), {}))
    with torch.no_grad():
        assert all(same(replica.run(), wanted) for _ in range(3))
        assert same(replica.run_rows(torch.arange(BATCH), BATCH), wanted)


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
