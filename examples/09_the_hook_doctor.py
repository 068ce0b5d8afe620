"""The hook doctor reads a trace and says what went wrong: three mistakes in one small program.

A hook stores an activation that the next module overwrites; one sits on a module that nothing
calls; one writes into a gradient that another tensor shares.
"""

import torch
from torch import nn

import hooktrace as ht


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2)

    def forward(self, images):
        return self.head.forward(self.relu(self.conv(images)).mean(dim=(2, 3)))


activations = {}


def save(module, args, output):
    activations["conv"] = output.detach()


def look(module, args, output):
    print("this is never printed")


def amplify(grad):
    grad.mul_(10)


torch.manual_seed(0)
net = Net()
net.conv.register_forward_hook(save)
net.head.register_forward_hook(look)
u, v = (torch.ones(2, requires_grad=True) for _ in range(2))
u.register_hook(amplify)
with ht.trace(net) as t:
    (net(torch.randn(1, 1, 8, 8)) * (u + v)).sum().backward()

print(t.findings())
for hook in ("save", "look"):
    print(f"\n{t.why(hook)}")
print(f"\n{t.blame('u')}")
