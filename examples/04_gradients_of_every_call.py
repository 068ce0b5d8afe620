"""grad_input and grad_output of every call, exactly, with hooks of your own or with none.

linear: 8*(1 + 2 + 3 + 4) + 2 = 82        divide: 82 / 4 = 20.5
"""

import torch
from torch import nn

import hooktrace as ht


class Divide(nn.Module):
    """Divides by four."""

    def forward(self, x):
        """Return a quarter of x."""
        return x / 4


net = nn.Sequential(nn.Linear(4, 1), Divide())
nn.init.constant_(net[0].weight, 8.0)
nn.init.constant_(net[0].bias, 2.0)


def show(module, grad_input, grad_output):
    name = type(module).__name__
    print(f"  {name}: grad_input {grad_input[0].tolist()}, grad_output {grad_output[0].tolist()}")


def run():
    net.zero_grad()
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    with ht.trace(net, keep=True) as t:
        net(x).backward()
    return t


for hooked in (True, False):
    handles = [module.register_full_backward_hook(show) for module in net] if hooked else []
    print("With full backward hooks:" if hooked else "With none:")
    t = run()
    for handle in handles:
        handle.remove()
    for call in t.calls("[01]"):
        print(f"  traced {call}: {call.output.tolist()}", end=" ")
        print(f"grad_input {call.grad_input.tolist()}, grad_output {call.grad_output.tolist()}")

print(f"weight.grad = {net[0].weight.grad.tolist()}, bias.grad = {net[0].bias.grad.tolist()}")
