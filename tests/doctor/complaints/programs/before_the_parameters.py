"""In a full backward hook, the gradients of the module's own parameters are still missing.

https://github.com/pytorch/pytorch/issues/149938

No input needs a gradient, so the hook does not wait for one: it runs before the parameters' turn.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Linear(4, 2)
found_gradients = []


def look(module, grad_input, grad_output):
    found_gradients.append(module.weight.grad)


model.register_full_backward_hook(look)
with ht.trace(model) as t:
    model(torch.ones(1, 4)).sum().backward()

# The page ends here.
SYMPTOM = found_gradients == [None] and model.weight.grad is not None
EXPECTED = "hook-order-surprise"
SAYS = ("look", "before bias.grad was filled", "no input of Linear requires grad")
