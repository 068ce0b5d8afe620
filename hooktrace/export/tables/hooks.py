"""Rows of hooks and of what was changed: hooks, edits, writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from hooktrace.events import HookFired, HookId
from hooktrace.export.rows import named_tensor, table
from hooktrace.log import EventLog
from hooktrace.views import effects
from hooktrace.views.calls import CallIndex


class HookRow(NamedTuple):
    """One hook, whether it fired or not."""

    hook: int
    kind: str
    name: str
    owner: str
    module: str | None
    tensor: str | None
    defined_at: str
    registered_at: str | None
    options: str
    feature: str
    fired: int
    edits: int
    duration_ns: int
    raised: int


@table("hooks", HookRow)
def hooks(log: EventLog, calls: CallIndex) -> Iterator[HookRow]:
    """Yield the rows."""
    fired: dict[HookId, list[HookFired]] = defaultdict(list)
    for event in log.of(HookFired):
        fired[event.hook].append(event)
    for hook in log.hooks:
        firings = fired[hook.id]
        yield HookRow(
            hook=hook.id,
            kind=hook.kind,
            name=hook.name,
            owner=hook.owner,
            module=None if hook.module is None else log.modules[hook.module].name,
            tensor=named_tensor(log, hook.tensor),
            defined_at=hook.defined_at,
            registered_at=hook.registered_at,
            options=", ".join(hook.options),
            feature=hook.feature,
            fired=len(firings),
            edits=sum(len(one.edits) for one in firings),
            duration_ns=sum(one.duration_ns for one in firings),
            raised=sum(one.exception is not None for one in firings),
        )


class EditRow(NamedTuple):
    """One change that a hook made."""

    seq: int
    hook: int
    kind: str
    name: str
    owner: str
    call: str | None
    role: str
    how: str
    before: str | None
    after: str | None
    change: str
    text: str
    factor: float | None
    changed: int | None
    total: int | None
    max_difference: float | None


@table("edits", EditRow)
def edits(log: EventLog, calls: CallIndex) -> Iterator[EditRow]:
    """Yield the rows."""
    for edit in effects.edits(log):
        event = log.at(edit.seq)
        assert isinstance(event, HookFired)
        call = None if event.call is None else calls.calls.get(event.call)
        before, after = edit.values
        change = edit.change
        yield EditRow(
            seq=edit.seq,
            hook=edit.hook.id,
            kind=edit.hook.kind,
            name=edit.hook.name,
            owner=edit.hook.owner,
            call=None if call is None else str(call),
            role=edit.role,
            how=edit.how,
            before=None if before is None else str(before),
            after=None if after is None else str(after),
            change=change.kind,
            text=change.text,
            factor=change.factor,
            changed=change.changed,
            total=change.total,
            max_difference=change.max_difference,
        )


class WriteRow(NamedTuple):
    """One write in place to a tensor that was seen."""

    seq: int
    tensor: str | None
    before: str
    after: str
    what: str
    by: str
    call: str | None
    hook: int | None
    optimizer: str
    certain: bool
    line: str


@table("writes", WriteRow)
def writes(log: EventLog, calls: CallIndex) -> Iterator[WriteRow]:
    """Yield the rows."""
    for write in effects.writes(log, calls):
        yield WriteRow(
            seq=write.seq,
            tensor=named_tensor(log, write.before.tensor),
            before=str(write.before),
            after=str(write.after),
            what=write.what,
            by=write.by,
            call=None if write.call is None else str(write.call),
            hook=None if write.hook is None else write.hook.id,
            optimizer=write.optimizer,
            certain=write.certain,
            line=write.line,
        )
