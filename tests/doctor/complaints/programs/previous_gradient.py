"""An optimizer compares each gradient with the previous one and always finds them equal.

https://github.com/shivram1987/diffGrad/issues/2

What it kept is ``.grad`` itself, not a copy; the next backward writes into the same tensor.
"""

import torch

import hooktrace as ht

w = torch.ones(2, requires_grad=True)
previous = []


def remember(parameter):
    previous.append(parameter.grad)


w.register_post_accumulate_grad_hook(remember)
with ht.trace() as t:
    for scale in (1.0, 5.0):
        if w.grad is not None:
            w.grad.zero_()
        (w * scale).sum().backward()

# The page ends here.
SYMPTOM = previous[0].tolist() == [5.0, 5.0]
EXPECTED = "stored-gradient-is-not-a-snapshot"
SAYS = ("remember", "previous[0]", "w.grad", "clone")
