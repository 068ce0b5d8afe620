"""Why does this library clip gradients in the hook's argument instead of returning new ones?

https://github.com/meta-pytorch/opacus/issues/9

A gradient that is written to in place may be read by others; what a hook returns is only its own.
"""

import torch

import hooktrace as ht

w = torch.ones(3, requires_grad=True)


def clip(grad):
    grad.clamp_(max=1.0)


w.register_hook(clip)
with ht.trace() as t:
    (w * 5).sum().backward()

# The page ends here.
SYMPTOM = w.grad.tolist() == [1.0, 1.0, 1.0]
EXPECTED = "in-place-gradient-edit"
SAYS = ("clip", "clipped_in_place.py:8")
