"""What the page says without any script: picture, tables, lists."""

from __future__ import annotations

import base64
import re
from glob import escape
from typing import Any

from hooktrace import __version__
from hooktrace.errors import RenderError
from hooktrace.events import HookFired
from hooktrace.findings import SEVERITIES
from hooktrace.log import EventLog
from hooktrace.render.diagram import digraph
from hooktrace.render.dot import printable
from hooktrace.render.wording import clip
from hooktrace.report.extras import Extras, HeatPicture, Options
from hooktrace.report.phrases import Phrase, in_order, say
from hooktrace.report.sources import shown_place, told_of
from hooktrace.report.words import words
from hooktrace.views.calls import CallIndex
from hooktrace.views.effects import edits, writes
from hooktrace.views.hookuse import changes_something
from hooktrace.views.summary import ModuleRow, summarise

__all__ = ["overview", "static_context"]

_FONT = "Helvetica,sans-Serif"  # as the engine writes it
_PLACES = re.compile(r' (?:d|points|x|y)="[^"]*"')
_TENTH = re.compile(r"(\d\.\d)\d+")  # of a point: more is not seen
_MOST_EVENTS = 100  # and those that something in the page links to
_MOST_LINKS = 24  # of a finding
_MOST_MODULES = 800
_MOST_CHANGES = 500
_FOUND = {
    "error": ("found_error", "found_errors"),
    "warning": ("found_warning", "found_warnings"),
    "note": ("found_note", "found_notes"),
}


_BLANK_TEXT = re.compile(r"<text\b[^>]*>(?:\s|&#160;)*</text>\n?")
_TWICE = re.compile(
    r'<path fill="(?P<fill>[^"]+)" stroke="none" d="(?P<way>[^"]+)"/>\n'
    r'<path fill="none" (?P<line>[^>]*)d="(?P=way)"/>'
)


def overview(log: EventLog, calls: CallIndex, options: Options) -> tuple[str, list[Phrase]]:
    """Return the picture of the run as SVG, and what the ledger has to say of it."""
    asked: dict[str, Any] = {"step": options.step} if calls.roots() else {}
    if not log.events:
        return "", [say("left_empty_picture")]
    try:
        svg = digraph(log, calls, **asked).pipe(encoding="utf-8")
    except RenderError as error:
        return "", [say("left_picture", error=str(error))]
    return _bare(str(svg)), []


def _bare(svg: str) -> str:
    """Return an SVG without what the page has itself, or what changes nothing in it.

    The page has the style sheet and the font; blank texts and node names show nothing, a text
    begins at its place unless it is told otherwise, and a box is filled and framed at once.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style>.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?|<title>.*?</title>\n?", "", svg, flags=re.DOTALL)
    svg = _TWICE.sub(r'<path fill="\g<fill>" \g<line>d="\g<way>"/>', _BLANK_TEXT.sub("", svg))
    svg = svg.replace(f' font-family="{_FONT}"', "").replace(' text-anchor="start"', "")
    return in_order(_PLACES.sub(lambda one: _TENTH.sub(r"\1", one[0]), svg))


def static_context(
    log: EventLog, calls: CallIndex, extras: Extras, options: Options
) -> tuple[dict[str, Any], list[Phrase]]:
    """Return what the template shows, and what the ledger has to say of it."""
    rows, totals = summarise(log, calls)
    firings = log.of(HookFired)
    changes = [one for one in edits(log) if not one.equal]
    written = writes(log, calls)
    shown: dict[str, list[Any]] = {
        "findings": list(extras.findings),
        "edits": changes[:_MOST_CHANGES],
        "writes": written[:_MOST_CHANGES],
        "hooks": [_hook(log, row, firings) for row in log.hooks],
        "heat": [_heat(one, calls) for one in extras.heat],
    }
    listed = _events(log, calls, _linked(shown))
    title, title_key = _title(log, calls, options)
    context = {
        **shown,
        "title": printable(title),
        "title_key": title_key,
        "version": __version__,
        "around": log.surroundings,
        "facts": {
            "events": len(log.events),
            "calls": len(calls),
            "hooks": len(log.hooks),
            "firings": len(firings),
        },
        "error": log.error,
        "most_links": _MOST_LINKS,
        "doctor": _doctor(extras),
        "shown_path": shown_place,
        "modules": [_module(row) for row in rows[:_MOST_MODULES]],
        "totals": totals.sizes,
        "sizes_known": totals.known,
        "events": listed,
        "more_events": len(log.events) - len(listed),
    }
    lists = (
        ("left_modules", len(rows), _MOST_MODULES),
        ("left_edits", len(changes), _MOST_CHANGES),
        ("left_writes", len(written), _MOST_CHANGES),
    )
    ledger = [say(key, rest=f"{count - most:,}", count=f"{count:,}") for key, count, most in lists
              if count > most]  # fmt: skip
    if not_listed := len(log.events) - len(listed):
        count = f"{len(log.events):,}"
        ledger.append(say("left_events_on_paper", rest=f"{not_listed:,}", count=count))
    return context, ledger


def _doctor(extras: Extras) -> list[Phrase]:
    """Return the doctor's summary: how many findings of which severity, what is unexplained."""
    found = []
    for severity in SEVERITIES:
        count = sum(one.severity == severity for one in extras.findings)
        if count:
            one, several = _FOUND[severity]
            found.append(say(one if count == 1 else several, count=f"{count:,}"))
    if extras.unexplained:
        found.append(say("doctor_unexplained", error=clip(extras.unexplained, 100)))
    return found or [say("doctor_nothing")]


