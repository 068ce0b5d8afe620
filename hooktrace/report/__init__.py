"""The report: one offline page in which graph, timeline, values and source share one cursor.

It reads values only and never imports torch; what needs tensors or other packages (pictures of
values, heat maps, findings) comes in ready as `Extras`.
"""

from __future__ import annotations

from hooktrace.report.extras import Extras, Options
from hooktrace.report.page import page

__all__ = ["Extras", "Options", "page"]
