"""The manifest of a file: JSON for people without hooktrace, by ``unzip -p FILE manifest.json``.

It is the first entry.  So in a file that is written while the program runs it lists the modules
that had run when the first step was over; `Facts` and `Ending` have all of them in any file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from hooktrace.errors import TraceFormatError
from hooktrace.events import Member, TracedModule
from hooktrace.origins import Surroundings
from hooktrace.records import Record
from hooktrace.storage.archive import Reader
from hooktrace.storage.wire import FORMAT

__all__ = ["NAME", "ListedModule", "Manifest", "listed", "read_manifest", "written"]

NAME = "manifest.json"
LIMIT_BYTES = 16 << 20  # some 200,000 modules; a table that takes more is left out


class ListedModule(Record, frozen=True, rename={"type": "class"}):
    """A row of the table of modules.

    Attributes:
        name: As in ``named_modules()``; empty for the root.
        type: Name of its class, in the file ``class``.
        parameters: How many numbers its own parameters have, without its children's.
    """

    name: str
    type: str
    parameters: int


class Manifest(Record, frozen=True):
    """What wrote a file, where, and of what.

    Attributes:
        format: Version of the format.
        surroundings: Of the traced program.
        modules: Those of the models, and others that ran, as far as they were known.
    """

    format: int
    surroundings: Surroundings
    modules: tuple[ListedModule, ...] = ()


def listed(members: Sequence[Member], modules: Iterable[TracedModule]) -> tuple[ListedModule, ...]:
    """Return rows for the modules of models, and for those that ran and are of none."""
    return tuple(_listed(members, modules))


def _listed(members: Sequence[Member], modules: Iterable[TracedModule]) -> Iterator[ListedModule]:
    for one in members:
        own = [tensor.summary.shape for tensor in one.tensors if not tensor.buffer]
        yield ListedModule(_text(one.name), _text(one.type), sum(map(math.prod, own)))
    known = {one.module for one in members}
    for row in modules:
        if row.id not in known:
            yield ListedModule(_text(row.name), _text(row.type), row.parameters)


def written(surroundings: Surroundings, modules: Sequence[ListedModule]) -> bytes:
    """Return the manifest of a file, with a line for each module."""
    head = msgspec.json.encode(Manifest(FORMAT, surroundings))
    plain = msgspec.json.format(head, indent=2)
    rows = [b"\n    " + msgspec.json.encode(one) for one in modules]
    table = b'"modules": [' + b",".join(rows) + b"\n  ]\n}\n"
    start, _, _ = plain.rpartition(b'"modules": []')
    full = start + table
    return full if rows and len(full) <= LIMIT_BYTES else plain + b"\n"


def read_manifest(reader: Reader) -> Manifest:
    """Return the manifest of a file.

    Raises:
        TraceFormatError: There is none, it is damaged or too large, or of a later version.
    """
    path = reader.path
    if NAME not in reader:
        raise TraceFormatError(
            f"{path} is not a trace: it is a zip file without a manifest of hooktrace."
        )
    if reader.size(NAME) > LIMIT_BYTES:
        raise TraceFormatError(
            f"{path} is damaged at {NAME}: it has {reader.size(NAME):,} bytes, and a manifest has "
            f"{LIMIT_BYTES:,} at most."
        )
    raw = reader.read(NAME)
    try:
        version = msgspec.json.decode(raw, type=_Versioned).format
        if version > FORMAT:
            raise TraceFormatError(
                f"{path} has version {version} of the format, and this hooktrace reads up to "
                f"version {FORMAT}. Install the latest hooktrace."
            )
        return msgspec.json.decode(raw, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if isinstance(error, TraceFormatError):
            raise
        raise TraceFormatError(f"{path} is damaged at {NAME}: {error}") from None


class _Versioned(msgspec.Struct):
    format: int


def _text(name: str) -> str:
    """Replace what UTF-8 cannot say, such as a lone surrogate."""
    return name.encode("utf-8", "backslashreplace").decode()
