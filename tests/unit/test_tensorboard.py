"""What TensorBoard is given, read back by TensorBoard itself."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import numpy
import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace import patches
from hooktrace.boardlogging import counted
from hooktrace.boards.nodes import BoardNode, board_nodes
from hooktrace.errors import MissingExtraError, UnknownNameError
from hooktrace.views.calls import CallIndex
from hooktrace.views.rounds import rounds

reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


class Board:
    """One run, as TensorBoard reads it."""

    def __init__(self, folder: Any) -> None:
        self.events = reading.EventAccumulator(
            str(folder), size_guidance=dict.fromkeys(("scalars", "histograms", "images"), 0)
        )
        self.events.Reload()
        self.tags = self.events.Tags()

    def curve(self, tag: str) -> dict[int, float]:
        return {one.step: one.value for one in self.events.Scalars(tag)}


class Net(nn.Module):
    """Returns a dict, which torch's own add_graph cannot do; has a BatchNorm and in-place code."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
        )
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        seen = self.features[1](self.features[0](images))
        more = self.features[3](self.features[2](seen))
        return {"logits": self.head((seen + more).mean((2, 3)))}


def train(net: nn.Module, steps: int, each: Any = lambda loss: None) -> list[float]:
    """Train for some steps, `each` told the loss after every one."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    images, labels = torch.randn(6, 3, 6, 6), torch.tensor([0, 1] * 3)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images)["logits"], labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        each(loss)
    return losses


# ------------------------------------------------------------------ the logger


def test_two_lines_in_a_loop_write_every_nth_step(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=2) as logger:
        losses = train(net, 5, lambda loss: logger.step(loss=loss, twice=2 * loss.item()))
    board = Board(tmp_path)
    assert board.curve("loss") == pytest.approx({0: losses[0], 2: losses[2], 4: losses[4]})
    assert board.curve("twice")[4] == pytest.approx(2 * losses[4])
    assert set(board.curve("gradient_norm/head")) == {0, 2, 4}
    assert set(board.curve("activation_norm/features.3")) == {0, 2, 4}


def test_norms_are_those_that_pytorch_computes(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=1) as logger:
        found: dict[str, Tensor] = {}
        net.features[3].register_forward_hook(lambda *a: found.update(out=a[2].detach().clone()))

        def keep_gradient(_: Any, __: Any, output: Tensor) -> None:
            output.register_hook(lambda grad: found.update(grad=grad.clone()))

        net.features[3].register_forward_hook(keep_gradient)
        before = [one.detach().clone() for one in net.head.parameters()]
        train(net, 1, lambda loss: logger.step(loss=loss))
    board = Board(tmp_path)
    whole = torch.nn.utils.get_total_norm(
        [one.grad for one in net.parameters() if one.grad is not None]
    )
    own = torch.nn.utils.get_total_norm(
        [one.grad for one in net.head.parameters() if one.grad is not None]
    )
    assert board.curve("gradient_norm_of_all")[0] == pytest.approx(whole.item(), rel=1e-5)
    assert board.curve("gradient_norm/head")[0] == pytest.approx(own.item(), rel=1e-5)
    held = torch.nn.utils.get_total_norm(before).item()
    assert board.curve("parameter_norm/head")[0] == pytest.approx(held, rel=1e-5)
    assert board.curve("activation_norm/features.3")[0] == pytest.approx(found["out"].norm().item())
    got = board.curve("activation_gradient_norm/features.3")[0]
    assert got == pytest.approx(found["grad"].norm().item(), rel=1e-5)


def test_the_norm_of_gradients_does_not_count_what_was_added_up_twice(tmp_path: Path) -> None:
    net = nn.Linear(2, 1)
    with ht.TensorBoardLogger(tmp_path, net, every=1) as logger:
        for _ in range(3):
            net(torch.ones(1, 2)).sum().backward()
        logger.step()
    assert net.weight.grad is not None
    assert net.bias.grad is not None
    norm = (net.weight.grad.norm() ** 2 + net.bias.grad.norm() ** 2).sqrt().item()
    assert Board(tmp_path).curve("gradient_norm/model")[0] == pytest.approx(norm)


def test_training_is_bit_for_bit_what_it_is_without(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = Net()
    logged = Net()
    logged.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 6, 6)
    losses = train(plain, 5)
    with ht.TensorBoardLogger(tmp_path, logged, every=2, feature_maps=True, cam=images) as logger:
        assert train(logged, 5, lambda loss: logger.step(loss=loss)) == losses
    for name, one in plain.state_dict().items():
        assert torch.equal(one, logged.state_dict()[name]), name
    assert all(not one._forward_hooks for one in logged.modules())


def test_a_step_that_is_not_written_runs_an_unpatched_pytorch(tmp_path: Path) -> None:
    net, original = Net(), nn.Module.__call__
    seen = []
    with ht.TensorBoardLogger(tmp_path, net, every=3) as logger:
        seen.append(nn.Module.__call__ is original)
        train(net, 4, lambda loss: (logger.step(), seen.append(nn.Module.__call__ is original)))
    assert seen == [False, True, True, False, True]
    assert patches.active() == ()


def test_training_and_validation_are_two_runs_with_one_tag(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=1, filename_suffix=".mine") as logger:
        train(net, 3, lambda loss: logger.step(loss=loss))
        logger.validation(loss=0.5, accuracy=torch.tensor(1.0))
    assert set(Board(tmp_path).curve("loss")) == {0, 1, 2}
    validation = Board(tmp_path / "validation")
    assert validation.curve("loss") == {2: 0.5}
    assert validation.curve("accuracy") == {2: 1.0}
    files = [one.name for one in tmp_path.rglob("events*")]
    assert len(files) == 2
    assert all(name.endswith(".mine") for name in files)


def test_what_runs_under_no_grad_is_no_step(tmp_path: Path) -> None:
    net = Net()
    images = torch.randn(6, 3, 6, 6)
    with ht.trace(net) as around, ht.TensorBoardLogger(tmp_path, net, every=1) as logger:
        with torch.no_grad():
            for _ in range(3):
                net(images * 1000)
        assert logger._steps.trace is not None
        assert len(logger._steps.trace.calls()) == 3
        assert logger._steps.trace.log.snapshots == {}
        net(images)["logits"].sum().backward()
        logger.step()
    assert len(around.calls("head")) == 4
    assert Board(tmp_path).curve("activation_norm/features.0")[0] < 100


def test_a_validation_that_raises_does_not_silence_the_logger(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=1) as logger:
        with torch.no_grad(), pytest.raises(RuntimeError):
            net(torch.ones(1, 1, 1, 1))
        net(torch.ones(2, 3, 6, 6))["logits"].sum().backward()
        logger.step()
    assert "activation_norm/head" in Board(tmp_path).tags["scalars"]


def test_histograms_show_parameters_gradients_and_activations(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=1, modules=["features.*", "head"]) as logger:
        train(net, 2, lambda loss: logger.step(loss=loss))
    board = Board(tmp_path)
    assert {"parameter/head.weight", "gradient/head.weight", "activation/features.0"} <= set(
        board.tags["histograms"]
    )
    (_, last) = board.events.Histograms("gradient/head.weight")
    value, grad = last.histogram_value, net.head.weight.grad
    assert grad is not None
    assert (value.num, sum(value.bucket)) == (8, 8)
    assert (value.min, value.max) == pytest.approx((grad.min().item(), grad.max().item()))
    assert (value.sum, value.sum_squares) == pytest.approx(
        (grad.sum().item(), grad.square().sum().item())
    )
    (first, _) = board.events.Histograms("activation/features.0")
    assert first.histogram_value.num == 6 * 4 * 4 * 4


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
def test_values_are_counted_as_numpy_counts_them(kind: torch.dtype) -> None:
    values = (torch.randn(1000) * 5).to(kind)
    found = counted([values[:400], values[400:].reshape(20, 30)])
    assert found is not None
    every = values.double().numpy()
    counts, edges = numpy.histogram(every, bins=64)
    assert sum(found.counts) == found.total == 1000
    off = numpy.abs(numpy.cumsum(counts) - numpy.cumsum(found.counts)).max()
    assert off <= (3 if kind is torch.float32 else 60)  # values on an edge
    assert found.limits == pytest.approx(edges[1:].tolist(), abs=1e-5)


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf"), float("-inf")]])
def test_nothing_finite_is_no_histogram(values: list[float]) -> None:
    assert counted([torch.tensor(values)]) is None
    assert counted([]) is None


def test_equal_values_are_one_bar() -> None:
    found = counted([torch.full((5,), 3.0), torch.tensor([float("nan")])])
    assert found is not None
    assert found.counts[0] == found.total == 5
    assert found.low == found.high == 3.0


def test_pictures_are_feature_maps_and_heat_maps(tmp_path: Path) -> None:
    from PIL import Image

    net, images = Net(), torch.randn(5, 3, 6, 6)
    with ht.TensorBoardLogger(tmp_path, net, every=1, feature_maps=True, cam=images) as logger:
        train(net, 1, lambda loss: logger.step(loss=loss))
    board = Board(tmp_path)
    tags = board.tags["images"]
    assert [one for one in tags if one.startswith("feature_maps/")] == [
        "feature_maps/features.0",
        "feature_maps/features.2",
    ]
    assert len([one for one in tags if one.startswith("cam/")]) == 4
    import io

    (one,) = board.events.Images("feature_maps/features.0")
    drawn = Image.open(io.BytesIO(one.encoded_image_string))
    assert drawn.size == (one.width, one.height) == (4 * (4 + 2) + 2, 4 + 4)


def test_the_norms_of_all_modules_share_a_chart(tmp_path: Path) -> None:
    from tensorboard.plugins.custom_scalar import layout_pb2

    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=1) as logger:
        train(net, 1, lambda loss: logger.step(loss=loss))
    (stored,) = Board(tmp_path).events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(stored.tensor_proto.string_val[0])
    titles = [chart.title for chart in layout.category[0].chart]
    assert titles[0] == "gradients of parameters"
    assert layout.category[0].chart[0].multiline.tag == ["gradient_norm/.*"]


# ------------------------------------------------------------------ where it writes


def test_a_summary_writer_gets_it_in_its_own_file(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    net = Net()
    with SummaryWriter(str(tmp_path), filename_suffix=".own") as writer:
        logger = ht.TensorBoardLogger(writer, net, every=1)
        train(net, 1, lambda loss: logger.step(loss=loss))
        writer.add_scalar("mine", 1.0, 0)
        logger.validation(loss=1.0)
        logger.close()
        writer.add_scalar("mine", 2.0, 1)
    (_file,) = tmp_path.glob("events*")
    board = Board(tmp_path)
    assert {"mine", "loss", "gradient_norm/head"} <= set(board.tags["scalars"])
    assert board.curve("mine") == {0: 1.0, 1: 2.0}
    assert next((tmp_path / "validation").iterdir()).name.endswith(".own")
    with pytest.raises(TypeError, match="an open SummaryWriter"):
        ht.TensorBoardLogger(writer, net)


def test_without_a_folder_it_takes_the_one_that_summary_writer_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    monkeypatch.chdir(tmp_path)
    with ht.TensorBoardLogger(None, Net(), comment="_mine") as logger:
        ours = Path(logger.log_dir)
    with SummaryWriter(comment="_mine") as writer:
        theirs = Path(writer.log_dir)
    assert ours.parent == theirs.parent == Path("runs")
    assert ours.name.split("_")[2:] == theirs.name.split("_")[2:]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"every": 0}, ValueError, "1 or more"),
        ({"modules": "nope"}, UnknownNameError, "names no module"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    tmp_path: Path, options: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        ht.TensorBoardLogger(tmp_path / "run", Net(), **options)
    assert list(tmp_path.iterdir()) == []
    assert patches.active() == ()


def test_a_comment_has_no_effect_where_the_folder_is_given(tmp_path: Path) -> None:
    logger = ht.TensorBoardLogger(tmp_path / "run", Net(), comment="x")
    logger.close()
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_a_logger_that_is_dropped_ends_its_trace(tmp_path: Path) -> None:
    logger = ht.TensorBoardLogger(tmp_path, Net(), every=1)
    assert len(patches.active()) == 1
    ref = weakref.ref(logger)
    del logger
    gc.collect()
    assert ref() is None
    assert patches.active() == ()


def test_nothing_of_a_written_step_stays_alive(tmp_path: Path) -> None:
    net = Net()
    with ht.TensorBoardLogger(tmp_path, net, every=10) as logger:
        images = torch.randn(6, 3, 6, 6)
        output = net(images)["logits"]
        output.sum().backward()
        ref = weakref.ref(output)
        del output
        logger.step()
        gc.collect()
        assert ref() is None


def test_tensorboard_is_an_extra_with_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hooktrace.boards import protocol

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [one for one in sys.modules if one.startswith("tensorboard.")]:
        monkeypatch.setitem(sys.modules, name, None)
    protocol.protos.cache_clear()
    words = r"pip install 'hooktrace\[tensorboard\]'"
    with pytest.raises(MissingExtraError, match=words):
        ht.TensorBoardLogger(tmp_path, Net())
    protocol.protos.cache_clear()


# ------------------------------------------------------------------ a trace as a run


def test_a_trace_is_written_with_its_steps(tmp_path: Path) -> None:
    net, norms = Net(), []

    def note(_: Tensor) -> None:
        held = [one.grad for one in net.head.parameters() if one.grad is not None]
        norms.append(torch.nn.utils.get_total_norm(held).item())

    with ht.trace(net, keep=["features.0"], stats=True) as t:
        train(net, 3, note)
    assert t.tensorboard(tmp_path / "run", images=True) == tmp_path / "run"
    board = Board(tmp_path / "run")
    assert [*board.curve("gradient_norm/head").values()] == pytest.approx(norms, rel=1e-5)
    assert set(board.curve("forward_ms")) == {0, 1, 2}
    assert [one.step for one in board.events.Histograms("activation/features.0")] == [0, 1, 2]
    assert [one.step for one in board.events.Images("feature_maps/features.0")] == [0, 1, 2]
    (kept, *_) = board.events.Histograms("activation_gradient/features.0")
    assert kept.histogram_value.num == 6 * 4 * 4 * 4
    (words,) = board.events.Tensors("trace")
    assert "Trace of Net" in words.tensor_proto.string_val[0].decode()
    assert board.tags["graph"]


def test_modules_limits_what_a_trace_writes(tmp_path: Path) -> None:
    net = Net()
    with ht.trace(net, stats=True) as t:
        train(net, 1)
    t.tensorboard(tmp_path, modules="features.*", filename_suffix=".x")
    tags = Board(tmp_path).tags["scalars"]
    assert "gradient_norm/features.0" in tags
    assert "gradient_norm/head" not in tags
    assert next(tmp_path.iterdir()).name.endswith(".x")


def test_a_file_of_some_steps_has_curves_with_the_numbers_of_the_run(tmp_path: Path) -> None:
    net = Net()
    with ht.trace(net, to=tmp_path / "run.hooktrace", every=2, stats=True):
        losses = train(net, 5)
    assert len(losses) == 5
    (tmp_path / "board").mkdir()
    ht.load(tmp_path / "run.hooktrace").export(tmp_path / "board" / "run.tfevents")
    board = Board(tmp_path / "board")
    assert set(board.curve("forward_ms")) == {0, 2, 4}
    assert set(board.curve("gradient_norm/head")) == {0, 2, 4}
    times = [one.wall_time for one in board.events.Scalars("forward_ms")]
    assert times == sorted(times)
    assert abs(times[0] - time.time()) < 600


def test_an_empty_trace_is_written_too(tmp_path: Path) -> None:
    with ht.trace() as t:
        pass
    t.tensorboard(tmp_path)
    assert Board(tmp_path).tags["tensors"] == ["trace", "findings"]


def test_what_writes_a_trace_needs_no_torch() -> None:
    program = "import sys, hooktrace.boards.exporting; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


# ------------------------------------------------------------------ the graph


def nodes_of(t: ht.Trace) -> list[BoardNode]:
    t.edits  # noqa: B018
    calls = CallIndex(t.log).refresh()
    return board_nodes(t.log, calls, rounds(t.log, calls)[0])


def graph_of(nodes: list[BoardNode]) -> networkx.DiGraph:
    """Return the graph, after a check that it is one: every name once, every end there."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(one.name for one in nodes)
    assert len(graph) == len(nodes)
    for one in nodes:
        for name in (*one.inputs, *one.controls):
            assert name in graph
            graph.add_edge(name, one.name)
    names = {one.name for one in nodes}
    scopes = {name.rpartition("/")[0] for name in names} - {""}
    assert not names & scopes, "a node is in another node"
    assert networkx.is_directed_acyclic_graph(graph)
    return graph


