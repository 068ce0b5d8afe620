"""One hook for each activation was asked for; the hook of one activation fires for all of them.

https://github.com/huggingface/transformers/pull/19728

All blocks use one and the same activation module: its hooks run at each of its calls.
"""

import torch
from torch import nn

import hooktrace as ht

act = nn.GELU()
model = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)
outputs = []


def keep_first(module, args, output):
    outputs.append(output.detach())


model[1].register_forward_hook(keep_first)
with ht.trace(model) as t:
    model(torch.ones(1, 2))

# The page ends here.
SYMPTOM = len(outputs) == 2
EXPECTED = "fires-more-than-once"
SAYS = ("keep_first", "called several times in one step")
