"""The words of the page: the same in each language, none unused, none missing."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hooktrace.report import lessons
from hooktrace.report.extras import LANGUAGES
from hooktrace.report.script import asset
from hooktrace.report.words import words

REPORT = Path(lessons.__file__).parents[1]
ASSETS = REPORT / "assets"
OTHERS = [one for one in LANGUAGES if one != "en"]


def placeholders(text: str) -> list[str]:
    return sorted(set(re.findall(r"\{(\w*)\}", text)))


def strings() -> set[str]:
    """Every word-like string in the scripts, the template and the code: what may be a key."""
    found: set[str] = set()
    for path in ASSETS.glob("*.js"):
        found |= set(re.findall(r"""["'`](\w+)["'`]""", path.read_text()))
    template = asset("report.html.j2")
    found |= set(re.findall(r'"(\w+)"', template)) | set(re.findall(r"\bw\.(\w+)", template))
    for path in REPORT.rglob("*.py"):
        constants = (
            one.value
            for one in ast.walk(ast.parse(path.read_text()))
            if isinstance(one, ast.Constant)
        )
        found |= {one for one in constants if isinstance(one, str)}
    return found | {"error", "warning", "note"}  # severities of findings


def keys_asked_for() -> set[str]:
    """What is asked for by a name that stands there."""
    found: set[str] = set()
    for path in ASSETS.glob("*.js"):
        source = path.read_text()
        found |= set(re.findall(r'\.word\(\s*"(\w+)"', source))
        found |= set(re.findall(r'\bbutton\(\s*report,\s*"(\w+)"', source, re.IGNORECASE))
    template = asset("report.html.j2")
    found |= set(re.findall(r'data-(?:w|tab)="(\w+)"', template))
    found |= set(re.findall(r"\bw\.(\w+)", template))
    for path in REPORT.rglob("*.py"):
        constants = (
            one.value
            for one in ast.walk(ast.parse(path.read_text()))
            if isinstance(one, ast.Constant)
        )
        found |= {
            one for one in constants if isinstance(one, str) and re.fullmatch(r"lesson_\w+", one)
        }
    return found - {"lesson_data"}


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_has_the_same_words(language: str) -> None:
    assert list(words(language)) == list(words("en"))


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_inserts_the_same_values(language: str) -> None:
    for key, text in words("en").items():
        assert placeholders(words(language)[key]) == placeholders(text), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_empty_or_has_a_backtick_too_many(language: str) -> None:
    for key, text in words(language).items():
        assert text.strip() == text != "", key
        assert text.count("`") % 2 == 0, key


def made_up() -> list[re.Pattern[str]]:
    """What keys look like that the scripts put together: ``kind_${kind}``."""
    sources = [path.read_text() for path in ASSETS.glob("*.js")]
    parts = [one for text in sources for one in re.findall(r"`(\w*)\$\{[^`]+\}(\w*)`", text)]
    found = [re.compile(f"{first}\\w+{last}") for first, last in parts if "_" in first + last]
    return [*found, *(re.compile(f"{group}_\\w+") for group in retold_groups())]


def retold_groups() -> list[str]:
    """The groups of the sentences by which lines of a trace are recognised."""
    (listed,) = re.findall(r"fromEntries\(\[([^\]]+)\]", asset("retold.js"))
    return re.findall(r'"(\w+)"', listed)


def test_no_word_is_unused() -> None:
    used, patterns = strings(), made_up()
    left = [key for key in words("en") if key not in used]
    assert [key for key in left if not any(one.fullmatch(key) for one in patterns)] == []


def test_no_word_is_missing() -> None:
    assert sorted(keys_asked_for() - set(words("en"))) == []


def test_chinese_texts_use_the_marks_of_their_language() -> None:
    for key, text in words("zh").items():
        prose = re.sub(r"`[^`]*`|\{\w+\}", "", text)
        assert not re.search(r"[一-鿿] ?[,;:?!]", prose), key


def test_names_stand_apart_from_chinese_letters() -> None:
    chinese = {"state", "why", "rest"}  # what is inserted there begins and ends in Chinese
    for key, text in words("zh").items():
        if key.startswith("what_"):  # there a hook is a title, which begins in Chinese
            continue
        close = re.findall(r"[一-鿿]\{(\w+)\}|\{(\w+)\}[一-鿿]", text)
        assert {name for pair in close for name in pair if name} <= chinese, key
