"""A forward pre-hook fires a second time, in the middle of the backward pass.

https://github.com/pytorch/pytorch/issues/143573

Under activation checkpointing the forward runs again in backward, and the hooks with it.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht

block = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
order = []


def announce(module, args):
    order.append("forward pre-hook")


block[0].register_forward_pre_hook(announce)
with ht.trace(block) as t:
    y = checkpoint(block, torch.ones(1, 2, requires_grad=True), use_reentrant=False)
    order.append("backward")
    y.sum().backward()

# The page ends here.
SYMPTOM = order == ["forward pre-hook", "backward", "forward pre-hook"]
EXPECTED = "fires-more-than-once"
SAYS = ("announce", "checkpointing runs forward again")
