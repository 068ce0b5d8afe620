"""The classic three hooks around a convolution: forward_pre, forward, backward.

A 3x3 convolution of ones counts its weights: 9 in channel 0 (weights 1), 18 in channel 1
(weights 2).  The loss is the mean distance to a larger target, so each pooled value gets -1/2,
and max-pooling hands it to the first of its four equal inputs.
"""

import warnings

import torch
from torch import nn

import hooktrace as ht

warnings.simplefilter("ignore")  # PyTorch remarks that the image itself needs no gradient

net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 2))
with torch.no_grad():
    net[0].weight[0], net[0].weight[1] = 1, 2
    net[0].bias.zero_()


def before(module, args):
    print(f"forward_pre: input {tuple(args[0].shape)}")


def after(module, args, output):
    print(f"forward:     output {output.flatten(1).tolist()}")


def backward(module, grad_input, grad_output):
    print(f"backward:    grad_input {grad_input}, grad_output {grad_output[0].flatten().tolist()}")


net[0].register_forward_pre_hook(before)
net[0].register_forward_hook(after)
net[0].register_full_backward_hook(backward)

with ht.trace(net, keep=True) as t:
    loss = nn.functional.l1_loss(net(torch.ones(1, 1, 4, 4)), torch.full((1, 2, 1, 1), 100.0))
    loss.backward()

print()
print("The trace saw the same, with and without those hooks:")
for call in t.calls("[01]"):
    print(f"{call} {call.module.type}: grad_output {call.grad_output.flatten().tolist()}")
print()
print(t)
