"""The layers: imports point downwards only, siblings do not know each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "hooktrace"

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "errors records descriptions origins overwrites held tensorstats tables trials modes steps "
        "progress events kinds findings _registry signatures",
        "logtables",
        "log",
        "storage",
        "_torch _torch_graph _torch_hooks _torch_sites _torch_sources _torch_stores "
        "_torch_checkpoint _torch_copies _torch_saved _torch_data _torch_dynamo _torch_storage "
        "_torch_state _torch_replica tracebacks pixels",
        "surroundings models identity results modulefacts scope spans threadstate spies "
        "features statistics optimizers hookfacts hooktable recorder writes parameters firing "
        "containers opencall patches callspies spiedhooks leaves pausing nodespies backwardrun "
        "placement nodes walk aliases measure reach looks hold holdings modified streaming",
        "probes",
        "views",
        "render doctor cam",
        "boards export",
        "report",
        "drawing leaving recording session loading leaks hooklist inventory images sheets "
        "valuelooks reporting pairing contrasts agreement captures comparison summaries timing "
        "costs pages",
        "experiments explained graphedruns explaining summarizing tracedsteps boardlogging "
        "pretrained photographs running standing",
        "integrations",
        "demo",
        "commands",
        "cli pytest_plugin",
    )
)
"""Lowest first.  A part is a module of the package or one of its folders."""

ORDER = (
    ["records", "tables", "modes", "steps", "overwrites", "events"],
    [
        "identity",
        "modulefacts",
        "scope",
        "spans",
        "spies",
        "features",
        "optimizers",
        "hookfacts",
        "hooktable",
        "statistics",
        "recorder",
        "writes",
        "parameters",
        "containers",
        "patches",
        "firing",
        "callspies",
        "opencall",
        "nodespies",
        "backwardrun",
        "placement",
        "nodes",
        "walk",
        "aliases",
        "modified",
    ],
    ["identity", "recorder", "measure", "streaming"],
    ["spies", "identity", "recorder", "measure", "reach", "looks", "hold", "holdings"],
    ["summaries", "drawing", "valuelooks", "reporting", "leaving", "recording", "session"],
    ["recording", "loading"],
    ["pairing", "contrasts", "agreement", "sheets", "captures", "comparison"],
)
"""Within a layer: each may import those before it, and not those after it."""

WITHOUT_TORCH = (
    "errors",
    "records",
    "descriptions",
    "tensorstats",
    "held",
    "tables",
    "modes",
    "steps",
    "progress",
    "events",
    "kinds",
    "findings",
    "_registry",
    "logtables",
    "log",
    "origins",
    "views",
    "render",
    "doctor",
    "boards",
    "export",
    "report",
    "signatures",
)
VIEWS_MAY_IMPORT = {
    "tensorstats",
    "errors",
    "records",
    "held",
    "modes",
    "events",
    "kinds",
    "logtables",
    "log",
    "origins",
    "views",
    "_registry",
}
LONGEST = 300


def part_of(path: Path) -> str:
    """Return the part of the package that a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def layer_of(part: str) -> int:
    """Return the number of a part's layer; an unknown part is an error of this test."""
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    raise LookupError(f"{part!r} is in no layer; add it to LAYERS")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported name with its line: ``hooktrace.views.calls``, ``torch.nn``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "hooktrace":
                for alias in node.names:
                    yield f"hooktrace.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno


def own_imports(tree: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Yield (part, full name, line) of what is imported from the package itself."""
    for name, line in imports(tree):
        parts = name.split(".")
        if parts[0] == "hooktrace" and len(parts) > 1 and not parts[1].startswith("__"):
            yield parts[1], name, line


def underscore_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield names with one leading underscore that are reached through torch."""
    imported = {"torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("torch", "torchvision"):
                    imported.add(alias.asname or "torch")
                    if any(private(part) for part in alias.name.split(".")):
                        yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            for alias in node.names:
                imported.add(alias.asname or alias.name)
                if private(alias.name) or any(map(private, (node.module or "").split("."))):
                    yield f"{node.module}.{alias.name}", node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if node.attr in TENSOR_NAMES or _root(node) in imported:
                yield ast.unparse(node), node.lineno


TENSOR_NAMES = {
    "_version",
    "_base",
    "_is_view",
    "_backward_hooks",
    "_post_accumulate_grad_hooks",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_pre_hooks",
    "_sequence_nr",
    "_execution_engine",
    "_parameters",
    "_buffers",
    "_modules",
    "_is_full_backward_hook",
}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def complaints(path: Path, source: str) -> list[str]:
    """Say what a file breaks: (path inside the package, source) -> sentences."""
    tree = ast.parse(source)
    part = part_of(path)
    if part in ("__init__", "__main__"):
        return []
    found = []
    layer = layer_of(part)
    for other, name, line in own_imports(tree):
        where = f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        if layer_of(other) > layer:
            found.append(f"{where}, which lies above it")
        if part == "views" and other not in VIEWS_MAY_IMPORT:
            found.append(f"{where}; views import errors, events and log only")
        if part == other == "probes" and path.stem != "__init__":
            found.append(f"{where}; probes do not know each other")
        if any(
            part in order and other in order and order.index(other) > order.index(part)
            for order in ORDER
        ):
            found.append(f"{where}, which comes after it")
    if part in WITHOUT_TORCH:
        found += [
            f"{path.relative_to(PACKAGE)}:{line} imports {name}; it has to open without torch"
            for name, line in imports(tree)
            if name.split(".")[0] in ("torch", "torchvision")
        ]
    if not part.startswith("_torch"):
        found += [
            f"{path.relative_to(PACKAGE)}:{line} uses {name}; only the seam knows such names"
            for name, line in underscore_names(tree)
        ]
    length = len(source.splitlines())
    if length > LONGEST:
        found.append(f"{path.relative_to(PACKAGE)} has {length} lines, more than {LONGEST}")
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(one.relative_to(PACKAGE)) for one in FILES])
def test_a_file_keeps_to_its_layer(path: Path) -> None:
    assert complaints(path, path.read_text()) == []


def test_every_part_of_the_package_is_in_exactly_one_layer() -> None:
    parts = {part_of(path) for path in FILES} - {"__init__", "__main__"}
    for part in parts:
        layer_of(part)
    named = [part for layer in LAYERS for part in layer]
    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("events.py", "import torch", "open without torch"),
        ("log.py", "from torch import nn", "open without torch"),
        ("views/calls.py", "def f():\n    import torch.nn as nn", "open without torch"),
        ("render/text.py", "import torchvision", "open without torch"),
        ("log.py", "from hooktrace.views.calls import Call", "lies above it"),
        ("_torch.py", "from hooktrace.recorder import Recorder", "lies above it"),
        ("views/calls.py", "from hooktrace import session", "lies above it"),
        ("views/calls.py", "from hooktrace import measure", "errors, events and log only"),
        ("probes/plain.py", "from hooktrace.probes import backward", "do not know each other"),
        ("identity.py", "from hooktrace.recorder import Recorder", "comes after it"),
        ("scope.py", "import torch\nx = torch._C._version()", "only the seam"),
        ("scope.py", "from torch.autograd.function import _HookMixin", "only the seam"),
        ("scope.py", "from torch import nn\nx = nn.Module._call_impl", "only the seam"),
        ("probes/plain.py", "def f(tensor):\n    return tensor._version", "only the seam"),
        ("scope.py", "x = 1\n" * 301, "301 lines"),
    ],
)
def test_a_bad_file_is_found(file: str, source: str, complaint: str) -> None:
    found = complaints(PACKAGE / file, source)
    assert found
    assert complaint in found[0]


def test_a_good_file_is_not_found() -> None:
    source = "from hooktrace.events import Event\nfrom hooktrace.log import EventLog\nx = __name__"
    assert complaints(PACKAGE / "views/calls.py", source) == []


def test_importing_the_package_imports_neither_torch_nor_networkx() -> None:
    program = (
        "import sys, hooktrace\n"
        "assert hooktrace.__version__ and 'trace' in dir(hooktrace)\n"
        "heavy = {'torch', 'networkx', 'numpy', 'msgspec', 'rich', 'graphviz', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "import hooktrace.events, hooktrace.errors, hooktrace.log\n"
        "import hooktrace.views.calls, hooktrace.views.effects, hooktrace.views.tensors\n"
        "print('torch' in sys.modules, 'networkx' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.splitlines() == ["[]", "False False"]


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import hooktrace

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hooktrace.nonsense
    for name in hooktrace.__all__:
        assert getattr(hooktrace, name) is not None
