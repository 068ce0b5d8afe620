"""The page with the results, ``docs/sweep.md``."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import Any

from .compare import VERDICTS

Row = dict[str, Any]
Rows = dict[str, Row]

HEAD = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
SUITES = "## Other people's tests"


def verdict(row: Row) -> str:
    """Say in one line what was found of a subject."""
    for reason in ("skipped", "failed"):
        if reason in row:
            return f"{reason}: {str(row[reason]).strip().splitlines()[-1][:200]}"
    if "samples" in row:
        said = f"{row['samples']} samples, {row['raised']} raise alike"
        return said + "".join(f"; DIFFERS {one}" for one in row["differs"])
    parts = [f"{name}: {_mode(mode)}" for name, mode in row["modes"].items()]
    return " | ".join(parts) + f" ({row['seconds']} s)"


def _mode(mode: Row) -> str:
    said = [_run(mode)]
    if "unsteady" in mode:
        said.append("not repeatable untraced")
    hooks = mode.get("hooks", {})
    if "do not run" in hooks:
        said.append("hooks do not run here")
    elif hooks:
        said += [f"{hooks[name]} {name}" for name in VERDICTS if hooks.get(name)]
        said += hooks.get("which", [])
    return ", ".join(said)


def _run(mode: Row) -> str:
    if "differs" in mode:
        return "DIFFERS " + "; ".join(f"{way}: {text}" for way, text in mode["differs"].items())
    if mode["raised"]:
        return f"raises alike ({mode['raised'][:80]})"
    return "same" if mode["backward"] else "same, no backward"


def page(found: dict[str, Rows], old: str, missing: dict[str, int]) -> str:
    """Return the page; what stands under `SUITES` in the old one is kept."""
    models = {name: rows for name, rows in found.items() if name != "torch" and rows}
    parts = [HEAD, "## Models\n", _versions(found), *_models(models)]
    if missing:
        left = ", ".join(f"{count} of {name}" for name, count in missing.items())
        parts.append(f"Not run yet: {left}.\n")
    if found.get("torch"):
        parts += ["## PyTorch's own databases\n", *_databases(found["torch"])]
    parts += ["## Deviations\n", *_deviations(found)]
    parts += ["## Every model\n", *_every(models)]
    if SUITES in old:
        parts.append(old[old.index(SUITES) :].rstrip())
    return "\n".join(parts).rstrip() + "\n"


def _versions(found: dict[str, Rows]) -> str:
    dates = sorted(row["date"] for rows in found.values() for row in rows.values())
    names = ["torch", *(name for name in found if name != "torch" and found[name])]
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    seconds = sum(r.get("seconds", 0) for rows in found.values() for r in rows.values())
    return (
        f"Run on {dates[-1]} with {versions}, on a CPU, one thread; {seconds / 60:.0f} minutes in "
        f"all, the loading of libraries not counted.\n"
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def modes(rows: Rows) -> list[Row]:
    """Return what was found in each mode of each subject that ran."""
    return [mode for row in rows.values() for mode in row.get("modes", {}).values()]


def _models(models: dict[str, Rows]) -> list[str]:
    lines = [
        "| library | models | runs (train, eval) | the same as untraced | not repeatable untraced |"
        " hooks do not run | module calls compared | " + " | ".join(VERDICTS) + " |",
        "|---" * (7 + len(VERDICTS)) + "|",
    ]
    for name, rows in models.items():
        ran = modes(rows)
        hooks = [mode.get("hooks", {}) for mode in ran]
        counts: Counter[str] = Counter()
        for one in hooks:
            counts.update({key: value for key, value in one.items() if isinstance(value, int)})
        cells = [
            sum("modes" in row for row in rows.values()),
            len(ran),
            sum("differs" not in mode and "unsteady" not in mode for mode in ran),
            sum("unsteady" in mode and "differs" not in mode for mode in ran),
            sum("do not run" in one for one in hooks),
            counts["calls"],
            *(counts[one] for one in VERDICTS),
        ]
        lines.append(f"| {name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return [*lines, ""]


def _databases(rows: Rows) -> list[str]:
    lines = [
        "Samples of arguments from PyTorch's own tests, at most 12 of each entry: forward and "
        "backward, three steps for optimizers.\n",
        "| of | entries | samples | raise, alike | not repeatable untraced | differ |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("module", "optimizer", "function", "operator"):
        some = [row for name, row in rows.items() if name.startswith(kind) and "samples" in row]
        counts = [
            len(some),
            *(sum(row[field] for row in some) for field in ("samples", "raised", "unsteady")),
            sum(len(row["differs"]) for row in some),
        ]
        lines.append(f"| {kind}s | " + " | ".join(f"{count:,}" for count in counts) + " |")
    return [*lines, ""]


def _deviations(found: dict[str, Rows]) -> list[str]:
    lines = []
    for library, rows in found.items():
        for name, row in sorted(rows.items()):
            if "failed" in row:
                lines.append(f"* {library} `{name}`: {verdict(row)}")
            lines += [f"* torch `{name}`: {one[:200]}" for one in row.get("differs", [])[:3]]
            for mode, one in row.get("modes", {}).items():
                if "differs" in one or one.get("hooks", {}).get("differs"):
                    count = one.get("hooks", {}).get("differs", 0)
                    which = "; ".join(one.get("hooks", {}).get("which", [])[:1])
                    why = f"{count} gradients, such as `{which}`" if count else _run(one)
                    lines.append(f"* {library} `{name}`, {mode}: {why[:260]}")
    return [*(lines or ["None."]), ""]


def _every(models: dict[str, Rows]) -> list[str]:
    lines = []
    for library, rows in models.items():
        lines += [
            "<details>",
            f"<summary>{library}</summary>\n",
            "| model | train | eval |",
            "|---|---|---|",
        ]
        for name, row in sorted(rows.items()):
            if "modes" in row:
                cells = [_short(row["modes"].get(mode)) for mode in ("train", "eval")]
                lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
            else:
                text = verdict(row).replace("|", "/").replace("<", "&lt;")[:90]
                lines.append(f"| {name} | {text} | |")
        lines.append("\n</details>\n")
    return lines


def _short(mode: Row | None) -> str:
    if mode is None:
        return ""
    if "differs" in mode:
        return "**differs**"
    if mode["raised"]:
        return "raises alike"
    hooks = mode.get("hooks", {})
    if "do not run" in hooks:
        return "same; no hooks"
    counts = [f"{hooks[name]} {name}" for name in VERDICTS if hooks.get(name)]
    return "same" + "".join(f", {count}" for count in counts)
