"""A full backward hook works on a module that returns a tuple and is silent on one with a dict.

https://github.com/pytorch/pytorch/issues/87540

PyTorch looks for tensors in a tensor or a tuple only; in a dict or a list it finds none to watch.
"""

import torch
from torch import nn

import hooktrace as ht


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return {"logits": self.linear(x)}


def watch(module, grad_input, grad_output):
    seen.append(grad_output)


head, seen = Head(), []
head.register_full_backward_hook(watch)
with ht.trace(head) as t:
    head(torch.ones(1, 2))["logits"].sum().backward()

# The page ends here.
SYMPTOM = seen == []
EXPECTED = "never-fired"
SAYS = ("watch", "returned a dict", "tuple")
