"""t.why(): the story of one hook."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


def save(*arguments: Any) -> None:
    """Changes nothing."""


def double(grad: Any) -> Any:
    return grad * 2


X = torch.ones(1, 2)


@pytest.fixture(scope="module")
def t() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].register_forward_hook(save)
    net[1].register_forward_hook(save)
    net[1].bias.register_hook(double)
    with ht.trace(net) as t:
        for _ in range(5):
            net(X).sum().backward()
        net[0].register_full_backward_hook(save, prepend=True)
    return t


def test_a_name_tells_all_hooks_of_that_name(t: Any) -> None:
    stories = t.why("save")
    assert [one.title for one in stories] == [
        "forward hook save on 0",
        "forward hook save on 1",
        "full_backward hook save on 0",
    ]
    assert str(stories).count("\n\n") == 2


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("forward:save", ["forward hook save on 0", "forward hook save on 1"]),
        ("save on 1", ["forward hook save on 1"]),
        ("full_backward hook save on 0", ["full_backward hook save on 0"]),
        (double, ["tensor hook double on 1.bias"]),
    ],
)
def test_a_kind_an_owner_or_the_function_itself_tell_hooks_apart(
    t: Any, name: Any, titles: list[str]
) -> None:
    assert [one.title for one in t.why(name)] == titles


def test_a_row_and_its_number_name_a_hook(t: Any) -> None:
    row = next(row for row in t.hooks if row.name == "double")
    assert t.why(row)[0].hook == t.why(row.id)[0].hook == row


def test_a_story_tells_when_the_hook_fired_and_what_it_saw(t: Any) -> None:
    (story,) = t.why("save on 1")
    assert story.fired
    assert story.moments[:2] == ("in 1@0, of step 0", "in 1@1, of step 1")
    assert [one.seq for one in story.firings] == [
        one.seq for one in t.of(ht.events.HookFired) if one.hook == story.hook.id
    ]
    text = str(story)
    assert "fired:       5 times" in text
    assert "saw args[0]" in text
    assert "changed:     nothing" in text
    assert "registered:  before the block" in text


def test_a_story_tells_what_the_hook_changed_with_the_values(t: Any) -> None:
    (story,) = t.why(double)
    assert story.changes == ("grad x2",)
    assert story.first_edits == ("grad x2 returned: [1] -> [2]",)
    assert story.moments[4] == "in backward run 4"
    assert "first: grad x2 returned: [1] -> [2]" in str(story)


def test_a_story_tells_why_a_hook_never_fired_as_the_finding_does(t: Any) -> None:
    (story,) = t.why("full_backward:save")
    assert not story.fired
    assert story.reason.name == "registered-late"
    (finding,) = t.findings(select=["never-fired"])
    assert story.reason.text in finding.message
    assert f"never fired: {story.reason.text}" in str(story)
    assert f"registered:  {__file__}:" in str(story)


def test_a_story_has_at_most_fifteen_lines(t: Any) -> None:
    for story in t.why("save"):
        assert len(str(story).splitlines()) <= 15


def test_a_removed_hook_is_said_to_be_removed() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        handle = net.register_forward_hook(save)
        net(X)
        handle.remove()
    (story,) = t.why(save)
    assert story.removed == t.of(ht.events.HookRemoved)[0].seq
    assert f"removed:     at #{story.removed}" in str(story)


def test_a_hook_that_raised_is_told_with_its_exception() -> None:
    def refuse(*arguments: Any) -> None:
        raise ValueError("no")

    net = nn.Linear(2, 1)
    net.register_forward_hook(refuse)
    with pytest.raises(ValueError, match="no"), ht.trace(net) as t:
        net(X)
    assert "ValueError: no" in str(t.why(refuse))


def test_a_method_and_a_callable_object_are_found_by_themselves() -> None:
    class Keeper:
        def keep(self, *arguments: Any) -> None: ...

        def __call__(self, *arguments: Any) -> None: ...

    keeper = Keeper()
    net = nn.Linear(2, 1)
    net.register_forward_hook(keeper.keep)
    net.register_forward_pre_hook(keeper)
    with ht.trace(net) as t:
        net(X)
    assert [one.hook.kind for one in t.why(keeper.keep)] == ["forward"]
    assert [one.hook.kind for one in t.why(keeper)] == ["forward_pre"]
    assert [one.hook.kind for one in t.why("keep")] == ["forward"]


def save_as(name: str, *arguments: Any) -> None:
    """Changes nothing."""


class Extractor:
    def save(self, *arguments: Any) -> None:
        """Changes nothing."""


def test_partials_and_methods_go_by_the_name_of_what_they_call() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    extractor, titles = Extractor(), []
    for name, module in net.named_children():
        module.register_forward_hook(functools.partial(save_as, name))
        module.register_forward_hook(functools.partial(extractor.save))
        titles.append(f"forward hook partial(save_as) on {name}")
    with ht.trace(net) as t:
        net(X)
    for name in ("save_as", "forward:save_as", "partial(save_as)", save_as):
        assert [one.title for one in t.why(name)] == titles
    assert [one.title for one in t.why("save_as on 1")] == titles[1:]
    assert [one.title for one in t.why(functools.partial(save_as, "2"))] == titles
    for name in ("save", "Extractor.save", extractor.save):
        assert [one.hook.name for one in t.why(name)] == ["partial(Extractor.save)"] * 2


def test_an_error_names_every_function_once() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for module in net:
        module.register_forward_hook(save)
    with ht.trace(net) as t:
        net(X)
    with pytest.raises(ht.errors.UnknownNameError) as unknown:
        t.why("activations")
    assert str(unknown.value).endswith(" There are: 'save'.")
    with pytest.raises(ht.errors.UnknownNameError) as unknown:
        t.why("sav")
    assert str(unknown.value).endswith(" Did you mean 'save'?")


def test_hooks_that_had_no_occasion_have_a_story_too() -> None:
    net = nn.Linear(2, 1)
    net.register_state_dict_pre_hook(save)
    with ht.trace(net) as t:
        net(X)
    assert "nobody called state_dict()" in str(t.why("save"))


def test_an_unknown_name_is_told_with_the_nearest(t: Any) -> None:
    with pytest.raises(ht.errors.UnknownNameError, match="Did you mean 'save'"):
        t.why("sav")
    with pytest.raises(ht.errors.UnknownNameError, match="There is no hook 99"):
        t.why(99)
    with pytest.raises(ht.errors.UnknownNameError, match="was seen as no hook"):
        t.why(test_a_story_has_at_most_fifteen_lines)
    with pytest.raises(TypeError, match="takes the name of a hook"):
        t.why(1.5)


def test_where_no_hook_was_seen_that_is_said() -> None:
    with ht.trace() as t:
        nn.Linear(2, 1)(X)
    with pytest.raises(ht.errors.UnknownNameError, match="No hook was seen"):
        t.why("save")


def test_a_story_tells_all_changes_of_the_first_firing_that_changed_something() -> None:
    def mixed(grad: torch.Tensor) -> torch.Tensor:
        grad.mul_(2)
        return grad * 3

    w = torch.ones(2, requires_grad=True)
    w.register_hook(mixed)
    with ht.trace() as t:
        (w * 5).sum().backward()
        (w * 7).sum().backward()
    (story,) = t.why(mixed)
    assert story.first_edits == (
        "grad x2 in place: [5, 5] -> [10, 10]",
        "grad x3 returned: [10, 10] -> [30, 30], together x6",
    )
    assert "then: grad x3 returned" in str(story)


def test_a_story_ends_with_the_rules_that_found_something_about_the_hook() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    stored = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        stored.append(output)

    net[0].register_forward_hook(keep)
    torch.manual_seed(0)
    with ht.trace(net) as t:
        handle = net[1].register_forward_hook(lambda module, args, output: None)
        net(torch.randn(8, 2))
    (story,) = t.why("keep")
    assert story.rules == ("stale-activation", "hook-keeps-graph-alive")
    assert str(story).splitlines()[-1] == "  findings:    stale-activation, hook-keeps-graph-alive"
    assert t.why("<lambda>")[0].rules == ("leaked-hook",)
    handle.remove()
