"""A hook may change a gradient in two ways at once: in place, and by what it returns.

The gradient of w is 5.  The hook doubles it in place (10) and returns three times that (30).
Without a trace one sees only w.grad = 30; the ledger of edits explains how it came about.
"""

import torch

import hooktrace as ht

w = torch.tensor([1.0], requires_grad=True)
x = torch.tensor([2.0], requires_grad=True)


def double_then_triple(grad):
    grad *= 2  # in place: works, although PyTorch's documentation advises against it
    return grad * 3  # returned: replaces the gradient


with ht.trace() as t:
    w.register_hook(double_then_triple)
    a = w + x
    b = w + 1
    y = a * b
    y.backward()

print(f"w.grad = {w.grad.tolist()}")
print()
for edit in t.edits:
    print(edit)

product = 1.0
for edit in t.edits:
    product *= edit.factor
print(
    f"\nTogether: x{product:g}, from {t.edits[0].before.item():g} to {t.edits[-1].after.item():g}"
)
