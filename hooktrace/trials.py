"""The record of an experiment: what a full backward hook on one module of a copy did."""

from __future__ import annotations

from hooktrace.records import Record
from hooktrace.tables import TracedHook

__all__ = ["CAUSES", "OUTCOMES", "Trial"]

OUTCOMES = ("fires", "raises", "never fires", "not called", "not tried")
CAUSES = ("in place", "output", "torch.func", "registration", "together", "other")
"""Why a hook raises: something writes in place, the output cannot be wrapped, a transform of
`torch.func` refuses, it cannot be registered, it raises only beside others, or none of these."""


class Trial(Record, frozen=True):
    """What happened with an empty full backward hook on one module.

    Attributes:
        module: Its name; empty for the root.
        type: Name of its class.
        outcome: One out of `OUTCOMES`.
        cause: One out of `CAUSES`, where it raised.
        error: What was raised, as ``Type: message``.
        culprit: Name of the module whose code raised.
        culprit_type: Its class; empty if no module's did.
        inside: Whether it was raised in a call of the module itself.
        line: ``file:line`` of the culprit's own code that raised; empty if that is PyTorch's.
        reason: Why the hook never fired; or that it was foretold to raise, but was not tried.
        hooks: The user's full backward (pre) hooks on this module.
    """

    module: str
    type: str
    outcome: str
    cause: str = ""
    error: str = ""
    culprit: str = ""
    culprit_type: str = ""
    inside: bool = False
    line: str = ""
    reason: str = ""
    hooks: tuple[TracedHook, ...] = ()

    @property
    def label(self) -> str:
        """Name and class, such as ``features.0 (Conv2d)``."""
        return f"{self.module} ({self.type})" if self.module else self.type
