"""`check()`: what is wrong with the hooks of a model, and what would be, before it runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from torch import nn

from hooktrace.doctor import Findings, diagnose
from hooktrace.events import TracedHook
from hooktrace.experiments.rehearsal import rehearse
from hooktrace.inventory import Inventory
from hooktrace.models import resolve_models
from hooktrace.views.calls import CallIndex

__all__ = ["check"]


def check(
    model: Any,
    example: Any = None,
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    limit: int = 100,
) -> Findings:
    """Say what is wrong with the hooks of a model, and what full backward hooks would do to it.

    Without an example nothing runs: the rules that need only the list of the registered hooks look
    at it.  With one, deep copies of the model are run, forward and backward from the sum of the
    outputs: which modules cannot bear a full backward hook, on which would it never fire, and why?
    The model, the example, ``.grad`` and the random number generators stay as they are.  The
    copies run in the model's own mode and without your hooks, except for those that
    are methods of the model's modules, and those of PyTorch and of other libraries.

    Args:
        model: A module; without an example also several, in a dict or a sequence.
        example: A tensor, a tuple of positional arguments, or a dict of keyword arguments.
        select: Names of the rules to run; None for all.
        ignore: Names of rules to leave out.
        limit: How often copies may run: one run, one for all modules that are expected to
            bear a hook, and one for each of the others.  What was not tried is said.

    Returns:
        The findings.  A hook that is registered and will raise is an error; that a module without
        one could not bear it is a note.

    Raises:
        TypeError: The example is none of these, or was given for several models.
        CopyError: The model or the example cannot be deep-copied.
        UnsupportedModuleError: `model` is not made of modules, or is a ScriptModule.
        UnknownNameError: There is no rule of one of the names.
        Exception: What the model itself raises with this example.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True))
        >>> for found in check(net, torch.ones(1, 2)):
        ...     print(found.message)
        A full backward hook on any of 2 of 3 modules would make the model raise.
    """
    pairs, _ = resolve_models(model, "check()")
    if limit < 1:
        raise ValueError(f"limit= is how often copies may run, at least once, but got {limit}.")
    if len(pairs) == 1:
        pairs = [("", pairs[0][1])]
    models = [module for _, module in pairs]
    inventory = Inventory(models, [prefix for prefix, _ in pairs])
    rows = inventory.take(models)
    log = inventory.log
    if example is not None:
        _refuse(pairs, example)
        log.trials = rehearse(pairs[0][1], example, _hooked(log.modules, rows, pairs[0][1]), limit)
    return diagnose(log, CallIndex(log), select=select, ignore=ignore, static=True)


def _refuse(pairs: list[tuple[str, nn.Module]], example: Any) -> None:
    if len(pairs) > 1:
        raise TypeError(f"check() takes an example for one model, but got {len(pairs)} models.")
    if isinstance(example, (str, bytes, int, float, bool)):
        raise TypeError(
            f"check() takes as example a tensor, a tuple of arguments or a dict of keyword "
            f"arguments, but got {type(example).__name__}."
        )


def _hooked(modules: Any, rows: list[TracedHook], model: nn.Module) -> dict[str, list[TracedHook]]:
    """Return the user's full backward (pre) hooks by the name of their module."""
    found: defaultdict[str, list[TracedHook]] = defaultdict(list)
    for row in rows:
        if row.kind in ("full_backward", "full_backward_pre") and not row.feature:
            everywhere = [name for name, _ in model.named_modules()]
            names = everywhere if row.module is None else [modules[row.module].name]
            for name in names:
                found[name].append(row)
    return dict(found)