def _heat(one: HeatPicture, calls: CallIndex) -> dict[str, Any]:
    found = [call for call in calls.matching(escape(one.layer)) if not call.recomputed]
    return {
        "title": one.title,
        "note": one.note,
        "layer": one.layer,
        "seq": found[-1].called.seq if found else None,
        "png": base64.b64encode(one.png).decode(),
    }


def _title(log: EventLog, calls: CallIndex, options: Options) -> tuple[str, str]:
    """Return the heading, and its key if it is a word of the page."""
    names = dict.fromkeys(one.module.type for one in calls.roots())
    if title := options.title or ", ".join(names):
        return title, ""
    key = "only_tensors" if log.events else "empty_trace"
    return words(options.language or "en")[key], key


def _hook(log: EventLog, row: Any, firings: list[HookFired]) -> dict[str, Any]:
    its = [one for one in firings if one.hook == row.id]
    return {
        "kind": row.kind,
        "owner": row.owner,
        "name": row.name,
        "defined": shown_place(row.defined_at),
        "fired": len(its),
        "first": its[0].seq if its else None,
        "changed": sum(changes_something(log, one) for one in its),
        "raised": sum(bool(one.exception) for one in its),
    }


def _module(row: ModuleRow) -> dict[str, Any]:
    backward = row.cost.backward_ns
    return {
        "name": row.name,
        "type": row.type,
        "depth": row.depth,
        "output": ", ".join(one.dimensions for one in row.outputs[:3]),
        "parameters": row.inside.parameters,
        "memory": row.cost.output_bytes,
        "forward": row.cost.forward_ns / 1e6,
        "backward": None if backward is None else backward / 1e6,
        "calls": row.calls,
        "hooks": ", ".join(row.hooks),
    }


def _linked(shown: dict[str, list[Any]]) -> set[int]:
    """Return the events that something shown in the page links to."""
    found = {seq for one in shown["findings"] for seq in one.events[:_MOST_LINKS]}
    found |= {one.seq for key in ("edits", "writes") for one in shown[key]}
    found |= {one["first"] for one in shown["hooks"]} | {one["seq"] for one in shown["heat"]}
    return found


def _events(log: EventLog, calls: CallIndex, linked: set[int]) -> list[dict[str, Any]]:
    """Return the first events, and those that are linked to."""
    found = []
    for place, event in enumerate(log.events):
        if place >= _MOST_EVENTS and event.seq not in linked:
            continue
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        found.append({"seq": event.seq, "kind": event.label, "text": told_of(log, event, call)})
    return found
