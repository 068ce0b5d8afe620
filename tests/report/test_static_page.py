"""What stands in the report as HTML: its links lead somewhere, its counts are right English."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

import hooktrace as ht

BEYOND = 60  # so many calls have more than 100 events


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


def long_page(folder: Path, calls: int = BEYOND) -> tuple[ht.Trace, str]:
    """A run with a hook that fires late, and its page."""
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        for _ in range(calls):
            net(torch.ones(1, 2))
        net.register_forward_hook(double)
        net(torch.ones(1, 2)).relu_()
    return t, t.report(folder / "x.html").read_text("utf-8")


def header(page: str) -> str:
    text = re.sub(r"<[^>]+>", "", page[page.index("<h1") : page.index("</header>")])
    return " ".join(text.split())


def test_every_link_to_an_event_has_its_event(tmp_path: Path) -> None:
    t, page = long_page(tmp_path)
    (fired,) = t.of(ht.events.HookFired)
    assert fired.seq > 200
    links = set(re.findall(r'href="#(e=\d+)"', page))
    assert f"e={fired.seq}" in links
    assert links <= set(re.findall(r'id="(e=\d+)"', page))


def test_a_hook_that_only_looked_and_fired_late_has_its_event_too(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        for _ in range(BEYOND):
            net(torch.ones(1, 2))
        net.register_forward_hook(lambda *_: None)
        net(torch.ones(1, 2))
    (fired,) = t.of(ht.events.HookFired)
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    assert f'href="#e={fired.seq}"' in page
    assert f'id="e={fired.seq}"' in page


def test_what_the_list_without_scripts_leaves_out_is_told(tmp_path: Path) -> None:
    t, page = long_page(tmp_path)
    listed = len(re.findall(r'<li id="e=\d+"', page))
    assert 100 < listed < len(t.events)
    left = len(t.events) - listed
    told = f"<bdi>{left}</bdi> of <bdi>{len(t.events)}</bdi> events in the list"
    assert told in page
    assert "nothing_left_out" not in page.split('<section id="about"')[1].split("</section>")[0]
    _, short = long_page(tmp_path, 1)
    assert 'data-w="nothing_left_out"' in short


def test_one_is_not_several(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    assert "· 1 call · 1 hook · 1 firing of a hook" in header(page)
    net(torch.ones(1, 2))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
        net(torch.ones(1, 2))
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    assert "· 2 calls · 1 hook · 2 firings of hooks" in header(page)


def test_a_trace_without_modules_has_no_table_of_them(tmp_path: Path) -> None:
    with ht.trace() as t:
        torch.ones(2, requires_grad=True).sum().backward()
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    assert header(page).startswith("Tensors ")
    assert 'id="modules"' not in page
    assert 'id="lesson"' in page


def test_an_empty_trace_is_called_so_in_both_languages(tmp_path: Path) -> None:
    with ht.trace() as t:
        pass
    assert header(t.report(tmp_path / "x.html").read_text("utf-8")).startswith("Empty trace ")
    page = t.report(tmp_path / "x.html", lang="zh").read_text("utf-8")
    assert header(page).startswith("空的追踪 ")


def test_little_memory_is_not_nothing(tmp_path: Path) -> None:
    net = nn.Linear(2, 500)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    assert '<td data-v="2000">2.00 kB</td>' in page


def test_what_a_hook_left_as_it_was_is_not_in_the_list_of_changes(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda module, inputs, output: output.clone())
    net[1].register_forward_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    same, doubled = t.edits
    assert (same.equal, doubled.equal) == (True, False)
    page = t.report(tmp_path / "x.html").read_text("utf-8")
    listed = page.partition('data-w="edits"')[2].partition("</ol>")[0]
    assert re.findall(r"#e=(\d+)", listed) == [str(doubled.seq)]


def test_a_model_that_is_gone_is_not_said_to_have_no_parameters(tmp_path: Path) -> None:
    def traced() -> ht.Trace:
        net = nn.Linear(2, 2)
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
        return t

    gone = traced()
    assert "not known" in str(gone.summary())
    assert "0 parameters" not in str(gone.summary())
    page = gone.report(tmp_path / "x.html").read_text("utf-8")
    assert 'data-w="sizes_unknown"' in page
    assert 'data-w="counted_parameters"' not in page
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert 'data-w="sizes_unknown"' not in t.report(tmp_path / "y.html").read_text("utf-8")
