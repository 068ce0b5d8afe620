"""``hooktrace run`` and ``hooktrace show``, run as a user runs them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import hooktrace as ht
from hooktrace.commands.run import steps_of
from hooktrace.running import free_name
from hooktrace.streaming import Steps

SCRIPT = """
    import os, pickle, sys
    import torch
    from torch import nn

    print(sys.argv, __name__, __file__, sys.path[0], sys.modules["__main__"].__dict__ is globals())
    print(__spec__, __package__, __doc__, __cached__, type(__builtins__), type(__loader__).__name__)
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 2)
        def forward(self, x):
            return self.inner(x).relu()
    torch.manual_seed(0)
    net, loss = Net(), nn.MSELoss()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    def doubles(grad):
        return grad * 2
    net.inner.weight.register_hook(doubles)
    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss(net(torch.rand(4, 3)), torch.rand(4, 2)).backward()
            optimizer.step()
    train(10)
    print(pickle.loads(pickle.dumps(Net)) is Net, [p.tolist() for p in net.parameters()])
    sys.stdout.buffer.write(b"\\xff\\x00bytes\\n")
    print("to the other side", file=sys.stderr)
    if "wait" in sys.argv:
        print("waiting", flush=True)
        import time
        time.sleep(60)
    sys.exit(int(sys.argv[1]) if sys.argv[1:] else 0)
"""


PLAIN = """
    import pickle, sys, threading, time

    print(sys.argv, __name__, __file__, sys.path[0], sys.modules["__main__"].__dict__ is globals())
    print(__spec__, __package__, __doc__, __cached__, type(__builtins__), type(__loader__).__name__)
    class Thing:
        pass
    print(pickle.loads(pickle.dumps(Thing)) is Thing)
    sys.stdout.buffer.write(b"\\xff\\x00bytes\\n")
    print("to the other side", file=sys.stderr)
    def f():
        raise ValueError("on purpose")
    if "raise" in sys.argv:
        f()
    threading.Thread(target=lambda: (time.sleep(0.2), print("late"))).start()
    sys.exit("bye" if "text" in sys.argv else int(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "work" / "plain.py").write_text(textwrap.dedent(PLAIN))
    package = tmp_path / "work" / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys\nprint(sys.argv, __name__, __package__, __spec__.name, __file__)\n"
    )
    return tmp_path / "work"


Done = subprocess.CompletedProcess[bytes]


def python(folder: Path, *arguments: str) -> Done:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, timeout=60, check=False
    )


def hooktrace(folder: Path, *arguments: str) -> Done:
    return python(folder, "-m", "hooktrace", *arguments)


@pytest.mark.parametrize("arguments", [["7"], ["raise"], ["text", "--quiet"]])
def test_output_status_and_errors_are_the_scripts_own(folder: Path, arguments: list[str]) -> None:
    alone = python(folder.parent, "work/plain.py", *arguments)
    traced = hooktrace(folder.parent, "run", "--quiet", "work/plain.py", *arguments)
    assert traced.stdout == alone.stdout
    assert traced.stderr == alone.stderr
    assert traced.returncode == alone.returncode
    assert (folder.parent / "plain.hooktrace").exists()


@pytest.mark.parametrize("path", ["../work/./plain.py", "linked.py"])
def test_the_script_knows_the_path_that_was_given(folder: Path, path: str) -> None:
    (folder / "linked.py").symlink_to(folder / "plain.py")
    alone, traced = python(folder, path), hooktrace(folder, "run", "--quiet", path)
    assert traced.stdout == alone.stdout


def test_a_training_script_prints_the_same(folder: Path) -> None:
    alone, traced = python(folder, "train.py"), hooktrace(folder, "run", "-q", "train.py")
    assert traced.stdout == alone.stdout
    assert traced.stderr == alone.stderr


def test_a_module_runs_as_after_python_m(folder: Path) -> None:
    alone = python(folder, "-m", "package", "--flag", "3")
    traced = hooktrace(folder, "run", "-q", "-m", "package", "--flag", "3")
    assert (traced.stdout, traced.stderr) == (alone.stdout, alone.stderr)
    assert (folder / "package.hooktrace").exists()


