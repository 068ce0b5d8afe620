"""Does a hook that writes to its gradient change every gradient that shares the memory?

https://github.com/pytorch/pytorch/pull/11165

It does: an addition hands one and the same tensor to both of its inputs.
"""

import torch

import hooktrace as ht

u = torch.ones(1, requires_grad=True)
v = torch.ones(1, requires_grad=True)


def boost(grad):
    grad.mul_(10)


u.register_hook(boost)
with ht.trace() as t:
    ((u + v) * 2).backward()

# The page ends here.
SYMPTOM = v.grad.item() == 20.0
EXPECTED = "shared-gradient-corruption"
SAYS = ("boost", "v", "20", "2")
