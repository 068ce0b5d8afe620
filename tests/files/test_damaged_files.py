"""Files that are damaged, absurd, or made to do harm are refused by name, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import TraceFormatError
from hooktrace.storage.wire import decode_events, encode

TABLES, EVENTS = "parts/0/tables.msgpack", "parts/0/0.msgpack"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    with ht.trace(net, keep=True) as t:
        net(torch.rand(1, 2)).sum().backward()
    return t.save(tmp_path_factory.mktemp("good") / "good.hooktrace")


@pytest.fixture
def changed(good: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the good file anew with other entries; None leaves one out."""

    def change(**entries: Any) -> Path:
        path = tmp_path / "bad.hooktrace"
        new = {name.replace("__", "/"): data for name, data in entries.items()}
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as file:
            names = dict.fromkeys([*old.namelist(), *new])
            for name in names:
                data = new.get(name, old.read(name) if name in old.namelist() else None)
                if data is not None:
                    file.writestr(name, data)
        return path

    return change


def read(path: Path) -> None:
    """Read everything that a file holds."""
    t = ht.load(path)
    str(t)
    t.graph()
    for one in t.log.snapshots.values():
        one.sum()


def unpacked(good: Path, name: str) -> Any:
    with zipfile.ZipFile(good) as file:
        return msgspec.msgpack.decode(file.read(name))


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        ht.load(tmp_path / "nothing.hooktrace")


@pytest.mark.parametrize("thing", [3, None, b"run.hooktrace", {"a": 1}, nn.Linear(2, 3)])
@pytest.mark.parametrize("take", [ht.load, lambda thing: next(ht.read_events(thing))])
def test_what_is_no_path_is_told_what_to_give(take: Callable[[Any], Any], thing: Any) -> None:
    with pytest.raises(TypeError, match=r"give its path.* of type (int|NoneType|bytes|dict|Lin)"):
        take(thing)


@pytest.mark.parametrize("data", [b"", b"PK", b"hello world", pickle.dumps([1, 2, 3])])
def test_what_is_no_archive_is_no_trace(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.hooktrace"
    path.write_bytes(data)
    with pytest.raises(TraceFormatError, match=r"x\.hooktrace is not a trace"):
        ht.load(path)


def test_a_folder_and_a_pipe_are_no_traces(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match="is not a file"):
        ht.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TraceFormatError, match="is not a file"):
        ht.load(tmp_path / "pipe")


def test_another_archive_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(TraceFormatError, match="without a manifest"):
        ht.load(path)


def test_a_later_version_is_told_and_what_to_do(changed: Callable[..., Path]) -> None:
    path = changed(**{"manifest.json": b'{"format": 99, "surroundings": {}}'})
    with pytest.raises(TraceFormatError, match=r"version 99.*Install the latest hooktrace"):
        ht.load(path)


def test_every_truncation_is_refused_or_read_as_far_as_it_goes(good: Path, tmp_path: Path) -> None:
    whole, path = good.read_bytes(), tmp_path / "cut.hooktrace"
    events = len(ht.load(good).events)
    told = {"refused": 0, "read": 0}
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        try:
            t = ht.load(path)
        except TraceFormatError:
            told["refused"] += 1
        else:
            assert len(t.events) in (0, events)
            assert t.log.origin is not None
            told["read"] += 1
    assert all(told.values())


def test_every_flipped_bit_is_noticed_or_harmless(good: Path, tmp_path: Path) -> None:
    """What matters is in entries, each with a checksum; the rest is names and sizes."""
    whole, path = good.read_bytes(), tmp_path / "flipped.hooktrace"
    events = repr(ht.load(good).log.events)
    draw = random.Random(0)
    noticed = 0
    for _ in range(400):
        place = draw.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            t = ht.load(path)
            tensors = [one.sum() for one in t.log.snapshots.values()]
        except TraceFormatError:
            noticed += 1
        else:
            assert repr(t.log.events) in (events, "[]")
            assert tensors or not t.events or t.log.origin is not None
    assert noticed > 300


