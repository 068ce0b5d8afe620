"""Which program lays out a diagram, and how it is run.

The order is: an explicit argument, then the environment variable ``HOOKTRACE_ENGINE``, then
`graphviz-pure` (a Python package, so there is nothing to install by hand), then the system's
``dot``.  The first two may be the name of a program or a path to it.  Without any of them the
DOT text can still be written, and the error says what to install.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from hooktrace.errors import RenderError

__all__ = ["VARIABLE", "find_engine", "layout", "write_atomically"]

VARIABLE = "HOOKTRACE_ENGINE"
_KNOWN = ("graphviz-pure", "dot")
# The engine estimates the width of characters outside of ASCII; the boxes still fit.
_HARMLESS = "no value for width of non-ASCII character"
_TIMEOUT_S = 120


def find_engine(engine: str | None = None) -> str:
    """Return the path of the program that lays out diagrams.

    Args:
        engine: Name or path of a Graphviz program; None for the usual order.

    Raises:
        RenderError: The named program does not exist, or there is none at all.
    """
    for asked, where in ((engine, "engine="), (os.environ.get(VARIABLE), f"{VARIABLE}=")):
        if asked:
            found = _executable(asked)
            if found is None:
                raise RenderError(
                    f"{where}{asked!r} names no program that can be run. "
                    f"Give one of {', '.join(_KNOWN)}, or the path of a Graphviz 'dot'."
                )
            return found
    for name in _KNOWN:
        found = _executable(name)
        if found is not None:
            return found
    raise RenderError(
        "No layout engine was found. Install one with: pip install graphviz-pure "
        "(or install Graphviz, which brings 'dot'). Without one, a file that ends in .dot can "
        "still be written."
    )


def _executable(name: str) -> str | None:
    """Look for a program beside this Python first, so that an environment needs no activation."""
    if os.sep in name:
        return name if os.access(name, os.X_OK) and os.path.isfile(name) else None
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def layout(source: str, form: str, engine: str | None = None, program: str = "dot") -> bytes:
    """Lay out a diagram.

    Args:
        source: DOT text.
        form: Output format of Graphviz, such as ``svg``, ``png`` or ``json``.
        engine: See `find_engine`.
        program: Kind of layout: ``dot`` (layers), ``neato``, ``circo`` and so on.

    Raises:
        RenderError: There is no engine, or it refused the text, or it warned.
    """
    path = find_engine(engine)
    command = [path, f"-K{program}", f"-T{form}"]
    try:
        done = subprocess.run(
            command, input=source.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RenderError(
            f"{path} did not lay out the diagram within {_TIMEOUT_S} s. Draw less of it, with a "
            "smaller depth=."
        ) from None
    except OSError as error:
        raise RenderError(f"{path} could not be run: {error}") from error
    said = _complaints(done.stderr.decode(errors="replace"))
    if done.returncode != 0 or said:
        what = "failed" if done.returncode else "warned"
        raise RenderError(f"{path} {what} (exit status {done.returncode}): {said or 'no message'}")
    return done.stdout


def _complaints(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines()]
    return "\n".join(line for line in lines if line and _HARMLESS not in line)


def write_atomically(path: Path, data: bytes) -> Path:
    """Write a file so that it is either whole or untouched.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} into.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
