"""hook-id-collision-after-unpickling: checked in a process of its own, as it happens."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import hooktrace as ht

RULE = "hook-id-collision-after-unpickling"

PROGRAM = """
import pickle, sys
import torch
from torch import nn
import hooktrace as ht

with open(sys.argv[1], "rb") as file:
    net = pickle.load(file)
(finding,) = ht.check(net, select=["hook-id-collision-after-unpickling"])
print(finding.severity, finding.message)
with ht.trace(net) as t:
    net(torch.ones(1, 2))
print(len(t.findings(select=["hook-id-collision-after-unpickling"])))
number = next(iter(net[0]._forward_hooks))
for _ in range(number):
    nn.Linear(1, 1).register_forward_hook(len)
print([hook.name for hook in ht.hooks(net)])
net[0].register_forward_hook(str)
print([hook.name for hook in ht.hooks(net)])
print(len(ht.check(net, select=["hook-id-collision-after-unpickling"])))
"""


@pytest.fixture
def printed(tmp_path: Path) -> list[str]:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(torch.is_tensor and print)
    file = tmp_path / "net.pickle"
    file.write_bytes(pickle.dumps(net))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=True
    )
    return [one for one in done.stdout.splitlines() if not one.startswith("Linear(")]


def test_a_loaded_hook_is_replaced_by_the_one_that_gets_its_number(printed: list[str]) -> None:
    assert printed[0].startswith("warning The forward hook print on 0 (Linear) has the number ")
    assert printed[0].endswith(", which PyTorch will give out again: it would replace this hook.")
    assert printed[1:] == ["1", "['print']", "['str']", "0"]


def test_hooks_that_were_loaded_by_the_process_that_saved_them_are_safe() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(print)
    loaded = pickle.loads(pickle.dumps(net))
    assert list(ht.check(loaded, select=[RULE])) == []
