"""The page on hooks has every kind, as the package knows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from hooktrace.kinds import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
ROWS = {row.split("`")[1]: row for row in PAGE.splitlines() if re.match(r"\| `\w+` \|", row)}


def test_the_page_has_the_kinds_that_are_seen_and_no_others() -> None:
    assert set(ROWS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_registers_a_kind_exists_and_is_on_the_page(kind: str) -> None:
    name = KINDS[kind].registered_by
    assert f"`{name}`" in ROWS[kind]
    owners = {
        "Module": torch.nn.Module,
        "Tensor": torch.Tensor,
        "Optimizer": torch.optim.Optimizer,
        "Node": torch.autograd.graph.Node,
        "Variable": torch.autograd.Variable,
        "DistributedDataParallel": torch.nn.parallel.DistributedDataParallel,
        "torch": torch,
    }
    first, *rest = name.split(".")
    found = owners[first]
    for part in rest:
        if part == "node_creation_hook" and not hasattr(found, part):
            return  # PyTorch 2.15
        found = getattr(found, part)
    assert callable(found)
