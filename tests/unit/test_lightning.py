"""The callback for Lightning, in a real Trainer on a tiny model."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace import patches

lightning = pytest.importorskip("lightning.pytorch", reason="needs the extra lightning")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Task(lightning.LightningModule):  # type: ignore[name-defined, misc]
    def __init__(self, fails: int = -1) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 1))
        self.fails = fails
        self.norms: list[float] = []

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        if number == self.fails:
            raise RuntimeError("this batch is bad")
        loss = self.net(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], number: int) -> None:
        self.log("validation", self.net(batch[0] * 1000).mean())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        held = [one.grad for one in self.net[3].parameters() if one.grad is not None]
        self.norms.append(torch.nn.utils.get_total_norm(held).item())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def train(task: Task, folder: Path, *callbacks: Any) -> Any:
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(12, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    logger = lightning.loggers.CSVLogger(folder)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(task, loader, loader)
    return logger


def test_chosen_batches_are_traced_and_their_norms_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hooktrace.integrations.lightning import TraceCallback

    traces: list[tuple[int, ht.Trace]] = []
    task = Task()
    task.spare = nn.Linear(1, 1)
    task.spare.register_forward_hook(lambda *_: None)
    callback = TraceCallback(
        every=3, folder=tmp_path / "traces", on_trace=lambda t, step: traces.append((step, t))
    )
    logger = train(task, tmp_path, callback)
    assert [step for step, _ in traces] == [1, 4]
    assert [len(t.calls("net")) for _, t in traces] == [1, 1]
    assert all(t.of(ht.events.StepFinished) for _, t in traces)
    tag = "hooktrace/gradient_norm/net.3"
    with open(Path(logger.log_dir) / "metrics.csv", encoding="utf-8") as file:
        logged = [float(row[tag]) for row in csv.DictReader(file) if row.get(tag)]
    assert logged == pytest.approx([task.norms[0], task.norms[3]], rel=1e-5)
    assert [one.name for one in sorted((tmp_path / "traces").iterdir())] == [
        "step-000001.hooktrace",
        "step-000004.hooktrace",
    ]
    loaded = ht.load(tmp_path / "traces" / "step-000001.hooktrace")
    assert len(loaded.calls("net")) == 1
    printed = capsys.readouterr().out
    assert printed.count("never-fired") == 1, "each finding once"
    assert "hooktrace, step 1: " in printed
    assert patches.active() == ()


def test_training_is_bit_for_bit_what_it_is_without(tmp_path: Path) -> None:
    from hooktrace.integrations.lightning import TraceCallback

    torch.manual_seed(1)
    plain, traced = Task(), Task()
    traced.load_state_dict(plain.state_dict())
    train(plain, tmp_path)
    train(traced, tmp_path, TraceCallback(every=1))
    for name, one in plain.state_dict().items():
        assert torch.equal(one, traced.state_dict()[name]), name


def test_a_training_that_raises_leaves_no_trace_open(tmp_path: Path) -> None:
    from hooktrace.integrations.lightning import TraceCallback

    with pytest.raises(RuntimeError, match="this batch is bad"):
        train(Task(fails=0), tmp_path, TraceCallback())
    assert patches.active() == ()
    with pytest.raises(ValueError, match="1 or more"):
        TraceCallback(every=0)
