"""The zip archive of a trace: entries are added to it, and read with every size checked first."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from hooktrace.errors import TraceFormatError

__all__ = ["Reader", "Writer", "replacing"]

MOST_ENTRIES = 1_000_000
_DENSEST = 100  # times its size that a trace may unpack to; its events get to ten or twenty times
_SMALL = 1 << 26  # bytes that any file may unpack to
_LEVEL = 1  # of deflate: half a microsecond an event, a tenth of the size
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the date of every entry, so that equal logs are equal files


class Writer:
    """Adds entries to a file.

    What was added is whole on the disk once `flush` returns, also if the process is killed then;
    the directory of the archive follows in `close`, and `Reader` does without one.

    Args:
        path: The file.  It must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "xb+")  # noqa: SIM115 - closed by close()
        self._zip = zipfile.ZipFile(self._file, "w")
        _open.add(self)

    def add(self, name: str, data: bytes, *, stored: bool = False) -> None:
        """Add an entry; `stored` ones are not compressed."""
        entry = zipfile.ZipInfo(name, _EARLIEST)
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
        self._zip.writestr(entry, data, compresslevel=_LEVEL)

    def flush(self) -> None:
        """Hand everything that was added to the operating system."""
        self._file.flush()

    @property
    def size(self) -> int:
        """Bytes written."""
        return self._file.tell()

    def close(self) -> None:
        """Write the directory, and close the file."""
        self._zip.close()
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._zip.fp = None  # else it would write the directory when it is collected
        self._file.close()


_open: weakref.WeakSet[Writer] = weakref.WeakSet()


