"""The callback for the Trainer of transformers, in a real one on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace import patches

transformers = pytest.importorskip("transformers", reason="needs the extra transformers")
pytest.importorskip("accelerate", reason="needs the extra transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Net(nn.Module):
    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)
        self.fails = fails
        self.norms: list[float] = []

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if self.fails:
            raise RuntimeError("this batch is bad")
        return {"loss": (self.head(self.layer(x).relu()) - labels).square().mean()}


def trainer(net: Net, folder: Path, **options: Any) -> Any:
    data = [{"x": torch.randn(3), "labels": torch.randn(1)} for _ in range(12)]
    arguments = transformers.TrainingArguments(
        str(folder),
        max_steps=4,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        max_grad_norm=0.0,
        **options,
    )
    return transformers.Trainer(model=net, args=arguments, train_dataset=data)


class Norms(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_pre_optimizer_step(self, *_: Any, model: Any = None, **__: Any) -> None:
        held = [one.grad for one in model.head.parameters()]
        self.found.append(torch.nn.utils.get_total_norm(held).item())


@pytest.mark.parametrize("batches", [1, 2])
def test_chosen_steps_are_traced_and_their_norms_logged(
    tmp_path: Path, batches: int, capsys: pytest.CaptureFixture[str]
) -> None:
    from hooktrace.integrations.transformers import TraceCallback

    traces: list[tuple[int, ht.Trace]] = []
    net = Net()
    net.layer.register_full_backward_hook(lambda *_: None)
    run = trainer(net, tmp_path, gradient_accumulation_steps=batches)
    norms = Norms()
    run.add_callback(norms)
    callback = TraceCallback(
        every=2,
        log=run.log,
        folder=tmp_path / "traces",
        on_trace=lambda t, step: traces.append((step, t)),
    )
    run.add_callback(callback)
    run.train()
    assert [step for step, _ in traces] == [1, 3]
    assert [len(t.calls("head")) for _, t in traces] == [batches, batches]
    tag = "hooktrace/gradient_norm/head"
    logged = {row["step"]: row[tag] for row in run.state.log_history if tag in row}
    assert logged == pytest.approx({1: norms.found[0], 3: norms.found[2]}, rel=1e-5)
    assert sorted(one.name for one in (tmp_path / "traces").iterdir()) == [
        "step-000001.hooktrace",
        "step-000003.hooktrace",
    ]
    assert patches.active() == ()


def test_a_training_that_raised_is_ended_by_the_next_one(tmp_path: Path) -> None:
    from hooktrace.integrations.transformers import TraceCallback

    net = Net(fails=True)
    run = trainer(net, tmp_path)
    callback = TraceCallback()
    run.add_callback(callback)
    with pytest.raises(RuntimeError, match="this batch is bad"):
        run.train()
    net.fails = False
    run.train()
    assert patches.active() == ()
    with pytest.raises(ValueError, match="1 or more"):
        TraceCallback(every=0)
