"""Hooks that are registered after the first call of a compiled model do not run.

https://github.com/pytorch/pytorch/issues/117758

The first call compiles the model with the hooks it has then; those of its members are not looked
at again.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
compiled = torch.compile(model, backend="eager")
outputs = []


def keep(module, args, output):
    outputs.append(output)


with ht.trace(compiled) as t:
    compiled(torch.ones(1, 2))
    with model[0].register_forward_hook(keep):
        compiled(torch.ones(1, 2))

# The page ends here.
SYMPTOM = outputs == []
EXPECTED = "hooks-ignored-by-compile"
SAYS = ("keep", "compiled before the hook was registered")
