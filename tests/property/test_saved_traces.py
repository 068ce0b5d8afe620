"""Saving and loading is the identity, for every program of the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from traced_zoo import LIGHT, trace_of

import hooktrace as ht
from hooktrace.errors import HooktraceError
from hooktrace.storage import read_events

NOT_IN_A_FILE = {
    "edges",
    "accumulated",
    "origin",
    "rows",
    "snapshots",
    "overwritten",
    "results",
} | {
    "surroundings"  # which knows the devices in the file
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


every_program = pytest.mark.parametrize("name", LIGHT)


def saved(name: str, folder: Path) -> tuple[ht.Trace, ht.Recording]:
    t = trace_of(name)
    path = folder / f"{name}.hooktrace"
    if not path.exists():
        t.save(path)
    return t, ht.load(path)


@every_program
def test_the_timeline_and_every_table_are_the_same(name: str, folder: Path) -> None:
    t, loaded = saved(name, folder)
    assert repr(loaded.log.events) == repr(t.log.events)  # in which NaN equals NaN
    assert repr(list(read_events(folder / f"{name}.hooktrace"))) == repr(t.log.events)
    for attribute, mine in vars(t.log).items():
        if not attribute.startswith("_") and attribute not in NOT_IN_A_FILE:
            assert told(getattr(loaded.log, attribute)) == told(mine), attribute


@every_program
def test_kept_tensors_are_the_same_bit_for_bit(name: str, folder: Path) -> None:
    t, loaded = saved(name, folder)
    for mine, theirs in (
        (t.log.snapshots, loaded.log.snapshots),
        (t.log.overwritten, loaded.log.overwritten),
    ):
        assert {key for key, one in mine.items() if storable(one)} == set(theirs)
        for key, tensor in theirs.items():
            assert tensor.dtype == mine[key].dtype
            assert tensor.shape == mine[key].shape
            assert bits(tensor) == bits(mine[key])


@every_program
def test_what_is_told_is_the_same(name: str, folder: Path) -> None:
    t, loaded = saved(name, folder)
    assert str(loaded) == str(t)
    assert str(loaded.findings()) == str(t.findings())
    assert loaded.blind_spots() == t.blind_spots()
    assert [str(one) for one in loaded.edits] == [str(one) for one in t.edits]
    assert [str(one) for one in loaded.writes()] == [str(one) for one in t.writes()]
    assert networkx.utils.graphs_equal(loaded.graph(), t.graph())
    assert drawn(loaded) == drawn(t)


@every_program
def test_a_loaded_trace_is_saved_as_the_same_file(name: str, folder: Path) -> None:
    _, loaded = saved(name, folder)
    again = loaded.save(folder / "again.hooktrace")
    assert again.read_bytes() == (folder / f"{name}.hooktrace").read_bytes()


def told(thing: Any) -> Any:
    """Turn what a log holds into what can be compared."""
    if isinstance(thing, dict):
        return repr(sorted(thing.items(), key=repr))
    if isinstance(thing, (str, bool, int, float, set, type(None))):
        return thing
    if hasattr(thing, "taken"):  # statistics, in which NaN is not NaN
        return repr(list(thing.items())), thing.parameters, thing.taken
    return sorted(thing, key=repr) if hasattr(thing, "__iter__") else thing


def storable(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def bits(tensor: torch.Tensor) -> bytes:
    whole = (
        tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    )
    return whole.reshape(-1).view(torch.uint8).numpy().tobytes()


def drawn(t: ht.Recording) -> str:
    try:
        return str(t.digraph().source)
    except HooktraceError as error:
        return str(error)
