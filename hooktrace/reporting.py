"""Writing reports: what needs the doctor, tensors or Pillow is made ready here."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hooktrace.doctor import diagnose
from hooktrace.log import EventLog
from hooktrace.render.diagram import mimebundle as picture_bundle
from hooktrace.render.engine import write_atomically
from hooktrace.report import Extras, Options, page
from hooktrace.report.extras import LIMIT_BYTES, HeatPicture
from hooktrace.views.calls import CallIndex

__all__ = ["heat_pictures", "mimebundle", "report_text", "write_report"]

_NOTEBOOK_BYTES = 1_000_000  # a notebook is kept under version control, and opened as a whole


def write_report(log: EventLog, calls: CallIndex, path: str | Path, **options: Any) -> Path:
    """Write the report of a trace; `hooktrace.Trace.report` describes the options."""
    text = report_text(log, calls, **options)
    return write_atomically(Path(path), text.encode("utf-8", "replace"))


def report_text(
    log: EventLog,
    calls: CallIndex,
    *,
    lang: str | None = None,
    step: int = 0,
    limit: int | None = None,
    title: str = "",
    cam: Any = None,
) -> str:
    """Return the report of a trace as HTML."""
    options = Options(title, lang, step, LIMIT_BYTES if limit is None else limit)
    heat = [] if cam is None else heat_pictures(cam)
    found = diagnose(log, calls)
    extras = Extras(list(found), found.unexplained, heat=heat)
    if log.snapshots:
        from hooktrace.valuelooks import looks  # needs torch

        seen = looks(log)
        extras = replace(extras, looks=seen.values, differences=seen.differences)
    return page(log, calls, extras, options)


def heat_pictures(cam: Any) -> list[HeatPicture]:
    """Return heat maps as pictures, one for each map and image.

    Args:
        cam: What `hooktrace.explain` and `cam` of a trace return, or a pair of that and the
            photographs: one for each image, or a single one.

    Raises:
        TypeError: It is neither.
        MapShapeError: There are more or fewer photographs than images, or one is no picture.
        MissingExtraError: Pillow is not installed.
    """
    from hooktrace.cam.heatmaps import HeatMap, HeatMaps

    maps, photos = cam if isinstance(cam, tuple) and len(cam) == 2 else (cam, None)
    if not isinstance(maps, (HeatMap, HeatMaps)):
        raise TypeError(
            f"cam= takes heat maps as t.cam() and hooktrace.explain() return them, or a pair "
            f"(maps, photographs), but got {type(maps).__name__}."
        )
    every = [maps] if isinstance(maps, HeatMap) else list(maps.maps.values())
    return [picture for one in every for picture in _pictures(one, photos)]


def _pictures(heat: Any, photos: Any) -> Iterator[HeatPicture]:
    from hooktrace.cam.overlay import answer, flagged, tile
    from hooktrace.errors import MapShapeError

    count = len(heat.raw)
    several = photos if isinstance(photos, (list, tuple)) else [photos] * count
    if len(several) != count:
        raise MapShapeError(f"There are maps of {count} images, but {len(several)} photographs.")
    for item, photo in enumerate(several):
        said = answer(heat, item, None)
        title = f"{heat.method} of {heat.layer} for {said}" if heat.layer else heat.method
        note = [f"image {item}"] if count > 1 else []
        note += flagged(heat, item)
        note += ["the map alone, on its own grid"] if photo is None else []
        png = io.BytesIO()
        tile(heat, photo, item).save(png, format="PNG", optimize=True)
        yield HeatPicture(title, heat.layer, png.getvalue(), ". ".join(note))


def mimebundle(log: EventLog, calls: CallIndex, text: str) -> dict[str, Any]:
    """Return what a notebook shows: the report in a frame of its own, or else a picture, or text.

    The frame is isolated: its scripts run in it alone, without an origin.  Front ends that take
    frames out of what they show (such as a site that shows notebooks) leave the line below it.
    """
    bundle = picture_bundle(log, calls, text)
    page = report_text(log, calls, limit=_NOTEBOOK_BYTES)
    bundle["text/html"] = (
        f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(page)}" title="hooktrace report" '
        'style="width:100%;height:720px;border:0"></iframe>'
        "<small>hooktrace report; where it is not shown: t.report(&quot;run.html&quot;) or "
        "t.draw(&quot;run.svg&quot;).</small>"
    )
    return bundle
