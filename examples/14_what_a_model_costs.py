"""Where are a model's parameters, its time, its memory?  A row for each module tells.

The weight of the head is that of the embedding: one tensor, which an optimizer gets once, and which
is counted once.  The same block runs four times: one row, four calls.
"""

import torch
from torch import nn

import hooktrace as ht


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(1000, 64)
        self.block = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
        self.head = nn.Linear(64, 1000, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, words):
        state = self.embed(words)
        for _ in range(4):
            state = state + self.block(state)
        return self.head(state)


torch.manual_seed(0)
model = Tagger()
print(ht.summary(model, (16, 32), dtypes=torch.long, flops=True))
print()

with ht.trace(model) as t:
    scores = model(torch.randint(1000, (16, 32)))
    nn.functional.cross_entropy(scores.flatten(0, 1), torch.randint(1000, (512,))).backward()

print("A step of training, the slowest in backward first:")
print(t.summary(sort="backward", columns=["calls", "forward", "backward"]))
