"""Exporters: a trace in the formats of other programs, and as rows.

It never imports torch.  A format is one file in `hooktrace.export.formats`, a table of rows one
function in `hooktrace.export.tables`.
"""

from __future__ import annotations

from hooktrace.export import formats as _formats  # noqa: F401  (fills EXPORTERS)
from hooktrace.export import tables as _tables  # noqa: F401  (fills TABLES)
from hooktrace.export.exporter import EXPORTERS, Exporter, export, exported, exporter
from hooktrace.export.rows import TABLES, rows

__all__ = ["EXPORTERS", "TABLES", "Exporter", "export", "exported", "exporter", "rows"]
