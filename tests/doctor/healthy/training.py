"""Training steps of all sorts: precision, accumulation, schedules, averages, several models."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler, swa_utils

import hooktrace as ht

from .program import Tracing, healthy, small, total, train


@healthy()
def perceptron(trace: Tracing) -> ht.Trace:
    """The smallest of all."""
    return train(trace, small(), torch.randn(3, 4))


@healthy()
def a_trace_of_nothing_in_particular(trace: Tracing) -> ht.Trace:
    """Plain tensors, no module."""
    w, b = torch.randn(4, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    x, y = torch.randn(5, 4), torch.randn(5, 1)
    with trace(None) as t:
        for _ in range(3):
            loss = (x @ w + b - y).square().mean()
            loss.backward()
            with torch.no_grad():
                for parameter in (w, b):
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
    return t


@healthy()
def gradient_accumulation(trace: Tracing) -> ht.Trace:
    """Four micro-batches to a step."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        for number in range(8):
            (total(net(torch.randn(2, 4))) / 4).backward()
            if number % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    return t


@healthy()
def clipping_by_norm_and_by_value(trace: Tracing) -> ht.Trace:
    """Clipped between backward and step."""
    net = small()
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(2, 4)) * 100).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            nn.utils.clip_grad_value_(net.parameters(), 0.5)
            optimizer.step()
    return t


@healthy()
def autocast_in_bfloat16(trace: Tracing) -> ht.Trace:
    """Mixed precision on the CPU."""
    net = small(inplace=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(net(torch.randn(3, 4)).float(), torch.zeros(3, 1))
            loss.backward()
            optimizer.step()
    return t


@healthy()
def a_gradient_scaler(trace: Tracing) -> ht.Trace:
    """Scaled loss, gradients unscaled before they are clipped."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(total(net(torch.randn(3, 4)))).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    return t


@healthy()
def a_gradient_scaler_that_overflows_at_first(trace: Tracing) -> ht.Trace:
    """In half precision the first step is skipped, for the scale was too large: as planned."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, backoff_factor=2.0**-10)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                output = net(torch.randn(3, 4))
            scaler.scale(total(output.float() - 1)).backward()
            scaler.step(optimizer)
            scaler.update()
    assert scaler.get_scale() == 2.0**10
    return t


@healthy()
def schedulers(trace: Tracing) -> ht.Trace:
    """Warm-up, then a cosine; stepped after the optimizer."""
    net = small()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    warm = lr_scheduler.LinearLR(optimizer, total_iters=2)
    rest = lr_scheduler.CosineAnnealingLR(optimizer, 3)
    scheduler = lr_scheduler.SequentialLR(optimizer, [warm, rest], milestones=[2])
    with trace(net) as t:
        for _ in range(4):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()
            scheduler.step()
    return t


@healthy()
def stochastic_weight_averaging(trace: Tracing) -> ht.Trace:
    """The average runs only after training, to renew its statistics."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    average, schedule = swa_utils.AveragedModel(net), swa_utils.SWALR(optimizer, 0.05)
    with trace({"net": net, "average": average}) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()
            average.update_parameters(net)
            schedule.step()
        swa_utils.update_bn([torch.randn(4, 4)], average)
    return t


@healthy()
def an_exponential_moving_average(trace: Tracing) -> ht.Trace:
    """Weights are averaged after each step; the average evaluates."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    average = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    with trace({"net": net, "average": average}) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()
            average.update_parameters(net)
        average.eval()
        with torch.no_grad():
            average(torch.randn(3, 4))
    return t


@healthy()
def closures_of_lbfgs(trace: Tracing) -> ht.Trace:
    """The optimizer runs forward and backward several times in a step."""
    net = small()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=4)
    x = torch.randn(3, 4)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = total(net(x))
        loss.backward()
        return loss

    with trace(net) as t:
        optimizer.step(closure)
    return t


@healthy()
def sharpness_aware_minimization(trace: Tracing) -> ht.Trace:
    """Two passes: up the hill, then the step from there."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(3, 4)
    with trace(net) as t:
        total(net(x)).backward()
        with torch.no_grad():
            climbs = [0.05 * one.grad / (one.grad.norm() + 1e-12) for one in net.parameters()]
            for parameter, climb in zip(net.parameters(), climbs, strict=True):
                parameter.add_(climb)
        optimizer.zero_grad()
        total(net(x)).backward()
        with torch.no_grad():
            for parameter, climb in zip(net.parameters(), climbs, strict=True):
                parameter.sub_(climb)
        optimizer.step()
        optimizer.zero_grad()
    return t


@healthy()
def several_losses_with_one_backward(trace: Tracing) -> ht.Trace:
    """A trunk with two heads; the losses are added."""
    net = nn.ModuleDict({"trunk": small(4, 8), "left": nn.Linear(8, 1), "right": nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        features = net["trunk"](torch.randn(3, 4))
        (total(net["left"](features)) + 0.5 * total(net["right"](features))).backward()
        optimizer.step()
    return t


@healthy()
def several_losses_with_a_backward_each(trace: Tracing) -> ht.Trace:
    """The graph of the trunk is retained for the second."""
    net = nn.ModuleDict({"trunk": small(4, 8), "left": nn.Linear(8, 1), "right": nn.Linear(8, 2)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        features = net["trunk"](torch.randn(3, 4))
        total(net["left"](features)).backward(retain_graph=True)
        total(net["right"](features)).backward()
        optimizer.step()
    return t


@healthy()
def parameter_groups_and_no_decay_for_biases(trace: Tracing) -> ht.Trace:
    """Two groups, two rates."""
    net = small()
    groups = [
        {"params": [one for one in net.parameters() if one.ndim > 1], "weight_decay": 0.1},
        {"params": [one for one in net.parameters() if one.ndim == 1], "lr": 0.02},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with trace(net) as t:
        total(net(torch.randn(3, 4))).backward()
        optimizer.step()
    return t


@healthy()
def saved_and_loaded_between_epochs(trace: Tracing) -> ht.Trace:
    """A checkpoint of model and optimizer, taken and restored."""
    net = small()
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        total(net(torch.randn(3, 4))).backward()
        optimizer.step()
        saved = copy.deepcopy({"net": net.state_dict(), "optimizer": optimizer.state_dict()})
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        optimizer.zero_grad()
        total(net(torch.randn(3, 4))).backward()
        optimizer.step()
    return t


@healthy()
def metrics_read_from_the_loss(trace: Tracing) -> ht.Trace:
    """`.item()`, `.detach()` and `argmax` for the log, beside the loss."""
    net = small(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    labels = torch.tensor([0, 1, 2])
    losses: list[float] = []
    hits: list[Any] = []
    with trace(net) as t:
        for _ in range(3):
            optimizer.zero_grad()
            logits = net(torch.randn(3, 4))
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits.append((logits.detach().argmax(1) == labels).float().mean().item())
    return t
