"""Grad-CAM on a fine-tuned network finds no gradients: its hook never ran.

https://github.com/Project-MONAI/MONAI/issues/3035

The backbone is frozen and the image needs no gradient, so backward stops at the new head.
"""

import torch
from torch import nn

import hooktrace as ht

backbone, head = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.Linear(2, 1)
model = nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
backbone.requires_grad_(False)
gradients = []


def grad_cam(module, grad_input, grad_output):
    gradients.append(grad_output[0])


backbone[0].register_full_backward_hook(grad_cam)
with ht.trace(model) as t:
    model(torch.randn(1, 1, 8, 8)).sum().backward()

# The page ends here.
SYMPTOM = gradients == []
EXPECTED = "never-fired"
SAYS = ("grad_cam", "0.0", "requires_grad")
