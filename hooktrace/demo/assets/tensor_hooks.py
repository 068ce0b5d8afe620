"""A hook on a plain tensor, without any module: what happens to its gradient, step by step."""

import torch

import hooktrace as ht


def double_then_triple(grad):
    """Writes into the gradient and then returns another one: both count."""
    grad *= 2
    return grad * 3


def watch() -> ht.Trace:
    """Compute y = (w + x) * (w + 1) and its gradients under a trace."""
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    w.register_hook(double_then_triple)
    with ht.trace() as t:
        a = w + x
        b = w + 1
        y = a * b
        y.backward()
    return t


if __name__ == "__main__":
    print(watch())
