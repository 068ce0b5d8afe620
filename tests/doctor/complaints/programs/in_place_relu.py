"""A full backward hook makes a forward pass raise that works without it.

https://github.com/pytorch/pytorch/issues/61519

The hook makes each output a view; the in-place ReLU behind it may not write to that view.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten())


def watch(module, grad_input, grad_output):
    print(grad_output[0].norm())


model[0].register_full_backward_hook(watch)
found = ht.check(model, torch.randn(1, 1, 4, 4))

# The page ends here.
try:
    model(torch.randn(1, 1, 4, 4))
    SYMPTOM = False
except RuntimeError as error:
    SYMPTOM = "is a view and is being modified inplace" in str(error)
EXPECTED = "full-backward-hook-will-raise"
SAYS = ("watch", "0 (Conv2d)", "overwritten by 1 (ReLU)", "register_hook")
