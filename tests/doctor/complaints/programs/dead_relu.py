"""Sometimes the network predicts nothing but zeros from the first step on, and does not learn.

https://github.com/jvargasmu/population_estimation/issues/68

The last ReLU is given negative numbers only: its output and its gradient are zero.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
nn.init.constant_(model[0].bias, -9.0)
with ht.trace(model, stats=True) as t:
    model(torch.rand(8, 2)).sum().backward()

# The page ends here.
SYMPTOM = not model[0].weight.grad.any()
EXPECTED = "dead-activation"
SAYS = ("1@0 (ReLU)", "zeros")
