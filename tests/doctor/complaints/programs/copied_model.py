"""A deep copy of a model does not find the features that its hooks should have saved.

https://github.com/isl-org/MiDaS/issues/251

Copying a module copies its hooks, but the function is shared: it fills the original's dict.
"""

import copy

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
features = {}


def store(module, args, output):
    features["hidden"] = output.detach().clone()


model[0].register_forward_hook(store)
twin = copy.deepcopy(model)
with ht.trace({"model": model, "copy": twin}) as t:
    model(torch.ones(1, 2))
    twin(torch.zeros(1, 2))

# The page ends here.
SYMPTOM = torch.equal(features["hidden"], twin[0].bias[None])
EXPECTED = "hook-shared-by-deepcopy"
SAYS = ("store", "model.0", "copy.0")
