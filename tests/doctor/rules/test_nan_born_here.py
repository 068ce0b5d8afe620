"""The first NaN of a run: who made it, and what is none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

RULE = "nan-born-here"


class Apply(nn.Module):
    """A module that is a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def findings(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=[RULE]))


def net_with(function: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 20), Apply(function), nn.Linear(20, 3))


def traced(net: nn.Module, x: Tensor | None = None, loss: Any = Tensor.sum) -> list[Finding]:
    with ht.trace(net, stats=True) as t:
        loss(net(torch.randn(8, 4) if x is None else x)).backward()
    return findings(t)


# ------------------------------------------------------------------ forward


@pytest.mark.parametrize(
    "function", [Tensor.log, Tensor.sqrt, lambda x: x / 0, lambda x: x * math.inf]
)
def test_the_module_that_made_it_out_of_finite_numbers_is_named(function: Any) -> None:
    (found,) = traced(net_with(function))
    assert found.message == (
        "1@0 (Apply) was given finite numbers and made the first value that is not finite."
    )
    assert found.where == "1@0 (Apply)"
    assert not found.possible
    assert found.evidence[0].startswith("args[0]: between -")
    assert any(text.startswith("output:") for text in found.evidence)


def test_the_innermost_call_is_named_and_not_those_around_it() -> None:
    net = nn.Sequential(nn.Sequential(net_with(Tensor.log)))
    (found,) = traced(net)
    assert found.where == "0.0.1@0 (Apply)"


def test_the_only_call_that_is_not_wrong_is_not_named_in_a_second_step() -> None:
    net = net_with(Tensor.log)
    with ht.trace(net, stats=True) as t:
        for _ in range(3):
            net(torch.randn(8, 4))
    (found,) = findings(t)
    assert found.where == "1@0 (Apply)"


class Between(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).log())  # type: ignore[no-any-return]


class After(Between):
    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).log()  # type: ignore[no-any-return]


def test_functional_code_between_two_modules() -> None:
    (found,) = traced(Between())
    assert found.message == (
        "The first value that is not finite was made by functional code in Between@0 (Between), "
        "before second@0."
    )


def test_functional_code_at_the_end_of_a_module() -> None:
    (found,) = traced(After())
    assert found.message.startswith("functional code in After@0 (After) was given finite numbers")


def test_what_came_in_with_the_data() -> None:
    batch = torch.randn(8, 4)
    batch[2, 1] = math.nan
    (found,) = traced(net_with(Tensor.exp), batch)
    assert found.message == "args[0] of Sequential@0 was not finite when it came in."
    assert found.evidence == ("args[0]: 1 of 32 NaN",)


def test_a_parameter_that_was_nan_already() -> None:
    net = net_with(Tensor.exp)
    net[2].weight.data[0, 0] = math.nan
    (found,) = traced(net)
    assert found.message == "2.weight was not finite when Sequential@0 began."
    assert found.evidence == ("2.weight: 1 of 60 NaN",)


def test_a_buffer_that_was_nan_already() -> None:
    net = nn.Sequential(nn.Linear(4, 20), nn.BatchNorm1d(20)).eval()
    net[1].running_mean[3] = math.nan
    (found,) = traced(net)
    assert found.where == "1.running_mean"


def test_a_parameter_that_a_step_made_nan() -> None:
    net = net_with(Tensor.exp)
    optimizer = torch.optim.SGD(net.parameters(), lr=math.inf)
    with ht.trace(net, stats=True) as t:
        net(torch.randn(8, 4)).sum().backward()
        optimizer.step()
        net(torch.randn(8, 4))
    (found,) = findings(t)
    assert "was not finite when Sequential@1 began, after a step of SGD" in found.message


def test_a_loss_that_plain_code_made() -> None:
    (found,) = traced(net_with(Tensor.exp), loss=lambda y: y.sum() / 0)
    assert found.where == "the loss"
    assert "Code outside of all modules made the loss" in found.message


def test_plain_code_between_two_models() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 20), nn.Linear(20, 3)
    with ht.trace({"first": first, "second": second}, stats=True) as t:
        second(first(torch.randn(8, 4)).log()).sum().backward()
    (found,) = findings(t)
    assert found.message == (
        "Code outside of all modules made args[0] of second@0, which is not finite."
    )


@pytest.mark.parametrize("how", ["returned", "in place"])
@pytest.mark.parametrize("kind", ["forward", "forward_pre"])
def test_a_hook_that_made_it(how: str, kind: str) -> None:
    def spoil(module: nn.Module, args: Any, output: Tensor | None = None) -> Any:
        tensor = args[0] if output is None else output
        return tensor * math.nan if how == "returned" else spoilt(tensor)

    net = net_with(Tensor.exp)
    getattr(net[2], f"register_{kind}_hook")(spoil)
    with torch.no_grad(), ht.trace(net, stats=True) as t:
        net(torch.randn(8, 4))
    (found,) = findings(t)
    assert found.message.startswith(f"The {spoken(kind)} spoil ")
    assert "was given finite numbers and made the first value that is not finite" in found.message
    assert found.evidence[0].startswith("before: mean")
    assert found.source


def spoilt(tensor: Tensor) -> None:
    tensor.fill_(math.nan)


