"""Which hooks are registered on what when a script ends."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hooktrace.hooklist import HookList
from hooktrace.inventory import Inventory
from hooktrace.running import Ended, Script, run
from hooktrace.session import Trace
from hooktrace.streaming import Steps

__all__ = ["hooks_at_end"]


def hooks_at_end(script: Script) -> tuple[Ended, HookList]:
    """Run a script, and list the hooks on all models and optimizers that it has made.

    Models that ran count also if the script has let them go by then, as when a function that
    trains one has returned.

    Args:
        script: What to run.

    Returns:
        How it ended, and the hooks in the order of firing, with the lines that registered them.

    Raises:
        ScriptError: There is no such script.
    """
    with tempfile.TemporaryDirectory() as folder:
        t = Trace(to=Path(folder) / "run.hooktrace", steps=Steps(1, 0, 1))
        held: list[nn.Module] = []
        variables: dict[str, Mapping[str, Any]] = {}
        found: list[HookList] = []

        def opened(frame: Any) -> None:
            variables["of the script"] = frame.f_locals
            t.open(frame)
            t.on_step(lambda: held.extend(one for one in t.models() if one not in held))

        def closed(error: BaseException | None) -> None:
            held.extend(t.models())
            found.append(_list(variables["of the script"]))
            t.close(error)

        ended = run(script, opened, closed)
    return ended, found[0]


def _list(variables: Mapping[str, Any]) -> HookList:
    """List the hooks on everything that lives, under the names of variables."""
    things = gc.get_objects()
    modules = [one for one in things if issubclass(type(one), nn.Module)]
    optimizers = [one for one in things if issubclass(type(one), torch.optim.Optimizer)]
    del things
    inner = {id(child) for one in modules for child in one.modules() if child is not one}
    models = [one for one in modules if id(one) not in inner]
    names = {id(thing): name for name, thing in reversed(list(variables.items()))}
    models.sort(key=lambda one: list(names).index(id(one)) if id(one) in names else -1)
    prefixes = [names.get(id(one), type(one).__name__) for one in models]
    return HookList(Inventory(models, prefixes, everywhere=True).take([*models, *optimizers]))
