"""The records that a file is made of, and their encoding: msgpack of typed records, no pickle.

A file is a zip archive of entries that are only ever added.  *Facts* are rows of the tables that
concern the whole run; a later row of a number replaces an earlier one.  A *part* is a stretch of
the timeline with what belongs to it alone, from one outermost call to the next in a file that is
written while the program runs, else all of it.  The *ending* is what is known at the end only.

========================  ==================================================
``manifest.json``         `Manifest`: version of the format, what wrote it, of what modules; first
``facts/N.msgpack``       `Facts`, N counting from 0
``parts/N/I.msgpack``     `list` of events, in chunks
``parts/N/tensors``       kept tensors, safetensors
``parts/N/tables.msgpack``  `PartTables`; the last entry of a part: without it the part is not whole
``ending.msgpack``        `Ending`; the last entry: without it the run did not end, or was killed
========================  ==================================================
"""

from __future__ import annotations

import inspect
from functools import cache
from operator import or_
from typing import Any, TypeVar

import msgspec

from hooktrace import events as kinds
from hooktrace.errors import TraceFormatError
from hooktrace.events import (
    CallId,
    Change,
    Event,
    HookId,
    Member,
    ModuleId,
    NodeId,
    Observation,
    Registration,
    TensorId,
    TracedHook,
    TracedModule,
    TracedTensor,
    Value,
)
from hooktrace.held import Held, ModifiedSave
from hooktrace.records import Record
from hooktrace.tensorstats import ParameterSighting, TensorStats
from hooktrace.trials import Trial

__all__ = [
    "FORMAT",
    "Ending",
    "Facts",
    "Graph",
    "Kept",
    "Parameters",
    "PartTables",
    "Regions",
    "Setup",
    "Sightings",
    "decode",
    "decode_events",
    "encode",
]

FORMAT = 1

Node = tuple[NodeId, str, CallId | None, tuple[tuple[NodeId, int], ...]]
Made = TypeVar("Made")


class Setup(Record, frozen=True):
    """What a trace was told, and what it was told of.

    Attributes:
        roots, parts, kept, copies, sticky: As in `EventLog`.
        stats: Whether statistics were taken.
    """

    roots: list[str]
    parts: list[str]
    kept: list[ModuleId]
    copies: bool
    sticky: bool
    stats: bool


class Facts(Record, frozen=True):
    """Rows of the tables that concern the whole run, as far as they are new or have changed.

    Attributes:
        leaves: Autograd nodes that fill the ``.grad`` of parameters: node, its name, parameter.
    """

    setup: Setup | None = None
    modules: tuple[tuple[ModuleId, TracedModule], ...] = ()
    hooks: tuple[tuple[HookId, TracedHook], ...] = ()
    registrations: tuple[tuple[HookId, Registration], ...] = ()
    tensors: tuple[tuple[TensorId, TracedTensor], ...] = ()
    leaves: tuple[tuple[NodeId, str, TensorId], ...] = ()


class Graph(Record, frozen=True):
    """What autograd made: nodes, the leaves among them, and the nodes that made values."""

    nodes: list[Node]
    leaves: list[tuple[NodeId, TensorId]]
    producers: list[tuple[Value, NodeId, int]]
    strangers: list[NodeId]
    entrances: list[tuple[int, tuple[NodeId, ...]]]


class Sightings(Record, frozen=True):
    """What tensors held: see `EventLog`."""

    contents: list[tuple[Value, Observation]]
    changes: list[tuple[Value, Value, Change]]
    stats: list[tuple[int, TensorStats]]
    parameters: list[ParameterSighting]


class Regions(Record, frozen=True):
    """Calls in checkpointed regions: see `EventLog`."""

    recomputed: list[tuple[CallId, CallId | None, int]]
    reentrant: list[tuple[CallId, bool]]


