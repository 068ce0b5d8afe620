"""Running a script, unmodified, under a trace of every module it calls.

The script is ``__main__``, with its own ``sys.argv``, ``sys.path``, output and exit code; what it
raises is shown by the interpreter as if nothing of hooktrace were around it.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

from hooktrace.errors import ScriptError

__all__ = ["Ended", "Script", "free_name", "run"]


@dataclass(frozen=True)
class Script:
    """What to run.

    Attributes:
        path: A file, or the name of a module.
        arguments: For its ``sys.argv``.
        module: Whether `path` is the name of a module, as after ``python -m``.
    """

    path: str
    arguments: tuple[str, ...] = ()
    module: bool = False

    @property
    def name(self) -> str:
        """Its name without folder and ending."""
        return self.path.rpartition(".")[2] if self.module else Path(self.path).stem

    def load(self) -> tuple[CodeType, ModuleType, str]:
        """Return its code, the module to run it in, and what comes first in ``sys.path``.

        Raises:
            ScriptError: There is no such script or module, or it is no Python.
        """
        return self._load_module() if self.module else self._load_file()

    def _load_file(self) -> tuple[CodeType, ModuleType, str]:
        try:
            # As Python does it: folders such as .. stay in __file__.
            with io.open_code(path := os.path.join(os.getcwd(), self.path)) as file:
                source = file.read()
        except OSError as error:
            raise ScriptError(f"{self.path} cannot be run: {error.strerror}.") from None
        try:
            code = compile(source, path, "exec", dont_inherit=True)
        except ValueError as error:  # such as null bytes; a SyntaxError is the script's own
            raise ScriptError(f"{self.path} is no Python: {error}.") from None
        main = ModuleType("__main__")
        loader = importlib.machinery.SourceFileLoader("__main__", path)
        vars(main).update(__file__=path, __builtins__=builtins, __loader__=loader, __cached__=None)
        return code, main, str(Path(path).resolve().parent)

    def _load_module(self) -> tuple[CodeType, ModuleType, str]:
        from importlib.util import find_spec

        sys.path.insert(0, os.getcwd())
        try:
            spec = find_spec(self.path)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = find_spec(f"{self.path}.__main__")
        except ModuleNotFoundError:
            spec = None
        finally:
            sys.path.pop(0)
        loader: Any = None if spec is None else spec.loader
        code = loader.get_code(spec.name) if hasattr(loader, "get_code") and spec else None
        if spec is None or code is None:
            raise ScriptError(f"There is no module {self.path} that could be run.")
        main = ModuleType("__main__")
        vars(main).update(
            __file__=spec.origin,
            __builtins__=builtins,
            __loader__=loader,
            __spec__=spec,
            __package__=spec.parent,
            __cached__=spec.cached,
        )
        return code, main, os.getcwd()


@dataclass(frozen=True)
class Ended:
    """How a script ended.

    Attributes:
        error: What it raised; None if it came to its end.
    """

    error: BaseException | None = None

    @property
    def status(self) -> int:
        """The exit status that Python would have had."""
        if self.error is None:
            return 0
        if not isinstance(self.error, SystemExit):
            return 1
        code = self.error.code
        return code if isinstance(code, int) else 0 if code is None else 1

    def leave(self) -> None:
        """End the process as the script would have ended it.

        Raises:
            SystemExit: With its status; a script that was interrupted ends by the signal instead.
        """
        if isinstance(self.error, SystemExit):
            raise self.error
        if self.error is not None:
            sys.excepthook(type(self.error), self.error, self.error.__traceback__)
        if isinstance(self.error, KeyboardInterrupt):
            sys.stdout.flush()
            sys.stderr.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        raise SystemExit(self.status)


def run(script: Script, opened: Callable[[Any], Any], closed: Callable[[Any], Any]) -> Ended:
    """Run a script to its end, whatever that is.

    The process is its own afterwards: ``__main__``, ``sys.argv`` and ``sys.path`` stay what it has
    made of them, for threads and exit handlers that it leaves behind.

    Args:
        script: What to run.
        opened: Called before, with what stands for the frame of the script: its variables.
        closed: Called after it, with what it raised, or None; SystemExit is no error here.  It is
            `Trace.close`, or calls it, which takes the frames of hooktrace out of the traceback.

    Raises:
        ScriptError: There is no such script.
    """
    code, main, first = script.load()
    name = main.__file__ if script.module else None
    sys.argv = [name or script.path, *script.arguments]
    if not sys.flags.safe_path:
        sys.path[0:1] = [first]
    sys.modules["__main__"] = main
    opened(SimpleNamespace(f_locals=vars(main), f_code=code))
    error: BaseException | None = None
    try:
        exec(code, vars(main))
        _wait_for_threads()
    except BaseException as raised:
        error = raised
    closed(None if isinstance(error, SystemExit) else error)
    return Ended(error)


def _wait_for_threads() -> None:
    """Wait for the threads that Python waits for when it ends, so that they are traced."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def free_name(folder: Path, stem: str, endings: Sequence[str] = (".hooktrace",)) -> Path:
    """Return a path that is not there yet with any of the endings; it has the first of them.

    It is STEM.hooktrace, or STEM-2.hooktrace ...
    """
    stems = (stem, *(f"{stem}-{number}" for number in range(2, 10_000)))
    free = (one for one in stems if not any((folder / f"{one}{end}").exists() for end in endings))
    return folder / f"{next(free)}{endings[0]}"
