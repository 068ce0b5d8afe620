"""The examples run, and print what they promise."""

from __future__ import annotations

import os
import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("[0-9]*.py"))


def printed(number: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the script of a number and return what it prints."""
    (script,) = FOLDER.glob(f"{number}_*.py")
    runpy.run_path(str(script), run_name="__main__")
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_gradients_stay_on_the_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("01", capsys)
    assert "w.grad = [5.0], x.grad = [2.0]" in text
    assert "the hook on a was given [2.0]; b.grad = [3.0]" in text
    assert re.search(r"^a +AddBackward0 +\[3\] +\[2\] +None$", text, re.MULTILINE)
    order = re.findall(r"event +(\d+): (\w)\.grad = (\S+)", text)
    assert [(name, value) for _, name, value in order] == [("b", "[3]"), ("w", "[5]"), ("x", "[2]")]
    assert int(order[0][0]) < int(order[1][0])


def test_a_hook_explains_30(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("02", capsys)
    assert "w.grad = [30.0]" in text
    assert "double_then_triple on w: grad [5] -> [10] (in place, x2)" in text
    assert "double_then_triple on w: grad [10] -> [30] (returned, x3; together x6)" in text
    assert "Together: x6, from 5 to 30" in text


def test_hooks_around_a_convolution(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("03", capsys)
    lines = text.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["forward_pre", "forward", "backward"]
    assert "[9.0, 9.0, 9.0, 9.0, 18.0, 18.0, 18.0, 18.0]" in lines[1]
    gradient = "[-0.5, 0.0, 0.0, 0.0, -0.5, 0.0, 0.0, 0.0]"
    assert f"grad_input (None,), grad_output {gradient}" in lines[2]
    assert f"0@0 Conv2d: grad_output {gradient}" in text
    assert "1@0 MaxPool2d: grad_output [-0.5, -0.5]" in text


def test_gradients_of_every_call(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("04", capsys)
    with_hooks, _, with_none = text.partition("With none:")
    assert "Divide: grad_input [0.25], grad_output [1.0]" in with_hooks
    assert "Linear: grad_input [2.0, 2.0, 2.0, 2.0], grad_output [0.25]" in with_hooks
    for part in (with_hooks, with_none):
        assert "[82.0] grad_input [2.0, 2.0, 2.0, 2.0], grad_output [0.25]" in part
        assert "[20.5] grad_input [0.25], grad_output [1.0]" in part
    assert "weight.grad = [[0.25, 0.5, 0.75, 1.0]], bias.grad = [0.25]" in text


def test_a_gradient_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("05", capsys)
    rows = re.findall(r"^(0\.\d+) +(0\.\d+) +(0\.\d+)$", text, re.MULTILINE)
    assert [f"{float(row[1]):.6f}" for row in rows] == ["0.083333", "0.074536", "0.068041"]
    for formula, hook, trace in rows:
        assert hook == trace
        assert abs(float(formula) - float(hook)) <= 1e-7
    assert "x = 1.0000 -> 0.9917" in text


def test_what_inplace_does_to_alexnet(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchvision")
    text = printed("06", capsys)
    smallest = [float(one) for one in re.findall(r"(-?\d\.\d{4}) in what", text)]
    naive, kept, clean_naive, clean_kept = smallest
    assert naive == 0
    assert kept == clean_naive == clean_kept
    assert kept < 0
    assert "7 writes in place" in text
    assert "output of features.0@0 was overwritten by features.1@0 (ReLU)" in text
    assert re.search(r"outputs of the models +equal, bit for bit", text)
    assert re.search(r"gradients of parameters +equal, bit for bit \(16 tensors\)", text)


def test_gradients_where_full_hooks_raise(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchvision")
    text = printed("07", capsys)
    refused = r"Output 0 of BackwardHookFunction(Backward)? is a view and is being modified"
    assert re.search(refused, text)
    assert "It was raised in features.1@0." in text
    assert "the same as images.grad: True" in text


@pytest.mark.parametrize("script", SCRIPTS, ids=[one.stem for one in SCRIPTS])
def test_a_script_is_short_and_says_what_it_shows(script: Path) -> None:
    source = script.read_text()
    assert 20 <= len(source.splitlines()) <= 50
    assert source.startswith('"""')


def test_every_kind_of_hook_fires_in_the_order_foreseen(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("08", capsys)
    assert re.search(r"^5 +node_pre +AccumulateGrad of weight +before_node", text, re.MULTILINE)
    assert "12 hooks fired." in text
    assert "hooks() foresaw the order: True" in text
    assert "The trace has the order:   True" in text


def test_the_scripts_leave_no_file_behind() -> None:
    found = [
        name for name in os.listdir(FOLDER) if not re.fullmatch(r"\d\d_\w+\.py|README\.md", name)
    ]
    assert [name for name in found if name != "__pycache__"] == []


def test_the_map_lies_on_the_cup(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed("10", capsys)
    assert "_swish@1 was chosen" in text
    coffee = re.search(r"^coffee +espresso +brightest at row (\d), column (\d)", text, re.MULTILINE)
    assert coffee is not None
    assert 1 <= int(coffee[1]) <= 3
    assert 2 <= int(coffee[2]) <= 4


def test_inplace_code_changes_the_tutorials_map_and_not_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed("13", capsys)
    apart = dict(re.findall(r"^  (\S+).* (\d+)%$", text, re.MULTILINE))
    assert apart["logits"] == apart["hooktrace's"] == "0"
    assert int(apart["tutorial's"]) > 20


def test_cam_and_gradcam_agree_up_to_the_number_of_positions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed("11", capsys)
    right = re.search(r"right about (\d+)% of the digits", text)
    assert right is not None
    assert int(right[1]) > 80
    assert "CAM / Grad-CAM = 64.0000 everywhere" in text
    difference = re.search(r"largest difference of CAM and 64 x Grad-CAM: (\S+) of", text)
    assert difference is not None
    assert float(difference[1]) < 1e-5


def test_the_idiom_of_tutorials_pairs_by_order_and_goes_stale(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed("12", capsys)
    assert "2 activations, 1 gradient, paired by position." in text
    assert "the first gradient is that of layer 2: True" in text
    assert text.count("stored what shares memory with the output in self.activations") == 2
    assert re.search(r"value of layer 0: -\d\.\d+ returned, 0\.000 in the list", text)
    off = re.search(r"map of layer 2 is off by (\d+)%", text)
    assert off is not None
    assert int(off[1]) > 5


def test_a_summary_counts_a_shared_weight_once_and_calls_of_a_block_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed("14", capsys)
    weights = 1000 * 64 + (64 * 256 + 256) + (256 * 64 + 64)
    assert f"{weights:,} parameters" in text
    assert "Shared, counted once: head.weight = embed.weight" in text
    assert re.search(r"^  block Sequential .* 4$", text, re.MULTILINE)
    products = 2 * 512 * (4 * 2 * 64 * 256 + 64 * 1000)
    assert f"FLOPs: {products:,}" in text
    order = re.findall(r"^(?:\S+ )?\S+ +\d +\S+ +(\d+\.\d+)$", text, re.MULTILINE)
    times = [float(one) for one in order]
    assert len(times) == 7
    assert times == sorted(times, reverse=True)


def test_curves_show_a_gradient_that_has_to_grow_first(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    text = printed("15", capsys)
    rows = re.findall(
        r"^step +(\d+): loss +(\S+), .* layer (\S+), in the last (\S+)$", text, re.MULTILINE
    )
    steps, losses, first, last = zip(*(map(float, row) for row in rows), strict=True)
    assert steps == (0, 20, 40, 60, 80)
    assert first[0] < 1e-3 * last[0]
    assert first[3] > 100 * first[0]
    assert losses[4] < losses[0] / 2
    assert "13 nodes in the graph" in text
