"""Averaging gradients over the processes: is what the hook divides the gradient at all?

https://github.com/huggingface/picotron/issues/39

``register_post_accumulate_grad_hook`` passes the parameter; its gradient is in ``.grad``.
"""

import torch

import hooktrace as ht

processes = 2
w = torch.full((2,), 8.0, requires_grad=True)


def average(grad):
    grad /= processes


w.register_post_accumulate_grad_hook(average)
with ht.trace() as t:
    (w * 3).sum().backward()

# The page ends here.
SYMPTOM = w.tolist() == [4.0, 4.0] and w.grad.tolist() == [3.0, 3.0]
EXPECTED = "post-accumulate-hook-got-parameter"
SAYS = ("average", "into the parameter w itself", "param.grad")
