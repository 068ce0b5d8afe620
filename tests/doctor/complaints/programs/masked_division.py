"""The division by zero is masked out, the loss is finite, and the gradient is NaN all the same.

https://github.com/pytorch/pytorch/issues/16317

The masked branch gets the gradient 0, and its own backward multiplies that by infinity.
"""

import torch
from torch import nn

import hooktrace as ht


class Ratio(nn.Module):
    def forward(self, x, n):
        return torch.where(n == 0, 0.0, x / n)


x = torch.tensor([0.0, 1.0], requires_grad=True)
n = torch.tensor([0.0, 2.0])
model = Ratio()
with ht.trace(model, stats=True) as t:
    model(x, n).sum().backward()

# The page ends here.
SYMPTOM = bool(x.grad.isnan()[0]) and bool(model(x, n).isfinite().all())
EXPECTED = "nan-born-here"
SAYS = ("Ratio@0", "finite", "grad_input[0]: 1 of 2 NaN")
