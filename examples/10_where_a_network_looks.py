"""Which part of a photograph made the network say "espresso"?

A class activation map weights what the last convolution found by how much the score depends on it.
The network is EfficientNet-lite0 with its ImageNet weights, the photographs are scikit-image's.
"""

import torch
from PIL import Image
from skimage import data

import hooktrace as ht
from hooktrace.pretrained import load

known = load("efficientnet-lite0")
photos = {
    name: known.crop(Image.fromarray(getattr(data, name)()[..., :3]))
    for name in ("astronaut", "cat", "coffee", "rocket")
}
images = torch.stack([known.prepare(photo) for photo in photos.values()])

found = ht.explain(known.model, images).single
print("Why this layer:")
for reason in found.why:
    print(f"  {reason}")
print()
for number, name in enumerate(photos):
    heat = found.normalized()[number]
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    said = known.names[found.classes[number]]
    print(f"{name:9}  {said:15}  brightest at row {row}, column {column} of {tuple(heat.shape)}")
