"""Lessons: stops at which the report asks before it shows.

Questions are made from the trace, and what the trace recorded is the answer, so that it is true
by itself.  What the trace does not tell for certain is not asked.  A kind of question is one file
in `hooktrace.report.lessons.questions`, found by its being there.
"""

from __future__ import annotations

import hashlib
from typing import Any

from hooktrace.log import EventLog
from hooktrace.report.lessons import questions as _questions  # noqa: F401  (fills QUESTIONS)
from hooktrace.report.lessons.choosing import chosen
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import QUESTIONS, Stop
from hooktrace.report.parts import encoded
from hooktrace.views.calls import CallIndex

__all__ = ["lesson_data", "stops"]


def stops(log: EventLog, calls: CallIndex) -> list[Stop]:
    """Return the stops of a lesson on a trace, in the order of the timeline.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
    """
    scene = Scene(log, calls)
    if not scene.whole:
        return []
    return chosen({name: QUESTIONS[name](scene) for name in QUESTIONS})


def lesson_data(log: EventLog, calls: CallIndex) -> dict[str, Any]:
    """Return the lesson as the page's data.

    Returns:
        ``stops``, and ``id``: equal for lessons that ask the same of the same run.
    """
    found = [one.data() for one in stops(log, calls)]
    what = encoded([log.surroundings.started, found])
    return {"id": hashlib.sha256(what).hexdigest()[:16], "stops": found}
