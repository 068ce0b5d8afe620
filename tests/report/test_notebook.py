"""Traces in notebooks: executed by Jupyter's own machinery and converted to HTML."""

from __future__ import annotations

import html
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

nbformat = pytest.importorskip("nbformat")
nbconvert = pytest.importorskip("nbconvert")

CODE = """
import torch
from torch import nn
import hooktrace as ht
net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
net[0].register_forward_hook(lambda module, args, output: output * 2)
with ht.trace(net) as t:
    net(torch.ones(1, 2)).sum().backward()
t
"""


def test_what_a_notebook_is_given_is_valid() -> None:
    model = nn.Linear(2, 2)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    bundle = t._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml", "text/html"}
    output = nbformat.v4.new_output("display_data", data=bundle)
    cell = nbformat.v4.new_code_cell(outputs=[output])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))


@pytest.fixture(scope="module")
def converted() -> Any:
    """A notebook that was executed, and the page that nbconvert makes of it."""
    from nbconvert.preprocessors import ExecutePreprocessor

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(book, {})
    page, _ = nbconvert.HTMLExporter().from_notebook_node(book)
    return book, page


def test_a_notebook_runs_and_shows_the_report(converted: Any) -> None:
    book, page = converted
    data = book.cells[0].outputs[-1].data
    assert "forward hook" in data["image/svg+xml"]
    assert data["text/html"].startswith('<iframe sandbox="allow-scripts" srcdoc="')
    inner = html.unescape(data["text/html"].partition('srcdoc="')[2].partition('" title=')[0])
    assert inner.startswith("<!doctype html>")
    assert '<iframe sandbox="allow-scripts" srcdoc="' in page


def test_tables_are_text_in_a_notebook_and_shown_once() -> None:
    from nbconvert.preprocessors import ExecutePreprocessor

    code = CODE.rpartition("t\n")[0] + "print(t, ht.hooks(net), t.summary())"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(book, {})
    (output,) = book.cells[0].outputs
    assert output.output_type == "stream"
    for head in ("grad_output", "defined at", "backward ms"):
        assert head in output.text, head