@pytest.mark.parametrize(
    ("beside", "words"),
    [(0, "would unpack to 134,.*no trace does"), (2 << 20, "would unpack to 13.*limit_bytes")],
)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    changed: Callable[..., Path], beside: int, words: str
) -> None:
    path = changed(parts__0__9=b"")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("parts/0/beside", random.Random(0).randbytes(beside))
        for number in range(8):
            file.writestr(f"parts/{number}/bomb", bytes(16 << 20))
    assert path.stat().st_size < beside + (1 << 20)
    tracemalloc.start()
    with pytest.raises(TraceFormatError, match=words):
        ht.load(path, limit_bytes=100 << 20)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_an_entry_that_is_longer_than_it_claims_is_refused(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "lying.hooktrace"
    whole = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as file:
        info = file.getinfo(EVENTS)
    directory = whole.rindex(EVENTS.encode()) - 46
    assert whole[directory : directory + 4] == b"PK\x01\x02"
    struct.pack_into("<L", whole, directory + 24, info.file_size // 2)
    path.write_bytes(whole)
    with pytest.raises(TraceFormatError, match=EVENTS):
        ht.load(path)


@pytest.mark.parametrize(
    "head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff"]
)
def test_absurd_counts_take_no_memory(changed: Callable[..., Path], head: bytes) -> None:
    path = changed(**{EVENTS.replace("/", "__"): head})
    tracemalloc.start()
    with pytest.raises(TraceFormatError, match=rf"{EVENTS} is damaged"):
        ht.load(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_deep_nesting_is_refused(changed: Callable[..., Path]) -> None:
    with pytest.raises(TraceFormatError, match="is damaged"):
        ht.load(changed(**{EVENTS.replace("/", "__"): b"\x91" * 1_000_000}))


def test_names_of_entries_are_never_paths(changed: Callable[..., Path], tmp_path: Path) -> None:
    entries = {"../evil": b"x", "/tmp/evil": b"x", "parts/../../evil/tables.msgpack": b"x"}
    path = changed(**entries)
    before = sorted(tmp_path.rglob("*"))
    assert len(ht.load(path).events)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("module", 77, "module 77"),
        ("module", -1, "module -1"),
        ("seq", 10_000, "comes after event"),
    ],
)
def test_rows_that_point_nowhere_are_refused(
    good: Path, changed: Callable[..., Path], field: str, value: int, said: str
) -> None:
    events = unpacked(good, EVENTS)
    first = next(one for one in events if one["type"] == "ModuleCalled")
    first[field] = value
    with pytest.raises(TraceFormatError, match=said):
        ht.load(changed(**{EVENTS.replace("/", "__"): msgspec.msgpack.encode(events)}))


def test_a_hook_that_there_is_not_is_refused(good: Path, changed: Callable[..., Path]) -> None:
    events = unpacked(good, EVENTS)
    next(one for one in events if one["type"] == "HookFired")["hook"] = 5
    with pytest.raises(TraceFormatError, match="hook 5"):
        ht.load(changed(**{EVENTS.replace("/", "__"): msgspec.msgpack.encode(events)}))


@pytest.mark.parametrize("entry", ["facts/0.msgpack", EVENTS, TABLES, "ending.msgpack"])
@pytest.mark.parametrize("data", [b"\xc0", b"\x01", msgspec.msgpack.encode({"modules": 3}), b""])
def test_wrong_records_are_refused_by_the_name_of_the_entry(
    changed: Callable[..., Path], entry: str, data: bytes
) -> None:
    with pytest.raises(TraceFormatError, match=entry):
        ht.load(changed(**{entry.replace("/", "__"): data}))


def test_absurd_shapes_of_tensors_are_refused(changed: Callable[..., Path]) -> None:
    header = b'{"0":{"dtype":"F32","shape":[9999999999999],"data_offsets":[0,4]}}'
    data = struct.pack("<Q", len(header)) + header + bytes(4)
    path = changed(parts__0__tensors=data)
    t = ht.load(path)
    with pytest.raises(TraceFormatError, match="parts/0/tensors"):
        t.calls()[0].output  # noqa: B018


def test_a_pickle_in_a_file_is_never_opened(changed: Callable[..., Path], tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {flag}",)

    for entry in ("manifest.json", "facts/0.msgpack", EVENTS, TABLES, "parts/0/tensors"):
        with pytest.raises(TraceFormatError):
            read(changed(**{entry.replace("/", "__"): pickle.dumps(Evil())}))
    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    with pytest.raises(TraceFormatError):
        read(changed(parts__0__tensors=buffer.getvalue()))
    assert not flag.exists()


def test_a_file_that_is_gone_says_so_when_a_tensor_is_asked_for(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.hooktrace"
    path.write_bytes(good.read_bytes())
    t = ht.load(path)
    path.unlink()
    assert str(t)
    with pytest.raises(TraceFormatError, match="is gone"):
        t.calls()[0].output  # noqa: B018


def test_text_that_is_no_unicode_is_saved_in_words(tmp_path: Path) -> None:
    record = encode([ht.events.ProbeFailed(0, 0, 0, "caf\udce9", "line")])
    (event,) = decode_events(record, "here")
    assert isinstance(event, ht.events.ProbeFailed)
    assert event.probe == r"caf\udce9"


def test_an_interrupted_save_leaves_the_earlier_file(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.hooktrace"
    path.write_bytes(good.read_bytes())
    t = ht.load(good)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hooktrace.storage.saving.part_tables", interrupted)
    with pytest.raises(KeyboardInterrupt):
        t.save(path)
    assert path.read_bytes() == good.read_bytes()
    assert os.listdir(tmp_path) == ["run.hooktrace"]


def test_a_file_is_not_replaced_unasked(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.hooktrace"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists already"):
        ht.load(good).save(path, force=False)
    assert path.read_bytes() == b"mine"


def test_a_folder_that_is_missing_is_named(good: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*no, so .*x\.hooktrace"):
        ht.load(good).save(tmp_path / "no" / "x.hooktrace")


def test_loading_and_showing_need_no_torch(good: Path) -> None:
    code = (
        "import sys, hooktrace as ht\n"
        f"t = ht.load({str(good)!r})\n"
        "print(t), t.graph(), t.findings(), t.edits, t.writes(), t.digraph().source\n"
        "assert len(list(ht.read_events(t.log.origin.path))) == len(t.events)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
