"""A full backward hook stays silent although ``backward()`` runs and fills the gradients.

https://github.com/pytorch/pytorch/issues/117925

The model was run by ``model.forward(x)``; hooks belong to the call, ``model(x)``.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
seen = []


def watch(module, grad_input, grad_output):
    seen.append(grad_output[0])


model.register_full_backward_hook(watch)
with ht.trace(model) as t:
    model.forward(torch.ones(1, 2)).sum().backward()

# The page ends here.
SYMPTOM = seen == [] and model[0].weight.grad is not None
EXPECTED = "never-fired"
SAYS = ("watch", "its forward() was called", "model(x)")
