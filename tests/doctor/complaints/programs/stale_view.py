"""Adding nothing to another element of the base makes the hook on a view fall silent.

https://github.com/pytorch/pytorch/issues/8874

A write to the base gives every view a new node in the graph; the hook stays on the old node.
"""

import torch

import hooktrace as ht

x = torch.ones(4, requires_grad=True)
seen = []


def watch(grad):
    seen.append(grad)


with ht.trace() as t:
    base = x * 2
    tail = base[2:]
    tail.register_hook(watch)
    base[0] += 0
    tail.sum().backward()

# The page ends here.
SYMPTOM = seen == []
EXPECTED = "never-fired"
SAYS = ("watch on tail", "is a view", "its base was written to in place", "stale_view.py:16")
