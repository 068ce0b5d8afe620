"""A hook collects the gradients of a large model step by step, and training gets nowhere.

https://github.com/pytorch/pytorch/issues/187268

``register_post_accumulate_grad_hook`` passes the parameter; its gradient is in ``.grad``.
"""

import torch

import hooktrace as ht

w = torch.full((2,), 7.0, requires_grad=True)
total = torch.zeros(2)


def accumulate(grad):
    total.add_(grad)


w.register_post_accumulate_grad_hook(accumulate)
with ht.trace() as t:
    (w * 3).sum().backward()

# The page ends here.
SYMPTOM = total.tolist() == [7.0, 7.0]
EXPECTED = "post-accumulate-hook-got-parameter"
SAYS = ("accumulate", "w", ".grad")