class Kept(Record, frozen=True):
    """Kept tensors, by the name that they have in the file.

    Attributes:
        values: Of snapshots.
        overwritten: Of what outputs held in the end.
        results: Descriptions of what outermost calls returned.
        views: Tensors of dtypes that the file cannot hold, with their dtype; they are stored as
            another dtype that has the same bits.
    """

    values: list[tuple[Value, str]]
    overwritten: list[tuple[CallId, str, str]]
    results: list[tuple[CallId, Any]]
    views: dict[str, str]


class PartTables(Record, frozen=True):
    """What belongs to one stretch of the timeline.

    Attributes:
        step: How many steps came before it in the run.
        steps: How many there are in it.
        events: How many events there are in it.
        tensors: Rows of tensors other than parameters.
    """

    step: int
    steps: int
    events: int
    tensors: list[TracedTensor]
    graph: Graph
    seen: Sightings
    regions: Regions
    kept: Kept


class Parameters(Record, frozen=True):
    """The parameters of the models as the block ends: see `EventLog`."""

    parameters: list[tuple[TensorId, str, bool]]
    aliases: dict[str, TensorId]
    replaced: list[tuple[TensorId, str]]
    optimized: dict[str, tuple[TensorId, ...]]


class Ending(Record, frozen=True):
    """What is known when the block ends: see `EventLog`.

    Attributes:
        steps: How many there were in all.
    """

    steps: int
    holdings: list[Held]
    modified: list[ModifiedSave]
    trials: list[Trial]
    parameters: Parameters
    unseen: dict[str, list[str]]
    graphs: int
    released: bool
    sealed: bool
    members: list[Member]
    flops: dict[str, int] | None
    error: str | None
    raised_at: str


# ------------------------------------------------------------------ the encoding

_COMPLEX = 1  # number of the msgpack extension for complex numbers


def encode(thing: Any) -> bytes:
    """Return the msgpack of a record, or of a list of records."""
    try:
        return _ENCODER.encode(thing)
    except UnicodeEncodeError:  # text of the user's with a lone surrogate, as in a file's name
        return _ENCODER.encode(_readable(msgspec.to_builtins(thing, enc_hook=_as_extension)))


def decode(kind: type[Made], data: bytes, place: str) -> Made:
    """Return the record in `data`.

    Args:
        kind: Its class.
        data: What `encode` made.
        place: What to call it in the message of an error.

    Raises:
        TraceFormatError: It is not one.
    """
    decoder: Any = _decoder(kind)  # type: ignore[arg-type]
    return _decoded(decoder, data, place)  # type: ignore[no-any-return]


def decode_events(data: bytes, place: str) -> list[Event]:
    """Return the events in `data`: as `decode`."""
    return _decoded(_events(), data, place)  # type: ignore[no-any-return]


def _as_extension(thing: Any) -> Any:
    if isinstance(thing, complex):
        return msgspec.msgpack.Ext(_COMPLEX, msgspec.msgpack.encode((thing.real, thing.imag)))
    raise NotImplementedError(f"{type(thing).__name__} has no place in a file")


def _from_extension(code: int, data: memoryview) -> complex:
    if code != _COMPLEX:
        raise ValueError(f"an extension {code}, which there is not")
    return complex(*msgspec.msgpack.decode(data, type=tuple[float, float]))


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_as_extension)


@cache
def _decoder(kind: Any) -> Any:
    return msgspec.msgpack.Decoder(kind, ext_hook=_from_extension)


@cache
def _events() -> Any:
    """Return the decoder of all kinds of events that there are."""
    named = (getattr(kinds, name) for name in kinds.__all__)
    found = [one for one in named if inspect.isclass(one) and issubclass(one, Event)]
    union: Any = None
    for one in found:
        if one is not Event:
            union = one if union is None else or_(union, one)
    return _decoder(list[union])


def _decoded(decoder: Any, data: bytes, place: str) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise TraceFormatError(f"{place} is damaged: {error}") from None


def _readable(tree: Any) -> Any:
    """Replace what UTF-8 cannot say in all text of a tree by backslash escapes."""
    if isinstance(tree, str):
        return tree.encode("utf-8", "backslashreplace").decode()
    if isinstance(tree, dict):
        return {_readable(key): _readable(item) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_readable(item) for item in tree]
    return tree
