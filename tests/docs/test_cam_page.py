"""The page on heat maps lists every method, as it describes itself."""

from __future__ import annotations

from pathlib import Path

from hooktrace.cam import METHODS
from hooktrace.cam.pages import MARKS, table, write

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_of_methods_is_up_to_date(tmp_path: Path) -> None:
    page = DOCS / "cam.md"
    (tmp_path / "cam.md").write_text(page.read_text())
    write(tmp_path)
    assert (tmp_path / "cam.md").read_text() == page.read_text(), "run `make rules`"


def test_every_method_has_a_row_that_says_what_it_needs() -> None:
    rows = table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(METHODS)
    assert "| the forward alone |" in next(row for row in rows if "`eigencam`" in row)
    assert "| a graph |" in next(row for row in rows if "`gradcam`" in row)
    assert "| the model |" in next(row for row in rows if "`scorecam`" in row)
    assert MARKS[0] in (DOCS / "cam.md").read_text()
