"""The commands that read saved traces, as a user runs them: in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.drawing import Drawing
from hooktrace.export import EXPORTERS
from hooktrace.kinds import KINDS
from hooktrace.signatures import options_of

stored: dict[str, torch.Tensor] = {}


def double(grad: torch.Tensor) -> torch.Tensor:
    return grad * 2


def store(module: nn.Module, args: object, output: torch.Tensor) -> None:
    stored["first"] = output.detach()


def traced(weight: float, keep: bool = True) -> ht.Trace:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    for parameter in model.parameters():
        nn.init.constant_(parameter, weight)
    model[0].weight.register_hook(double)
    if weight < 0:
        model[0].register_forward_hook(store)
    with ht.trace(model, keep=keep) as t:
        model(torch.ones(2, 4)).sum().backward()
    return t


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    traced(0.5).save(folder / "good.hooktrace")
    traced(-0.5).save(folder / "bad.hooktrace")
    return folder


def hooktrace(
    *arguments: str | Path, cwd: Path, python: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "hooktrace", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def on_a_terminal(*arguments: str, cwd: Path) -> str:
    """Return what the command writes to a terminal."""
    main, side = pty.openpty()
    command = [sys.executable, "-m", "hooktrace", *arguments]
    process = subprocess.Popen(command, stdout=side, stderr=side, stdin=side, cwd=cwd)
    os.close(side)
    text = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not chunk:
            break
        text += chunk
    process.wait()
    os.close(main)
    return text.decode()


# ------------------------------------------------------------------ draw


def test_draw_writes_what_t_draw_writes(files: Path, tmp_path: Path) -> None:
    t = ht.load(files / "good.hooktrace")
    expected = t.draw(tmp_path / "expected.dot", depth=0).read_bytes()
    done = hooktrace("draw", files / "good.hooktrace", "x.dot", "--depth", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Wrote x.dot\n", "")
    assert (tmp_path / "x.dot").read_bytes() == expected


def test_the_options_of_a_diagram_are_flags_by_themselves(tmp_path: Path) -> None:
    told = hooktrace("draw", "--help", cwd=tmp_path).stdout
    names = {one.name for one in options_of(Drawing.draw)}
    assert names > {"view", "depth", "step", "engine"}
    assert all(f"--{name} " in told for name in names)
    assert "Levels of nested modules to open" in told


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["draw", "none.hooktrace", "x.svg"], 2, "'none.hooktrace' does not exist"),
        (["draw", "{good}", "none/x.svg"], 2, "There is no folder none"),
        (["draw", "{good}", "x.xyz"], 1, "ending .xyz, which no renderer writes"),
        (["draw", "{good}", "x.svg", "--depth", "-1"], 2, "0 or more, but got -1"),
        (
            ["draw", "{good}", "x.svg", "--step", "7"],
            2,
            "There is only 1 step, so there is no step=7",
        ),
        (["draw", "{good}", "x.svg", "--view", "module"], 1, "Did you mean 'modules'"),
        (["show", "none.hooktrace"], 2, "does not exist"),
        (["export", "{good}"], 2, "--to chrome"),
        (["export", "{good}", "x.xyz"], 1, "no exporter writes"),
        (["export", "{good}", "--to", "chrom"], 1, "Did you mean 'chrome'"),
        (["export", "{good}", "x.csv", "--view", "all"], 2, "csv has no option --view"),
        (["export", "{good}", "x.trace.json", "--merge", "none.json"], 2, "No such file"),
        (["export", "{good}", "-", "--to", "tensorboard"], 1, "is no text"),
        (["export", "{good}", "x", "--to", "tensorboard", "--view", "all"], 2, "no option --view"),
        (["compare", "{good}", "none.hooktrace"], 2, "does not exist"),
        (["doctor", "none.hooktrace"], 2, "does not exist"),
        (["doctor", "{good}", "x"], 2, "unexpected extra argument"),
        (["doctor", "{good}", "--select", "never-fird"], 1, "never-fired"),
        (["describe", "full_bakward"], 1, "Did you mean 'full_backward'"),
        (["bench", "nonsense:model"], 1, "no module 'nonsense'"),
        (["bench", "resnet-18"], 1, "Did you mean 'resnet18'"),
        (["draww"], 2, "draw"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    files: Path, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    good = str(files / "good.hooktrace")
    done = hooktrace(*(one.format(good=good) for one in arguments), cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert said in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["draw", "{good}", "x.dot"], ["export", "{good}", "x.dot", "--to", "mermaid"]],
)
def test_nothing_is_overwritten_without_force(
    files: Path, tmp_path: Path, arguments: list[str]
) -> None:
    place = tmp_path / "x.dot"
    place.write_text("precious")
    command = [one.format(good=files / "good.hooktrace") for one in arguments]
    done = hooktrace(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert place.read_text() == "precious"
    assert hooktrace(*command, "--force", "--quiet", cwd=tmp_path).stdout == ""
    assert place.read_text() != "precious"


# ------------------------------------------------------------------ export


def test_export_writes_what_t_export_writes(files: Path, tmp_path: Path) -> None:
    t = ht.load(files / "good.hooktrace")
    done = hooktrace(
        "export", files / "good.hooktrace", "-", "--to", "csv", "--table", "hooks", cwd=tmp_path
    )
    assert done.stdout == t.exported("csv", table="hooks")
    for expected in ("good.mmd", "good-2.mmd"):  # a name that is taken gets a number
        done = hooktrace("export", files / "good.hooktrace", "--to", "mermaid", cwd=tmp_path)
        assert done.stdout == f"Wrote {expected}\n"
        assert (tmp_path / expected).read_text() == t.exported("mermaid")
    forced = hooktrace("export", files / "good.hooktrace", "--to=mermaid", "--force", cwd=tmp_path)
    assert forced.stdout == "Wrote good.mmd\n"


def test_the_options_of_every_exporter_are_flags_by_themselves(tmp_path: Path) -> None:
    told = " ".join(hooktrace("export", "--help", cwd=tmp_path).stdout.split())
    for name in EXPORTERS:
        assert name in told
        for option in EXPORTERS[name].options:
            assert f"--{option.name} " in told


# ------------------------------------------------------------------ doctor


def test_the_doctor_exits_with_1_if_there_are_errors(files: Path, tmp_path: Path) -> None:
    good = hooktrace("doctor", files / "good.hooktrace", cwd=tmp_path)
    assert good.returncode == 0
    assert "Doctor: nothing wrong was found." in good.stdout
    bad = hooktrace("doctor", files / "bad.hooktrace", cwd=tmp_path)
    assert bad.returncode == 1
    assert bad.stdout == f"{ht.load(files / 'bad.hooktrace').findings()}\n"
    assert bad.stdout.startswith("error: ")
    quiet = hooktrace("doctor", files / "bad.hooktrace", "--quiet", cwd=tmp_path)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    left_out = hooktrace(
        "doctor", files / "bad.hooktrace", "--ignore", "stale-activation", cwd=tmp_path
    )
    assert left_out.returncode == 0


def test_findings_for_other_programs(files: Path, tmp_path: Path) -> None:
    def printed(form: str) -> str:
        return hooktrace("doctor", files / "bad.hooktrace", "--format", form, cwd=tmp_path).stdout

    assert json.loads(printed("json"))["summary"]["error"] == 1
    assert json.loads(printed("sarif"))["version"] == "2.1.0"
    first = printed("github").splitlines()[0]
    place, _, text = first.removeprefix("::error ").partition("::")
    line = store.__code__.co_firstlineno
    parts = dict(one.split("=") for one in place.split(","))
    assert parts["title"] == "stale-activation"
    assert parts["file"].endswith(Path(__file__).name)
    assert int(parts["line"]) >= line
    assert "overwritten later" in text


def test_the_doctor_runs_a_script_with_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, torch\n"
        "from torch import nn\n"
        "print('arguments', *sys.argv[1:])\n"
        "stored = {}\n"
        "model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(inplace=True))\n"
        "nn.init.constant_(model[0].weight, -1.0)\n"
        "nn.init.constant_(model[0].bias, -1.0)\n"
        "model[0].register_forward_hook(lambda m, a, o: stored.update(x=o.detach()))\n"
        "model(torch.ones(1, 1)).sum().backward()\n"
        "sys.exit(int(sys.argv[2]))\n"
    )
    done = hooktrace("doctor", "--format", "json", script, "--lr", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["rule"] == "stale-activation"
    assert done.stderr == "arguments --lr 3\n"
    done = hooktrace("doctor", "--ignore", "stale", script, "--lr", "3", cwd=tmp_path)
    assert done.returncode == 3  # the script's own
    assert [one.name for one in tmp_path.iterdir()] == ["train.py"]


def test_colours_are_for_terminals(files: Path, tmp_path: Path) -> None:
    bad = str(files / "bad.hooktrace")
    assert "\x1b[" not in hooktrace("doctor", bad, cwd=tmp_path).stdout
    shown = on_a_terminal("doctor", bad, cwd=tmp_path)
    assert "\x1b[31m\x1b[1merror\x1b[0m: " in shown
    assert "\x1b[" in on_a_terminal("describe", "never-fired", cwd=tmp_path)


# ------------------------------------------------------------------ compare, describe, bench


def test_compare_tells_hooks_edits_and_values(files: Path, tmp_path: Path) -> None:
    two = (files / "bad.hooktrace", files / "good.hooktrace")
    done = hooktrace("compare", *two, "--draw", "pairs.png", cwd=tmp_path)
    assert done.returncode == 0
    assert str(ht.compare(*map(ht.load, two))) in done.stdout
    assert "only the first trace has the forward hook store on 0" in done.stdout
    assert "outputs of the models     differ in 1 of 1 tensors" in done.stdout
    assert (tmp_path / "pairs.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["forward_pre", "never-fired", "gradcam"])
def test_describe_shows_the_page(name: str, tmp_path: Path) -> None:
    done = hooktrace("describe", name, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"# {name}\n")
    assert "`" in done.stdout
    assert "\x1b" not in done.stdout


def test_describe_alone_lists_every_name(tmp_path: Path) -> None:
    told = hooktrace("describe", cwd=tmp_path).stdout
    assert all(name in told for name in KINDS)
    assert "never-fired" in told
    assert "gradcam" in told


def test_bench_prints_a_ratio_for_each_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def small():\n"
        "    return torch.nn.Linear(2, 2), torch.ones(1, 2)\n"
        "def wrong():\n"
        "    return torch.nn.Linear(2, 2), torch.ones(1, 3)\n"
    )
    done = hooktrace("bench", "mine:small", "--rounds", "1", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["plain", "traced", "ratio"]
    assert len(lines) == 5
    assert all(line.endswith("x") for line in lines[1:])
    wrong = hooktrace("bench", "mine:wrong", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "Linear cannot be run on this batch" in wrong.stderr


# ------------------------------------------------------------------ quick, and without torch


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["draw", "--help"],
        ["export", "--help"],
        ["show", "{file}", "--events"],
        ["show", "{file}"],
        ["draw", "{file}", "x.svg"],
        ["doctor", "{file}"],
        ["describe", "forward"],
        *(
            ["export", "{file}", f"x{EXPORTERS[name].endings[0]}"]
            for name in EXPORTERS
            if name != "tensorboard"  # which has histograms of kept values
        ),
    ],
    ids=" ".join,
)
def test_no_torch_is_imported(files: Path, tmp_path: Path, arguments: list[str]) -> None:
    command = [one.format(file=files / "bad.hooktrace") for one in arguments]
    done = hooktrace(*command, cwd=tmp_path, python=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hooktrace.cli" in imported
    assert "torch" not in imported
    if arguments == ["--help"]:
        assert not imported & {"rich", "msgspec", "networkx", "hooktrace.log"}


def test_completion_can_be_installed(tmp_path: Path) -> None:
    assert "--install-completion" in hooktrace("--help", cwd=tmp_path).stdout
    environment = {
        **os.environ, "_HOOKTRACE_COMPLETE": "complete_bash", "COMP_WORDS": "hooktrace draw --d",
        "COMP_CWORD": "2",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'hooktrace'; "
         "from hooktrace.cli import main; main()"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["--depth"]


# ------------------------------------------------------------------ report


def test_report_writes_a_page_and_never_over_another_one(files: Path, tmp_path: Path) -> None:
    first = hooktrace("report", files / "bad.hooktrace", cwd=tmp_path)
    assert (first.returncode, first.stdout) == (0, "Wrote bad.html\n")
    assert "store" in (tmp_path / "bad.html").read_text("utf-8")
    again = hooktrace("report", files / "bad.hooktrace", cwd=tmp_path)
    assert again.stdout == "Wrote bad-2.html\n"
    forced = hooktrace("report", files / "bad.hooktrace", "--force", cwd=tmp_path)
    assert forced.stdout == "Wrote bad.html\n"
    named = hooktrace("report", files / "bad.hooktrace", "bad.html", cwd=tmp_path)
    assert named.returncode == 2
    assert "exists already" in named.stderr


def test_report_takes_the_options_of_t_report(files: Path, tmp_path: Path) -> None:
    done = hooktrace(
        "report", files / "good.hooktrace", "x.html", "--lang", "zh", "--title", "一", "--quiet",
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert '<html lang="zh">' in page
    assert "<h1>一</h1>" in page
    wrong = hooktrace("report", files / "good.hooktrace", "y.html", "--lang", "fr", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "does not speak 'fr'" in wrong.stderr
    none = hooktrace("report", files / "good.hooktrace", "y.html", "--step", "7", cwd=tmp_path)
    assert none.returncode == 2
    assert "step=7" in none.stderr
    assert not (tmp_path / "y.html").exists()


def test_a_report_of_a_file_without_kept_tensors_needs_no_torch(
    tmp_path: Path,
) -> None:
    model = nn.Linear(2, 2)
    with ht.trace(model, edits="versions") as t:
        model(torch.ones(1, 2))
    t.save(tmp_path / "plain.hooktrace")
    code = (
        "import sys; sys.modules['torch'] = None; import hooktrace as ht; "
        "ht.load('plain.hooktrace').report('plain.html')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "plain.html").exists()
