"""Which axis of a recorded tensor holds the channels, as told by the modules that touched it.

A convolution returns (N, C, *S) and a linear layer (N, ..., C), whatever the sizes.  A container, a
dropout or a permutation says nothing itself; but the tensor that it returned is often what
another module returned or takes, and such a module knows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from hooktrace.events import TensorSummary
from hooktrace.views.calls import Call

__all__ = ["FIRST", "LAST", "Told", "around", "descendants", "guess", "own", "spatial_axes", "tell"]

FIRST = "first"
LAST = "last"

_FIRST = re.compile(
    r"(Lazy)?Conv(Transpose)?(?P<conv>[123])d|(Lazy)?BatchNorm(?P<norm>[123])d|SyncBatchNorm"
    r"|(Lazy)?InstanceNorm[123]d|GroupNorm|LocalResponseNorm"
    r"|(Adaptive)?(Max|Avg)Pool[123]d|LPPool[123]d|FractionalMaxPool[23]d|MaxUnpool[123]d"
    r"|Upsample|Upsampling(Nearest|Bilinear)2d|Pixel(Uns|S)huffle|ChannelShuffle"
    r"|\w+Pad[123]d|Dropout[123]d|FeatureAlphaDropout|Softmax2d|FrozenBatchNorm2d"
)
_LAST = re.compile(
    r"Linear|LayerNorm|RMSNorm|Embedding|MultiheadAttention|RNN|LSTM|GRU"
    r"|Transformer(En|De)coder(Layer)?"
)
_SAME = re.compile(
    r"Dropout|AlphaDropout|Identity|StochasticDepth|DropPath|[CGS]?ELU|([PR]|Leaky)?ReLU6?"
    r"|SiLU|Mish|Hard(swish|sigmoid|tanh|shrink)|(Log)?Sigmoid|Tanh(shrink)?"
    r"|Soft(plus|sign|shrink)|Threshold"
)


class Told(NamedTuple):
    """What is known of the channel axis: ``first`` or ``last``, and which module says so."""

    axis: str
    by: str


def tell(call: Call) -> Told | None:
    """Tell the channel axis of what a call returned: None if no module on the way says it."""
    return _tell(call, frozenset())


def guess(call: Call) -> Told | None:
    """Guess it from the modules inside, the last that returned a tensor of the same shape.

    If there is none, from an input of the same shape.  Weaker than `tell`: what a container returns
    need not be laid out as what is inside it, or as what it was given.
    """
    seen = {call.id}
    while True:
        shape = _shape(call)
        for one in reversed(list(descendants(call))):
            axis = own(one)
            if axis is not None and _shape(one) == shape:
                return Told(axis, f"{one} inside {call}")
        first = call.seen_inputs[0] if call.seen_inputs else None
        if first is None or first.value is None or "Permute" in call.module.type:
            return None
        if getattr(first.summary, "shape", None) != shape:
            return None
        told = around(call, first.value)
        if told is not None:
            return Told(told.axis, f"its shape is that of its input, and {told.by}")
        source = _source(call, first.value)
        if source is None or source.id in seen:
            return None
        seen.add(source.id)
        call = source


def descendants(call: Call) -> Iterator[Call]:
    """Yield the calls inside a call, in order."""
    for child in call.children:
        yield child
        yield from descendants(child)


def spatial_axes(call: Call) -> int | None:
    """Return how many spatial axes a convolution or its like works on; None if any number."""
    found = re.search(r"([123])d$", call.module.base)
    return int(found[1]) if found and _FIRST.fullmatch(call.module.base) else None


def _tell(call: Call, passed: frozenset[int]) -> Told | None:
    axis = own(call)
    if axis is not None:
        return Told(axis, f"{call} is {_article(call.module.type)}")
    value = _value(call)
    if value is None or call.id in passed:
        return None
    passed = passed | {call.id}
    inner = _source(call, value)
    return (
        around(call, value)
        or _before(call, passed)
        or (None if inner is None else _tell(inner, passed))
    )


def around(call: Call, value: Any) -> Told | None:
    """Tell it of a tensor from another module that returned it, or that takes it."""
    for one, axis, how in _sightings(call.root).told.get(value, ()):
        if how == "takes" or one.id != call.id:
            return Told(axis, f"{one} {how} it")
    return None


def _before(call: Call, passed: frozenset[int]) -> Told | None:
    """Tell it from the input of an elementwise module or a permutation."""
    kinds = (call.module.type, call.module.base)
    same = any(_SAME.fullmatch(kind) for kind in kinds)
    if not (same or "Permute" in kinds) or not call.seen_inputs:
        return None
    value = call.seen_inputs[0].value
    source = None if value is None else _source(call, value)
    told = None if source is None else _tell(source, passed)
    if told is None or same:
        return told
    return Told(LAST if told.axis == FIRST else FIRST, f"it permutes, and before that {told.by}")


def _source(call: Call, value: Any) -> Call | None:
    found = _sightings(call.root).makers.get(value, ())
    return next((one for one in reversed(found) if one.id != call.id), None)


class _Sightings:
    """Where the values inside an outermost call were seen, each call read once.

    Attributes:
        told: By value, the calls that know their channel axis and returned or take it, in order.
        makers: By value, the calls that returned it, in order.
    """

    def __init__(self, root: Call) -> None:
        self.told: dict[Any, list[tuple[Call, str, str]]] = defaultdict(list)
        self.makers: dict[Any, list[Call]] = defaultdict(list)
        for one in descendants(root):
            axis, returned = own(one), _value(one)
            self.makers[returned].append(one)
            if axis is None:
                continue
            self.told[returned].append((one, axis, "returned"))
            for taken in dict.fromkeys(seen.value for seen in one.seen_inputs):
                self.told[taken].append((one, axis, "takes"))


_known: WeakKeyDictionary[Call, _Sightings] = WeakKeyDictionary()


def _sightings(root: Call) -> _Sightings:
    """Return those of a call, read anew as long as it goes on."""
    if root.exited is None:
        return _Sightings(root)
    if root not in _known:
        _known[root] = _Sightings(root)
    return _known[root]


def own(call: Call) -> str | None:
    """Return the channel axis of a module that knows it by its kind."""
    row = call.module
    if _FIRST.fullmatch(row.base) or row.type in ("FrozenBatchNorm2d", "LayerNorm2d"):
        return FIRST
    if not _LAST.fullmatch(row.base) or (row.base == "LayerNorm" and row.type != "LayerNorm"):
        return None
    if row.base in ("LayerNorm", "RMSNorm"):  # over one axis; over several it could be either
        return LAST if re.match(r"\(\d+,\)", row.config) else None
    return LAST


def _value(call: Call) -> Any:
    return next((seen.value for seen in call.seen_outputs if seen.value is not None), None)


def _shape(call: Call) -> tuple[int, ...] | None:
    for seen in call.seen_outputs:
        if isinstance(seen.summary, TensorSummary):
            return tuple(seen.summary.shape)
    return None


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" or name[:4] == "LSTM" else f"a {name}"
