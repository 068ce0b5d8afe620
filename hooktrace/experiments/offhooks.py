"""Which hooks are meant: those on some things now, and those that a step registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch
from torch import nn
from torch.optim import Optimizer

from hooktrace import _torch_hooks
from hooktrace.errors import UnknownNameError, UnsupportedHookError, nearest
from hooktrace.events import HookId, TracedHook
from hooktrace.experiments.switches import Registrations, Signature, Sites
from hooktrace.inventory import Inventory
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.recorder import Recorder
from hooktrace.spies import user_hook

__all__ = ["Candidate", "Chosen", "choose", "enter", "find_candidates"]

_FIXED = {
    "pack": "it belongs to a with block, which has an unpack hook as well",
    "unpack": "it belongs to a with block, which has a pack hook as well",
    "node_creation": "it belongs to a with block, and can change nothing but its own world",
    "queue_callback": "it is handed to the running engine, which does not give it back",
    "function_backward": "it is the backward of an autograd function, without which there is none",
    "retain_grad": "it keeps a gradient, and changes none",
    "comm": "it does the communication between processes, which cannot be left out",
}
"""Kinds that cannot be switched off, and why."""


@dataclass
class Candidate:
    """A hook that could be meant.

    Attributes:
        functions: What was registered.
        row: What is known of it, if it was registered before the step.
        places: Dictionaries and numbers there, if it was registered before the step.
        site: Its signature and count, if the step registered it.
        number: Its row in the log of the first run, if it has one.
    """

    functions: list[Any]
    row: TracedHook | None = None
    places: list[tuple[Any, int]] = field(default_factory=list)
    site: tuple[Signature, int] | None = None
    number: HookId | None = None


@dataclass
class Chosen:
    """The hooks to switch off.

    Attributes:
        rows: What they are; the number of one that the first run did not see is -1.
        places: Dictionaries and numbers of those that were registered before the step.
        sites: Those that the step registers.
    """

    rows: list[TracedHook] = field(default_factory=list)
    places: list[tuple[Any, int]] = field(default_factory=list)
    sites: Sites = field(default_factory=dict)


def find_candidates(things: Sequence[Any]) -> list[Candidate]:
    """Return the hooks that are registered on some things, and on the optimizers' parameters."""
    models = [thing for thing in things if isinstance(thing, nn.Module)]
    members = {id(one) for model in models for one in model.parameters()}
    tensors = [
        parameter
        for thing in things
        if isinstance(thing, Optimizer)
        for group in thing.param_groups
        for parameter in group["params"]
        if id(parameter) not in members
    ]
    inventory = Inventory(models)
    looked = [one for one in things if isinstance(one, (nn.Module, torch.Tensor, Optimizer))]
    inventory.take([*looked, *tensors])
    return [
        Candidate(
            [function for _, _, function in places],
            inventory.log.hooks[row],
            [(hooks, number) for hooks, number, _ in places],
        )
        for row, places in inventory.places.items()
    ]


def enter(candidates: list[Candidate], recorder: Recorder, registrations: Registrations) -> None:
    """Add those that a step registered, and note the rows that all have in its log.

    To be called before the trace ends, which forgets which row is whose.
    """
    for one in candidates:
        found = (
            recorder.hooks.find_any(number, function)
            for (_, number), function in zip(one.places, one.functions, strict=True)
        )
        one.number = next((row for row in found if row is not None), None)
    sites: dict[HookId, Candidate] = {}
    for signature, count, number, function in registrations.made:
        row = recorder.hooks.find_any(number, function)
        if row is not None and row not in sites:
            sites[row] = Candidate([function], site=(signature, count), number=row)
    candidates += sites.values()


def choose(asked: Sequence[Any], candidates: list[Candidate], log: EventLog) -> Chosen:
    """Return the hooks that are meant by names, functions and rows.

    Raises:
        UnknownNameError: One of them means no hook.
        UnsupportedHookError: One of them means a hook that cannot be switched off.
    """
    rows = [_row_of(one, log) for one in candidates]
    chosen = Chosen()
    meant: dict[int, Candidate] = {}
    for wanted in asked:
        _refuse_fixed(wanted, log)
        found = {
            place: one
            for place, (one, row) in enumerate(zip(candidates, rows, strict=True))
            if _is_meant(wanted, row, one.functions)
        }
        if not found:
            raise _unknown(wanted, rows, log)
        meant.update(found)
    for place, one in meant.items():
        chosen.rows.append(rows[place])
        chosen.places += one.places
        if one.site is not None:
            chosen.sites.setdefault(one.site[0], set()).add(one.site[1])
    return chosen


def _row_of(one: Candidate, log: EventLog) -> TracedHook:
    if one.number is not None:
        return log.hooks[one.number]
    assert one.row is not None
    return msgspec.structs.replace(one.row, id=HookId(-1))


def _is_meant(wanted: Any, row: TracedHook, functions: Sequence[Any]) -> bool:
    if isinstance(wanted, TracedHook):
        known = (wanted.kind, wanted.name, wanted.owner, wanted.defined_at)
        return known == (row.kind, row.name, row.owner, row.defined_at)
    if not isinstance(wanted, str):
        return any(wanted == _meant(function) for function in functions)
    kind, colon, rest = wanted.partition(":")
    if not colon or kind not in KINDS:
        kind, rest = "", wanted
    name, _, owner = rest.partition(" on ")
    named = name == row.name or row.name.endswith(f".{name}")
    return named and kind in ("", row.kind) and owner in ("", row.owner)


def _meant(function: Any) -> Any:
    """Return what the user registered, of a hook on several tensors as well."""
    several = _torch_hooks.multi_grad(function)
    return function if several is None else user_hook(several.function)


def _refuse_fixed(wanted: Any, log: EventLog) -> None:
    for row in log.hooks:
        if row.kind in _FIXED and _is_meant(wanted, row, ()):
            raise UnsupportedHookError(
                f"{row.name} is a {row.kind} hook, which cannot be switched off: "
                f"{_FIXED[row.kind]}."
            )


def _unknown(wanted: Any, rows: list[TracedHook], log: EventLog) -> UnknownNameError:
    text = wanted if isinstance(wanted, str) else getattr(wanted, "__qualname__", str(wanted))
    elsewhere = [row for row in log.hooks if _is_meant(wanted, row, ())]
    if elsewhere:
        row = elsewhere[0]
        return UnknownNameError(
            f"{row.name} hangs on {row.owner}, which is no part of state=; add what it hangs on."
        )
    names = dict.fromkeys(row.name for row in rows)
    return UnknownNameError(
        f"off={text!r} names no hook: none of what is registered on state= is called so, nor what "
        f"the step registered.{nearest(text, names)}"
    )
