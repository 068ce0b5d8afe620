"""A page on a hook kind, a rule of the doctor or a heat map method, by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from hooktrace.doctor.rule import RULES
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.kinds import KINDS, HookKind, spoken

__all__ = ["RESULTS", "names", "page_of"]

RESULTS = {
    "pack": "is what autograd keeps",
    "retain_grad": "fills `.grad`",
    "unpack": "is what the node computes with",
    "function_backward": "is the gradients of its inputs",
    "post_accumulate_grad": "must be None",
    "load_state_dict_post": "must be None; edit the keys",
    "comm": "a future with the averaged gradients",
}
"""What is done with the result of a hook that does not replace an argument and is not ignored."""

_WHERE = {
    "module": "a module",
    "tensor": "a tensor",
    "node": "a node of the autograd graph",
    "optimizer": "an optimizer",
    "backward": "one run of the backward engine",
    "thread": "a with block, for the thread that it is in",
    "state_dict": "a module or an optimizer, for saving and loading",
    "registration": "the process, for every module",
    "communication": "a DistributedDataParallel",
}


def page_of(name: str) -> str:
    """Return what there is to say of a name, in Markdown.

    Raises:
        UnknownNameError: Nothing has this name; the message gives the nearest.
    """
    if name in KINDS:
        return _kind(KINDS[name])
    if name in RULES:
        from hooktrace.doctor.pages import page

        return page(RULES[name]).replace("[All rules](../rules.md)", "").rstrip() + "\n"
    methods = _methods()
    if name in methods:
        return _method(name, methods[name])
    known = [*KINDS, *RULES, *methods]
    raise UnknownNameError(
        f"No kind of hook, rule of the doctor or heat map method is named {name!r}."
        f"{nearest(name, known)}"
    )


def names() -> Iterator[tuple[str, list[str]]]:
    """Yield what there is a page on: a heading, and the names below it."""
    yield "Kinds of hooks", list(KINDS)
    yield "Rules of the doctor", list(RULES)
    yield "Heat map methods", list(_methods())


def _kind(kind: HookKind) -> str:
    result = RESULTS.get(kind.name, "is ignored")
    if kind.replaces:
        result = f"replaces {kind.replaces}, unless it is None"
    rows = [
        f"# {kind.name}",
        f"A {spoken(kind.name)}.",
        f"* **registered by** `{kind.registered_by}`",
        f"* **hangs on** {_WHERE[kind.family]}",
        f"* **called with** {', '.join(f'`{one}`' for one in kind.arguments) or 'nothing'}",
        f"* **its result** {result}",
    ]
    if kind.gradient:
        rows.append("* what it is given are gradients: it is called by a backward run")
    return "\n".join([rows[0], "", rows[1], "", *rows[2:]]) + "\n"


def _methods() -> dict[str, Callable[..., object]]:
    from hooktrace.cam import METHODS

    return {name: METHODS[name] for name in METHODS}


def _method(name: str, found: Callable[..., object]) -> str:
    return f"# {name}\n\n{(inspect.getdoc(found) or '').replace('``', '`')}\n"
