"""Explaining a ResNet raises about an in-place operation although no ReLU is in-place any more.

https://github.com/shap/shap/issues/3466

``out += x`` writes in place as well, to the output of a module that carries a full backward hook.
"""

import contextlib

import torch
from torch import nn

import hooktrace as ht


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        out = self.norm(x)
        out += x
        return out


def explain(module, grad_input, grad_output):
    print(grad_output[0].norm())


block = Block()
block.norm.register_full_backward_hook(explain)
with contextlib.suppress(RuntimeError), ht.trace(block) as t:
    block(torch.randn(4, 2))

# The page ends here.
SYMPTOM = "is a view and is being modified inplace" in t.log.error
EXPECTED = "full-backward-hook-will-raise"
SAYS = ("explain", "norm", "residual_add.py:16", "register_hook")
