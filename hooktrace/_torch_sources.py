"""The seam: PyTorch's functions as syntax trees, and trees as functions in PyTorch's place."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from hooktrace._torch import is_compiling
from hooktrace._torch_hooks import torch_file

__all__ = [
    "NotDerivableError",
    "called",
    "derived",
    "named",
    "parameters",
    "parsed",
    "start_of",
    "tried",
]


class NotDerivableError(LookupError):
    """A function is not as PyTorch has it, or its source is not at hand or looks otherwise."""


_GUARD = """
if is_compiling():
    return {call}
"""


def named(identifier: str) -> ast.Name:
    """Return the expression that is a name."""
    return ast.Name(id=identifier, ctx=ast.Load())


def called(function: str, *arguments: ast.expr) -> ast.Call:
    """Return the expression that is a call."""
    return ast.Call(func=named(function), args=list(arguments), keywords=[])


def plain(original: Any) -> Any:
    """Return a function of PyTorch without PyTorch's own decorator against compilation.

    Raises:
        NotDerivableError: It is not PyTorch's, or somebody else's wrapper is around it.
    """
    function = original
    while hasattr(function, "__wrapped__") and _file(function).endswith("_compile.py"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    if hasattr(function, "__wrapped__") or code is None or code.co_freevars:
        raise NotDerivableError(f"{original!r} is no plain function")
    if not torch_file(_file(function)):
        raise NotDerivableError(f"{original!r} is not PyTorch's own")
    return function


def _file(function: Any) -> str:
    return str(getattr(getattr(function, "__code__", None), "co_filename", ""))


def parsed(original: Callable[..., Any]) -> tuple[ast.FunctionDef, int]:
    """Return the syntax tree of a function, and the line where its source begins.

    Raises:
        NotDerivableError: It is not PyTorch's own, or its source is not at hand.
    """
    try:
        lines, first = inspect.getsourcelines(plain(original))
    except OSError as error:
        raise NotDerivableError(str(error)) from error
    function = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(function, ast.FunctionDef):
        raise NotDerivableError(f"{original!r} is no plain function")
    indent = len(lines[0]) - len(lines[0].lstrip())
    for node in ast.walk(function):
        if isinstance(node, (ast.expr, ast.stmt)):  # tracebacks underline columns
            node.col_offset += indent
            node.end_col_offset = (node.end_col_offset or 0) + indent
    return function, first


def parameters(function: ast.FunctionDef) -> list[str]:
    """Return the names of the parameters, those of ``*args`` and ``**kwargs`` among them."""
    arguments = function.args
    names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    names += [arguments.vararg.arg] if arguments.vararg else []
    names += [one.arg for one in arguments.kwonlyargs]
    return names + ([arguments.kwarg.arg] if arguments.kwarg else [])


def _pass_on(function: ast.FunctionDef) -> str:
    """Return the source of a call of the original with the arguments as they came."""
    arguments = function.args
    parts = [one.arg for one in (*arguments.posonlyargs, *arguments.args)]
    parts += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    parts += [f"{one.arg}={one.arg}" for one in arguments.kwonlyargs]
    parts += [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    return f"original({', '.join(parts)})"


def start_of(function: ast.FunctionDef) -> int:
    """Return the place of the first statement after the docstring."""
    return 1 if ast.get_docstring(function) is not None else 0


def tried(body: list[ast.stmt], failed: ast.expr) -> ast.Try:
    """Return statements that call something with an exception before it goes on."""
    handler = ast.ExceptHandler(named("BaseException"), "error", [ast.Expr(failed), ast.Raise()])
    return ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[])


def derived(
    original: Callable[..., Any], function: ast.FunctionDef, first: int, sites: dict[str, Any]
) -> Any:
    """Compile a changed syntax tree where `original` stands; it steps aside under Dynamo.

    Args:
        original: PyTorch's function.
        function: Its changed syntax tree.
        first: The line where its source begins.
        sites: The functions of ours that the tree calls, by name.
    """
    start = start_of(function)
    guard = _GUARD.format(call=_pass_on(function))
    function.body[start:start] = ast.parse(guard).body
    sites = {"original": original, "is_compiling": is_compiling, **sites}
    names = ", ".join(sites)
    tree = ast.parse(f"def factory({names}):\n    return {function.name}")
    factory = tree.body[0]
    assert isinstance(factory, ast.FunctionDef)
    factory.body.insert(0, function)
    ast.increment_lineno(tree, first - 1)
    own = plain(original)
    code = compile(ast.fix_missing_locations(tree), _file(own), "exec")
    namespace: dict[str, Any] = {}
    exec(code, own.__globals__, namespace)
    result = namespace["factory"](**sites)
    result.__qualname__ = original.__qualname__
    return result
