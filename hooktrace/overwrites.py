"""The kind of event for gradients that were overwritten on their way."""

from __future__ import annotations

from typing import ClassVar

from hooktrace.records import Event, HookId, NodeId, Observation

__all__ = ["GradientOverwritten"]


class GradientOverwritten(Event, frozen=True, gc=False, tag=True):
    """A gradient on its way to one node was overwritten by a hook at another node.

    Autograd had sent both of them the same memory.

    Attributes:
        hook: The hook that wrote in place; its firing is told by `HookFired`.
        at: The node at which it fired.
        sender: The node that sent the gradient out; None where it was already in ``.grad``, or
            captured by ``autograd.grad``.
        node: The node that it was sent to.
        before: What was sent.
        after: What the hook left of it.
        arrived: Whether `after` is what the node was given or ``.grad`` holds; else it was added
            to other gradients, or went through other hooks, by the time it was seen.
    """

    label: ClassVar[str] = "overwrite"

    hook: HookId
    at: NodeId
    sender: NodeId | None
    node: NodeId
    before: Observation
    after: Observation
    arrived: bool
