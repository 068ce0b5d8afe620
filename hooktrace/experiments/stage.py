"""Where experiments run: copies of a model, with empty full backward hooks on some modules."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from hooktrace import _torch_copies
from hooktrace.errors import CopyError
from hooktrace.features import feature_of
from hooktrace.firing import describe_error
from hooktrace.identity import arguments, leaves
from hooktrace.log import EventLog
from hooktrace.session import Trace
from hooktrace.tracebacks import frames_of

__all__ = ["Outcome", "SpentError", "Stage"]


class SpentError(Exception):
    """The copy has run as often as it may."""


class Outcome:
    """What a run with hooks did.

    Attributes:
        fired: The modules whose hooks fired.
        raised: What is known of the exception, in the terms of `Trial`; empty if there was none.
        open: The modules that were being called when it was raised.
    """

    def __init__(self) -> None:
        self.fired: set[str] = set()
        self.raised: dict[str, Any] = {}
        self.open: set[str] = set()


class Stage:
    """Copies of the model, and what surrounds a run of one.

    Args:
        model: It is copied at once.
        example: A tensor, a tuple of arguments, or a dict of keyword arguments; copied at once.
        limit: How often copies may run.

    Attributes:
        model: The copy, without the user's hooks; only copies of it run.
        backward: Whether what it returns has a gradient to be asked for.
        dropped: Names of the user's forward (pre) hooks that the copy lacks.
    """

    def __init__(self, model: nn.Module, example: Any, limit: int) -> None:
        own = {id(one) for one in model.modules()}
        self.left = limit
        self.limit = limit
        self.dropped: list[str] = []
        self.backward = True

        def keeps(store: str, hook: Any) -> bool:
            method_of = getattr(hook, "__self__", None)
            ours = id(method_of) in own and "backward" not in store
            if feature_of(hook) or ours:
                return True
            if store in ("_forward_pre_hooks", "_forward_hooks"):
                self.dropped.append(getattr(hook, "__qualname__", type(hook).__name__))
            return False

        with _copying(type(model).__name__, "the model"):
            self.model = _torch_copies.copied(model, keeps)
        with _copying(type(model).__name__, "the example"):
            self.example = _copy_of(example)

    @contextlib.contextmanager
    def set(self) -> Iterator[None]:
        """Within it, the process is as experiments need it."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(_torch_copies.without_global_hooks())
            stack.enter_context(_torch_copies.eager(self.model))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            yield

    def plain_run(self) -> EventLog:
        """Run the model without hooks and return what was recorded."""
        self._spend()
        model = _torch_copies.lean_copy(self.model)
        trace = Trace(model)
        try:
            with _torch_copies.same_randomness(), trace:
                self.backward = _send_back(self._forward(model))
        except Exception as error:
            if self.dropped:
                names = ", ".join(dict.fromkeys(self.dropped))
                error.add_note(f"hooktrace: check() ran a copy without your forward hooks: {names}")
            raise
        return trace.log

    def run(self, names: Sequence[str]) -> Outcome:
        """Run the model with an empty full backward hook on each of some modules.

        Raises:
            SpentError: There were `limit` runs.
        """
        self._spend()
        model = _torch_copies.lean_copy(self.model)
        modules = dict(model.named_modules())
        outcome = Outcome()

        def noting(name: str) -> Any:
            return lambda module, grad_input, grad_output: outcome.fired.add(name)

        try:
            stage = "registration"
            for name in names:
                modules[name].register_full_backward_hook(noting(name))
            stage = "run"
            with _torch_copies.same_randomness():
                results = self._forward(model)
                if self.backward:
                    _send_back(results)
        except Exception as error:
            outcome.raised = _facts(error, stage, model, outcome)
        return outcome

    def _spend(self) -> None:
        if self.left <= 0:
            raise SpentError
        self.left -= 1

    def _forward(self, model: nn.Module) -> list[torch.Tensor]:
        example = _copy_of(self.example)
        if isinstance(example, dict):
            output = model(**example)
        elif isinstance(example, tuple):
            output = model(*example)
        else:
            output = model(example)
        return [one for _, one in leaves(output, "output") if isinstance(one, torch.Tensor)]


def _send_back(results: list[torch.Tensor]) -> bool:
    """Run backward from the sum of what a model returned; return whether there was anything."""
    able = [one for one in results if one.requires_grad]
    if able:
        totals = [(one.abs() if one.is_complex() else one).sum() for one in able]
        torch.autograd.backward(totals)
    return bool(able)


def _copy_of(example: Any) -> Any:
    tensors = [one for _, one in arguments((example,), {}) if isinstance(one, torch.Tensor)]
    return copy.deepcopy(example, {id(one): _torch_copies.fresh(one) for one in tensors})


@contextlib.contextmanager
def _copying(model: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise CopyError(
            f"check() with an example runs deep copies, but {what} of {model} cannot be copied: "
            f"{describe_error(error)}. Make a model anew and check that, before it has run; or "
            f"leave the example away, which checks only what is registered."
        ) from error


# ------------------------------------------------------------------ what an exception tells


def _facts(error: Exception, stage: str, model: nn.Module, outcome: Outcome) -> dict[str, Any]:
    """Return what an exception tells, and note the modules that were being called."""
    names = {id(module): name for name, module in model.named_modules()}
    culprit: nn.Module | None = None
    raised_at = ""
    wrapping = False
    for frame, line in frames_of(error):
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            outcome.open.add(names[id(owner)])
            culprit, raised_at = owner, ""
        raised_at = line or raised_at
        wrapping = frame.f_code.co_name in ("setup_input_hook", "setup_output_hook") or wrapping
    text = str(error)
    if stage == "registration":
        cause = "registration"
    elif "modified inplace" in text:
        cause = "in place"
    elif "setup_context" in text or "forward mode AD" in text:
        cause = "torch.func"
    else:
        cause = "output" if wrapping else "other"
    return {
        "cause": cause,
        "error": describe_error(error),
        "culprit": "" if culprit is None else names[id(culprit)],
        "culprit_type": "" if culprit is None else type(culprit).__name__,
        "line": raised_at,
    }
