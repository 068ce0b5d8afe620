"""What the exporters write can be read back by others, for every program of the zoo."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from typing import Any

import networkx
import pytest
from traced_zoo import LIGHT, trace_of

from hooktrace.errors import RenderError
from hooktrace.export import TABLES

every_program = pytest.mark.parametrize("name", LIGHT)


def ns(us: float) -> int:
    return round(us * 1000)


def misplaced(items: list[dict[str, Any]]) -> list[str]:
    """Return the slices that are neither inside of another of their lane nor beside it."""
    found = []
    lanes = defaultdict(list)
    for item in items:
        if item["ph"] == "X":
            lanes[item["pid"], item["tid"]].append(item)
    for lane in lanes.values():
        ends: list[int] = []
        for item in sorted(lane, key=lambda one: (ns(one["ts"]), -ns(one["dur"]))):
            start, end = ns(item["ts"]), ns(item["ts"]) + ns(item["dur"])
            while ends and ends[-1] <= start:
                ends.pop()
            if ends and end > ends[-1]:
                found.append(item["name"])
            ends.append(end)
    return found


@every_program
def test_slices_nest_and_arrows_have_two_ends_on_slices(name: str) -> None:
    items = json.loads(trace_of(name).exported("chrome"))["traceEvents"]
    assert misplaced(items) == []
    starts = {(one["tid"], one["ts"]) for one in items if one["ph"] == "X"}
    arrows = defaultdict(list)
    for one in items:
        assert one["ph"] in "MXisfC"
        assert one.get("dur", 0) >= 0
        if one["ph"] in "sf":
            arrows[one["id"]].append(one)
            assert (one["tid"], one["ts"]) in starts
    for start, end in arrows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]


def test_the_check_of_nesting_finds_what_does_not_nest() -> None:
    def item(start: float, long: float) -> dict[str, Any]:
        return {"ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": long, "name": f"at {start}"}

    assert misplaced([item(0, 5), item(1, 3), item(5, 1)]) == []
    assert misplaced([item(0, 5), item(1, 4.001)]) == ["at 1"]


@every_program
def test_rows_have_the_columns_and_types_that_their_table_declares(name: str) -> None:
    t = trace_of(name)
    for table in TABLES:
        columns = TABLES[table].columns
        for row in t.rows(table):
            assert list(row) == list(columns), table
            for column, value in row.items():
                assert value is None or type(value) is columns[column], (table, column, value)
        read = list(csv.DictReader(io.StringIO(t.exported("csv", table=table))))
        assert len(read) == len(t.rows(table))
    content = json.loads(t.exported("json"))
    assert {one: len(rows) for one, rows in content["tables"].items()} == {
        one: len(t.rows(one)) for one in TABLES
    }


@every_program
def test_graphs_are_read_back_by_networkx(name: str) -> None:
    t = trace_of(name)
    graph = t.graph()
    again = networkx.node_link_graph(json.loads(t.exported("networkx")), edges="edges")
    assert networkx.utils.graphs_equal(again, graph)
    parsed = networkx.parse_graphml(t.exported("graphml"), force_multigraph=True)
    assert dict(parsed.nodes(data=True)) == dict(graph.nodes(data=True))
    assert parsed.number_of_edges() == graph.number_of_edges()


@every_program
def test_every_box_of_a_mermaid_diagram_is_declared_before_it_is_used(name: str) -> None:
    t = trace_of(name)
    try:
        text = t.exported("mermaid")
    except RenderError:
        assert not t.calls()
        return
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "flowchart TD"
    assert lines.count("end") == sum(line.startswith("subgraph ") for line in lines)
    declared = {line.removeprefix("subgraph ").split("[")[0].split("(")[0] for line in lines}
    for line in lines:
        for arrow in (" -->", " ==>", " -.->", " -.-"):
            tail, found, rest = line.partition(arrow)
            if found:
                assert tail in declared
                assert rest.rpartition(" ")[2] in declared
                break
