"""A GAN raises "modified by an inplace operation" without one in-place operation in its code.

https://github.com/pytorch/pytorch/issues/39141

The optimizer's step is in place: it overwrites the weights that the second backward still needs.
"""

import contextlib

import torch
from torch import nn

import hooktrace as ht

generator, critic = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
step_critic = torch.optim.SGD(critic.parameters(), lr=0.1)
both = {"generator": generator, "critic": critic}
with contextlib.suppress(RuntimeError), ht.trace(both) as t:
    fake = critic(generator(torch.ones(4, 1)))
    loss_critic, loss_generator = fake.mean(), -fake.mean()
    loss_critic.backward(retain_graph=True)
    step_critic.step()
    loss_generator.backward()

# The page ends here.
SYMPTOM = t.log.error is not None
EXPECTED = "saved-tensor-modified"
SAYS = ("critic.2.weight", "step of SGD", "before the step")
