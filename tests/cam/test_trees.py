"""Trees of containers with tensors."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import Any

import pytest
import torch
from rerun_models import (
    Bundle,
    Outputs,
)
from torch import Tensor

from hooktrace.cam.replica import by_role
from hooktrace.cam.trees import mapped, repeated, tensors_of


def test_trees_keep_their_classes() -> None:
    one, two = torch.zeros(2), torch.ones(2)
    numbers: defaultdict[int, Any] = defaultdict(list, {3: one})
    tree = (Outputs(one, two), {"a": [one, 5]}, OrderedDict({2: two}), Bundle(one, (1, 2)), numbers)
    changed: Any = mapped(tree, lambda tensor: tensor + 1)
    assert [type(part) for part in changed] == [type(part) for part in tree]
    assert torch.equal(changed[0].extra, two + 1)
    assert changed[1]["a"][1] == 5
    assert list(changed[2]) == [2]
    assert changed[3].sizes == (1, 2)
    assert changed[4][9] == []
    assert tree[3].maps is one
    assert [int(part.sum()) for part in tensors_of(tree)] == [0, 2, 0, 2, 0, 0]


@pytest.mark.parametrize("shared", [False, True])
def test_repeated_takes_the_images_and_leaves_what_is_not_of_the_batch(shared: bool) -> None:
    batch, other, number = torch.arange(6.0).reshape(3, 2), torch.zeros(5), torch.tensor(1.0)
    for rows in (torch.tensor([1, 1, 1]), torch.tensor([2, 0])):
        found: Any = repeated([batch, other, number], rows, 3, shared=shared)
        assert torch.equal(found[0], batch[rows])
        assert (found[1] is other) is shared
        assert (found[2] is number) is shared
        if not shared:
            found[0].zero_()
    assert torch.equal(batch, torch.arange(6.0).reshape(3, 2))


@pytest.mark.parametrize("shared", [False, True])
def test_repeated_along_another_axis_where_that_fits(shared: bool) -> None:
    tokens, images_first = torch.arange(24.0).reshape(4, 3, 2), torch.arange(3.0)
    for rows in (torch.tensor([1, 1]), torch.tensor([2, 0, 1, 1])):
        tree = (tokens, images_first)
        found, first = repeated(tree, rows, 3, shared=shared, axis=1)
        assert torch.equal(found, tokens[:, rows])
        assert torch.equal(first, images_first[rows])


def test_the_role_of_each_tensor_is_told() -> None:
    tree = (Bundle(torch.zeros(1), (1, 2)), {"a": torch.zeros(1)}, torch.zeros(1))
    told: list[str] = []

    def note(role: str, tensor: Tensor) -> Tensor:
        told.append(role)
        return tensor

    by_role(tree, note)
    assert told == ["output[0].maps", "output[1]['a']", "output[2]"]