def test_a_hook_that_only_sees_what_the_module_made_is_not_blamed() -> None:
    net = net_with(Tensor.log)
    net[1].register_forward_hook(lambda module, args, output: output * 2)
    (found,) = traced(net)
    assert found.where == "1@0 (Apply)"


def test_a_hook_that_repairs_it_does_not_hide_it() -> None:
    net = net_with(Tensor.log)
    net[1].register_forward_hook(lambda module, args, output: output.nan_to_num())
    found = traced(net)
    assert found[0].where == "1@0 (Apply)"


# ------------------------------------------------------------------ backward


def test_a_module_whose_backward_made_it() -> None:
    """The root of zero is finite, its gradient is not."""
    net = net_with(lambda x: (x * 0).sqrt())
    (found,) = traced(net)
    assert found.message == (
        "The backward of 1@0 (Apply) was given finite gradients and made the first one that is "
        "not finite."
    )
    assert "in the forward, output: between -0 and -0" in found.evidence


def test_the_innermost_module_whose_backward_made_it() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Apply(lambda x: (x * 0).sqrt())))
    (found,) = traced(net)
    assert found.where == "1.0@0 (Apply)"


def test_plain_code_whose_backward_made_it() -> None:
    (found,) = traced(net_with(Tensor.exp), loss=lambda y: (y * 0).sqrt().sum())
    assert found.message == (
        "The first gradient that is not finite came to the output of 2@0 (Linear): what "
        "uses that output made it."
    )


def test_plain_tensors() -> None:
    with ht.trace(stats=True) as t:
        w = torch.zeros(20, requires_grad=True)
        a = w.sqrt()
        a.sum().backward()
    (found,) = findings(t)
    assert found.message == "The gradient of w is the first that is not finite."


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(20))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale.sqrt()


def test_a_gradient_of_a_parameter_that_only_its_module_can_have_made() -> None:
    net = nn.Sequential(nn.Linear(4, 20), Norm())
    (found,) = traced(net)
    assert found.message == (
        "The backward of 1@0 (Norm) was given finite gradients and made one for 1.scale that is "
        "not finite."
    )


def test_a_hook_on_a_gradient_that_made_it() -> None:
    net = net_with(Tensor.exp)
    net[0].weight.register_hook(lambda grad: grad / 0)
    (found,) = traced(net)
    assert found.message.startswith("The tensor hook ")
    assert "on 0.weight was given finite numbers and made the first gradient" in found.message


def test_a_step_that_a_scaler_passes_over_is_a_note() -> None:
    net = nn.Linear(20, 3)
    nn.init.zeros_(net.weight)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net, stats=True) as t:
        for factor in (1e37, 1.0):
            optimizer.zero_grad()
            (net(torch.full((8, 20), 100.0)).sum() * factor).backward()
            if factor == 1.0:
                optimizer.step()
    (found,) = findings(t)
    assert found.severity == "note"
    assert "as if a GradScaler had passed over it" in found.evidence[-1]


# ------------------------------------------------------------------ near misses


def test_a_mask_of_minus_infinity_is_meant() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    with ht.trace(layer, stats=True) as t:
        layer(torch.randn(2, 5, 16), src_mask=mask).sum().backward()
    assert findings(t) == []


def test_logits_that_are_masked_out_are_meant() -> None:
    keep = torch.arange(20) < 5
    assert traced(net_with(lambda x: x.masked_fill(keep, -math.inf).softmax(-1))) == []
    net = nn.Sequential(nn.Linear(4, 20), Apply(lambda x: x.masked_fill(keep, -math.inf)))
    assert traced(net, loss=lambda y: y.softmax(-1)[:, 6].sum()) == []


def test_without_statistics_it_is_silent_and_the_findings_say_so() -> None:
    net = net_with(Tensor.log)
    with ht.trace(net) as t:
        net(torch.randn(8, 4)).sum().backward()
    found = t.findings()
    assert list(found.of(RULE)) == []
    assert f"{RULE}" in str(found).partition("for want of trace(..., stats=True)")[2]
    with ht.trace(net, stats=True) as t:
        net(torch.randn(8, 4)).sum().backward()
    assert "for want of" not in str(t.findings())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_and_a_gradient_of_minus_infinity_are_no_masks(sign: int) -> None:
    (found,) = traced(net_with(Tensor.exp), loss=lambda y: sign * y.square().sum() / 0)
    assert found.where == "the loss"
    with ht.trace(stats=True) as t:
        w = torch.zeros(20, requires_grad=True)
        (sign * w.sqrt()).sum().backward()
    (found,) = findings(t)
    assert found.where == "gradient of w"


def test_the_operations_of_a_call_are_told_and_what_to_do_about_a_mask() -> None:
    divisor = torch.tensor([0.0, 2.0])
    net = Apply(lambda x: torch.where(divisor == 0, 0.0, x / divisor))
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    (found,) = traced(net, x)
    assert "its operations: DivBackward0, WhereBackward0" in found.evidence
    assert "0 * inf" in found.instead


def test_where_nothing_masks_the_advice_is_the_common_one() -> None:
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    (found,) = traced(Apply(torch.sqrt), x)
    assert "its operations: SqrtBackward0" in found.evidence
    assert "torch.where" not in found.instead
