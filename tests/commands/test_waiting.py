"""Commands show bars for what takes long: on a terminal, after a while, and on standard error."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace import progress
from hooktrace.cli import app
from hooktrace.commands import waiting
from hooktrace.storage.restore import Rebuilt


class Terminal:
    """A pseudo-terminal, and what was written to it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.file = open(slave, "w")  # noqa: SIM115 - closed by close()
        self._written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self._master, 4096):
                self._written += part
        except OSError:  # the other end is closed
            pass

    def close(self) -> None:
        """Wait for what was written."""
        self.file.close()
        self._reader.join(10)
        os.close(self._master)

    @property
    def text(self) -> str:
        """What was written, once it is closed."""
        return self._written.decode()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    with ht.trace(net, keep=True) as t:
        net(torch.rand(1, 2)).sum().backward()
    return t.save(tmp_path_factory.mktemp("traces") / "run.hooktrace")


@contextmanager
def a_terminal() -> Iterator[Terminal]:
    """Let standard error be a pseudo-terminal."""
    terminal, before = Terminal(), sys.stderr
    sys.stderr = terminal.file
    try:
        yield terminal
    finally:
        sys.stderr = before
        terminal.close()


@pytest.fixture(autouse=True)
def of_a_kind_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let loading take a while, and a while be short."""
    finish: Callable[[Any], Any] = Rebuilt.finish

    def late(self: Any) -> Any:
        time.sleep(0.3)
        return finish(self)

    monkeypatch.setattr(Rebuilt, "finish", late)
    monkeypatch.setattr(waiting, "_PATIENCE_SECONDS", 0.05)


def run(*arguments: object) -> None:
    app([str(one) for one in arguments], standalone_mode=False)


def commands(file: Path, folder: Path) -> dict[str, list[object]]:
    return {
        "show": ["show", file],
        "draw": ["draw", file, folder / "x.dot"],
        "export": ["export", file, folder / "x.json"],
        "doctor": ["doctor", file],
        "compare": ["compare", file, file],
    }


ERASED = "\x1b[1A\x1b[2K"
"""What takes the line of a bar away again."""

NAMES = list(commands(Path(), Path()))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("name", NAMES)
def test_what_takes_long_has_a_bar_on_a_terminal(
    name: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_terminal() as terminal:
        run(*commands(file, tmp_path)[name])
    assert "reading run.hooktrace" in terminal.text
    assert "checking run.hooktrace" in terminal.text
    assert terminal.text.endswith(ERASED)
    assert "reading" not in capsys.readouterr().out


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("name", NAMES)
def test_quiet_shows_none(name: str, file: Path, tmp_path: Path) -> None:
    with a_terminal() as terminal:
        run(*commands(file, tmp_path)[name], "--quiet")
    assert terminal.text == ""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_done_soon_shows_none(
    name: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_PATIENCE_SECONDS", 60.0)  # a second, for a machine at rest
    with a_terminal() as terminal:
        run(*commands(file, tmp_path)[name])
    assert terminal.text == ""


@pytest.mark.usefixtures("slow")
def test_no_terminal_no_bar(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("show", file)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("slow")
def test_an_error_takes_the_bar_away(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any) -> None:
        time.sleep(0.3)
        raise ht.errors.TraceFormatError("bad")

    monkeypatch.setattr(Rebuilt, "finish", fails)
    before = threading.active_count()
    with a_terminal() as terminal, pytest.raises(ht.errors.TraceFormatError, match="bad"):
        run("show", file)
    assert threading.active_count() == before
    assert terminal.text.endswith(ERASED)


def test_what_a_command_prints_is_the_same_on_a_terminal(file: Path) -> None:
    program = (
        "import sys; from hooktrace.commands import waiting; from hooktrace.cli import main; "
        "waiting._PATIENCE_SECONDS = 0.001; main()"
    )
    command = [sys.executable, "-c", program, "show", str(file)]
    environment = {**os.environ, "TERM": "xterm"}
    with a_terminal() as terminal:
        bars = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=terminal.file, env=environment, check=True
        )
    assert ERASED in terminal.text
    plain = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert bars.stdout == plain.stdout
    assert plain.stderr == b""


# ------------------------------------------------------------------ the bars themselves


def test_a_bar_that_comes_late_shows_what_was_done_before() -> None:
    with a_terminal() as terminal, progress.bars(after=0.1):
        for part in progress.steps(range(4), 4, "counting"):
            if part == 2:
                time.sleep(0.4)
    shown = re.findall(r"(\d+)%", terminal.text)
    assert shown[0] == "50"
    assert shown[-1] == "100"


def test_work_inside_other_work_has_a_bar_as_long_as_it_lasts() -> None:
    with a_terminal() as terminal, progress.bars(after=0.05), progress.work("outer", 2) as done:
        with progress.work("inner"):
            time.sleep(0.3)
        done()
        time.sleep(0.3)
    frames = terminal.text.split("\x1b[1A")
    assert any("inner" in frame for frame in frames)
    assert "inner" not in frames[-2]
