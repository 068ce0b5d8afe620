"""The demo, run as a user runs it; and the command line around it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torchvision.models import AlexNet_Weights

import hooktrace
from hooktrace.cli import main
from hooktrace.demo import DemoError, check_folder
from hooktrace.demo.page import prediction
from hooktrace.demo.scene import set_scene

OFFLINE = """
import socket, sys
def refuse(*args):
    raise AssertionError(f"the demo opened a connection: {args}")
socket.socket.connect = socket.socket.connect_ex = refuse
from hooktrace.cli import main
sys.argv = ["hooktrace", *sys.argv[1:]]
main()
"""

# Importing torchvision beside PyTorch 2.6 leaves a folder to be removed when Python exits.
TORCHVISION_TEMPORARY = "ignore:Implicitly cleaning up:ResourceWarning"


def hooktrace_command(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TORCH_HOME": str(home), "HOOKTRACE_STRICT": "1", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", TORCHVISION_TEMPORARY, "-c", OFFLINE, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


class Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "href") and value:
                self.targets.append(value)
            elif name == "id" and value:
                self.ids.add(value)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    output = folder / "out"
    return hooktrace_command("demo", "--output", str(output), home=folder), output


def test_the_demo_runs_without_a_network_and_without_a_word_on_stderr(demo):
    done, output = demo
    assert done.stderr == ""
    assert done.returncode == 0
    assert str(output / "index.html") in done.stdout


def test_the_demo_writes_every_picture(demo):
    _, output = demo
    names = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    convolutions = (0, 3, 6, 8, 10)
    assert names == {
        "index.html",
        "tensors.html",
        "story.html",
        "photo.png",
        "alexnet.svg",
        "alexnet.png",
        "tensors.svg",
        "tensors.png",
        "inplace.png",
        "alexnet_hooks.py",
        "tensor_hooks.py",
        *(f"feature-maps/features.{number}.png" for number in convolutions),
    }
    for picture in output.rglob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 100, picture


def test_the_page_refers_only_to_files_that_exist(demo):
    _, output = demo
    links = Links((output / "story.html").read_text("utf-8"))
    pictures = {str(path.relative_to(output)) for path in output.rglob("*.png")}

    for target in links.targets:
        if target.startswith("#"):
            assert target[1:] in links.ids
        else:
            assert (output / target).is_file(), target
    assert "script" not in links.tags
    assert pictures <= set(links.targets)


def test_what_is_read_from_the_trace_is_escaped_in_the_page(demo):
    _, output = demo
    page = (output / "story.html").read_text("utf-8")

    assert "features.0 has mean {output[:, 0].mean():.4f}&#34;" in page
    assert "<Trace" not in page
    assert "-&gt; 1x1000" in page  # the printed table


def test_hooks_of_every_kind_fire_and_are_shown(demo):
    done, output = demo
    page = (output / "story.html").read_text("utf-8")
    kinds = {
        "forward_pre": "look_at_the_picture",
        "forward": "silence_channel_0",
        "full_backward_pre": "halve_gradient",
        "full_backward": "look_at_gradients",
        "backward": "look_the_old_way",
        "tensor": "double_gradient",
        "post_accumulate_grad": "clip_gradient",
    }
    for kind, function in kinds.items():
        assert re.search(rf"^{kind} +\S.*{function} +1x ", done.stdout, re.M), kind
        assert f"{kind}</span>{function}</h3>" in page
    assert re.search(r"every module +count_calls +24x", done.stdout)
    assert "tensor hook double_gradient on features.0.weight: grad returned, x2" in done.stdout


def test_the_demo_says_that_random_weights_name_no_class(demo):
    done, _ = demo
    assert done.stdout.startswith("AlexNet with random weights")
    assert "no class is named" in done.stdout
    assert "cat (" not in done.stdout


def test_the_demo_explains_the_gradient_of_w(demo):
    done, output = demo
    assert "grad x2 in place: [5] -> [10]" in done.stdout
    assert "grad [10] -&gt; [30] (returned, x3; together x6)" in (output / "story.html").read_text(
        "utf-8"
    )


def test_the_in_place_comparison_agrees_and_blames_the_relus(demo):
    done, _ = demo
    assert "outputs of the models     equal, bit for bit" in done.stdout
    assert "gradients of parameters   equal, bit for bit (16 tensors)" in done.stdout
    assert done.stdout.count("% wrong by up to") == 5


def test_pytorchs_own_warning_is_passed_on(demo):
    done, _ = demo
    assert "FutureWarning: Using a non-full backward hook" in done.stdout


@pytest.mark.slow
def test_a_second_run_writes_the_same_again(demo, tmp_path):
    _, output = demo
    again = tmp_path / "again"
    done = hooktrace_command("demo", "--quiet", "--output", str(again), home=tmp_path)

    assert done.stdout.strip() == str(again / "index.html")
    for path in output.rglob("*.*"):
        other = again / path.relative_to(output)
        if path.name == "story.html" or path.suffix == ".svg":
            assert untimed(path) == untimed(other), path
        elif path.suffix == ".py" or "maps" in str(path) or path.stem in ("photo", "inplace"):
            assert path.read_bytes() == other.read_bytes(), path


def untimed(path: Path) -> str:
    text = re.sub(r"\d+\.\d+(?= *(ms\b|(?=<)))", "T", path.read_text("utf-8"))
    text = re.sub(r" +ms(?=  grad_output)", " ms", text)  # the column of the table,
    text = re.sub(r" +\d+\.\d\d(?=  (arrived|-|\[))", " T", text)  # as wide as its figures,
    return re.sub(r"( T  (?:arrived|-)).*", r"\1", text)  # and the last one, which gives way


# ------------------------------------------------------------------ the folder


def test_an_earlier_demo_is_written_over_but_nothing_else(tmp_path):
    check_folder(tmp_path, force=False)  # empty
    check_folder(tmp_path / "new", force=False)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DemoError, match="--force"):
        check_folder(tmp_path, force=False)
    check_folder(tmp_path, force=True)
    (tmp_path / "story.html").write_text("<html>my homepage</html>")
    with pytest.raises(DemoError, match="holds no earlier demo"):
        check_folder(tmp_path, force=False)


def test_the_folder_of_a_demo_is_known_again_also_of_one_that_broke_off(demo, tmp_path):
    _, output = demo
    check_folder(output, force=False)
    shutil.copy(output / "alexnet_hooks.py", tmp_path)
    check_folder(tmp_path, force=False)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DemoError, match="is a file"):
        check_folder(tmp_path / "file", force=True)


# ------------------------------------------------------------------ photograph and weights


def test_a_photograph_of_ones_own_is_cut_to_what_alexnet_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    Image.new("RGBA", (400, 300), (255, 0, 0, 255)).save(tmp_path / "red.png")
    scene = set_scene(tmp_path / "red.png")

    assert scene.photo.size == (224, 224)
    assert tuple(scene.images.shape) == (1, 3, 224, 224)
    assert scene.images[0, :, 5, 5].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-4
    )


def test_a_photograph_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DemoError, match=r"notes\.txt"):
        set_scene(tmp_path / "notes.txt")


def cache_weights(home: Path, content: bytes | None) -> None:
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / AlexNet_Weights.DEFAULT.url.rpartition("/")[2]
    if content is None:
        torch.save({"some.weight": torch.ones(3)}, path)
    else:
        path.write_bytes(content)


def test_pretrained_weights_come_from_the_local_cache_if_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache_weights(tmp_path, None)
    scene = set_scene()

    assert scene.pretrained
    assert scene.weights["some.weight"].tolist() == [1, 1, 1]
    assert "from torch.hub's local cache" in scene.origin


def test_weights_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache_weights(tmp_path, b"")
    with pytest.raises(DemoError, match=r"alexnet-owt\S+ could not be read"):
        set_scene()


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_class_is_named_only_for_pretrained_weights(pretrained):
    scores = torch.zeros(1, 4)
    scores[0, 2] = 5
    story: Any = SimpleNamespace(
        main={"classifier.6": SimpleNamespace(output=scores)},
        scene=SimpleNamespace(pretrained=pretrained, categories=["dog", "car", "cat", "tea"]),
    )
    text = prediction(story)

    assert ("cat (98%)" in text) is pretrained
    assert ("no class is named" in text) is not pretrained


# ------------------------------------------------------------------ the command line


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom hooktrace.cli import main\nsys.argv = ['hooktrace', 'demo', '--help']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "assert 'torch' not in sys.modules and 'networkx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--download" in done.stdout


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "hooktrace", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"hooktrace {hooktrace.__version__}"


def test_an_error_is_one_sentence_and_an_exit_code(tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    monkeypatch.setattr(sys, "argv", ["hooktrace", "demo", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as done:
        main()

    assert done.value.code == 1
    assert capsys.readouterr().err.startswith("hooktrace: The folder")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
