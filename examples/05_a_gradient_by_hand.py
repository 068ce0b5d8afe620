"""Check a gradient against its formula, then take a step by hand.

y = x + 3,   z = mean(sqrt(y)) over three elements      so      dz/dy = 1 / (6 * sqrt(y))
"""

import torch

import hooktrace as ht

x = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
learning_rate = 0.1
seen_by_hook = []

with ht.trace() as t:
    y = x + 3
    z = torch.mean(torch.sqrt(y))
    y.register_hook(seen_by_hook.append)
    z.backward()

formula = 1 / (6 * torch.sqrt(y.detach()))
traced = t["y"].gradients[0].gradient.numbers

print("formula      the hook     the trace")
for expected, seen, number in zip(formula, seen_by_hook[0], traced, strict=True):
    print(f"{expected.item():.8f}   {seen.item():.8f}   {number:.8f}")
print(f"largest difference: {(seen_by_hook[0] - formula).abs().max().item():.0e}")

before = x.detach().clone()
x.data -= learning_rate * x.grad.data  # .data: autograd is not told
print("\nA step downhill:")
for old, new in zip(before, x.detach(), strict=True):
    print(f"  x = {old.item():.4f} -> {new.item():.4f}")

print()
print(t)
