"""Activations of a convolution contain no negative number, and far too many zeros.

https://github.com/ViCCo-Group/thingsvision/issues/44

``detach()`` makes no copy: the in-place ReLU behind overwrites what the hook has kept.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True))
activations = {}


def save(module, args, output):
    activations["conv"] = output.detach()


model[0].register_forward_hook(save)
with ht.trace(model) as t:
    model(torch.randn(1, 1, 8, 8))

# The page ends here.
SYMPTOM = bool((activations["conv"] >= 0).all())
EXPECTED = "stale-activation"
SAYS = ("save", "1@0 (ReLU(inplace=True))", "overwritten_activation.py:16", "clone")
