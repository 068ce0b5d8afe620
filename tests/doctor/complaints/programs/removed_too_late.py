"""A backward hook runs although it was removed before the backward pass.

https://github.com/pytorch/pytorch/issues/25723

The forward pass copies a module's backward hooks for the graph; the copy does not see the removal.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
seen = []


def watch(module, grad_input, grad_output):
    seen.append(grad_output[0].norm())


handle = model.register_full_backward_hook(watch)
with ht.trace(model) as t:
    loss = model(torch.ones(1, 2)).sum()
    handle.remove()
    loss.backward()

# The page ends here.
SYMPTOM = len(seen) == 1
EXPECTED = "fires-after-removal"
SAYS = ("watch", "fired after it was removed")
