"""The hook doctor reads a trace and says what went wrong: four mistakes in one small program.

A hook stores an activation that the next module overwrites; one sits on a module that nothing
calls; one writes into a gradient that another tensor shares; one comes too late.
"""

import torch
from torch import nn

import hooktrace as ht


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2)

    def forward(self, images):
        features = self.relu(self.conv(images)).mean(dim=(2, 3))
        return self.head.forward(features)


activations = {}


def save(module, args, output):
    activations["conv"] = output.detach()


def amplify(grad):
    grad.mul_(10)


def look(module, args, output):
    print("this is never printed")


def late(module, grad_input, grad_output):
    print("nor is this")


torch.manual_seed(0)
net = Net()
net.conv.register_forward_hook(save)
net.head.register_forward_hook(look)
u, v = (torch.ones(2, requires_grad=True) for _ in range(2))

with ht.trace(net) as t:
    u.register_hook(amplify)
    scores = net(torch.randn(1, 1, 8, 8))
    (scores * (u + v)).sum().backward()
    handle = net.conv.register_full_backward_hook(late)

print(t.findings())
print()
print(t.why("save"))
print()
print(t.why("look"))
