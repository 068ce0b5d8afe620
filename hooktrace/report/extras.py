"""What a report is given beside the log: findings, pictures, and how it is to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.findings import Finding
from hooktrace.records import Value

__all__ = ["LANGUAGES", "LIMIT_BYTES", "Extras", "HeatPicture", "Options"]

LANGUAGES = {"en": "English", "zh": "中文"}
"""The languages that a page can speak, by code: each has a file of words."""

LIMIT_BYTES = 2_000_000
"""How large a page may become by default."""


@dataclass(frozen=True)
class HeatPicture:
    """A heat map over its image.

    Attributes:
        title: Method, layer and target, such as ``gradcam of features.10 for class 281``.
        layer: Name of the layer that it was made of.
        png: The picture as a PNG file.
        note: What else is to be said.
    """

    title: str
    layer: str
    png: bytes
    note: str = ""


@dataclass(frozen=True)
class Extras:
    """What was worked out elsewhere.

    Attributes:
        findings: What the doctor found, worst first.
        unexplained: The exception that ended the block, if no finding explains it.
        looks: For values of which the content is kept: what they look like, as JSON can hold it.
        differences: For edits, by the values before and after: what the difference looks like.
        heat: Heat maps.
    """

    findings: Sequence[Finding] = ()
    unexplained: str = ""
    looks: Mapping[Value, dict[str, Any]] = field(default_factory=dict)
    differences: Mapping[tuple[Value, Value], dict[str, Any]] = field(default_factory=dict)
    heat: Sequence[HeatPicture] = ()


@dataclass(frozen=True)
class Options:
    """How the page is to be.

    Attributes:
        title: Its heading; empty for the name of the model.
        language: ``en`` or ``zh``; None for English that turns into the reader's language.
        step: Which step of a training loop its graph shows.
        limit_bytes: How large it may become.

    Raises:
        UnknownNameError: There is no such language.
        TypeError: The limit is no number, or the title no string.
        ValueError: The limit is too small for any page.
    """

    title: str = ""
    language: str | None = None
    step: int = 0
    limit_bytes: int = LIMIT_BYTES

    def __post_init__(self) -> None:
        if self.language is not None and self.language not in LANGUAGES:
            near = nearest(str(self.language), LANGUAGES)
            raise UnknownNameError(f"A report does not speak {self.language!r}.{near}")
        if not isinstance(self.title, str):
            raise TypeError(f"title= is the heading, a string, but got {self.title!r}.")
        if not isinstance(self.limit_bytes, int) or isinstance(self.limit_bytes, bool):
            raise TypeError(f"limit= is a number of bytes, but got {self.limit_bytes!r}.")
        if self.limit_bytes < _LEAST_BYTES:
            raise ValueError(
                f"limit= is the number of bytes that the page may have, at least {_LEAST_BYTES:,}, "
                f"but got {self.limit_bytes:,}."
            )


_LEAST_BYTES = 400_000  # script, style, words and lists alone take some 250,000