def test_the_first_and_the_last_three_steps_are_kept(folder: Path) -> None:
    done = hooktrace(folder, "run", "train.py")
    assert b"hooktrace: train.hooktrace: 6 of 10 steps" in done.stderr
    t = ht.load(folder / "train.hooktrace")
    assert t.log.origin is not None
    assert t.log.origin.steps == (0, 1, 2, 7, 8, 9)
    (hook,) = t.hooks
    assert (hook.name, hook.owner) == ("doubles", "Net.inner.weight")
    assert hook.registered_at.endswith("train.py:19")
    assert {edit.change.text for edit in t.edits} == {"x2"}
    assert not t.findings(["leaked-hook"])  # a program may end with its hooks registered


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, Steps(1, 3, 3)),
        ({"everything": True}, Steps()),
        ({"steps": 2}, Steps(1, 2, 0)),
        ({"steps": 3, "skip": 4}, Steps(1, 3, 0, 4)),
        ({"every": 4}, Steps(4, 3, 3)),
    ],
)
def test_steps_can_be_chosen(asked: dict[str, Any], wanted: Steps) -> None:
    default = {"steps": None, "skip": 0, "every": 1, "everything": False}
    assert steps_of(**{**default, **asked}) == wanted


def test_models_and_steps_can_be_chosen(folder: Path) -> None:
    options = ["--steps", "2", "--skip", "4", "--module", "Net", "--keep", "*inner", "--stats"]
    done = hooktrace(folder, "run", *options, "--table", "train.py")
    t = ht.load(folder / "train.hooktrace")
    assert t.log.origin is not None
    assert t.log.origin.steps == (4, 5)
    assert {call.module.type for call in t.calls()} == {"Net", "Linear"}
    assert t.calls("*inner")[0].output.shape == (4, 2)
    assert len(t.log.stats)
    assert str(t) in done.stderr.decode()
    assert b"Trace of" not in done.stdout


def test_a_pattern_that_no_module_fits_is_told(folder: Path) -> None:
    done = hooktrace(folder, "run", "--keep", "Net.iner", "train.py")
    assert done.returncode == 0
    told = "hooktrace: keep='Net.iner' matched no module that ran. Did you mean 'Net.inner'"
    assert told in done.stderr.decode()
    silent = hooktrace(folder, "run", "--quiet", "--keep", "Net.iner", "train.py")
    assert b"hooktrace" not in silent.stderr


