"""Oracle: PyTorch's own node creation hook says in which call each autograd node was made."""

from __future__ import annotations

from collections import Counter
from typing import Any

import needs
import pytest
import torch
from equivalence_nets import NETS, loss
from torch import nn

import hooktrace as ht


def reachable(root: Any) -> list[Any]:
    found, queue = {root}, [root]
    for node in queue:
        for following, _ in node.next_functions:
            if following is not None and following not in found:
                found.add(following)
                queue.append(following)
    return queue


def created(net: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Counter[tuple[str, str]]:
    """Names of the nodes behind the output, with the call that was open when each was made."""
    stack: list[str] = []
    counts: Counter[str] = Counter()
    made: dict[Any, str] = {}
    handles = []
    for name, module in net.named_modules():
        label = name or type(net).__name__

        def enter(m: Any, args: Any, label: str = label) -> None:
            stack.append(f"{label}@{counts[label]}")
            counts[label] += 1

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(lambda *a: [stack.pop(), None][1]))

    def note(node: Any) -> None:
        made.setdefault(node, stack[-1] if stack else "")

    with torch.autograd.graph.node_creation_hook(note):
        output = net(*inputs)
    for handle in handles:
        handle.remove()
    return Counter(
        (node.name(), made[node])
        for node in reachable(output.grad_fn)
        if not node.name().endswith("AccumulateGrad") and made.get(node)
    )


@needs.NODE_CREATION_HOOK
@pytest.mark.parametrize("name", NETS)
def test_every_node_belongs_to_the_call_that_made_it(name: str) -> None:
    net, inputs = NETS[name]()
    expected = created(net, inputs)
    with ht.trace(net) as t:
        loss(net(*inputs)).backward()
    labels = {call.id: str(call) for call in t.calls()}
    recorded = Counter((row.name, labels[row.call]) for row in t.log.nodes if row.call is not None)
    assert recorded == expected


@pytest.mark.parametrize("name", NETS)
def test_the_recorded_edges_are_those_of_autograd(name: str) -> None:
    net, inputs = NETS[name]()
    with ht.trace(net) as t:
        output = net(*inputs)
    root = output.grad_fn
    numbers: dict[Any, int] = {}
    edges = []
    for node in reachable(root):
        numbers[node] = len(numbers)
        edges.append((node.name(), [one.name() for one, _ in node.next_functions if one]))
    rows = list(t.log.nodes)
    recorded = [
        (row.name, [rows[following].name for following, _ in row.next])
        for row in rows
        if row.leaf is None and row.call is not None
    ]
    own = [(name, following) for name, following in edges if not name.endswith("AccumulateGrad")]
    assert sorted(map(plain, recorded)) == sorted(map(plain, own))


def plain(edge: tuple[str, list[str]]) -> tuple[str, list[str]]:
    """Names without the C++ namespace."""
    name, following = edge
    return name.rpartition("::")[2], [one.rpartition("::")[2] for one in following]
