"""What the page says of each rule in the reader's language, beside the finding in English."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor.rule import RULES, sentence
from hooktrace.findings import Finding
from hooktrace.report.extras import LANGUAGES
from hooktrace.report.rulewords import rule_key, rule_words, says_the_usual
from hooktrace.report.words import words

OURS = [name for name in RULES if RULES[name].__module__.startswith("hooktrace.")]
OTHERS = [one for one in LANGUAGES if one != "en"]


@pytest.mark.parametrize("language", OTHERS)
def test_every_rule_has_a_title_a_reason_and_advice(language: str) -> None:
    keys = [f"{rule_key(name)}{end}" for name in OURS for end in ("", "_why", "_instead")]
    assert list(rule_words(language, OURS)) == list(rule_words("en", OURS)) == keys
    for key, text in rule_words(language, OURS).items():
        assert re.search(r"[一-鿿]", text), key
        assert not re.search(r"[一-鿿] ?[,;:?!]", re.sub(r"`[^`]*`", "", text)), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_a_rule_breaks_as_words_of_the_page(language: str) -> None:
    for key, text in rule_words(language, OURS).items():
        assert text.count("`") % 2 == 0, key
        assert "{" not in text, key


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_code_in_one_language_is_code_in_the_other(language: str) -> None:
    """The advice names the same calls, but for those that only English spells out."""
    english, other = rule_words("en", OURS), rule_words(language, OURS)
    for key, text in other.items():
        added = set(re.findall(r"`([^`]*)`", text)) - set(re.findall(r"`([^`]*)`", english[key]))
        assert added <= {"with"}, key


def test_the_words_of_a_file_are_of_rules_that_there_are() -> None:
    for language in OTHERS:
        every = [*OURS, "no-such-rule"]
        assert len(rule_words(language, every)) == 3 * len(OURS)


def test_what_a_rule_always_says_is_told_from_what_it_says_of_this_run() -> None:
    why = rule_words("en", ["never-fired"])["rule_never_fired_why"]
    usual = Finding("never-fired", "warning", "x", why=why.rstrip("."), instead="call it.")
    assert says_the_usual(usual, "_why")
    assert not says_the_usual(usual, "_instead")
    assert not says_the_usual(Finding("of-somebody-else", "note", "x"), "_why")


@pytest.fixture(scope="module")
def page_of_findings(tmp_path_factory: Any) -> tuple[Any, str]:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU())
    with ht.trace(net) as t:
        y = net(torch.ones(1, 2))
        net[0].register_full_backward_hook(lambda *_: None)
        y.sum().backward()
    path = t.report(tmp_path_factory.mktemp("rules") / "x.html", lang="zh")
    return t.findings(), Path(path).read_text("utf-8")


def test_a_finding_has_its_title_in_the_language_and_its_message_marked_as_english(
    page_of_findings: Any,
) -> None:
    findings, page = page_of_findings
    assert {one.rule for one in findings} == {"never-fired", "leaked-hook"}
    section = page.split('<section id="findings"')[1].split("</section>")[0]
    for one in findings:
        title = rule_words("zh", [one.rule])[rule_key(one.rule)]
        assert f'data-w="{rule_key(one.rule)}">{title}<' in section
        assert f"{rule_key(one.rule)}_why" in section
        assert sentence(one.why) not in section
    prose = re.sub(r'<span lang="en".*?</span>|<code>.*?</code>|<[^>]*>', " ", section)
    assert re.findall(r"[A-Za-z]{3,} [a-z]{3,} [a-z]{2,}", prose) == []


def test_a_page_without_findings_says_so_and_has_no_words_of_rules(tmp_path: Path) -> None:
    with ht.trace() as t:
        torch.ones(2, requires_grad=True).sum().backward()
    quiet = Path(t.report(tmp_path / "quiet.html", lang="zh")).read_text("utf-8")
    assert words("zh")["doctor_nothing"] in quiet
    part = re.search(r'data-part="words">([^<]*)<', quiet)
    assert part is not None
    packed = json.loads(gzip.decompress(base64.b64decode(part[1])))
    assert [key for key in packed["zh"] if key.startswith("rule_")] == []
