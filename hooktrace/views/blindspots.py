"""What a run did that cannot be seen from Python, or that the trace was told not to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hooktrace.events import GradientComputed, ProbeFailed, TensorWritten
from hooktrace.log import EventLog

__all__ = ["BLIND_SPOTS", "BlindSpot", "blind_spots"]


@dataclass(frozen=True)
class BlindSpot:
    """Something that a trace cannot tell.

    Attributes:
        name: Such as ``compiled-region``.
        what: What is not seen.
        why: Why not.
        instead: What to do to see it.
        where: Where this concerns the run; empty in the list of all that there are.
    """

    name: str
    what: str
    why: str
    instead: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(self.where[:6])
        more = f" and {len(self.where) - 6} more" if len(self.where) > 6 else ""
        return f"{self.name}: {self.what} ({shown}{more}). {self.why} Instead: {self.instead}"


Finder = Callable[[EventLog], Iterator[str]]
_FINDERS: dict[str, Finder] = {}
BLIND_SPOTS: dict[str, BlindSpot] = {}
"""Everything of the kind that can be told of a run, by name."""


def _blind_spot(name: str, what: str, why: str, instead: str) -> Callable[[Finder], Finder]:
    """Enter a blind spot; the function yields where a log has it."""

    def enter(finder: Finder) -> Finder:
        BLIND_SPOTS[name] = BlindSpot(name, what, why, instead)
        _FINDERS[name] = finder
        return finder

    return enter


def blind_spots(log: EventLog) -> list[BlindSpot]:
    """Return the blind spots that concern a run, each with where it does."""
    found = []
    for name, finder in _FINDERS.items():
        where = tuple(dict.fromkeys(finder(log)))
        if where:
            spot = BLIND_SPOTS[name]
            found.append(BlindSpot(name, spot.what, spot.why, spot.instead, where))
    return found


# ------------------------------------------------------------------ code that Python does not run


@_blind_spot(
    "compiled-region",
    "module calls, hooks and gradients inside of compiled code are not seen",
    "Compiled code runs without Python; its hooks were built into it when it was compiled.",
    "trace the model uncompiled, or with torch.compiler.set_stance('force_eager').",
)
def _compiled(log: EventLog) -> Iterator[str]:
    for row in log.modules:
        if row.type == "OptimizedModule":
            yield row.label
    for other in log.unseen.get("outside-modules", ()):
        if other.startswith("OptimizedModule"):
            yield other
    yield from log.unseen.get("compiled-region", ())
    for node in log.nodes:
        if node.name.startswith("CompiledFunction"):
            yield node.name


@_blind_spot(
    "scripted-module",
    "hooks on the members of a ScriptModule are not seen, for they never fire",
    "TorchScript calls its members without Python.",
    "trace the module from which it was scripted.",
)
def _scripted(log: EventLog) -> Iterator[str]:
    for row in log.modules:
        if row.type in ("RecursiveScriptModule", "TopLevelTracedModule", "ScriptModule"):
            yield row.label


@_blind_spot(
    "ddp-reducer",
    "the hooks with which DistributedDataParallel averages gradients are not seen",
    "Its reducer hangs C++ functions on the nodes that accumulate gradients; a communication hook "
    "from before the block, and a built-in one, are held by C++ as well.",
    "register the communication hook inside the block; compare .grad before and after.",
)
def _reducer(log: EventLog) -> Iterator[str]:
    for row in log.modules:
        if row.type == "DistributedDataParallel":
            yield row.label


@_blind_spot(
    "replaced-function",
    "hooks that PyTorch calls in a function which somebody else has replaced are not seen",
    "The observations are put into PyTorch's own source; of another function nothing is known.",
    "open the block before the other tool is active, or without it.",
)
def _replaced(log: EventLog) -> Iterator[str]:
    yield from log.unseen.get("replaced-function", ())


# ------------------------------------------------------------------ what was there before


@_blind_spot(
    "graph-from-before",
    "hooks on intermediate tensors that were made before the block may fire unseen",
    "A tensor's hooks can be found from the tensor; these tensors were not met in the block, and "
    "of a tensor that is gone only C++ still knows the hooks.",
    "open the block before the forward pass.",
)
def _from_before(log: EventLog) -> Iterator[str]:
    yield from log.unseen.get("graph-from-before", ())


@_blind_spot(
    "shadowed-saved-tensor-hooks",
    "pairs of saved-tensor hooks below the one that was active when the block began are not listed",
    "Only the innermost pair is called; PyTorch shows no other.",
    "open the block outside of all `saved_tensors_hooks`.",
)
def _shadowed(log: EventLog) -> Iterator[str]:
    for row in log.hooks:
        if row.kind == "pack" and row.registered_at is None:
            yield row.name


# ------------------------------------------------------------------ what was not looked at


@_blind_spot(
    "outside-modules",
    "modules ran that are no part of the traced model",
    "The trace was given a model.",
    "give `trace()` several models, or none: then everything that runs is recorded.",
)
def _outside(log: EventLog) -> Iterator[str]:
    yield from log.unseen.get("outside-modules", ())


@_blind_spot(
    "contents-not-copied",
    "how hooks changed tensors in place, and their writes past the version counter, are not told",
    "The trace was told not to copy what hooks are given (edits='versions').",
    "leave `edits` away.",
)
def _not_copied(log: EventLog) -> Iterator[str]:
    if not log.copies:
        yield from (row.name for row in log.hooks)


@_blind_spot(
    "writes-past-the-counter",
    "writes by .data, numpy or DLPack to parameters, or to values that are not kept, are unseen",
    "They do not move the version counter, so only a comparison of the contents tells them.",
    "name the values in `keep=`; those are compared when the outermost call ends.",
)
def _past_the_counter(log: EventLog) -> Iterator[str]:
    called = {row.id for row in log.modules}
    if not called:
        yield "all tensors of the block"
    elif called - log.kept:
        yield f"the outputs of {len(called - log.kept)} of {len(called)} modules"


# ------------------------------------------------------------------ what is seen but not for sure


@_blind_spot(
    "writes-among-views",
    "a view was at a higher version than before, but which of its relatives was written to?",
    "A tensor and all its views share one version counter.",
    "name the values in `keep=`.",
)
def _uncertain(log: EventLog) -> Iterator[str]:
    for event in log.of(TensorWritten):
        if not event.certain:
            yield log.tensors[event.before.tensor].name or f"tensor t{event.before.tensor}"


@_blind_spot(
    "limited-gradients",
    "of some gradients it is not known for sure whose they are",
    "The autograd graph does not tell; the note at each of these gradients says why.",
    "see the notes: `[event.note for event in t.of(ht.events.GradientComputed)]`.",
)
def _limited(log: EventLog) -> Iterator[str]:
    for event in log.of(GradientComputed):
        if event.note:
            yield event.note


@_blind_spot(
    "unknown-thread",
    "in which module call some autograd nodes were made is not known",
    "Nodes are numbered per thread, and no numbers tell on which of the threads these were made.",
    "compute on that thread inside of modules, whose outputs are told apart.",
)
def _strangers(log: EventLog) -> Iterator[str]:
    for number in sorted(log.strangers):
        yield log.nodes[number].name


@_blind_spot(
    "node-never-reached",
    "on which autograd node a hook was registered is not known",
    "C++ does not say; the nodes are asked when a backward run begins, and none reached this one.",
    "run backward from what the node leads to, inside the block.",
)
def _never_reached(log: EventLog) -> Iterator[str]:
    for row in log.hooks:
        if row.kind in ("node", "node_pre") and row.node is None:
            yield row.name


@_blind_spot(
    "retain-grad-line",
    "where `retain_grad()` was called is not known",
    "It is a C++ function that leaves no trace in Python; it shows when the gradient arrives.",
    "search the code for `.retain_grad()`.",
)
def _retained(log: EventLog) -> Iterator[str]:
    for row in log.hooks:
        if row.kind == "retain_grad":
            yield row.owner


@_blind_spot(
    "failed-probe",
    "a part of hooktrace failed, so events are missing",
    "That is a defect of hooktrace; the program itself was not disturbed.",
    "run with HOOKTRACE_STRICT=1 and report the traceback.",
)
def _failed(log: EventLog) -> Iterator[str]:
    for event in log.of(ProbeFailed):
        yield event.probe
