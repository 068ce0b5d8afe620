"""The seam: observations put into PyTorch's own functions.

A wrapper around a function of PyTorch would put a frame of ours on the stack, which warnings'
``stacklevel``, the recursion limit and tracebacks show.  A function derived anew has PyTorch's own
file, line numbers and globals, and calls the user's hooks from where PyTorch calls them.

Where somebody else has replaced a function, or its source is not at hand or looks otherwise,
`enclosed` returns a wrapper, and the others return the function as it is.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable
from typing import Any

from hooktrace._torch import is_compiling
from hooktrace._torch_sources import (
    NotDerivableError,
    called,
    derived,
    named,
    parameters,
    parsed,
    start_of,
    tried,
)

__all__ = [
    "enclosed",
    "instrumented_call_impl",
    "with_given_arguments",
    "with_spied_loops",
]

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
                node.iter = called("spied", owner, ast.Constant(attribute))
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
    loops = _Loops()
    try:
        function, first = parsed(original)
    except NotDerivableError:
        return original
    loops.visit(function)
    if loops.found != set(attributes):
        return original
    start = start_of(function)
    function.body[start:] = [tried(function.body[start:], called("failed", named("error")))]
    return derived(original, function, first, {"spied": spied, "failed": failed})


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
                    node.args[place] = called("given", argument.value, ast.Constant(name))
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
    arguments = _Arguments()
    try:
        function, first = parsed(original)
    except NotDerivableError:
        return original
    arguments.visit(function)
    if arguments.found != set(attributes):
        return original
    return derived(original, function, first, {"given": given})


# ------------------------------------------------------------------ a function as a whole


class _Returns(ast.NodeTransformer):
    """Turns ``return x`` into ``return done(token, x)``, but not in functions within."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        value = node.value if node.value is not None else ast.Constant(None)
        node.value = called("done", named("token"), value)
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
    try:
        function, first = parsed(original)
    except NotDerivableError:
        return _wrapper(original, begun, done, failed)
    start = start_of(function)
    returns = _Returns()
    body = [returns.visit(statement) for statement in function.body[start:]]
    if not isinstance(body[-1], ast.Return):
        body.append(ast.Expr(called("done", named("token"), ast.Constant(None))))
    begin = called("begun", *map(named, parameters(function)))
    function.body[start:] = [
        ast.Assign(targets=[ast.Name(id="token", ctx=ast.Store())], value=begin),
        tried(body, called("failed", named("token"), named("error"))),
    ]
    return derived(original, function, first, {"begun": begun, "done": done, "failed": failed})


def _wrapper(
    original: Callable[..., Any],
    begun: Callable[..., Any],
    done: Callable[[Any, Any], Any],
    failed: Callable[[Any, BaseException], None],
) -> Callable[..., Any]:
    """Return what `enclosed` promises, at the cost of a frame."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_compiling():
            return original(*args, **kwargs)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return original(*args, **kwargs)  # which raises as well
        bound.apply_defaults()
        token = begun(*bound.arguments.values())
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            failed(token, error)
            raise
        return done(token, result)

    return wrapper


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
            before = called("hook_called", named("hook_id"), named("hook"), named("self"))
            before.keywords = [
                ast.keyword(arg=argument.id, value=named(argument.id))
                for argument in node.args[1:]
                if isinstance(argument, ast.Name)
            ]
            return called("hook_returned", before, node)
        before = called("forward_called", named("self"), named("args"), named("kwargs"))
        return called("forward_returned", before, node)


def instrumented_call_impl(original: Callable[..., Any], **sites: Callable[..., Any]) -> Any:
    """Return PyTorch's own ``Module._call_impl`` with an observation around each hook call.

    Args:
        original: ``torch.nn.Module._call_impl``.
        sites: The functions ``hook_called``, ``hook_returned``, ``forward_called`` and
            ``forward_returned``.
    """
    visitor = _HookSites()
    try:
        function, first = parsed(original)
    except NotDerivableError:
        return original
    visitor.visit(function)
    if visitor.sites < 5:  # one call of forward, four or more of hooks
        return original
    return derived(original, function, first, sites)
