"""Tables of rows as files: CSV and Parquet for one of them, JSON for all."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from hooktrace import __version__
from hooktrace.errors import MissingExtraError
from hooktrace.export.exporter import exporter
from hooktrace.export.rows import TABLES, plain, rows, table_of
from hooktrace.log import EventLog
from hooktrace.origins import Surroundings
from hooktrace.views.calls import CallIndex

_SHAPE = 1  # grows when a field of the JSON changes its meaning


@exporter("csv", ".csv")
def to_csv(log: EventLog, calls: CallIndex, *, table: str = "events") -> str:
    """One table of rows, with a line of headings.

    Args:
        table: Which one: events, calls, hooks, edits, writes, gradients, statistics, modules,
            tensors, nodes, backwards or steps.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table_of(table).columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(log, calls, table))
    return text.getvalue()


@exporter("parquet", ".parquet")
def to_parquet(log: EventLog, calls: CallIndex, *, table: str = "events") -> bytes:
    """One table of rows for pandas, polars and DuckDB; needs pyarrow, of hooktrace[tables].

    Args:
        table: Which one, as for csv.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Writing Parquet", "pyarrow", "tables") from error
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    columns = table_of(table).columns.items()
    schema = pyarrow.schema([(name, types.get(one, pyarrow.bool_())) for name, one in columns])
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows(log, calls, table), schema), buffer)
    return buffer.getvalue()


@exporter("json", ".json")
def to_json(log: EventLog, calls: CallIndex) -> str:
    """All tables of rows, and where the trace comes from."""
    content = {
        "version": _SHAPE,
        "tool": {"name": "hooktrace", "version": __version__},
        "surroundings": _surroundings(log.surroundings),
        "error": log.error,
        "tables": {name: [plain(row) for row in rows(log, calls, name)] for name in TABLES},
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _surroundings(here: Surroundings) -> dict[str, Any]:
    told = {name: getattr(here, name) for name in here.__struct_fields__}
    return {**told, "devices": list(here.devices), "settings": dict(here.settings)}
