"""``hooktrace cam`` as it is run: in a process of its own, on a terminal and off it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

BARS = ("coffee.png, 1 of 1", "Ablation-CAM")


@pytest.fixture
def coffee(tmp_path: Path) -> Path:
    path = tmp_path / "coffee.png"
    Image.fromarray(data.coffee()).save(path)
    return path


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "hooktrace", "cam", *map(str, words)]


def run_on_terminal(*words: object) -> tuple[int, str, str]:
    """Return the status, what went to standard output, a pipe, and what went to the terminal."""
    ours, theirs = pty.openpty()
    surroundings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    started = subprocess.Popen(
        command(*words), stdout=subprocess.PIPE, stderr=theirs, text=True, env=surroundings
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    out, _ = started.communicate()
    return started.returncode, out, shown.decode(errors="replace")


def test_a_terminal_is_shown_a_bar_and_a_pipe_the_results(coffee: Path, tmp_path: Path) -> None:
    status, out, shown = run_on_terminal(
        coffee, "-o", tmp_path / "out", "--method", "ablationcam", "--class", "espresso"
    )
    assert status == 0, shown
    assert all(one in shown for one in BARS)
    assert shown.endswith("\x1b[1A\x1b[2K")  # the bars are wiped away in the end
    assert "class 967 espresso" in out
    assert not any(one in out for one in BARS)
    assert (tmp_path / "out" / "coffee-cam.png").exists()


def test_with_quiet_the_terminal_is_shown_nothing(coffee: Path, tmp_path: Path) -> None:
    status, out, shown = run_on_terminal(
        coffee, "-o", tmp_path / "out", "--method", "ablationcam", "--quiet"
    )
    assert (status, shown) == (0, "")
    assert out == f"{tmp_path / 'out' / 'coffee-cam.png'}\n"


def test_what_is_there_stays_and_the_process_says_so(coffee: Path, tmp_path: Path) -> None:
    there = tmp_path / "coffee-cam.png"
    there.write_text("mine")
    refused = subprocess.run(
        command(coffee, "-o", tmp_path), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"hooktrace: {there} is there already.")
    assert "Traceback" not in refused.stderr
    assert there.read_text() == "mine"