def _leave_to_the_parent() -> None:
    """Let go of the files that are open as a process is forked: they are not the child's."""
    for writer in tuple(_open):
        writer.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Writer]:
    """Yield a writer whose file takes the place of `path` in the end, or is gone if that raises.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent}, so {path} cannot be written.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    os.unlink(name)
    writer = Writer(Path(name))
    try:
        yield writer
        writer.close()
        os.replace(name, path)
    except BaseException:
        writer.abandon()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


# ------------------------------------------------------------------ reading


class _Entry(NamedTuple):
    """Where an entry lies, and how large it is."""

    start: int
    packed: int
    size: int
    crc: int
    deflated: bool


class Reader:
    """Reads entries of a file that may come from anybody.

    Nothing is extracted, and names of entries are names only.  What an entry claims of its size
    is checked against the limit before anything is read, and enforced while it is unpacked.

    Args:
        path: The file.
        limit_bytes: How many bytes all entries together may have that are not stored as they are.

    Attributes:
        whole: Whether the archive has its directory; without one, the entries were looked for.

    Raises:
        TraceFormatError: It is no archive, or one that is damaged or beyond the limits.
        FileNotFoundError: There is no such file.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self._entries: dict[str, _Entry] = {}
        with self._open() as file:
            self.length = os.fstat(file.fileno()).st_size
            if file.read(4) != b"PK\x03\x04":
                raise TraceFormatError(f"{path} is not a trace: it does not begin as a zip file.")
            self.whole = self._read_directory(file)
            if not self.whole:
                self._look_for_entries(file)
        unpacked = sum(entry.size for entry in self._entries.values() if entry.deflated)
        if unpacked > max(_SMALL, _DENSEST * self.length):
            raise TraceFormatError(
                f"{path} has {self.length:,} bytes and would unpack to {unpacked:,}: no trace does."
            )
        if unpacked > limit_bytes:
            raise TraceFormatError(
                f"{path} would unpack to {unpacked:,} bytes, more than the limit of "
                f"{limit_bytes:,}. If you trust it, raise limit_bytes=."
            )

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def size(self, name: str) -> int:
        """Return the size of an entry in bytes."""
        return self._entries[name].size

    def read(self, name: str) -> bytes:
        """Return what an entry holds.

        Raises:
            TraceFormatError: There is no such entry, or it is damaged.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise TraceFormatError(f"{self.path} has no {name}: it is not whole.")
        with self._open() as file:
            file.seek(entry.start)
            packed = file.read(entry.packed)
        data = _unpacked(packed, entry) if entry.deflated else packed
        if data is None or len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise TraceFormatError(f"{self.path} is damaged at {name}: its content was changed.")
        return data

    # -------------------------------------------------------------- finding the entries

    def _open(self) -> IO[bytes]:
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise TraceFormatError(f"{self.path} is not a file.")
        return open(self.path, "rb")

    def _read_directory(self, file: IO[bytes]) -> bool:
        """Read the directory; return whether there is one."""
        try:
            with zipfile.ZipFile(file) as archive:
                found = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError):
            return False
        for info in found:
            if info.flag_bits & ~_HARMLESS or info.compress_type not in (0, 8):
                raise TraceFormatError(
                    f"{self.path} is not a trace: {info.filename!r} is encrypted, or compressed by "
                    f"a method that hooktrace does not use."
                )
            head = None
            if 0 <= info.header_offset < self.length:
                file.seek(info.header_offset)
                head = _head(file)
            if head is None or head.name != info.filename:
                raise TraceFormatError(
                    f"{self.path} is damaged: there is no {info.filename!r} where its directory "
                    f"says."
                )
            deflated = info.compress_type == 8
            self._note(
                info.filename,
                _Entry(head.end, info.compress_size, info.file_size, info.CRC, deflated),
            )
        return True

    def _look_for_entries(self, file: IO[bytes]) -> None:
        """Find the entries one after the other, up to where the file breaks off."""
        place = 0
        while True:
            file.seek(place)
            head = _head(file)
            if head is None or not head.sized:
                return
            place = head.end + head.entry.packed
            if place > self.length:
                return
            self._note(head.name, head.entry)

    def _note(self, name: str, entry: _Entry) -> None:
        if name in self._entries:
            raise TraceFormatError(f"{self.path} is damaged: it has two entries {name!r}.")
        if len(self._entries) >= MOST_ENTRIES:
            raise TraceFormatError(f"{self.path} has more than {MOST_ENTRIES:,} entries.")
        if entry.start + entry.packed > self.length or (
            not entry.deflated and entry.size != entry.packed
        ):
            raise TraceFormatError(f"{self.path} is damaged: {name!r} does not fit into it.")
        self._entries[name] = entry


_SIZES_FOLLOW = 0x08  # the flag of entries whose sizes stand behind them
_HARMLESS = 0x802 | _SIZES_FOLLOW  # flags of entries that are not encrypted


class _Head(NamedTuple):
    name: str
    end: int
    entry: _Entry
    sized: bool


_LOCAL = struct.Struct("<4s5H3L2H")


def _head(file: IO[bytes]) -> _Head | None:
    """Read what stands before an entry; None if that is not here."""
    raw = file.read(_LOCAL.size)
    if len(raw) < _LOCAL.size:
        return None
    magic, _, flags, how, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(raw)
    if magic != b"PK\x03\x04" or flags & ~_HARMLESS or how not in (0, 8):
        return None
    name, extra = file.read(name_length), file.read(extra_length)
    if len(name) < name_length or len(extra) < extra_length:
        return None
    if extra[:4] == b"\x01\x00\x10\x00" and len(extra) >= 20:  # sizes of 64 bits
        size, packed = struct.unpack_from("<2Q", extra, 4)
    end = file.tell()
    entry = _Entry(end, packed, size, crc, how == 8)
    return _Head(name.decode("utf-8", "replace"), end, entry, not flags & _SIZES_FOLLOW)


def _unpacked(packed: bytes, entry: _Entry) -> bytes | None:
    """Return what was deflated, as long as it is not longer than it claims to be."""
    inflater: Any = zlib.decompressobj(-15)
    try:
        data: bytes = inflater.decompress(packed, entry.size + 1)
    except zlib.error:
        return None
    return data
