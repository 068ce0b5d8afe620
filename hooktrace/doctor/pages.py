"""The rules as pages of the documentation, made of what they say of themselves.

``make rules`` writes them; a test holds them equal.
"""

from __future__ import annotations

import re
from pathlib import Path

from hooktrace.doctor.rule import HEADINGS, RULES, Rule, describe
from hooktrace.findings import SEVERITIES

__all__ = ["BEGIN", "END", "body", "page", "prose", "sentence", "table", "write"]

BEGIN, END = "<!-- the table of rules -->\n", "<!-- its end -->\n"


def write(folder: Path) -> None:
    """Write the pages below a folder, the table into ``rules.md``; delete those of former rules."""
    below = folder / "rules"
    below.mkdir(exist_ok=True)
    for old in below.glob("*.md"):
        if old.stem not in RULES:
            old.unlink()
    for name in RULES:
        (below / f"{name}.md").write_text(page(RULES[name]), encoding="utf-8")
    overview = folder / "rules.md"
    before, _, rest = overview.read_text(encoding="utf-8").partition(BEGIN)
    overview.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}", encoding="utf-8")


def table() -> str:
    """Return the table of all rules, worst first, with a link to the page of each."""
    lines = ["", "| rule | severity | what it finds |", "|---|---|---|"]
    rules = [RULES[name] for name in RULES]
    for found in sorted(rules, key=lambda one: (SEVERITIES.index(one.severity), one.name)):
        name = f"[`{found.name}`](rules/{found.name}.md)"
        needs = ", with `stats=True`" if found.statistics else ""
        lines.append(f"| {name} | {found.severity}{needs} | {prose(describe(found).summary)} |")
    return "\n".join([*lines, "", ""])


def page(found: type[Rule]) -> str:
    """Return the page of a rule."""
    needs = "It needs a trace with `stats=True`. " if found.statistics else ""
    return f"{body(found)}\n{needs}[All rules](../rules.md)\n"


def body(found: type[Rule]) -> str:
    """Return what a rule says of itself, in Markdown."""
    sections = describe(found).sections
    parts = [
        f"# {found.name}",
        f"*{found.severity.capitalize()}.* {prose(describe(found).summary)}",
        *(f"**{name}.** {sentence(sections[name])}" for name in HEADINGS[:-2]),
        f"## Fires on\n\n```python\n{sections['Fires']}\n```",
        f"## Silent on\n\n```python\n{sections['Silent']}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    """Return a text of a docstring in Markdown.

    >>> prose("by ``grad.mul_(2)``, see https://example.org/a_b, which says so")
    'by `grad.mul_(2)`, see <https://example.org/a_b>, which says so'
    """
    text = text.replace("``", "`")
    return re.sub(r"(?<![<(])https?://[^\s>)]*[^\s>).,;:]", r"<\g<0>>", text)


def sentence(text: str) -> str:
    """Return a text of a docstring in Markdown, beginning as a sentence does.

    >>> sentence("return ``grad * 2``."), sentence("https://example.org")
    ('Return `grad * 2`.', '<https://example.org>')
    """
    return prose(text if text.startswith("http") else text[:1].upper() + text[1:])
