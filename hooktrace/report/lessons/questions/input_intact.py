"""Was a tensor written to in place by the module that was given it?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.events import HookFired, Observation, TensorWritten, Value
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.call import Call

__all__ = ["input_intact"]

_MIGHT = ("ReLU", "LeakyReLU", "ReLU6", "ELU", "SiLU", "Hardswish", "Dropout", "Dropout2d")
"""Modules that work in place where they are told to."""


@question("input-intact")
def input_intact(scene: Scene) -> Iterator[Stop | None]:
    """Ask of the input of a forward hook, and of outputs that a later module takes."""
    written = {one.before: one for one in scene.log.of(TensorWritten)}
    for firing in scene.firings:
        if scene.log.hooks[firing.hook].kind == "forward":
            yield _in_hook(scene, firing, written)
    makers = _makers(scene)
    for write in scene.log.of(TensorWritten):
        yield _later(scene, write, makers.get(write.before))


def _in_hook(scene: Scene, firing: HookFired, written: dict[Value, TensorWritten]) -> Stop | None:
    """Ask whether ``input`` in a forward hook is as it went into forward()."""
    call = scene.call(firing)
    if call is None or call.children:
        return None
    entered, seen = _first(call.seen_inputs), _first(firing.inputs)
    if call.forward_started is not None and call.forward_started.inputs is not None:
        entered = _first(call.forward_started.inputs)
    if entered is None or seen is None or entered.tensor != seen.tensor:
        return None
    write = written.get(entered)
    if write is not None and not _by(write, call, firing):
        return None
    if (write is None) != (entered == seen):
        return None
    if write is None and not (call.module.base in _MIGHT and _made_anew(call)):
        return None
    started = call.forward_started
    if started is None or not scene.alone(started.seq, firing.seq):
        return None
    if write is not None:
        moment = Moment(started.seq, write.seq)
    else:
        moment = Moment(started.seq, firing.seq, order=1)
    hook, module = scene.hook(scene.log.hooks[firing.hook]), scene.title(call)
    asked = say("lesson_input", hook=hook, module=module, kind=_kind(call))
    return ask(moment, asked, *_answers(module, write is not None))


def _later(scene: Scene, write: TensorWritten, maker: Call | None) -> Stop | None:
    """Ask whether the next module writes into what one returned."""
    writer = None if write.call is None else scene.calls.calls[write.call]
    if maker is None or writer is None or not _by(write, writer, None):
        return None
    if not scene.plain(writer) or writer.children or maker.exited is None:
        return None
    cursor = writer.called.seq
    if maker.exited.seq >= cursor or not scene.alone(cursor, write.seq):
        return None
    moment = Moment(cursor, write.seq)
    maker_name, writer_name = scene.title(maker), scene.title(writer)
    asked = say("lesson_output", maker=maker_name, writer=writer_name, kind=_kind(writer))
    return ask(moment, asked, *_answers(writer_name, True))


def _answers(writer: str, gone: bool) -> tuple[Phrase, list[Phrase], Phrase]:
    """Return the right answer, the wrong ones, and the explanation."""
    kept, overwritten = say("lesson_kept"), say("lesson_overwritten", writer=writer)
    copied = say("lesson_copied")
    if gone:
        return overwritten, [kept, copied], say("lesson_why_overwritten", writer=writer)
    return kept, [overwritten], say("lesson_why_kept", writer=writer)


def _by(write: TensorWritten, call: Call, firing: HookFired | None) -> bool:
    """Whether it is certain that a call wrote into what it returned, before its forward hooks."""
    returned = {one.value.tensor for one in call.seen_outputs if one.value is not None}
    return (
        write.certain
        and write.after.tensor in returned
        and write.hook is None
        and write.call == call.id
        and write.after.version is not None
        and (firing is None or call.called.seq < write.seq < firing.seq)
    )


def _made_anew(call: Call) -> bool:
    """Whether what a call returned shares no memory with its input: no view, not the input."""
    given = {one.storage for one in call.seen_inputs}
    returned = {one.storage for one in call.seen_outputs}
    return None not in returned and not given & returned


def _kind(call: Call) -> str:
    config = call.module.config
    return f"{call.module.type}({config})" if len(config) <= 60 else call.module.type


def _first(seen: tuple[Observation, ...]) -> Value | None:
    """Return the value of the first argument, if it is a tensor that counts its versions."""
    value = next((one.value for one in seen if one.role == "args[0]"), None)
    return None if value is None or value.version is None else value


def _makers(scene: Scene) -> dict[Value, Call]:
    """Return which call returned a value first: the innermost one."""
    found: dict[Value, Call] = {}
    for call in sorted(scene.once(), key=lambda one: -one.depth):
        for seen in call.seen_outputs:
            if seen.value is not None and seen.role == "output":
                found.setdefault(seen.value, call)
    return found
