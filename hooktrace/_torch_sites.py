"""The seam: PyTorch's own functions, derived anew from their source with observations in them.

A wrapper around a function of PyTorch would put a frame of ours on the stack, which warnings'
``stacklevel``, the recursion limit and tracebacks show.  A derived function has PyTorch's own file,
line numbers and globals, and calls the user's hooks from where PyTorch calls them.

Each function here raises OSError where the source of PyTorch is not at hand, and LookupError
where it does not look as expected.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from hooktrace._torch import is_compiling

__all__ = ["enclosed", "instrumented_call_impl", "with_given_arguments", "with_spied_loops"]

_GUARD = """
if is_compiling():
    return {call}
"""


def _name(identifier: str) -> ast.Name:
    return ast.Name(id=identifier, ctx=ast.Load())


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(func=_name(function), args=list(arguments), keywords=[])


def _parsed(original: Callable[..., Any]) -> tuple[ast.FunctionDef, int]:
    """Return the syntax tree of a function, and the line where its source begins."""
    lines, first = inspect.getsourcelines(original)
    function = ast.parse(textwrap.dedent("".join(lines))).body[0]
    indent = len(lines[0]) - len(lines[0].lstrip())
    for node in ast.walk(function):
        if isinstance(node, (ast.expr, ast.stmt)):  # tracebacks underline columns
            node.col_offset += indent
            node.end_col_offset = (node.end_col_offset or 0) + indent
    if not isinstance(function, ast.FunctionDef) or "__class__" in _code(original).co_freevars:
        raise LookupError(f"{original.__qualname__} is no plain function")
    return function, first


def _code(function: Any) -> Any:
    return inspect.unwrap(function).__code__


def _parameters(function: ast.FunctionDef) -> list[str]:
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


def _start(function: ast.FunctionDef) -> int:
    """Return the place of the first statement after the docstring."""
    return 1 if ast.get_docstring(function) is not None else 0


def _tried(body: list[ast.stmt], failed: ast.expr) -> ast.Try:
    """Return statements that call something with an exception before it goes on."""
    handler = ast.ExceptHandler(_name("BaseException"), "error", [ast.Expr(failed), ast.Raise()])
    return ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[])


def _derived(
    original: Callable[..., Any], function: ast.FunctionDef, first: int, sites: dict[str, Any]
) -> Any:
    """Compile a changed syntax tree where `original` stands; it steps aside under Dynamo.

    Args:
        original: PyTorch's function.
        function: Its changed syntax tree.
        first: The line where its source begins.
        sites: The functions of ours that the tree calls, by name.
    """
    start = _start(function)
    guard = _GUARD.format(call=_pass_on(function))
    function.body[start:start] = ast.parse(guard).body
    sites = {"original": original, "is_compiling": is_compiling, **sites}
    names = ", ".join(sites)
    tree = ast.parse(f"def factory({names}):\n    return {function.name}")
    factory = tree.body[0]
    assert isinstance(factory, ast.FunctionDef)
    factory.body.insert(0, function)
    ast.increment_lineno(tree, first - 1)
    plain = inspect.unwrap(original)
    code = compile(ast.fix_missing_locations(tree), inspect.getfile(plain), "exec")
    namespace: dict[str, Any] = {}
    exec(code, plain.__globals__, namespace)
    derived = namespace["factory"](**sites)
    derived.__qualname__ = original.__qualname__
    return derived


# ------------------------------------------------------------------ hooks in a loop


class _Loops(ast.NodeTransformer):
    """Turns ``for hook in owner._some_hooks.values()`` into ``for hook in spied(owner, ...)``."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        match node.iter:
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(value=owner, attr=attribute), attr="values")
            ) if attribute.endswith("_hooks"):
                self.found.add(attribute)
                node.iter = _call("spied", owner, ast.Constant(attribute))
        return node


def with_spied_loops(
    original: Callable[..., Any],
    spied: Callable[[Any, str], Any],
    failed: Callable[[BaseException], None],
    *attributes: str,
) -> Any:
    """Return PyTorch's own function that gets the hooks it calls from ``spied(owner, attribute)``.

    Args:
        original: A function with loops over the hooks in dictionaries of their owner.
        spied: Returns an iterable of what shall be called in the place of the hooks.
        failed: Called with an exception, which goes on.
        attributes: The dictionaries that it is expected to loop over.
    """
    function, first = _parsed(original)
    loops = _Loops()
    loops.visit(function)
    if loops.found != set(attributes):
        raise LookupError(f"{original.__qualname__} calls the hooks in {sorted(loops.found)}")
    start = _start(function)
    function.body[start:] = [_tried(function.body[start:], _call("failed", _name("error")))]
    return _derived(original, function, first, {"spied": spied, "failed": failed})


