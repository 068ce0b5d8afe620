"""Two ways to write one product: with ``x[0] *= v`` backward runs, with ``x[0] = x[0] * v`` not.

https://github.com/pytorch/pytorch/issues/55980

The product keeps ``x[0]`` for its backward, and the assignment overwrites just that.
"""

import contextlib

import torch

import hooktrace as ht

w = torch.ones(2, 3, requires_grad=True)
v = torch.ones(3, requires_grad=True)
with contextlib.suppress(RuntimeError), ht.trace() as t:
    x = w * 2
    x[0] = x[0] * v
    x.sum().backward()

# The page ends here.
SYMPTOM = v.grad is None
EXPECTED = "saved-tensor-modified"
SAYS = ("x", "CopySlices", "Mul", "clone")
