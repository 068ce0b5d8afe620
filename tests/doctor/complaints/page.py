"""The page of complaints, ``docs/complaints.md``."""

from __future__ import annotations

import re
from pathlib import Path

from . import Complaint, complaint, outcome

PAGE = Path(__file__).parents[3] / "docs" / "complaints.md"
HEAD = Path(__file__).with_name("head.md").read_text(encoding="utf-8")

SECTIONS = {
    "The hook never fires": (
        "out_proj",
        "direct_forward",
        "dict_output",
        "frozen_backbone",
        "indexed_twice",
        "stale_view",
        "compiled_before",
    ),
    "It raises": (
        "in_place_relu",
        "residual_add",
        "bare_gradient",
        "hook_without_graph",
        "gan_step",
        "slice_assignment",
    ),
    "The numbers are wrong": (
        "overwritten_activation",
        "shared_gradient",
        "clipped_in_place",
        "previous_gradient",
        "parameter_for_gradient",
        "legacy_hook",
        "before_the_parameters",
        "masked_division",
    ),
    "It fires too often, or stays": (
        "recomputed",
        "shared_activation",
        "profiled_twice",
        "extractor_left_behind",
        "removed_too_late",
        "copied_model",
        "kept_graph",
    ),
    "The network does not learn, or not what it should": (
        "unused_parameter",
        "dead_relu",
        "dropout_at_inference",
    ),
}
"""The programs in the order of the page."""


def names() -> list[str]:
    """Return the names of all programs on the page, in its order."""
    return [name for section in SECTIONS.values() for name in section]


def page() -> str:
    """Run every program and return the page."""
    parts = [HEAD, contents()]
    for title, section in SECTIONS.items():
        parts += [f"## {title}", *(entry(complaint(name)) for name in section)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def contents() -> str:
    """Return a table of the complaints and the answers, in one sentence each."""
    rows = ["| asked | the doctor's answer |", "|---|---|"]
    for name in names():
        asked, run = plain(complaint(name).asked), outcome(name)
        answer = next((one.message for one in run.findings if one.rule == run.expected), "")
        cell = answer.replace("|", "\\|")
        rows.append(f"| [{asked}](#{anchor(asked)}) | {cell} |")
    return "\n".join(rows)


def anchor(heading: str) -> str:
    """Return what GitHub makes of a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def entry(one: Complaint) -> str:
    """Return what the page says of one complaint."""
    said = outcome(one.name).findings
    return (
        f"### {plain(one.asked)}\n\n{thread(one.link)}: {plain(one.cause)}\n\n"
        f"```python\n{one.program}```\n\n```text\n{said}\n```"
    )


def thread(link: str) -> str:
    """Return a Markdown link to a thread, named as GitHub does: ``pytorch#78109``."""
    repository, _, number = link.removeprefix("https://github.com/").split("/")[1:]
    return f"[{repository}#{number}]({link})"


def plain(text: str) -> str:
    """Turn the double backquotes of docstrings into Markdown's."""
    return text.replace("``", "`")
