"""Makes the links of a picture few: no dead ends, no chains of operations, no doubles.

Operations of the same name side by side, such as four slices of one tensor that are joined again,
become one: ``4x slice``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from hooktrace.events import Value
from hooktrace.views.links import Link, Operation

__all__ = ["Tidier"]


class Tidier:
    """Drops dead ends, absorbs what reads only parameters, joins what is alike and chains."""

    def __init__(self, links: list[Link], operations: dict[str, Operation]) -> None:
        self.links = links
        self.operations = operations

    def tidy(self) -> Tidier:
        """Do all of it, and return itself."""
        self._drop_dead_ends()
        self._absorb_parameters()
        return self.shorten()

    def shorten(self) -> Tidier:
        """Join what is alike, chains and doubles, and return itself."""
        self._join_chains()
        if self._join_alike():
            self._join_chains()
        self._merge()
        return self

    def _drop(self, keys: set[str]) -> None:
        self.operations = {key: one for key, one in self.operations.items() if key not in keys}
        self.links = [link for link in self.links if not keys & {link.tail, link.head}]

    def _drop_dead_ends(self) -> None:
        tails: dict[str, list[str]] = defaultdict(list)
        for link in self.links:
            tails[link.head].append(link.tail)
        alive: set[str] = set()
        stack = [link.head for link in self.links if link.head not in self.operations]
        while stack:
            key = stack.pop()
            if key not in alive:
                alive.add(key)
                stack += tails[key]
        self._drop({key for key in self.operations if key not in alive})

    def _absorb_parameters(self) -> None:
        """Merge an operation on parameters alone into what uses its result."""
        while True:
            fed = {link.head for link in self.links}
            alone = [key for key in self.operations if key not in fed]
            if not alone:
                return
            for key in alone:
                for link in self.links:
                    target = self.operations.get(link.head)
                    if link.tail == key and target is not None:
                        names = self.operations[key].parameters
                        target.parameters += [n for n in names if n not in target.parameters]
            self._drop(set(alone))

    def _join_chains(self) -> None:
        for key in list(self.operations):
            while True:
                after = {link.head for link in self.links if link.tail == key}
                head = next(iter(after)) if len(after) == 1 else ""
                target = self.operations.get(head)
                if target is None or target.call != self.operations[key].call:
                    break
                if any(one.seen for one in self.links if (one.tail, one.head) == (key, head)):
                    break  # what is known of it would be lost
                if {link.tail for link in self.links if link.head == head} != {key}:
                    break
                self._join(self.operations[key], target)

    def _join_alike(self) -> bool:
        """Make one of the operations that do the same between the same ends."""
        ends: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        for link in self.links:
            ends[link.head][0].add(link.tail)
            ends[link.tail][1].add(link.head)
        alike: dict[object, list[str]] = defaultdict(list)
        for key, one in self.operations.items():
            if not one.parameters and not any(self._is_marked(key)):
                tails, heads = map(frozenset, ends[key])
                alike[one.call, tuple(one.names), tails, heads].append(key)
        rows = [keys for keys in alike.values() if len(keys) > 1]
        for keys in rows:
            first = self.operations[keys[0]]
            names = ", ".join(first.names)
            many = f"{len(keys)}x"
            first.names = [f"{many} ({names})" if len(first.names) > 1 else f"{many} {names}"]
            self._drop(set(keys[1:]))
        return bool(rows)

    def _is_marked(self, key: str) -> Iterator[bool]:
        """Yield, for each link at an operation, whether something happened to its value."""
        for link in self.links:
            if key in (link.tail, link.head):
                yield bool(link.edits or link.written)

    def _join(self, first: Operation, second: Operation) -> None:
        first.names += second.names
        first.parameters += second.parameters
        self.links = [
            link for link in self.links if (link.tail, link.head) != (first.key, second.key)
        ]
        for link in self.links:
            link.tail = first.key if link.tail == second.key else link.tail
        del self.operations[second.key]

    def _merge(self) -> None:
        merged: dict[tuple[str, str], Link] = {}
        for link in self.links:
            known = merged.setdefault((link.tail, link.head), link)
            if known is link:
                continue
            known.seen += [one for one in link.seen if one.value not in _values(known)]
            known.edits += [text for text in link.edits if text not in known.edits]
            known.written = known.written or link.written
        self.links = list(merged.values())


def _values(link: Link) -> list[Value | None]:
    return [one.value for one in link.seen]
