"""Predictions of a trained model differ from run to run.

https://github.com/ipolharvard/ethos-ares/issues/20

``no_grad`` and ``inference_mode`` switch gradients off, not dropout; that takes ``model.eval()``.
"""

import torch
from torch import nn

import hooktrace as ht

model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
with ht.trace(model) as t, torch.inference_mode():
    prediction = model(torch.ones(1, 8))

# The page ends here.
SYMPTOM = bool((prediction == 0).any())
EXPECTED = "train-mode-in-evaluation"
SAYS = ("inference_mode", "Dropout(p=0.5", "eval()")
