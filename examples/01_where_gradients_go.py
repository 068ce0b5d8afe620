"""Where do gradients go?  Leaves keep theirs; everything in between forgets, unless asked.

w = 1, x = 2, a = w + x, b = w + 1, y = a * b      so      dy/dw = b + a = 5, dy/dx = b = 2
"""

import torch

import hooktrace as ht

w = torch.tensor([1.0], requires_grad=True)
x = torch.tensor([2.0], requires_grad=True)

seen_by_hook = []

with ht.trace() as t:
    a = w + x
    b = w + 1
    y = a * b
    a.register_hook(seen_by_hook.append)  # is called with dy/da on the way back
    b.retain_grad()  # asks autograd to fill b.grad, although b is no leaf
    y.backward()

print(f"w.grad = {w.grad.tolist()}, x.grad = {x.grad.tolist()}")
print(f"the hook on a was given {seen_by_hook[0].tolist()}; b.grad = {b.grad.tolist()}")
print()
print(t)
print()

print("When each was set:")
for event in t.of(ht.events.GradientRetained):
    print(f"  event {event.seq:2}: {t.log.tensors[event.tensor].name}.grad = {event.gradient}")
for event in t.of(ht.events.GradientAccumulated):
    print(f"  event {event.seq:2}: {t.log.tensors[event.tensor].name}.grad = {event.after}")
