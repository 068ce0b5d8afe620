"""Distributed training complains that some parameters are unused, and does not say which.

https://github.com/pytorch/pytorch/issues/57776

A layer that is registered and never used for the loss gets no gradient.
"""

import torch
from torch import nn

import hooktrace as ht


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(2, 2)
        self.auxiliary = nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
with ht.trace(net) as t:
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()

# The page ends here.
SYMPTOM = net.auxiliary.weight.grad is None
EXPECTED = "unused-parameter"
SAYS = ("auxiliary was never called", "weight, bias")
