"""The page itself: what stands in it as HTML, and the data for its scripts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jinja2
import msgspec

from hooktrace.log import EventLog
from hooktrace.report.colours import colours
from hooktrace.report.extras import LANGUAGES, Extras, Options
from hooktrace.report.happened import calls_data, events_data, hooks_data
from hooktrace.report.lookforms import looks_part
from hooktrace.report.parts import Form, Part, fit
from hooktrace.report.script import asset, digest, script
from hooktrace.report.sources import sources_data
from hooktrace.report.static import overview, static_context
from hooktrace.report.words import all_words, words
from hooktrace.views.calls import CallIndex

__all__ = ["page"]

_HEAT_SHARE = 0.4  # of the limit, that heat maps may take
_LEDGER_BYTES = 4_000


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
    language = options.language or "en"
    picture, ledger = overview(log, calls, options)
    extras, left_out = _with_heat_that_fits(extras, int(options.limit_bytes * _HEAT_SHARE))
    style, code = colours() + asset("report.css") + asset("inspector.css"), script()
    fixed = {
        **static_context(log, calls, extras, options),
        "picture": picture,
        "style": style,
        "code": code,
        "policy": _policy(style, code),
        "lang": language,
        "follows": options.language is None,
        "languages": LANGUAGES,
        "words": _in_script({"words": all_words()}),
        "w": words(language),
    }
    bare = _template().render(**fixed, parts=[], ledger=[])
    room = options.limit_bytes - len(bare.encode()) - _LEDGER_BYTES
    data, missing = fit(_parts(log, calls, extras), room)
    return _template().render(**fixed, parts=data, ledger=[*ledger, *left_out, *missing])


def _with_heat_that_fits(extras: Extras, room: int) -> tuple[Extras, list[str]]:
    """Return the extras with as many heat maps as fit, and what is to be said of the others."""
    fitting = []
    for one in extras.heat:
        room -= len(one.png) * 4 // 3
        if room < 0:
            break
        fitting.append(one)
    others = extras.heat[len(fitting) :]
    told = [f"Heat maps: {', '.join(one.title for one in others)}."] if others else []
    return replace(extras, heat=fitting), told


def _parts(log: EventLog, calls: CallIndex, extras: Extras) -> list[Part]:
    """Return the data of the panels, that of which most depends first."""
    return [
        Part(
            "events",
            (
                Form(lambda: _happened(log, calls, details=True)),
                Form(
                    lambda: _happened(log, calls, details=False),
                    "What was seen at events that no hook has to do with.",
                ),
            ),
            0.5,
        ),
        Part("sources", (Form(lambda: sources_data(log)),), 0.3),
        looks_part(extras, 0.7),
    ]


def _happened(log: EventLog, calls: CallIndex, *, details: bool) -> dict[str, Any]:
    return {
        "events": events_data(log, calls, details=details),
        "calls": calls_data(calls),
        "hooks": hooks_data(log),
    }


def _policy(style: str, code: str) -> str:
    """Return a content-security policy by which nothing runs and nothing is fetched but this."""
    return (
        f"default-src 'none'; script-src '{digest(code)}'; style-src '{digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _in_script(data: Any) -> str:
    """Return JSON that nothing in it can end the script element around it."""
    text = msgspec.json.encode(data).decode()
    for one in "<>&\u2028\u2029":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return text


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset("report.html.j2"))
