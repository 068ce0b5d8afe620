"""Records of what was found out about stored tensors: by hooks, and by autograd."""

from __future__ import annotations

from hooktrace.records import CallId, Change, HookId, NodeId, Record, TensorId, Value

__all__ = ["Held", "ModifiedSave"]


class Held(Record, frozen=True, gc=False):
    """A tensor that a hook was given, or one that shares its memory, and that the hook stored.

    Attributes:
        hook: Who stored it.
        firing: In which firing, by ``seq``.
        role: Where the hook had it from, such as ``output`` or ``grad``.
        path: Where it is, as one would write it: ``acts['relu']``, ``self.saved[0]``.
        values: The stored tensor at the end of the firing, and as it was last seen.  If it is not
            the one that was given, it shares its memory, as what ``detach()`` returns does.
        change: How its content at the end of the firing differs from what it was seen to hold
            later; None where it is the same, or where there is no copy of it (``edits="versions"``,
            or more than 1 MiB): then the versions tell.
        graph_bytes: At least so much memory is kept alive by its autograd graph, beside its own;
            None if it has none.
        leaf: The leaf in whose ``.grad`` it shares memory.
        still: Whether it was there when the block ended; None if that cannot be told, because
            the hook was gone.
        doubt: Why it is not sure that it was stored then and there; empty if it is.
    """

    hook: HookId
    firing: int
    role: str
    path: str
    values: tuple[Value, Value]
    change: Change | None
    graph_bytes: int | None
    leaf: TensorId | None
    still: bool | None
    doubt: str = ""

    @property
    def written(self) -> bool:
        """Whether its content is known to be another than at the end of the firing."""
        if self.change is not None:
            return self.change.kind != "unchanged"
        before, after = self.values
        return before.version != after.version

    @property
    def container(self) -> str:
        """The path of the container that it is in; the path itself where it is in none."""
        return self.path.rpartition("[")[0] or self.path


class ModifiedSave(Record, frozen=True, gc=False):
    """A tensor that autograd had saved for backward, and that was written to before it was used.

    Attributes:
        backward: Number of the run that raised.
        node: The node that needs it.
        attribute: What the node calls it: ``self`` of a ``_saved_self``.
        saved: The value that was saved; None if it is not known which tensor that is.
        expected: The version that was saved.
        found: The version that the tensor has now.
        writer: The node of the operation that wrote last, if autograd knows.
        call: The module call in which that operation ran.
        lines: ``file:line`` where it was saved and where it was written; empty unless anomaly
            detection was on.
    """

    backward: int
    node: NodeId
    attribute: str
    saved: Value | None
    expected: int
    found: int
    writer: NodeId | None = None
    call: CallId | None = None
    lines: tuple[str, str] = ("", "")