def test_the_graph_has_every_call_and_what_flows_between_them(tmp_path: Path) -> None:
    net = Net()
    with ht.trace(net) as t:
        net(torch.randn(2, 3, 6, 6))["logits"].sum().backward()
    graph = graph_of(nodes_of(t))
    assert set(graph["Net/features/0"]) == {"Net/features/1"}
    assert networkx.has_path(graph, "input", "output")
    relu = set(graph["Net/features/1"])
    assert len(relu) == 2, "the branch and the sum"
    assert networkx.has_path(graph, "Net/features/3", "Net/head")
    t.tensorboard(tmp_path)
    read = Board(tmp_path).events.Graph()
    assert {one.name for one in read.node} == set(graph)
    (first,) = [one for one in read.node if one.name == "Net/features/0"]
    assert first.op == "Conv2d"
    shape = first.attr["_output_shapes"].list.shape[0]
    assert [one.size for one in shape.dim] == [2, 4, 4, 4]
    assert "kernel_size=(3, 3)" in first.attr["configuration"].s.decode()


def test_hooks_are_nodes_and_attributes() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    net[0].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    net[2].register_full_backward_hook(lambda *_: None)
    net[2].weight.register_hook(lambda grad: grad * 3)
    net.register_forward_hook(lambda *_: None)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    nodes = {one.name: one for one in nodes_of(t)}
    graph = graph_of([*nodes.values()])
    chain = [
        "input",
        "0/forward_pre_hook_lambda",
        "0/Linear",
        "0/forward_hook_lambda",
        "1",
        "2/Linear",
    ]
    for tail, head in pairwise(chain):
        full = [one if one == "input" else f"Sequential/{one}" for one in (tail, head)]
        assert full[1] in graph[full[0]]
    hooks = {name: one for name, one in nodes.items() if one.operation.endswith(" hook")}
    assert len(hooks) == 5
    tensor = next(one for one in hooks.values() if one.operation == "tensor hook")
    assert tensor.controls == ["Sequential/2/Linear"]
    assert "x3" in str(tensor.attributes["what"])
    told = nodes["Sequential/2/Linear"].attributes["hooks"]
    assert [one.split(" hook")[0].split(" ", 1)[1] for one in told] == ["tensor", "full_backward"]
    assert Path(__file__).name in str(tensor.attributes["defined_at"])


