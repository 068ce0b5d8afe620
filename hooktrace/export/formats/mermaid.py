"""A diagram of modules and hooks as Mermaid text, which README files show on code hosts.

Every character of a label that is not a letter, a digit or harmless is written by its number, so
that no name can end a label, begin Markdown or HTML, or be taken for syntax.
"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.export.exporter import exporter
from hooktrace.log import EventLog
from hooktrace.render.wording import badge, clip, configuration, path, shape, within, wrap
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.dataflow import flow
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.links import Flow, Link
from hooktrace.views.outline import Item, Outline, inside, outline
from hooktrace.views.rounds import step_of

__all__ = ["quoted", "to_mermaid"]

_MOST_HOOKS = 4
_STYLES = (
    "classDef changed stroke:#c2410c,stroke-width:3px",
    "classDef observed stroke:#2563a8",
    "classDef never stroke-dasharray:4 3",
    "classDef raised stroke:#b91c1c,stroke-width:3px",
)


@exporter("mermaid", ".mmd", ".mermaid")
def to_mermaid(log: EventLog, calls: CallIndex, *, depth: int | None = None, step: int = 0) -> str:
    """A diagram of modules and hooks for README files.

    Args:
        depth: Levels of nested modules to open, 0 or more; as many as can be read on one screen
            if it is not given.
        step: Which step of a loop, from 0; -1 for the last.
    """
    roots, _ = step_of(log, calls, step)
    uses = HookUse(log, calls)
    plan = outline(roots, uses, depth)
    return "\n".join(_Writer(plan, flow(log, roots, plan), uses).lines()) + "\n"


def quoted(*lines: str) -> str:
    """Write lines of text as the label of a node, whatever they hold.

    >>> quoted("a <b> #1")
    '"a #60;b#62; #35;1"'
    """
    return '"' + "<br/>".join("".join(map(_sign, line)) for line in lines if line) + '"'


def _sign(one: str) -> str:
    if one.isalnum() or one in " _,=/":
        return one
    return f"#{ord(one)};" if one.isprintable() else " "


class _Writer:
    """Writes items as nodes and subgraphs, hooks as nodes beside them, links as arrows."""

    def __init__(self, plan: Outline, found: Flow, uses: HookUse) -> None:
        self.plan = plan
        self.flow = found
        self.uses = uses
        self.styled: dict[str, list[str]] = {}
        self.dotted: list[str] = []

    def lines(self) -> Iterator[str]:
        """Yield the text."""
        yield "flowchart TD"
        for key, terminal in self.flow.terminals.items():
            yield f"  {_key(key)}([{quoted(terminal.text)}])"
        for item in self.plan.items:
            yield from self._item(item, "  ")
        yield from self._operations(None, "  ")
        for link in self.flow.links:
            yield f"  {self._link(link)}"
        yield from self.dotted
        yield from (f"  {style}" for style in _STYLES)
        for state, keys in self.styled.items():
            yield f"  class {','.join(keys)} {state}"

    def _item(self, item: Item, margin: str) -> Iterator[str]:
        call, key = item.call, _key(item.key)
        parent = item.parent.call.module.name if item.parent else ""
        name, kind = within(call.name, parent), call.module.type
        kind = "" if kind == call.name else clip(kind, 34)
        if item.children:
            yield f"{margin}subgraph {key}[{quoted(f'{name} {kind}'.strip(), _repeats(item))}]"
            for child in item.children:
                yield from self._item(child, f"{margin}  ")
            yield from self._operations(call, f"{margin}  ")
            yield f"{margin}end"
        else:
            config = wrap(configuration(call.module.type, call.module.config), 34)
            hidden = len(inside([call])) - 1
            count = f"{hidden} call{'s' * (hidden > 1)} inside" if hidden else ""
            lines = [name, kind, *config, count, _repeats(item), *_failure(call)]
            yield f"{margin}{key}[{quoted(*lines)}]"
        if call.exception:
            self._style(key, "raised")
        yield from self._hooks(call, key, margin)

    def _hooks(self, call: Call, key: str, margin: str) -> Iterator[str]:
        stories = self.uses.at(call)
        for number, story in enumerate(stories[:_MOST_HOOKS]):
            yield from self._hook(story, f"{key}_hook{number}", key, margin)
        if len(stories) > _MOST_HOOKS:
            more = f"{key}_hooks"
            yield f"{margin}{more}([{quoted(f'and {len(stories) - _MOST_HOOKS} more hooks')}])"
            self.dotted.append(f"  {more} -.- {key}")

    def _hook(self, story: HookStory, key: str, of: str, margin: str) -> Iterator[str]:
        yield f"{margin}{key}([{quoted(*wrap(badge(story), 34, 3))}])"
        self._style(key, story.state)
        self.dotted.append(f"  {key} -.- {of}")

    def _operations(self, call: Call | None, margin: str) -> Iterator[str]:
        number = None if call is None else call.id
        for one in self.flow.operations.values():
            if one.call == number:
                yield f"{margin}{_key(one.key)}({quoted(*wrap(', '.join(one.names), 30))})"

    def _link(self, link: Link) -> str:
        shapes = dict.fromkeys(shape(one, False) for one in link.seen)
        words = [*(clip(one, 48) for one in link.edits[:3]), link.written, *[*shapes][:3]]
        label = f"|{quoted(*words)}|" if any(words) else ""
        arrow = "==>" if link.edits else "-->" if link.certain else "-.->"
        return f"{_key(link.tail)} {arrow}{label} {_key(link.head)}"

    def _style(self, key: str, state: str) -> None:
        self.styled.setdefault(state, []).append(key)


def _key(key: str) -> str:
    """Return an id without what Mermaid reads as syntax."""
    return "".join(one if one.isascii() and one.isalnum() else "_" for one in key)


def _repeats(item: Item) -> str:
    if not item.repeats:
        return ""
    if item.same_module:
        return f"called {len(item.repeats) + 1} times in a row"
    first, last = path(item.repeats[0].name, 20), path(item.repeats[-1].name, 20)
    return f"+{len(item.repeats)} more like it, {first} to {last}"


def _failure(call: Call) -> list[str]:
    if call.exception:
        return wrap(f"raised {call.exception}", 44, 3)
    return ["did not return while the trace was open"] if call.exited is None else []
