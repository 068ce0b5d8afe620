"""train-mode-in-evaluation: dropout and batch normalization in train mode without autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.findings import Finding


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["train-mode-in-evaluation"]))


def evaluate(net: nn.Module, mode: Any = torch.no_grad, times: int = 1) -> ht.Trace:
    with ht.trace(net) as t, mode():
        for _ in range(times):
            net(torch.randn(4, 2))
    return t


def net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), *layers)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_dropout_and_batch_norm_are_told_in_one_finding(mode: Any) -> None:
    (one,) = found(evaluate(net(nn.Dropout(0.3), nn.BatchNorm1d(2)), mode, times=2))
    assert (one.severity, one.possible) == ("warning", "")
    assert one.message == (
        f"Sequential ran 2 times in train mode under torch.{mode.__name__}(): 1 (Dropout) dropped "
        "values and 2 (BatchNorm1d) updated the running statistics."
    )
    assert one.evidence[0] == "1@0: Dropout(p=0.3, inplace=False) with training=True"


def test_batch_norm_alone_may_be_meant() -> None:
    model = net(nn.BatchNorm1d(2))
    before = model[1].running_mean.clone()  # type: ignore[union-attr, operator]
    (one,) = found(evaluate(model))
    assert not torch.equal(before, model[1].running_mean)  # type: ignore[arg-type]
    assert "update_bn" in one.possible


def test_recomputing_the_statistics_is_fine() -> None:
    model = net(nn.BatchNorm1d(2), nn.Dropout(0.5))
    with ht.trace(model) as t:
        torch.optim.swa_utils.update_bn([torch.randn(4, 2)], model)
    assert found(t) == []


def test_beside_training_it_is_a_possible_note() -> None:
    model = net(nn.Dropout(0.5))
    with ht.trace(model) as t:
        model(torch.randn(4, 2)).sum().backward()
        with torch.no_grad():
            model(torch.randn(4, 2))
    (one,) = found(t)
    assert one.severity == "note"
    assert "generator" in one.possible


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.0),
        nn.LayerNorm(2),
        nn.BatchNorm1d(2, track_running_stats=False),
        nn.InstanceNorm1d(4),
    ],
)
def test_layers_that_do_the_same_in_both_modes_are_fine(layer: nn.Module) -> None:
    assert found(evaluate(net(layer))) == []


def test_eval_mode_is_fine() -> None:
    assert found(evaluate(net(nn.Dropout(0.5), nn.BatchNorm1d(2)).eval())) == []


def test_monte_carlo_dropout_is_fine() -> None:
    model = net(nn.Dropout(0.5)).eval()
    model[1].train()
    assert found(evaluate(model)) == []


def test_a_frozen_batch_norm_in_a_model_that_trains_is_fine() -> None:
    model = net(nn.BatchNorm1d(2))
    model[1].eval()
    assert found(evaluate(model)) == []


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_no_evaluation(reentrant: bool) -> None:
    model = net(nn.Dropout(0.5))
    x = torch.randn(4, 2, requires_grad=True)
    with ht.trace(model) as t:
        out: Any = checkpoint(model, x, use_reentrant=reentrant)
        out.sum().backward()
    assert found(t) == []


def test_a_forward_with_autograd_is_no_evaluation() -> None:
    model = net(nn.Dropout(0.5))
    with ht.trace(model) as t:
        model(torch.randn(4, 2))
    assert found(t) == []
