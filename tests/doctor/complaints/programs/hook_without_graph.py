"""Drawing an activation map at test time raises: "cannot register a hook on a tensor ...".

https://github.com/frgfm/torch-cam/issues/217

The extractor's forward hook puts a hook on the output; under no_grad the output has no graph.
"""

import contextlib

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())


def extract(module, args, output):
    output.register_hook(print)


model[0].register_forward_hook(extract)
with contextlib.suppress(RuntimeError), ht.trace(model) as t, torch.no_grad():
    model(torch.randn(1, 1, 4, 4))

# The page ends here.
SYMPTOM = t.calls("1") == []
EXPECTED = "hook-raised"
SAYS = ("extract", "cannot register a hook", "no_grad", "hook_without_graph.py:")
