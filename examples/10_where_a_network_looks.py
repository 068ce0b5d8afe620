"""Which part of a photograph made the network say "espresso"?

A class activation map weights what the last convolution found by how much the score depends on it.
The network is EfficientNet-lite0 with its ImageNet weights, the photographs are scikit-image's.

Its activation, ReLU6, may write in place: it then overwrites what the layer before it returned.  A
forward hook that stores the output stores the overwritten tensor, and the map is another one.
A trace keeps what the layer *returned*, and its map is the same either way.
"""

import torch
from PIL import Image
from skimage import data
from torch import nn

import hooktrace as ht
from hooktrace.pretrained import load

known = load("efficientnet-lite0")
photos = {
    name: known.crop(Image.fromarray(getattr(data, name)()[..., :3]))
    for name in ("astronaut", "cat", "coffee", "rocket")
}
images = torch.stack([known.prepare(photo) for photo in photos.values()])

maps = ht.explain(known.model, images)
found = maps.single
print(f"The layer is {found.layer}:", "; ".join(found.why))
print()
for number, name in enumerate(photos):
    heat = found.normalized()[number]
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    said = known.names[found.classes[number]]
    print(f"{name:9}  {said:15}  brightest at row {row}, column {column} of {tuple(heat.shape)}")


def naive(model: nn.Module, layer: nn.Module) -> torch.Tensor:
    """Make a Grad-CAM map as tutorials do: a hook stores the output, another its gradient."""
    stored = {}

    def store(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
        stored["activation"] = output
        output.register_hook(lambda gradient: stored.update(gradient=gradient))

    handle = layer.register_forward_hook(store)
    logits = model(images)
    logits.gather(1, logits.argmax(1, keepdim=True)).sum().backward()
    handle.remove()
    model.zero_grad()
    weights = stored["gradient"].mean((2, 3), keepdim=True)
    return (weights * stored["activation"].detach()).sum(1)


print()
ours, theirs = {}, {}
for inplace in (True, False):
    for module in known.model.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = inplace
    layer = known.model._bn1
    ours[inplace] = ht.explain(known.model, images, layer="_bn1").raw
    theirs[inplace] = naive(known.model, layer)


def apart(two: dict[bool, torch.Tensor]) -> float:
    return float((two[True] - two[False]).norm() / two[False].norm())


print("ReLU6 in place, or not: how far apart are the maps of _bn1?")
print(f"  by hooks, as in tutorials: {apart(theirs):.0%}")
print(f"  by hooktrace:              {apart(ours):.0%}")
