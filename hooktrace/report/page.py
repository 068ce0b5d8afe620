"""The page itself: what stands in it as HTML, and the data for its scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from hooktrace.log import EventLog
from hooktrace.report.bands import band_forms
from hooktrace.report.colours import colours
from hooktrace.report.eventforms import Kept, event_forms
from hooktrace.report.extras import LANGUAGES, Extras, Options
from hooktrace.report.lessons import lesson_data
from hooktrace.report.levels import graph_forms
from hooktrace.report.lookforms import looks_part
from hooktrace.report.parts import Form, Part, fit, packed
from hooktrace.report.phrases import Phrase, coded, ordered, said, say, values_text
from hooktrace.report.rulewords import rule_key, rule_words, says_the_usual
from hooktrace.report.script import asset, digest, script, style
from hooktrace.report.sources import shown_places, sources_data
from hooktrace.report.static import overview, static_context
from hooktrace.report.words import words
from hooktrace.views.calls import CallIndex

__all__ = ["page"]

_HEAT_SHARE = 0.4  # of the limit, that heat maps may take
_LEDGER_BYTES = 4_000
_JOINT = re.compile(r"(?<=[._/])(?=[^\s._/])")


def page(log: EventLog, calls: CallIndex, extras: Extras, options: Options) -> str:
    """Return the whole page as HTML.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        extras: Findings, pictures of values, heat maps.
        options: How the page is to be.

    Raises:
        IndexError: There is no such step.
    """
    picture, no_picture = overview(log, calls, options)
    extras, no_heat = _with_heat_that_fits(extras, int(options.limit_bytes * _HEAT_SHARE))
    shown, not_shown = static_context(log, calls, extras, options)
    context = {**shown, **_frame(options, extras), "picture": picture}
    template = _template()
    bare = template.render(**context, parts=(), ledger=())
    free = options.limit_bytes - len(bare.encode("utf-8", "replace")) - _LEDGER_BYTES
    parts, left_out = fit(_parts(log, calls, extras, options), free)
    return template.render(
        **context, parts=parts, ledger=[*no_picture, *no_heat, *not_shown, *left_out]
    )


_STYLES = ("report", "inspector", "timeline", "lesson", "graph", "narrow")


def _frame(options: Options, extras: Extras) -> dict[str, Any]:
    """Return what every page has: words, style, scripts, and the policy that allows them alone."""
    language = options.language or "en"
    rules = {one.rule for one in extras.findings}
    sheet, code = colours() + style(_STYLES), script()
    return {
        "style": sheet,
        "code": code,
        "policy": _policy(sheet, code),
        "lang": language,
        "follows": options.language is None,
        "languages": LANGUAGES,
        "words": packed("words", {one: _words(one, rules) for one in LANGUAGES}),
        "w": _words(language, rules),
    }


def _words(language: str, rules: Iterable[str]) -> dict[str, str]:
    return {**words(language), **rule_words(language, sorted(rules))}


def _with_heat_that_fits(extras: Extras, room: int) -> tuple[Extras, list[Phrase]]:
    """Return the extras with as many heat maps as fit, and what is to be said of the others."""
    fitting = []
    for one in extras.heat:
        room -= len(one.png) * 4 // 3
        if room < 0:
            break
        fitting.append(one)
    others = extras.heat[len(fitting) :]
    names = ", ".join(one.title for one in others)
    told = [say("left_heat", names=names)] if others else []
    return replace(extras, heat=fitting), told


def _parts(log: EventLog, calls: CallIndex, extras: Extras, options: Options) -> list[Part]:
    """Return the data of the panels, that of which most depends first."""
    kept = Kept(len(log.events))
    return [
        Part("events", event_forms(log, calls, kept), 0.5),
        Part("graph", graph_forms(log, calls, options.step), 0.4),
        Part("bands", band_forms(log, calls, kept), 0.4),
        Part("lesson", (Form(lambda: lesson_data(log, calls)),), 0.3),
        Part("sources", (Form(lambda: sources_data(log)),), 0.3),
        looks_part(extras, 0.7),
    ]


def _policy(sheet: str, code: str) -> str:
    """Return a content-security policy by which nothing runs and nothing is fetched but this."""
    return (
        f"default-src 'none'; script-src '{digest(code)}'; style-src '{digest(sheet)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["coded"] = _coded
    environment.filters["breaking"] = _breaking
    environment.filters["said"] = said
    environment.filters["ordered"] = ordered
    environment.filters["rule_key"] = rule_key
    environment.tests["usual"] = says_the_usual
    environment.filters["values"] = values_text
    return environment.from_string(asset("report.html.j2"))


def _breaking(text: str) -> Markup:
    """Return a name as HTML that may be broken after its joints, and nowhere else."""
    return Markup("<wbr>").join(map(ordered, _JOINT.split(text)))


def _coded(text: str) -> Markup:
    """Return text as HTML: what stands between backticks as code, places as they are shown."""
    return coded(shown_places(str(text)))
