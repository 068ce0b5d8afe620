"""Two lines in a training loop: norms of every layer, histograms and the graph in TensorBoard.

A deep stack of sigmoids: the gradient in the first layer begins at less than a thousandth of that
in the last one, and only once it has grown does the loss fall.  ``tensorboard --logdir FOLDER``
shows that as curves; here they are read back.
"""

import tempfile

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import hooktrace as ht

torch.manual_seed(0)
layers = [part for _ in range(5) for part in (nn.Linear(16, 16), nn.Sigmoid())]
model = nn.Sequential(*layers, nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
inputs = torch.randn(64, 16)
targets = inputs.sum(1, keepdim=True)

folder = tempfile.mkdtemp()
with ht.TensorBoardLogger(folder, model, every=20) as logger:
    for _step in range(100):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        logger.step(loss=loss)

board = EventAccumulator(folder).Reload()
first, last = (board.Scalars(f"gradient_norm/{name}") for name in ("0", "10"))
for one, other, found in zip(first, last, board.Scalars("loss"), strict=True):
    print(
        f"step {one.step:2}: loss {found.value:6.3f}, norm of the gradient in the first layer",
        end="",
    )
    print(f" {one.value:.2g}, in the last {other.value:.2g}")
print(f"{len(board.Graph().node)} nodes in the graph, {len(board.Tags()['histograms'])} histograms")
