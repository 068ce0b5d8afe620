"""The parameters of the traced models: entered when a trace opens, compared when it closes."""

from __future__ import annotations

import torch

from hooktrace import _torch
from hooktrace._torch_hooks import has_hooks, own_buffers, own_parameters
from hooktrace.errors import UnknownNameError
from hooktrace.events import Member, OwnTensor, TensorId
from hooktrace.recorder import Recorder

__all__ = ["note_replaced", "number_of", "take_stock", "watch"]


def watch(recorder: Recorder) -> None:
    """Remember the parameters of the models, their names, and the hooks they have."""
    for number, parameter in recorder.identities.enter_parameters(recorder.scope.parameters()):
        recorder.is_leaf(number)
        if has_hooks(parameter):
            recorder.watch_hooks(parameter)


def number_of(recorder: Recorder, tensor: torch.Tensor) -> TensorId:
    """Return the number of a tensor, which after the block only parameters can be known by.

    Raises:
        UnknownNameError: It was not seen, or is known no more.
    """
    seen = recorder.identities.known(tensor)
    if seen is not None:
        return seen.id
    log = recorder.log
    names = [name for name, one in recorder.scope.parameters(aliases=True) if one is tensor]
    rows = {row.name: row.id for row in log.tensors if row.parameter and row.name in names}
    if rows:
        return next(iter(rows.values()))
    if names:
        raise UnknownNameError(f"The parameter {names[0]!r} was not seen in the block.")
    shown = _torch.shape_of(tensor)
    raise UnknownNameError(
        f"Which tensor this is, of shape {tuple(shown)}, is not known once the block has ended: "
        f"a trace holds no tensors, and it is no parameter of a traced model. Give its name, such "
        f"as t.blame('w')."
        if log.sealed
        else f"This tensor, of shape {tuple(shown)}, was not seen in the block."
    )


def note_replaced(recorder: Recorder) -> None:
    """Note which parameters the models have no more, and others by their names."""
    log, known = recorder.log, recorder.identities.known
    now = {}
    for name, parameter in recorder.scope.parameters():
        seen = known(parameter)
        now[name] = None if seen is None else seen.id
    left = set(now.values())
    for row in log.tensors:
        if row.parameter and row.id not in left and row.name in now:
            log.replaced[row.id] = row.name


def take_stock(recorder: Recorder) -> None:
    """Enter the modules of the models with their parameters and buffers, as they are now."""
    seen = recorder.identities.seen
    members = []
    for module, names, root, row in recorder.scope.members():
        own = [(name, seen(one), False) for name, one in own_parameters(module)]
        own += [(name, seen(one), True) for name, one in own_buffers(module)]
        tensors = tuple(OwnTensor(name, one.id, one.summary, buffer) for name, one, buffer in own)
        kind = type(module).__name__
        members.append(Member(names[0], tuple(names[1:]), kind, root, row, tensors))
    recorder.log.members = members
