"""The demo's story as text and as a page: everything in it is read from the traces."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jinja2
import torch

import hooktrace as ht
from hooktrace.demo.scene import Scene
from hooktrace.events import BackwardStarted, HookFired, TracedHook
from hooktrace.views.hookuse import changes_something

__all__ = ["PAGE", "Story", "write_page"]

PAGE = "story.html"
"""The page that tells the demo from beginning to end."""


_WAYS = {
    "in_place": "written in place",
    "returned": "another value returned",
    "assigned": "another tensor assigned",
}


class Story(NamedTuple):
    """What the demo has to tell.

    Attributes:
        scene: Photograph and weights.
        main: The trace of AlexNet with its hooks.
        tensors: The trace of the plain tensors.
        comparison: AlexNet with in-place ReLUs against AlexNet without.
        hooked: The script with the hooks on AlexNet, as a module.
        plain: The script with the hook on a tensor.
        maps: Name of a convolution -> path of its feature maps, relative to the page.
        warnings: What PyTorch warned about meanwhile.
    """

    scene: Scene
    main: ht.Trace
    tensors: ht.Trace
    comparison: ht.Comparison
    hooked: ModuleType
    plain: ModuleType
    maps: dict[str, str]
    warnings: list[str] = []  # noqa: RUF012

    def sections(self) -> Iterator[tuple[str, str]]:
        """Yield titles and texts for the terminal."""
        yield "AlexNet forward and backward, with hooks of every kind", str(self.main)
        yield "What the hooks changed", "\n".join(map(str, self.main.edits))
        yield "Who wrote to a tensor in place", "\n".join(map(str, self.main.writes()))
        yield "What the hooks that only look have noted", "\n".join(self.hooked.notes)
        yield "What the model says", prediction(self)
        yield "In-place ReLUs (first trace), ordinary ones (second)", str(self.comparison)
        yield "A hook on a plain tensor", str(self.tensors)
        if self.warnings:
            yield "What PyTorch warned about", "\n".join(self.warnings)


def prediction(story: Story) -> str:
    """Say which class the model sees, where that means something."""
    scores = story.main["classifier.6"].output[0].softmax(0)
    if not story.scene.pretrained:
        return (
            "With random weights the 1000 scores mean nothing, so no class is named. "
            "Hooks work all the same."
        )
    best = torch.topk(scores, 3)
    named = (
        f"{story.scene.categories[int(index)]} ({float(score):.0%})"
        for score, index in zip(best.values, best.indices, strict=True)
    )
    return f"The highest of 1000 scores: {', '.join(named)} (channel 0 of features.0 is silenced)."


def write_page(story: Story, output: Path) -> Path:
    """Write the story into the folder with the pictures, and return its path."""
    source = (files("hooktrace.demo") / "assets" / "story.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = output / PAGE
    page.write_text(environment.from_string(source).render(**_context(story)), "utf-8")
    return page


def _context(story: Story) -> dict[str, Any]:
    return {
        "version": ht.__version__,
        "torch_version": torch.__version__,
        "origin": story.scene.origin,
        "prediction": prediction(story),
        "hooks": [_hook(story, row) for row in story.main.hooks],
        "phases": _phases(story.main),
        "table": str(story.main),
        "edits": story.main.edits,
        "ways": _WAYS,
        "writes": [str(one) for one in story.main.writes()],
        "notes": story.hooked.notes,
        "maps": [_map(story, name, path) for name, path in story.maps.items()],
        "comparison": story.comparison,
        "tensor_code": _body(inspect.getsource(story.plain.watch)),
        "tensor_hook": inspect.getsource(story.plain.double_then_triple).rstrip(),
        "tensor_edits": [str(one) for one in story.tensors.edits],
        "findings": _located(story.main),
        "tensor_findings": _located(story.tensors),
        "warnings": story.warnings,
    }


def _located(trace: ht.Trace) -> str:
    """Return the doctor's findings, with files named as they lie beside the page."""
    return re.sub(r"(?<=\s)/\S*/(?=\w+\.py:\d)", "", str(trace.findings()))


def _hook(story: Story, row: TracedHook) -> dict[str, Any]:
    """Describe one hook of AlexNet: what it is, what it saw, what it changed."""
    firings = [one for one in story.main.of(HookFired) if one.hook == row.id]
    function = getattr(story.hooked, row.name)
    changes = [
        {"role": one.role, "how": _WAYS[one.how], "text": one.change.text}
        for one in story.main.edits
        if one.hook.id == row.id
    ]
    return {
        "kind": row.kind,
        "owner": row.owner,
        "name": row.name,
        "options": ", ".join(f"{option}=True" for option in row.options),
        "sentence": inspect.getdoc(function),
        "code": _without_doc(inspect.getsource(function)),
        "place": Path(row.defined_at).name,
        "fired": len(firings),
        "saw": [f"{seen.role}: {seen.summary}" for seen in firings[0].inputs] if firings else [],
        "changes": changes,
    }


def _without_doc(source: str) -> str:
    """Return a function without its docstring of one line."""
    return "\n".join(line for line in source.splitlines() if '"""' not in line)


def _body(source: str) -> str:
    """Return what stands between the docstring and the return of a function, unindented."""
    lines = [line for line in source.splitlines()[1:] if '"""' not in line]
    return inspect.cleandoc("\n".join(line for line in lines if "return" not in line))


def _phases(trace: ht.Trace) -> list[dict[str, Any]]:
    """Return the firings in order, forward and backward; runs of one hook become one entry."""
    starts = trace.of(BackwardStarted)
    turn = starts[0].time_ns if starts else float("inf")
    phases: list[dict[str, Any]] = [
        {"title": "forward", "entries": []},
        {"title": "backward", "entries": []},
    ]
    for event in sorted(trace.of(HookFired), key=lambda one: one.time_ns):
        row = trace.hooks[event.hook]
        entries = phases[event.time_ns > turn]["entries"]
        if entries and entries[-1]["name"] == row.name:
            entries[-1]["times"] += 1
        else:
            changed = changes_something(trace.log, event)
            entries.append(
                {"name": row.name, "kind": row.kind, "owner": row.owner, "times": 1}
                | {"changed": changed}
            )
    return phases


def _map(story: Story, name: str, path: str) -> dict[str, Any]:
    call = story.main[name]
    return {
        "name": name,
        "path": path,
        "config": call.module.config,
        "channels": call.output.shape[1],
        "size": f"{call.output.shape[2]} x {call.output.shape[3]}",
    }
