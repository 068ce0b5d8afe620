"""Module calls as `Trace` hands them out: names, numbers, nesting, and errors that help."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import (
    AmbiguousCallError,
    HooktraceError,
    NoGradientError,
    NotKeptError,
    UnknownNameError,
)


class Shared(nn.Module):
    """One layer under two names, called under both."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(2, 2)
        self.decode = self.encode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("no")


def nested() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))


def traced(model: nn.Module, times: int = 1, **options: Any) -> ht.Trace:
    with ht.trace(model, **options) as t:
        for _ in range(times):
            model(torch.ones(1, 2))
    return t


def labels(calls: list[Any]) -> list[str]:
    return [str(call) for call in calls]


# ------------------------------------------------------------------ names and numbers


def test_calls_come_in_the_order_in_which_they_began() -> None:
    assert labels(traced(nested()).calls()) == ["Sequential@0", "0@0", "1@0", "1.0@0", "1.1@0"]


def test_names_are_those_of_named_modules_and_the_root_is_named_after_its_class() -> None:
    net = nested()
    expected = [name or "Sequential" for name, _ in net.named_modules()]
    assert [call.name for call in traced(net).calls()] == expected


def test_a_call_is_found_by_its_name_and_by_its_number() -> None:
    t = traced(nested())
    assert t["1.1"] is t["1.1@0"]
    assert (t["1.1"].name, t["1.1"].index, t["1.1"].module.type) == ("1.1", 0, "Linear")


def test_the_root_is_found_by_its_class() -> None:
    assert traced(nested())["Sequential"].depth == 0


def test_repeated_calls_are_numbered_from_zero() -> None:
    t = traced(nn.Linear(2, 2), times=3)
    assert labels(t.calls()) == ["Linear@0", "Linear@1", "Linear@2"]
    assert t["Linear@2"] is t.calls()[2]


def test_a_plain_name_of_several_calls_is_an_error_that_lists_them() -> None:
    t = traced(nn.Linear(2, 2), times=3)
    with pytest.raises(AmbiguousCallError, match=r"called 3 times: 'Linear@0', 'Linear@1', "):
        t["Linear"]


def test_a_list_of_very_many_calls_is_cut_and_counted() -> None:
    t = traced(nn.Linear(2, 2), times=20)
    with pytest.raises(AmbiguousCallError, match="'Linear@11' and 8 more"):
        t["Linear"]


def test_a_shared_module_is_found_under_each_of_its_names() -> None:
    t = traced(Shared())
    assert t["encode@0"] is t["decode@0"]
    assert t["encode@1"] is t["decode@1"]
    assert t["encode@0"].module.aliases == ("decode",)
    with pytest.raises(AmbiguousCallError, match="'decode' was called 2 times"):
        t["decode"]


def test_a_pattern_finds_a_shared_call_once_by_whichever_name() -> None:
    t = traced(Shared())
    assert t.calls("enc*") == t.calls("dec*") == t.calls("*code@*")
    assert labels(t.calls("*code*")) == ["encode@0", "encode@1"]


def test_patterns_match_names_and_numbers() -> None:
    t = traced(nested(), times=2)
    assert labels(t.calls("1.*")) == ["1.0@0", "1.1@0", "1.0@1", "1.1@1"]
    assert labels(t.calls("1.1")) == ["1.1@0", "1.1@1"]
    assert labels(t.calls("*@1")) == ["Sequential@1", "0@1", "1@1", "1.0@1", "1.1@1"]
    assert t.calls("nothing*") == []


def test_patterns_know_upper_from_lower_case() -> None:
    t = traced(nested())
    assert len(t.calls("Seq*")) == 1
    assert t.calls("seq*") == []


def test_two_models_of_one_class_share_a_count() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    with ht.trace() as t:
        second(first(torch.ones(1, 2)))
    assert len(t.calls()) == len(set(labels(t.calls()))) == 2


# ------------------------------------------------------------------ nesting, steps, time


def test_parents_and_children_agree() -> None:
    t = traced(nested())
    assert labels(t["Sequential"].children) == ["0@0", "1@0"]
    assert labels(t["1"].children) == ["1.0@0", "1.1@0"]
    for call in t.calls():
        assert all(child.parent is call for child in call.children)
        assert call.depth == (0 if call.parent is None else call.parent.depth + 1)


def test_recursion_nests_calls_of_one_module() -> None:
    class Recursive(nn.Module):
        def forward(self, x: torch.Tensor, levels: int) -> torch.Tensor:
            return self(x, levels - 1) if levels else x + 1

    net = Recursive()
    with ht.trace(net) as t:
        net(torch.ones(1), 3)
    assert [call.depth for call in t.calls()] == [0, 1, 2, 3]
    assert t["Recursive@3"].parent is t["Recursive@2"]


def test_steps_are_the_outermost_calls_with_all_that_is_inside() -> None:
    t = traced(nested(), times=3)
    assert [labels(step) for step in t.steps] == [
        [f"{name}@{index}" for name in ("Sequential", "0", "1", "1.0", "1.1")] for index in range(3)
    ]


def test_the_parts_of_a_call_never_last_longer_than_the_call() -> None:
    t = traced(nested(), times=20)
    for call in t.calls():
        assert call.duration_ns is not None
        assert call.duration_ns > 0
        assert sum(child.duration_ns or 0 for child in call.children) <= call.duration_ns
        ends = [one.exited.time_ns for one in call.children if one.exited]
        starts = [one.called.time_ns for one in call.children]
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def test_hooks_belong_to_the_duration_and_to_their_call() -> None:
    net = nested()
    net[0].register_forward_pre_hook(lambda m, args: None)
    net[0].register_forward_hook(lambda m, args, output: None)
    t = traced(net)
    assert [t.hooks[one.hook].kind for one in t["0"].hooks] == ["forward_pre", "forward"]
    assert t["1"].hooks == []
    assert sum(one.duration_ns for one in t["0"].hooks) <= (t["0"].duration_ns or 0)


