"""A forward hook on the output projection of an attention layer is never called.

https://github.com/pytorch/pytorch/issues/78109

nn.MultiheadAttention hands the weights of ``out_proj`` to a function and never calls the module.
"""

import torch
from torch import nn

import hooktrace as ht

attention = nn.MultiheadAttention(embed_dim=8, num_heads=2)
projected = []


def keep(module, args, output):
    projected.append(output)


attention.out_proj.register_forward_hook(keep)
x = torch.randn(3, 1, 8)
with ht.trace(attention) as t:
    attention(x, x, x)

# The page ends here.
SYMPTOM = projected == []
EXPECTED = "never-fired"
SAYS = ("keep", "nn.MultiheadAttention does not call out_proj")
