"""The class that many tutorials use for Grad-CAM, under a trace that shows where it goes wrong.

It stores every layer's output in a list, and *prepends* every gradient to another: backward comes
in reverse, so that the n-th gradient belongs to the n-th output.  Unless a layer gets none.
"""

import torch
from torch import nn

import hooktrace as ht

torch.manual_seed(0)


class ActivationsAndGradients:
    """Stores activations by a forward hook, and gradients by a tensor hook."""

    def __init__(self, layers):
        self.activations, self.gradients = [], []
        for layer in layers:
            layer.register_forward_hook(self.save_activation)
            layer.register_forward_hook(self.save_gradient)

    def save_activation(self, module, args, output):
        self.activations.append(output.detach())

    def save_gradient(self, module, args, output):
        if output.requires_grad:
            output.register_hook(lambda grad: self.gradients.insert(0, grad))


model = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1),
    nn.ReLU(inplace=True),
    nn.Conv2d(4, 4, 3, padding=1),
    nn.ReLU(inplace=True),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(4, 2),
)
model[0].requires_grad_(False)  # a frozen backbone
images = torch.randn(1, 3, 8, 8)

idiom = ActivationsAndGradients([model[0], model[2]])
with ht.trace(model, keep=["0", "2"]) as t:
    model(images)[0, 1].backward(retain_graph=True)

print(f"{len(idiom.activations)} activations, {len(idiom.gradients)} gradient.")
print("Paired by position, layer 0 gets the gradient of layer 2:")
same = torch.equal(idiom.gradients[0], t["2"].grad_output)
print(f"  idiom.gradients[0] is the gradient of layer 2: {same}")
print(f"  the trace says of layer 0: {t['0'].grad_outputs}")
print()
print("And both activations were overwritten by the in-place ReLU behind them:")
for finding in t.findings().of("stale-activation"):
    print(f"  {finding.message}")
print()
print("What the layer returned, and what the idiom has of it:")
for number, name in enumerate(("0", "2")):
    returned, stored = t[name].output.min(), idiom.activations[number].min()
    print(f"  smallest value of {name}: {returned:.4f} | {stored:.4f}")
print()
right = t.cam("2", target=1).raw
weights = idiom.gradients[0].mean((2, 3), keepdim=True)
wrong = (weights * idiom.activations[1]).sum(1)
print(f"The idiom's map of layer 2 is off by {((wrong - right).norm() / right.norm()).item():.0%}.")