# ------------------------------------------------------------------ what a method hands on


class _Arguments(ast.NodeTransformer):
    """Turns an argument ``self.some_hook`` of a call into ``given(self, "some_hook")``."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        for place, argument in enumerate(node.args):
            match argument:
                case ast.Attribute(value=ast.Name(id="self"), attr=name):
                    self.found.add(name)
                    node.args[place] = _call("given", argument.value, ast.Constant(name))
        return node


def with_given_arguments(
    original: Callable[..., Any], given: Callable[[Any, str], Any], *attributes: str
) -> Any:
    """Return PyTorch's own method that hands ``given(self, attribute)`` on, not the attribute.

    Args:
        original: A method that calls something with attributes of ``self``.
        given: Returns what stands for an attribute.
        attributes: Those that it is expected to hand on.
    """
    function, first = _parsed(original)
    arguments = _Arguments()
    arguments.visit(function)
    if arguments.found != set(attributes):
        raise LookupError(f"{original.__qualname__} hands {sorted(arguments.found)} on")
    return _derived(original, function, first, {"given": given})


# ------------------------------------------------------------------ a function as a whole


class _Returns(ast.NodeTransformer):
    """Turns ``return x`` into ``return done(token, x)``, but not in functions within."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value if node.value is not None else ast.Constant(None)
        node.value = _call("done", _name("token"), value)
        return node


def enclosed(
    original: Callable[..., Any],
    *,
    begun: Callable[..., Any],
    done: Callable[[Any, Any], Any],
    failed: Callable[[Any, BaseException], None],
) -> Any:
    """Return PyTorch's own function with an observation where it begins and where it ends.

    Args:
        original: A function of PyTorch.
        begun: Called with the arguments (``*args`` and ``**kwargs`` as a tuple and a dict); what it
            returns is the token that the others get.
        done: Called with the token and what the function returns; it returns that.
        failed: Called with the token and the exception, which goes on.
    """
    function, first = _parsed(original)
    start = _start(function)
    returns = _Returns()
    body = [returns.visit(statement) for statement in function.body[start:]]
    if not isinstance(body[-1], ast.Return):
        body.append(ast.Expr(_call("done", _name("token"), ast.Constant(None))))
    begin = _call("begun", *map(_name, _parameters(function)))
    function.body[start:] = [
        ast.Assign(targets=[ast.Name(id="token", ctx=ast.Store())], value=begin),
        _tried(body, _call("failed", _name("token"), _name("error"))),
    ]
    return _derived(original, function, first, {"begun": begun, "done": done, "failed": failed})


# ------------------------------------------------------------------ hooks in Module._call_impl


class _HookSites(ast.NodeTransformer):
    """Puts an observation around each call of a hook, and amid them of forward.

    ``hook(self, args, result)`` becomes
    ``hook_returned(hook_called(hook_id, hook, self, args=args, result=result),
    hook(self, args, result))``, and ``forward_call(...)`` likewise.  The hook is still
    called by PyTorch's own frame, with PyTorch's own objects.
    """

    def __init__(self) -> None:
        self.sites = 0

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return node  # PyTorch's fast path: no hooks, so forward is the whole call

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in ("hook", "forward_call"):
            return node
        self.sites += 1
        if node.func.id == "hook":
            before = _call("hook_called", _name("hook_id"), _name("hook"), _name("self"))
            before.keywords = [
                ast.keyword(arg=argument.id, value=_name(argument.id))
                for argument in node.args[1:]
                if isinstance(argument, ast.Name)
            ]
            return _call("hook_returned", before, node)
        before = _call("forward_called", _name("self"), _name("args"), _name("kwargs"))
        return _call("forward_returned", before, node)


def instrumented_call_impl(original: Callable[..., Any], **sites: Callable[..., Any]) -> Any:
    """Return PyTorch's own ``Module._call_impl`` with an observation around each hook call.

    Args:
        original: ``torch.nn.Module._call_impl``.
        sites: The functions ``hook_called``, ``hook_returned``, ``forward_called`` and
            ``forward_returned``.
    """
    function, first = _parsed(original)
    visitor = _HookSites()
    visitor.visit(function)
    if visitor.sites < 5:  # one call of forward, four or more of hooks
        raise LookupError(f"Module._call_impl calls hooks at {visitor.sites} places only")
    return _derived(original, function, first, sites)
