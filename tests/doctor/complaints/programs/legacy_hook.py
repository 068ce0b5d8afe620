"""A module adds three tensors, but its backward hook is given two gradients.

https://github.com/pytorch/pytorch/issues/598

``register_backward_hook`` sees only the last operation: here the sum of ``x + y`` and ``z``.
"""

import torch
from torch import nn

import hooktrace as ht


class Sum(nn.Module):
    def forward(self, x, y, z):
        return x + y + z


def watch(module, grad_input, grad_output):
    counts.append(len(grad_input))


model, counts = Sum(), []
model.register_backward_hook(watch)
inputs = [torch.ones(2, requires_grad=True) for _ in range(3)]
with ht.trace(model) as t:
    model(*inputs).sum().backward()

# The page ends here.
SYMPTOM = counts == [2]
EXPECTED = "legacy-backward-hook"
SAYS = ("watch", "AddBackward0", "register_full_backward_hook")
