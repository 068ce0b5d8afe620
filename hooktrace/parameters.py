"""The parameters of the traced models: entered when a trace opens, compared when it closes."""

from __future__ import annotations

import torch

from hooktrace import _torch
from hooktrace._torch_hooks import has_hooks, own_buffers, own_parameters
from hooktrace.errors import UnknownNameError
from hooktrace.events import Member, OwnTensor, TensorId
from hooktrace.log import EventLog
from hooktrace.recorder import Recorder

__all__ = ["note_names", "note_replaced", "number_of", "take_stock", "watch"]


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


@_torch.unseen
def take_stock(recorder: Recorder) -> None:
    """Enter the modules of the models with their parameters and buffers, as they are now."""
    identities = recorder.identities
    seen, read = identities.seen, identities.read
    members = []
    for module, names, root, row in recorder.scope.members():
        tensors = []
        for buffer, own in ((False, own_parameters(module)), (True, own_buffers(module))):
            for name, tensor in own:
                entry = seen(tensor)
                read(tensor, entry)  # it may have been frozen, or moved, since it was seen
                tensors.append(OwnTensor(name, entry.id, entry.summary, buffer))
        kind = type(module).__name__
        members.append(Member(names[0], tuple(names[1:]), kind, root, row, tuple(tensors)))
    recorder.log.members = members


def note_names(log: EventLog) -> None:
    """Enter the parameters that were found by their names, and which require a gradient."""
    for member in log.members:
        for one in member.tensors:
            if not one.buffer:
                name = f"{member.name}.{one.name}" if member.name else one.name
                log.parameters[one.tensor] = (name, one.summary.requires_grad)
                row = log.tensors[one.tensor].name
                for place in (member.name, *member.aliases):
                    full = f"{place}.{one.name}" if place else one.name
                    if row != full:
                        log.aliases[full] = one.tensor
