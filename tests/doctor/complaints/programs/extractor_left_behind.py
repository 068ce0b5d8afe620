"""A feature extractor was deleted, and its hooks still run on the model.

https://github.com/frgfm/torch-cam/issues/197

A hook lives in the module's dictionary until ``handle.remove()``, whoever made it and forgot it.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())


class Extractor:
    def __init__(self, module):
        self.outputs = []
        module.register_forward_hook(self.keep)

    def keep(self, module, args, output):
        self.outputs.append(output.detach())


with ht.trace(model) as t:
    extractor = Extractor(model[0])
    model(torch.ones(1, 2))
    del extractor

# The page ends here.
SYMPTOM = len(model[0]._forward_hooks) == 1
EXPECTED = "leaked-hook"
SAYS = ("keep", "extractor_left_behind.py:12", "remove")