class Again(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


def test_calls_of_one_module_are_nodes_of_their_own_also_in_a_later_step() -> None:
    net = Again()
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()
    calls = CallIndex(t.log).refresh()
    for step in rounds(t.log, calls):
        names = [one.name for one in board_nodes(t.log, calls, step)]
        assert {"Again/layer_call1", "Again/layer_call2"} < set(names)
        assert len(names) == 4


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "resnet18", "googlenet", "densenet121"])
def test_models_of_torchvision_have_a_graph(name: str) -> None:
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        net = models.get_model(name, **({"init_weights": False} if name == "googlenet" else {}))
    with ht.trace(net, edits="versions") as t:
        result = net(torch.empty(2, 3, 224, 224, device="meta"))
        getattr(result, "logits", result).sum().backward()
    nodes = nodes_of(t)
    graph = graph_of(nodes)
    leaves = [call for call in t.calls() if not call.children]
    operations = [one.operation for one in nodes]
    for kind in {call.module.type for call in leaves}:
        assert operations.count(kind) == sum(call.module.type == kind for call in leaves)
    assert networkx.has_path(graph, "input", "output")
    lone = [one for one in graph if graph.degree(one) == 0]
    assert lone == []


def test_names_hold_only_the_signs_that_tensorboard_takes() -> None:
    net = nn.ModuleDict({"a b": nn.Linear(1, 1), "ü": nn.Linear(1, 1), "^": nn.Linear(1, 1)})

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = net

        def forward(self, x: Tensor) -> Tensor:
            for one in self.parts.values():
                x = one(x)
            return x

    model = Odd()
    with ht.trace(model) as t:
        model(torch.ones(1, 1))
    names = [one.name for one in nodes_of(t)]
    assert names[2:] == ["Odd/parts/a_b", "Odd/parts/_", "Odd/parts/__2"]
    assert len(graph_of(nodes_of(t))) == 5
