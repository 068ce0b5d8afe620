"""The number of operations that a profiler counts grows each time it is run.

https://github.com/e-lab/pytorch-toolbox/issues/6

Every run registers its hooks anew and removes none of them.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
counted = []


def count(module, args, output):
    counted.append(output.numel())


def profile(model):
    for module in model:
        module.register_forward_hook(count)
    model(torch.ones(1, 2))


with ht.trace(model) as t:
    profile(model)
    profile(model)

# The page ends here.
SYMPTOM = len(counted) == 2 + 4
EXPECTED = "duplicate-hook"
SAYS = ("count", "profiled_twice.py:16")
