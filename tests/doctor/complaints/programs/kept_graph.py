"""Memory is not given back after a class activation map has been drawn.

https://github.com/jacobgil/pytorch-grad-cam/issues/88

The hook keeps an output without ``detach()``, and with it the graph and all that the graph saved.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
activations = []


def store(module, args, output):
    activations.append(output)


model[3].register_forward_hook(store)
with ht.trace(model) as t:
    for _ in range(3):
        model(torch.randn(32, 64))

# The page ends here.
SYMPTOM = all(output.grad_fn is not None for output in activations)
EXPECTED = "hook-keeps-graph-alive"
SAYS = ("store", "activations", "graph", "detach")
