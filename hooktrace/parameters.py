"""The parameters of the traced models: entered when a trace opens, compared when it closes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from hooktrace import _torch
from hooktrace._torch_hooks import has_hooks, own_buffers, own_parameters
from hooktrace._torch_state import versions_of
from hooktrace.errors import UnknownNameError
from hooktrace.events import Member, OwnTensor, TensorId
from hooktrace.recorder import Recorder

__all__ = ["number_of", "settle", "take_stock", "watch"]


def watch(recorder: Recorder) -> None:
    """Remember the parameters of the models, their names, and the hooks they have."""
    if recorder.maps_only:
        return
    named = recorder.scope.parameters()  # at once: in turns it takes a third longer
    if not recorder.identities.table:  # nothing can have been written to since it was seen
        met = [parameter for _, parameter in named]
        recorder.versions = list(map(id, met)), versions_of(met)
    for parameter in recorder.identities.enter_parameters(named):
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


def settle(recorder: Recorder, parameters: list[tuple[str, nn.Parameter]]) -> None:
    """Note which parameters the models have no more, and what those are that they have.

    Args:
        recorder: Whose log it fills.
        parameters: Those that the models have when the block ends, with their names.
    """
    if recorder.maps_only:
        return
    try:
        log, scope = recorder.log, recorder.scope
        rows, there = log.tensors, log.parameters
        _note_names(recorder, parameters)
        gone = [row for row in rows if row.parameter and row.id not in there]
        if gone:
            now = {name for name, _ in parameters}
            log.replaced = {row.id: row.name for row in gone if row.name in now}
        if scope.has_aliases:
            names = dict(there)
            _note_names(recorder, scope.parameters(aliases=True))
            there.update(names)
    except Exception:
        recorder.failed("the parameters")


def _note_names(recorder: Recorder, named: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Note the names of parameters, and whether they require a gradient."""
    identities = recorder.identities
    table, there, aliases = identities.table, recorder.log.parameters, recorder.log.aliases
    known = {row.id: row.name for row in recorder.log.tensors}
    for name, parameter in named:
        entry = table.get(id(parameter))
        if entry is None or entry.ref() is not parameter:
            entry = identities.enter(parameter)
        number = entry.id
        there[number] = name, parameter.requires_grad
        if known.get(number, "") != name:
            aliases[name] = number


@_torch.unseen
def take_stock(recorder: Recorder) -> list[Member]:
    """Return the modules of the models that still live, with their parameters and buffers."""
    log, identities = recorder.log, recorder.identities
    first = {log.tensors[number].name: number for number in log.parameters}
    entered = first | {name: number for number, (name, _) in log.parameters.items()} | log.aliases
    members = []
    for module, names, root, row in recorder.scope.members():
        start = f"{names[0]}." if names[0] else ""
        tensors = []
        for buffer, own in ((False, own_parameters(module)), (True, own_buffers(module))):
            for name, tensor in own:
                entry = identities.seen(tensor)
                identities.read(tensor, entry)  # it may have been frozen since it was seen
                number = entered.get(start + name, entry.id)
                tensors.append(OwnTensor(name, number, entry.summary, buffer))
        kind = type(module).__name__
        members.append(Member(names[0], tuple(names[1:]), kind, root, row, tuple(tensors)))
    if log.sealed:
        identities.forget()
    return members
