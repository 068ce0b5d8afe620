"""Runs the sweep, or what is left of it, and writes its table."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import time
from pathlib import Path

from . import table, worker

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "sweep"


def main() -> None:
    parser = argparse.ArgumentParser(prog="sweep", description=__doc__)
    parser.add_argument("--library", action="append", choices=list(worker.MODULES))
    parser.add_argument("--only", default="*", help="names to run, an fnmatch pattern")
    parser.add_argument("--again", action="store_true", help="also what has been run before")
    parser.add_argument("--seconds", type=float, default=240, help="limit for one subject")
    parser.add_argument("--table", action="store_true", help="write the table, run nothing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker.work(options.worker)
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.library or worker.MODULES:
        if not options.table:
            run(name, options.only, again=options.again, seconds=options.seconds)
    page = ROOT / "docs" / "sweep.md"
    old = page.read_text() if page.exists() else ""
    page.write_text(table.page({name: rows(name) for name in worker.MODULES}, old, missing()))
    print(f"wrote {page}")


def missing() -> dict[str, int]:
    """Return by library how many of its subjects have no row yet."""
    found = {}
    for name in worker.MODULES:
        with contextlib.suppress(ImportError):
            found[name] = len(set(worker.library(name).names()) - rows(name).keys())
    return {name: count for name, count in found.items() if count}


def rows(name: str) -> dict[str, dict[str, object]]:
    """Return the latest row of every subject of a library."""
    path = RESULTS / f"{name}.jsonl"
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["name"]: row for row in found}


def run(name: str, only: str, *, again: bool, seconds: float) -> None:
    """Run the subjects of a library that have no row yet, or all of them."""
    known = {} if again else rows(name)
    try:
        names = worker.library(name).names()
    except ImportError as reason:
        print(f"{name}: {reason}")
        return
    wanted = [one for one in names if fnmatch.fnmatch(one, only) and one not in known]
    print(f"{name}: {len(wanted)} of {len(names)} to run")
    with (RESULTS / f"{name}.jsonl").open("a") as out:
        for row in worker.results(name, wanted, seconds):
            row["date"] = time.strftime("%Y-%m-%d")
            out.write(json.dumps(row) + "\n")
            out.flush()
            print(f"{name} {row['name']}: {table.verdict(row)}", flush=True)


if __name__ == "__main__":
    main()
