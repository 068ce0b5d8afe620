"""What is written for TensorBoard, looked at in TensorBoard itself."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

pytest.importorskip("tensorboard")


@pytest.fixture(scope="module")
def served(small_trace: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A TensorBoard on the loopback interface that shows one trace."""
    folder = tmp_path_factory.mktemp("runs")
    small_trace.tensorboard(folder / "small")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"{sys.executable} -m tensorboard.main --load_fast=false --host 127.0.0.1".split()
    command += ["--port", str(port), "--logdir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if b"small" in urlopen(f"{address}/data/runs").read():
                    break
            except URLError:
                pass
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.slow
def test_the_graph_with_its_hooks_is_drawn(browser: Any, served: str) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{served}/#graphs&run=small")
    expect(page.locator("tf-graph-scene").first).to_be_visible(timeout=30_000)
    expect(page.locator("g.node").first).to_be_visible(timeout=30_000)
    open_node(page, "Sequential")
    open_node(page, "Sequential/0")
    hook = page.locator('g.node[data-name="Sequential/0/forward_hook_double"]')
    expect(hook).to_be_visible(timeout=30_000)
    page.close()


def open_node(page: Any, name: str) -> None:
    page.wait_for_timeout(1500)  # the scene moves into place
    box = page.locator(f'g.node[data-name="{name}"]').bounding_box()
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
