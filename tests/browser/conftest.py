"""A real headless Chromium for the pages, which notices alerts, requests and errors.

Chromium comes from the system (``apt-get install chromium``) or from ``HOOKTRACE_CHROMIUM``.
Where there is none, the tests say so and are skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="the browser tests need playwright: pip install playwright"
)

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """Return the path of a browser; None if there is none."""
    asked = os.environ.get("HOOKTRACE_CHROMIUM")
    return asked or next(filter(None, map(shutil.which, _NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for the tests of a file: while it runs, so does an event loop in this thread."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or set HOOKTRACE_CHROMIUM to its path")
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


class Watched:
    """A page, and all that must not happen in it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrongs: list[str] = []
        page.on("dialog", self._dialog)
        page.on("pageerror", lambda error: self.wrongs.append(f"error: {error}"))
        page.on("console", self._console)
        page.on("request", self._request)

    def _dialog(self, dialog: Any) -> None:
        self.wrongs.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrongs.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "about:", "blob:")):
            self.wrongs.append(f"request: {request.url}")


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Return a function that opens a page from a file and waits until the report in it is ready.

    ``open_page(html_or_path, anchor="#e=3", framed=False, **context)``: `framed` says that the
    report is in a frame of the page; `context` is that of playwright, such
    as ``locale="zh-CN"``, ``color_scheme="dark"``, ``java_script_enabled=False``.  At the end of
    the test nothing may have gone wrong in any page.
    """
    watched: list[Watched] = []
    contexts: list[Any] = []

    def open_it(html: str | Path, anchor: str = "", *, framed: bool = False, **options: Any) -> Any:
        if isinstance(html, Path):
            path = html
        else:
            path = tmp_path / f"page{len(contexts)}.html"
            path.write_text(html, "utf-8")
        options.setdefault("viewport", {"width": 1400, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        watched.append(Watched(page))
        page.goto(path.as_uri() + anchor)
        if options.get("java_script_enabled", True) and framed:
            page.frame_locator("iframe").locator("html[data-ready]").wait_for(state="attached")
        elif options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_it
    wrongs = [wrong for one in watched for wrong in one.wrongs]
    for context in contexts:
        context.close()
    assert wrongs == []


# ------------------------------------------------------------------ a trace to look at


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


def observe(module: Any, inputs: Any, output: Any) -> None:
    pass


@pytest.fixture(scope="session")
def small_trace() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    net[0].register_forward_hook(double)
    net[2].register_forward_hook(observe)
    with ht.trace(net, keep=["0", "2"]) as t:
        net(torch.ones(2, 3)).sum().backward()
    t.summary()  # counts the parameters while there are some
    return t


@pytest.fixture(scope="session")
def small_report(small_trace: Any, tmp_path_factory: Any) -> Path:
    return small_trace.report(tmp_path_factory.mktemp("report") / "small.html")