def test_names_are_never_taken_twice(folder: Path) -> None:
    assert free_name(folder, "train") == folder / "train.hooktrace"
    (folder / "train.hooktrace").write_bytes(b"mine")
    assert free_name(folder, "train") == folder / "train-2.hooktrace"
    (folder / "train-2.hooktrace").write_bytes(b"mine, too")
    assert free_name(folder, "train") == folder / "train-3.hooktrace"
    done = hooktrace(folder, "run", "-o", "train.hooktrace", "train.py")
    assert done.returncode == 2
    assert b"exists already" in done.stderr
    assert not done.stdout  # the script was not started
    assert (folder / "train.hooktrace").read_bytes() == b"mine"
    assert hooktrace(folder, "run", "--force", "train.py").returncode == 0
    assert len(ht.load(folder / "train.hooktrace").steps) == 12


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nothing.py"], 1, "nothing.py cannot be run: No such file"),
        (["-m", "no.such"], 1, "There is no module no.such"),
        (["-o", "no/where.hooktrace", "train.py"], 2, "There is no folder no"),
        (["--steps", "2", "--all", "train.py"], 2, "--steps and --all exclude each other"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(
    folder: Path, arguments: list[str], status: int, said: str
) -> None:
    done = hooktrace(folder, "run", *arguments)
    assert done.returncode == status
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert not list(folder.glob("*.hooktrace"))


def test_a_syntax_error_is_shown_as_python_shows_it(folder: Path) -> None:
    (folder / "wrong.py").write_text("x = (\n")
    alone, traced = python(folder, "wrong.py"), hooktrace(folder, "run", "wrong.py")
    assert traced.stderr == alone.stderr
    assert traced.returncode == alone.returncode


def test_control_c_leaves_a_whole_trace_and_ends_as_python_ends(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hooktrace", "run", "train.py", "wait"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert any(b"waiting" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    assert "hooktrace/" not in errors.decode().partition("Traceback")[2]
    t = ht.load(folder / "train.hooktrace")
    assert t.log.origin is not None
    assert t.log.origin.ended
    assert t.log.error == "KeyboardInterrupt"


def test_findings_can_make_it_fail(folder: Path) -> None:
    (folder / "sick.py").write_text(
        textwrap.dedent(
            """
            import torch
            from torch import nn
            net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
            nn.init.ones_(net[0].weight)
            kept = []
            net[0].register_forward_hook(lambda module, args, output: kept.append(output))
            net(-torch.rand(1, 2)).sum().backward()
            """
        )
    )
    done = hooktrace(folder, "run", "--fail-on", "warning", "sick.py")
    assert done.returncode == 1
    assert b"stale-activation" in done.stderr
    assert hooktrace(folder, "run", "--fail-on", "error", "train.py", "5").returncode == 5


def test_a_page_is_written_beside_the_trace(folder: Path) -> None:
    (folder / "train.html").write_text("mine")
    done = hooktrace(folder, "run", "--report", "train.py")
    assert done.returncode == 0
    assert done.stderr.decode().endswith("hooktrace: train-2.html\n")
    assert (folder / "train-2.hooktrace").exists()
    assert "doubles" in (folder / "train-2.html").read_text("utf-8")
    assert (folder / "train.html").read_text() == "mine"
    taken = hooktrace(folder, "run", "--report", "-o", "train.hooktrace", "train.py")
    assert (taken.returncode, taken.stdout) == (2, b"")
    assert b"train.html exists already" in taken.stderr
    same = hooktrace(folder, "run", "--report", "-o", "x.html", "train.py")
    assert (same.returncode, same.stdout) == (2, b"")


# ------------------------------------------------------------------ show


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traced")
    (folder / "train.py").write_text(textwrap.dedent(SCRIPT))
    hooktrace(folder, "run", "-q", "--steps", "1", "train.py")
    return folder


def test_show_prints_the_table_and_where_it_comes_from(traced: Path) -> None:
    text = hooktrace(traced, "show", "train.hooktrace").stdout.decode()
    first, rest = text.split("\n", 1)
    assert first.startswith("train.hooktrace: PyTorch ")
    assert rest == str(ht.load(traced / "train.hooktrace")) + "\n"
    quiet = hooktrace(traced, "show", "-q", "train.hooktrace").stdout.decode()
    assert quiet == str(ht.load(traced / "train.hooktrace")) + "\n"


def test_show_lists_events_calls_and_edits(traced: Path) -> None:
    t = ht.load(traced / "train.hooktrace")

    def lines(*options: str) -> list[str]:
        done = hooktrace(traced, "show", "-q", "train.hooktrace", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    assert len(lines("--events")) == len(t.events)
    assert [line.split()[0] for line in lines("--tree")] == [str(call) for call in t.calls()]
    assert lines("--tree")[1].startswith("  Net.inner@0 Linear  4x3")
    assert any("grad" in line and "x2" in line for line in lines("--edits"))
    only = lines("--module", "*inner")
    assert only
    assert all("inner" in line for line in only)
    assert all("  gradient  " in line for line in lines("--kind", "gradient"))
    registered, fired = lines("--hook", "doubles", "--kind", "tensor", "--events")
    assert "  register  " in registered
    assert "  hook  " in fired
    assert "tensor doubles on Net.inner.weight" in fired


def test_show_names_what_is_near(traced: Path) -> None:
    done = hooktrace(traced, "show", "train.hooktrace", "--hook", "dubles")
    assert done.returncode == 1
    assert "no hook 'dubles'. Did you mean 'doubles'?" in done.stderr.decode()
    done = hooktrace(traced, "show", "nothing.hooktrace")
    assert done.returncode == 2
    assert "'nothing.hooktrace' does not exist" in done.stderr.decode()
    (traced / "bad.hooktrace").write_bytes(b"bad")
    done = hooktrace(traced, "show", "bad.hooktrace")
    assert done.returncode == 1
    assert "bad.hooktrace is not a trace" in done.stderr.decode()


def test_names_in_a_file_cannot_steer_the_terminal(folder: Path) -> None:
    (folder / "evil.py").write_text(
        "import torch\n"
        "class Evil(torch.nn.Module):\n"
        "    def forward(self, x): return self._modules['\\x1b[2J\\x1b]0;owned\\x07'](x)\n"
        "net = Evil()\n"
        "net._modules['\\x1b[2J\\x1b]0;owned\\x07'] = torch.nn.Linear(2, 2)\n"
        "net(torch.rand(1, 2))\n"
    )
    hooktrace(folder, "run", "-q", "evil.py")
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hooktrace", "show", "evil.hooktrace", "--tree"],
        cwd=folder, stdout=follower, stderr=follower, stdin=follower,
    ) as process:  # fmt: skip
        process.wait(timeout=30)
    os.close(follower)
    output = os.read(leader, 1 << 16)
    os.close(leader)
    assert b"owned" in output
    assert b"\x1b" not in output
    assert b"\x07" not in output
