"""One setting, ``inplace=True``, changes the maps that tutorials make, and not one logit.

The layer `_bn1` of EfficientNet-lite0 is followed by a ReLU6.  If that writes in place, it
overwrites what the layer returned, and a hook that stored it holds something else.
"""

import torch
from PIL import Image
from skimage import data
from torch import nn

import hooktrace as ht
from hooktrace.pretrained import load

known = load("efficientnet-lite0")
model = known.model
photos = [Image.fromarray(one) for one in (data.chelsea(), data.coffee())]
images = torch.stack([known.prepare(known.crop(photo)) for photo in photos])


def naive():
    """Make a Grad-CAM map as tutorials do: a hook stores the output, another its gradient."""
    stored = {}

    def store(module, args, output):
        stored["activation"] = output
        output.register_hook(lambda gradient: stored.update(gradient=gradient))

    handle = model._bn1.register_forward_hook(store)
    logits = model(images)
    logits.max(1).values.sum().backward()
    handle.remove()
    weights = stored["gradient"].mean((2, 3), keepdim=True)
    return logits.detach(), (weights * stored["activation"].detach()).sum(1)


ours, theirs, logits = {}, {}, {}
for inplace in (True, False):
    for module in model.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = inplace
    logits[inplace], theirs[inplace] = naive()
    ours[inplace] = ht.explain(model, images, layer="_bn1").raw

print("ReLU6 in place, or not: how far apart are they?")
for name, two in (("logits", logits), ("tutorial's map", theirs), ("hooktrace's map", ours)):
    print(f"  {name:16} {(two[True] - two[False]).norm() / two[False].norm():.0%}")
