"""`counterfactual()`: what would be different without a hook?

The step runs twice from the same state and the same random numbers, once with the hook and once
as if it had not been registered.  What the numbers mean: everything that differs is an effect of
the hook, or of its being registered, provided that two runs with the hook would be equal; on a
GPU some operations of PyTorch are not, unless ``torch.use_deterministic_algorithms(True)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from hooktrace.errors import TraceStateError
from hooktrace.events import TracedHook
from hooktrace.experiments.differences import Difference, compare_values, contrast, table
from hooktrace.experiments.offhooks import choose, find_candidates
from hooktrace.experiments.onerun import Outcome, run_once
from hooktrace.experiments.snapshot import Snapshot
from hooktrace.experiments.switches import Registrations
from hooktrace.patches import active

__all__ = ["Counterfactual", "counterfactual"]


class Counterfactual:
    """What a step does with some hooks and without them; ``print`` it.

    In each record `before` is what there was with the hooks, `after` what there is without.

    Attributes:
        off: The hooks that were switched off.
        records: What differs, as it comes about in a step: ``loss``, ``returned``, ``output`` of a
            module, ``gradient``, ``parameter`` and ``buffer``.
        totals: How many things of each kind were compared.
        fired: How often the hooks fired, when they were on.
        raised: What the step raised with the hooks, and without them; None where it returned.
        still_fired: Those that fired although they were to be switched off: a running backward or
            module call registered them, and fired them itself.
    """

    def __init__(self, off: list[TracedHook], present: Outcome, absent: Outcome) -> None:
        self.off = tuple(off)
        found, totals = compare_values(present.values, absent.values)
        self.records: tuple[Difference, ...] = tuple(found)
        self.totals = dict(totals)
        self.raised = (present.raised, absent.raised)
        rows = {hook.id for hook in off}
        self.fired = sum(row.id in rows for row in present.fired)
        known = {_who(hook) for hook in off}
        still = {_who(row): row for row in absent.fired if _who(row) in known}
        self.still_fired = tuple(still.values())

    @property
    def equal(self) -> bool:
        """Whether both runs came to the same, bit for bit."""
        return not self.records and self.raised[0] == self.raised[1]

    def of(self, *what: str) -> tuple[Difference, ...]:
        """Return the records of some kinds, such as ``found.of("gradient")``."""
        return tuple(one for one in self.records if one.what in what)

    def __str__(self) -> str:
        lines = [self._headline(), *self._remarks()]
        return "\n".join([*lines, "", table(self.records)] if self.records else lines)

    def _headline(self) -> str:
        names = [*dict.fromkeys(hook.name for hook in self.off)]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        with_it, without = self.raised
        if with_it != without:
            return (
                f"Without {shown} the step {_ends(without)}; with "
                f"{'it' if len(names) == 1 else 'them'} it {_ends(with_it)}."
            )
        raised = f" The step {_ends(with_it)} in both runs." if with_it else ""
        return f"Without {shown} {contrast(self.records, self.totals)}.{raised}"

    def _remarks(self) -> Iterable[str]:
        if not self.fired and self.raised[0] is None:
            yield "It did not fire in this step." if len(self.off) == 1 else "None of them fired."
            if any("full_backward" in hook.kind for hook in self.off):
                yield (
                    "PyTorch takes backward hooks along when a module is called: only those of "
                    "calls that the step makes itself are seen, and can be switched off."
                )
        for hook in self.still_fired:
            yield (
                f"{hook.name} on {hook.owner} fired in the second run too: it was registered "
                f"where PyTorch had begun to run the hooks there."
            )

    def __repr__(self) -> str:
        return f"<Counterfactual: {self._headline()}>"


def counterfactual(step: Callable[[], Any], *, off: Any, state: Any) -> Counterfactual:
    """Run a step twice, with some hooks and without them, and say what differs.

    Both runs begin from the same state and the same random numbers; afterwards all is put back
    bit for bit: parameters, buffers and gradients, optimizers, hooks, ``training``, other
    attributes of modules and the dictionaries and lists in them, random numbers.  What else the
    step changes is not put back, such as a list outside of the model to which a hook appends, or
    an iterator over data: let the step take its data from outside.

    Args:
        step: Called twice without arguments, such as a training step.  What it returns is
            compared.
        off: Which hooks: names (``"my_hook"``, ``"forward:my_hook"``, ``"my_hook on layer1.0"``),
            functions, or rows of ``ht.hooks(model)`` or ``t.hooks``; one or several.  Each is
            switched off wherever it is registered, also by the step itself.
        state: What the step changes: modules, optimizers, schedulers, scalers, tensors; one or
            several.  Hooks are looked for on these and on the parameters of the optimizers.

    Returns:
        What differs; print it.

    Raises:
        UnknownNameError: There is no such hook on `state`, and the step registered none.
        UnsupportedHookError: It is of a kind that cannot be switched off: ``pack``, ``unpack``,
            ``retain_grad``, ``node_creation``, ``queue_callback``, ``function_backward``, ``comm``.
        TraceStateError: A trace is open, which would record both runs.

    Example:
        >>> import torch
        >>> import hooktrace as ht
        >>> w = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> def double(grad):
        ...     return grad * 2
        >>> handle = w.register_hook(double)
        >>> found = ht.counterfactual(lambda: (w * w).sum().backward(), off="double", state=w)
        >>> [(one.what, one.before, one.after, one.change.text) for one in found.records]
        [('gradient', '[4, 12]', '[2, 6]', 'x0.5')]
    """
    if active():
        raise TraceStateError(
            "counterfactual() runs the step twice, and the open trace would record both runs. "
            "Call it outside of the block."
        )
    asked, things = _listed(off), _listed(state)
    _check(step, asked, things)
    snapshot = Snapshot(things)
    found = find_candidates(things)
    try:
        present = run_once(step, things, Registrations({}), found)
        chosen = choose(asked, found, present.log)
    finally:
        snapshot.restore()
    try:
        for hooks, number in chosen.places:
            hooks.pop(number, None)
        absent = run_once(step, things, Registrations(chosen.sites), [])
    finally:
        snapshot.restore()
    return Counterfactual(chosen.rows, present, absent)


def _ends(raised: str | None) -> str:
    return "runs to its end" if raised is None else f"raises {raised.rstrip('.')}"


def _who(hook: TracedHook) -> tuple[str, str, str, str]:
    return hook.kind, hook.name, hook.owner, hook.defined_at


def _listed(things: Any) -> list[Any]:
    several = isinstance(things, (list, tuple, set))
    return list(things) if several else [things]


def _check(step: Any, asked: list[Any], things: list[Any]) -> None:
    if not callable(step):
        raise TypeError(f"counterfactual() takes a callable, but got {type(step).__name__}.")
    if not asked:
        raise TypeError("off= names no hook.")
    for one in asked:
        if not (isinstance(one, (str, TracedHook)) or callable(one)):
            raise TypeError(
                f"off= takes names, functions and rows of hooks, but got {type(one).__name__}."
            )
    for thing in things:
        known = isinstance(thing, (torch.Tensor, torch.Generator, nn.Module, Mapping))
        if not known and not hasattr(thing, "__dict__"):
            raise TypeError(
                f"state= takes modules, optimizers, schedulers and tensors, but got "
                f"{type(thing).__name__}."
            )
