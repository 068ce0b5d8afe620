"""A backward hook that returns the gradient it was given fails: it "has changed the size of value".

https://github.com/TransformerLensOrg/TransformerLens/issues/1160

A full backward hook has to return a tuple, one gradient for each input; a tensor is taken for one.
"""

import contextlib

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))


def pass_on(module, grad_input, grad_output):
    return grad_input[0]


model[1].register_full_backward_hook(pass_on)
with contextlib.suppress(RuntimeError), ht.trace(model) as t:
    model(torch.ones(1, 3)).sum().backward()

# The page ends here.
SYMPTOM = model[0].weight.grad is None
EXPECTED = "wrong-return"
SAYS = ("pass_on", "a tensor, not a tuple", "changed the size of value")
