"""Hooks that features of PyTorch and other libraries register as their own: they are labelled."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.events import HookFired

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning"),
]


def look(*_: Any) -> None:
    """Change nothing."""


def run(net: nn.Module) -> None:
    net(torch.ones(1, 2, requires_grad=True)).sum().backward()


def kinds(t: ht.Trace) -> list[tuple[str, str, int]]:
    """Return feature, kind and number of firings of each hook, sorted."""
    fired = [one.hook for one in t.of(HookFired)]
    return sorted((one.feature, one.kind, fired.count(one.id)) for one in t.hooks)


FEATURES: dict[str, tuple[Callable[[], nn.Module], list[tuple[str, str, int]]]] = {
    "weight_norm": (
        lambda: weight_norm(nn.Linear(2, 2)),
        [("weight_norm", "forward_pre", 1)],
    ),
    "spectral_norm": (
        lambda: spectral_norm(nn.Linear(2, 2)),
        [
            ("spectral_norm", "forward_pre", 1),
            ("spectral_norm", "load_state_dict_pre", 1),
            ("spectral_norm", "state_dict_post", 1),
        ],
    ),
    "prune": (
        lambda: prune.l1_unstructured(nn.Linear(2, 2), "weight", 2),
        [("prune", "forward_pre", 1)],
    ),
    "parametrizations": (
        lambda: parametrizations.weight_norm(nn.Linear(2, 2)),
        [("parametrizations", "load_state_dict_pre", 1)],
    ),
    "no hook of its own": (lambda: parametrizations.spectral_norm(nn.Linear(2, 2)), []),
}


@pytest.mark.parametrize("inside", [False, True], ids=["before", "inside"])
@pytest.mark.parametrize("name", FEATURES)
def test_hooks_of_torch_nn_utils_are_labelled(name: str, inside: bool) -> None:
    make, expected = FEATURES[name]
    net = nn.Identity() if inside else make()
    with ht.trace() as t:
        if inside:
            net = make()
        run(net)
        net.load_state_dict(net.state_dict())
    assert kinds(t) == expected
    for hook in t.hooks:
        assert (hook.registered_at or "").startswith(__file__) == inside


def test_a_lazy_module_registers_two_hooks_and_takes_them_back() -> None:
    with ht.trace() as t:
        net = nn.LazyLinear(2)
        run(net)
    assert kinds(t) == [
        ("lazy module", "forward_pre", 1),
        ("lazy module", "load_state_dict_pre", 0),
    ]
    assert len(t.of(ht.events.HookRemoved)) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_labelled(reentrant: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(net) as t:
        x = torch.ones(1, 2, requires_grad=True)
        checkpoint(net, x, use_reentrant=reentrant).sum().backward()
    found = {(feature, kind) for feature, kind, _ in kinds(t)}
    pair = {("checkpoint", "pack"), ("checkpoint", "unpack")}
    assert found == ({("checkpoint", "function_backward")} if reentrant else pair)


def test_save_on_cpu_is_labelled() -> None:
    x = torch.ones(2, requires_grad=True)
    with ht.trace() as t, torch.autograd.graph.save_on_cpu():
        x.exp().sum().backward()
    assert kinds(t) == [("save_on_cpu", "pack", 1), ("save_on_cpu", "unpack", 1)]


def test_trackers_are_labelled() -> None:
    tracker = pytest.importorskip("torch.utils.module_tracker")
    from torch.utils.flop_counter import FlopCounterMode

    for watched in (tracker.ModuleTracker(), FlopCounterMode(display=False)):
        net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        with ht.trace(net) as t, watched:
            run(net)
        assert {one.feature for one in t.hooks} == {"ModuleTracker"}
        assert {"forward", "forward_pre"} <= {one.kind for one in t.hooks}


def test_observers_of_quantization_are_labelled() -> None:
    quantization = pytest.importorskip("torch.ao.quantization")
    net: Any = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).eval()
    net.qconfig = quantization.QConfig(
        activation=quantization.MinMaxObserver,
        weight=quantization.MinMaxObserver.with_args(dtype=torch.qint8),
    )
    prepared = quantization.prepare(net)
    with ht.trace(prepared) as t:
        prepared(torch.ones(1, 2))
    assert set(kinds(t)) == {("quantization", "forward", 1)}


# ------------------------------------------------------------------ distributed


@pytest.fixture
def world(tmp_path: Path) -> Iterator[None]:
    """One process that talks to itself."""
    if not dist.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    if dist.is_initialized():  # by a program of the zoo
        yield
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_the_comm_hook_of_ddp_fires_and_says_whose_it_is(world: None) -> None:
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
    from torch.nn.parallel import DistributedDataParallel

    seen: list[float] = []

    def mine(state, bucket):  # type: ignore[no-untyped-def]  # PyTorch checks annotations
        seen.append(float(bucket.buffer()[0]))
        future: Any = torch.futures.Future()
        future.set_result(bucket.buffer() * 2)
        return future

    for hook, feature in ((default_hooks.allreduce_hook, "ddp_comm_hooks"), (mine, "")):
        net = nn.Linear(2, 2)
        with ht.trace() as t:
            parallel = DistributedDataParallel(net)
            parallel.register_comm_hook(None, hook)
            net.weight.register_hook(look)
            run(parallel)
        (row,) = [one for one in t.hooks if one.kind == "comm"]
        (fired,) = [one for one in t.of(HookFired) if one.hook == row.id]
        assert (row.feature, row.owner) == (feature, "DistributedDataParallel")
        assert (row.registered_at or "").startswith(__file__)
        assert [one.role for one in fired.inputs] == ["state", "bucket"]
        order = [t.hooks[one.hook].kind for one in t.of(HookFired)]
        assert order == ["tensor", "comm"]
    assert net.bias.grad is not None
    assert net.bias.grad.tolist() == [2.0, 2.0]
    assert len(seen) == 1


def test_fully_shard_is_labelled(world: None) -> None:
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    from torch.distributed.device_mesh import init_device_mesh

    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("this PyTorch has no fully_shard")
    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("fully_shard of this PyTorch does not run on the CPU")
    mesh = init_device_mesh("cpu", (1,))
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for layer in (*net, net):
        fsdp.fully_shard(layer, mesh=mesh)
    net[1].register_forward_hook(look)
    with ht.trace(net) as t:
        run(net)
    fired = {(feature, kind) for feature, kind, times in kinds(t) if times}
    assert {("FSDP", "forward_pre"), ("FSDP", "forward"), ("", "forward")} <= fired
    assert {("FSDP", "tensor"), ("FSDP", "queue_callback")} <= fired
    table = str(t).partition("\nhook")[2].splitlines()
    assert table[1].split()[:3] == ["forward", "1", "look"]  # the user's comes first
    assert len(table) < len(t.hooks)


# ------------------------------------------------------------------ other libraries


def test_hooks_of_an_installed_package_have_its_name() -> None:
    peft = pytest.importorskip("peft")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    config = peft.LoraConfig(target_modules=["linear"], r=1)
    net = peft.get_peft_model(Net(), config)
    net.add_adapter("other", config)
    net.eval()
    with ht.trace() as t:
        net(torch.ones(2, 2), adapter_names=["default", "other"])
    assert {one.feature for one in t.hooks} == {"peft"}
    assert {one.kind for one in t.hooks} == {"forward_pre"}


def test_a_function_in_a_file_of_an_installed_package_is_no_users(tmp_path: Path) -> None:
    import sys

    folder = tmp_path / "site-packages" / "somelib"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("def hook(*_):\n    pass\n")
    sys.path.insert(0, str(tmp_path / "site-packages"))
    try:
        import somelib  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    net = nn.ReLU()
    net.register_forward_hook(somelib.hook)
    net.register_forward_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1))
    assert [one.feature for one in t.hooks] == ["somelib", ""]


# ------------------------------------------------------------------ the table


def lines_of(t: ht.Trace) -> list[str]:
    """Return the lines of the table of hooks."""
    return str(t).partition("\nhook")[2].partition("\n\n")[0].splitlines()[1:]


def test_the_users_hooks_stand_before_a_features_own() -> None:
    net = nn.Sequential(*[prune.identity(nn.Linear(2, 2), "weight") for _ in range(20)])
    net[7].register_forward_hook(look)
    with ht.trace(net) as t:
        run(net)
    first, second = lines_of(t)
    assert first.split()[:4] == ["forward", "7", "look", "1x"]
    assert "0 and 19 more" in second
    assert "prune: Identity" in second
    assert "20x" in second


def test_a_recomputation_that_stopped_early_is_no_mishap_of_the_hook() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(net) as t:
        x = torch.ones(1, 2, requires_grad=True)
        checkpoint(net, x, use_reentrant=False).sum().backward()
    assert len(lines_of(t)) == 2
    assert not [line for line in lines_of(t) if "raised" in line]
