"""Grad-CAM generalises CAM: where CAM can be had, the two are the same map.

A network of convolutions, global average pooling and one linear layer learns to tell digits apart.
CAM weights the channels of the last convolution by the linear layer's weights; Grad-CAM by the
pooled gradients.  For such a network the gradient of the score is weight / number of positions, so
the two agree up to that number.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import hooktrace as ht

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)

trunk = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(inplace=True)]
trunk += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(inplace=True)]
model = nn.Sequential(*trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
right = (model(images).argmax(1) == labels).float().mean().item()
print(f"The network is right about {right:.0%} of the digits.")

with ht.trace(model, keep=["3"]) as t:
    model(images[:6])
maps = t.cam("3", method=["cam", "gradcam"], target=labels[:6].tolist())
cam, gradcam = (one.raw for one in maps.values())

positions = cam[0].numel()
print(f"The maps have {positions} positions.")
print(f"CAM / Grad-CAM = {(cam / gradcam).median().item():.4f} everywhere")
difference = (cam - positions * gradcam).abs().max() / cam.abs().max()
print(
    f"largest difference of CAM and {positions} x Grad-CAM: {difference:.0e} of the largest value"
)

print()
shades = " .:-=+*#%@"
for row in maps["gradcam"].normalized()[0]:
    print("   ", "".join(2 * shades[int(value * 9)] for value in row))
print("What of the 0 says that it is a 0.")
