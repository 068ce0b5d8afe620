"""The class that many tutorials use for Grad-CAM, under a trace that shows where it goes wrong.

It stores every layer's output in a list, and *prepends* every gradient to another: backward comes
in reverse, so that the n-th gradient belongs to the n-th output.  Unless a layer gets none.
"""

import torch
from torch import nn

import hooktrace as ht

torch.manual_seed(0)


class ActivationsAndGradients:
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


stages = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)]
model = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
model[0].requires_grad_(False)  # a frozen backbone
idiom = ActivationsAndGradients([model[0], model[2]])
with ht.trace(model, keep=["0", "2"]) as t:
    model(torch.randn(1, 3, 8, 8))[0, 1].backward(retain_graph=True)

print(f"{len(idiom.activations)} activations, {len(idiom.gradients)} gradient, paired by position.")
same = torch.equal(idiom.gradients[0], t["2"].grad_output)
print(f"  the first gradient is that of layer 2: {same}")
print(f"  the trace has for layer 0: {t['0'].grad_outputs}")
for finding in t.findings().of("stale-activation"):
    print(finding.message)
for number, name in enumerate(("0", "2")):
    returned, stored = t[name].output.min(), idiom.activations[number].min()
    print(f"smallest value of layer {name}: {returned:.3f} returned, {stored:.3f} in the list")
right = t.cam("2", target=1).raw
wrong = (idiom.gradients[0].mean((2, 3), keepdim=True) * idiom.activations[1]).sum(1)
print(f"The idiom's map of layer 2 is off by {((wrong - right).norm() / right.norm()).item():.0%}.")