def test_every_event_of_a_call_names_that_call() -> None:
    t = traced(nested())
    for call in t.calls():
        assert call.events[0] is call.called
        assert all(event.call == call.id for event in call.events)
        assert [event.seq for event in call.events] == sorted(event.seq for event in call.events)


# ------------------------------------------------------------------ before the end


def test_calls_can_be_read_inside_the_block() -> None:
    net = nested()
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
        assert len(t.calls()) == 5
        assert t["1.1"].outputs[0].shape == (1, 1)
        net(torch.ones(1, 2))
        assert len(t.calls()) == 10
        with pytest.raises(NoGradientError, match=r"backward\(\) has not run yet"):
            _ = t["0@0"].grad_outputs
    assert len(t.steps) == 2


def test_a_call_in_progress_has_no_duration_and_no_outputs() -> None:
    seen = []
    net = nested()

    def look(module: nn.Module, args: Any) -> None:
        root, own = t["Sequential"], t["1"]
        seen.append((root.duration_ns, root.outputs, own.depth, own.exception, repr(own)))

    net[1].register_forward_pre_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert seen == [(None, (), 1, None, "<Call 1@0 Sequential -> (open)>")]


def test_a_call_object_read_early_fills_up_as_the_block_goes_on() -> None:
    early = []
    net = nested()
    net[0].register_forward_hook(lambda m, args, output: early.append(t["Sequential"]))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
        t.calls()
    assert early[0] is t["Sequential"]
    assert early[0].duration_ns is not None
    assert len(early[0].children) == 2


def test_after_an_exception_the_calls_up_to_there_are_read() -> None:
    net = nn.Sequential(nn.Linear(2, 2), Fails(), nn.ReLU())
    t = ht.trace(net)
    with pytest.raises(ValueError, match=r"^no$"), t:
        net(torch.ones(1, 2))
    assert labels(t.calls()) == ["Sequential@0", "0@0", "1@0"]
    assert [call.exception for call in t.calls()] == ["ValueError: no", None, "ValueError: no"]
    assert t["1"].outputs == ()
    with pytest.raises(HooktraceError, match="1@0 raised ValueError: no"):
        _ = t["1"].output
    with pytest.raises(UnknownNameError):
        t["2"]


def test_a_caught_exception_does_not_spoil_the_calls_that_follow() -> None:
    net = nn.Sequential(Fails())
    other = nn.ReLU()
    with ht.trace({"net": net, "other": other}) as t:
        with pytest.raises(ValueError, match="no"):
            net(torch.ones(1))
        other(torch.ones(1))
    assert t.calls()[-1].parent is None
    assert t.calls()[-1].module.type == "ReLU"


# ------------------------------------------------------------------ errors


def test_an_unknown_name_names_the_nearest() -> None:
    net = nn.Sequential()
    net.add_module("features", nn.Linear(2, 2))
    net.add_module("classifier", nn.ReLU())
    with pytest.raises(UnknownNameError, match="Did you mean 'features'"):
        traced(net)["feature"]


def test_a_number_beyond_the_last_call_says_so() -> None:
    with pytest.raises(UnknownNameError, match=r"'0@7'.* called 1 time"):
        traced(nested())["0@7"]


@pytest.mark.parametrize("name", ["@", "0@", "0@-1", "0@x", "*", "1.*", "\n", "0@0@0"])
def test_odd_names_are_unknown_names(name: str) -> None:
    with pytest.raises(UnknownNameError):
        traced(nn.Sequential(nn.Linear(2, 2)))[name]


def test_a_module_that_never_ran_is_not_said_to_have_been_called() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(2, 2)
            self.idle = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    with pytest.raises(UnknownNameError) as caught:
        traced(Skips())["idle"]
    assert "It was called" not in str(caught.value)


def test_a_name_that_is_no_call_may_be_a_tensor() -> None:
    t = traced(nested())
    assert t["0.weight"].name == "0.weight"
    assert t["0.weight"].row.parameter


def test_an_output_that_was_not_kept_says_how_to_keep_it() -> None:
    output = traced(nested())["0"].output
    assert (output.shape, output.dtype) == ((1, 2), "float32")
    with pytest.raises(NotKeptError, match=r"trace\(model, keep=\['0'\]\)"):
        output.mean()


def test_a_kept_output_is_the_tensor_that_was_returned() -> None:
    net = nested()
    t = traced(net, keep=["0"])
    assert torch.equal(t["0"].output, net[0](torch.ones(1, 2)))
    assert [call.kept for call in t.calls()] == [False, True, False, False, False]


def test_a_single_output_of_several_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x, {"more": x * 2}

    call = traced(Two())["Two"]
    assert [one.role for one in call.seen_outputs] == ["output[0]", "output[1]['more']"]
    with pytest.raises(HooktraceError, match=r"Two@0 returned 2 values; use \.outputs"):
        _ = call.output


def test_a_gradient_after_a_block_without_backward_says_what_to_do() -> None:
    net = nested()
    with ht.trace(net) as t:
        loss = net(torch.ones(1, 2)).sum()
    loss.backward()
    with pytest.raises(NoGradientError, match=r"block ended before backward\(\)"):
        _ = t["0"].grad_output
