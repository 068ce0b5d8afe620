"""A hook on one element of a tensor is never called.

https://github.com/pytorch/pytorch/issues/11751

``scores[0]`` makes a new tensor each time: the hook hangs on one, the loss uses another.
"""

import torch

import hooktrace as ht

weights = torch.ones(2, requires_grad=True)
seen = []


def watch(grad):
    seen.append(grad)


with ht.trace() as t:
    scores = weights * 3
    scores[0].register_hook(watch)
    loss = scores[0] + scores[1]
    loss.backward()

# The page ends here.
SYMPTOM = seen == []
EXPECTED = "never-fired"
SAYS = ("watch", "indexed_twice.py:15", "loss")
