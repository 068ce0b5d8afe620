"""Short words for pictures: configurations, paths, shapes, hooks."""

from __future__ import annotations

import re

from hooktrace.events import Observation, TracedHook
from hooktrace.views.hookuse import HookStory

__all__ = [
    "badge",
    "clip",
    "configuration",
    "count",
    "hook_name",
    "path",
    "printable",
    "shape",
    "short_numbers",
    "within",
    "wrap",
]

_DULL = {
    "bias=True", "dilation=1", "dilation=(1, 1)", "ceil_mode=False", "padding=0", "groups=1",
    "affine=True", "track_running_stats=True", "inplace=False", "elementwise_affine=True",
    "eps=1e-05", "eps=1e-06", "momentum=0.1", "start_dim=1", "end_dim=-1", "stride=1",
    "stride=(1, 1)", "padding=(0, 0)", "approximate='none'",
}  # fmt: skip
_RENAMED = {
    "kernel_size": "kernel",
    "num_embeddings": "",
    "embedding_dim": "",
    "output_size": "to",
    "normalized_shape": "",
}


def clip(string: str, length: int) -> str:
    """Shorten a string at its end, and say so with three dots."""
    line = " ".join(string.split())
    return line if len(line) <= length else line[: length - 3].rstrip() + "..."


def count(number: int, noun: str) -> str:
    """Write a number of things: ``1 call``, ``2 calls``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Replace what would move the cursor or colour the terminal: names can hold anything."""
    return "".join(one if one.isprintable() else " " for one in text)


def path(name: str, length: int = 34) -> str:
    """Shorten a dotted name at its beginning: its end is what tells modules apart.

    >>> path("encoder.layers.encoder_layer_0.mlp.0", 26)
    '...encoder_layer_0.mlp.0'
    """
    if len(name) <= length:
        return name
    parts = name.split(".")
    while len(parts) > 1 and len(".".join(parts)) + 3 > length:
        parts.pop(0)
    return "..." + ".".join(parts)[-(length - 3) :]


def within(name: str, around: str, length: int = 20) -> str:
    """Write a dotted name; a long one by what the caption of the frame around it leaves open.

    >>> within("encoder.layers.encoder_layer_0.mlp", "encoder.layers.encoder_layer_0")
    '...mlp'
    >>> within("encoder.layers.encoder_layer_0.mlp.0", "encoder.layers.encoder_layer_0.mlp")
    '...mlp.0'
    """
    if len(name) > length and around and name.startswith(f"{around}."):
        rest = name[len(around) + 1 :]
        above = around.rpartition(".")[2]
        return path(f"...{above}.{rest}" if rest.isdigit() else f"...{rest}")
    return path(name)


def configuration(kind: str, config: str) -> str:
    """Write a module's ``extra_repr`` shortly, leaving out what is usual.

    >>> configuration("Conv2d", "3, 64, kernel_size=(3, 3), stride=(2, 2), bias=False")
    '3 -> 64, kernel 3x3, stride 2, no bias'
    >>> configuration("Linear", "in_features=8, out_features=2, bias=True")
    '8 -> 2'
    """
    parts = [part for part in _split(config) if part not in _DULL]
    if kind.startswith(("Conv", "Linear", "NonDynamicallyQuantizableLinear")) and len(parts) > 1:
        ends = [part.rpartition("=")[2] for part in parts[:2]]
        parts[:2] = [" -> ".join(ends)]
    return ", ".join(_plain(part) for part in parts)


def _plain(part: str) -> str:
    if part == "bias=False":
        return "no bias"
    if part == "inplace=True":
        return "in place"
    key, sign, value = part.partition("=")
    if not sign:
        return _square(part)
    value = _square(value)
    if key in ("stride", "padding", "dilation") and len(set(value.split("x"))) == 1:
        value = value.split("x")[0]
    return f"{_RENAMED.get(key, key.replace('_', ' '))} {value}".strip()


def _square(value: str) -> str:
    sizes = re.fullmatch(r"\((\d+), (\d+)\)", value)
    return f"{sizes[1]}x{sizes[2]}" if sizes else value


def _split(config: str) -> list[str]:
    """Split at the commas that are outside of brackets."""
    parts, depth, start = [], 0, 0
    for position, sign in enumerate(config):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append(config[start:position].strip())
            start = position + 1
    return [part for part in (*parts, config[start:].strip()) if part]


def wrap(string: str, length: int, lines: int = 2) -> list[str]:
    """Break a string at spaces into at most so many lines; the last one is clipped."""
    found: list[str] = []
    words = string.split()
    while words and len(found) < lines:
        line = words.pop(0)
        while words and len(line) + 1 + len(words[0]) <= length:
            line += " " + words.pop(0)
        found.append(clip(line, length + 6))
    if words and found:
        found[-1] = clip(f"{found[-1]} {' '.join(words)}", length)
    return found


def shape(seen: Observation, numbers: bool = True) -> str:
    """Write what flows: the shape, and the numbers of a very small tensor, to 4 digits.

    >>> from hooktrace.events import TensorSummary
    >>> shape(Observation("x", None, TensorSummary((1, 3), "float32", "cpu", False)))
    '1x3'
    """
    if isinstance(seen.summary, str):
        return clip(seen.summary, 20)
    words = seen.summary.dimensions
    if not seen.summary.dtype.startswith("float32"):
        words += f" {seen.summary.dtype}"
    if numbers and seen.numbers is not None and len(seen.numbers) <= 4:
        words += f" = {short_numbers(seen.numbers)}"
    return words


def short_numbers(numbers: tuple[float, ...]) -> str:
    """Write numbers to 4 digits.

    >>> short_numbers((0.123456, 2.0))
    '[0.1235, 2]'
    """
    return "[" + ", ".join(f"{number:.4g}" for number in numbers) + "]"


def badge(story: HookStory) -> str:
    """Say in one line what a hook is and what it did.

    One of the words ``changed``, ``observed``, ``never fired`` and ``raised`` is always there.
    """
    number = f"#{story.order} " if story.order else ""
    where = f" on {clip(story.on, 24)}" if story.on else ""
    whose = f" of {story.hook.feature}" if story.hook.feature else ""
    words = f"{number}{story.hook.kind} hook {hook_name(story.hook)}{whose}{where}"
    again = f", {story.again} in backward" if story.again else ""
    times = f" ({len(story.firings)}x{again})" if len(story.firings) > 1 else ""
    if story.state == "raised":
        error = next(event.exception for event in story.firings if event.exception)
        return f"{words}{times} raised {clip(error or '', 40)}"
    if story.state == "changed":
        return f"{words}{times} changed {clip('; '.join(story.texts), 60)}"
    if story.state == "never":
        return f"{words} never fired"
    return f"{words}{times} {'returned equal values' if story.copied else 'observed'}"


def hook_name(hook: TracedHook) -> str:
    """Write the name of a hook's function shortly, by its end."""
    return path(hook.name.replace("<locals>.", ""), 28)
