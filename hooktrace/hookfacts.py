"""What is known of how hooks are registered: their numbers, functions and handles."""

from __future__ import annotations

import functools
import itertools
import weakref
from types import CodeType, FunctionType, MethodType
from typing import Any

import msgspec
from torch import nn

from hooktrace import _torch, _torch_hooks
from hooktrace._torch_dynamo import graphs_compiled
from hooktrace.events import HookId, NodeId, Registration, TensorId
from hooktrace.identity import Seen
from hooktrace.log import EventLog
from hooktrace.scope import Scope

__all__ = ["HookFacts", "code_of", "defined_at", "function_name"]


class HookFacts:
    """Fills a log's table of registrations.

    Args:
        log: The log.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._functions: dict[Any, tuple[Any, int]] = {}
        self._codes: dict[int, tuple[CodeType, int]] = {}
        self._count = itertools.count()
        self._handles: dict[HookId, tuple[weakref.ref[Any], weakref.ref[Any], int]] = {}
        self._views: dict[HookId, tuple[Seen, int | None]] = {}
        self._homeless: dict[HookId, weakref.ref[nn.Module]] = {}

    def add(self, row: HookId, number: int, function: Any) -> None:
        """Note a hook that has got a row, with its number in PyTorch's dictionary, or -1."""
        self.log.registrations[row] = Registration(
            number if isinstance(number, int) else -1,
            self._number(function),
            _names(code_of(function)),
            _argument(function),
            isinstance(number, int) and number >= _torch_hooks.HANDLE.next_id,
            graphs=graphs_compiled(),
            code=self._code(code_of(function)),
        )

    def registered(self, row: HookId, handle: Any, hooks: Any) -> None:
        """Note the handle that a registration inside the block returns."""
        self._handles[row] = weakref.ref(handle), weakref.ref(hooks), handle.id

    def placed(self, row: HookId) -> None:
        """Note that the module of a hook has become known only after its registration."""
        self._update(row, early=True)

    def on_tensor(self, row: HookId, node: NodeId, seen: Seen, version: int | None) -> None:
        """Note which node had made a tensor when a hook was registered on it.

        Args:
            row: Of the hook.
            node: The node.
            seen: The tensor.
            version: Its version then.
        """
        base = TensorId(seen.storage) if seen.is_view and seen.storage is not None else None
        self._update(row, node=node, base=base)
        if seen.is_view:
            self._views[row] = seen, version

    def on_stranger(self, row: HookId, module: nn.Module) -> None:
        """Note a hook on a module that is no part of a model yet, but may turn out to be one."""
        self._homeless[row] = weakref.ref(module)

    def settle_modules(self, scope: Scope) -> None:
        """Give the hooks on such modules the rows that their modules have got since."""
        for row, ref in self._homeless.items():
            module = ref()
            known = None if module is None else scope.known(module)
            if module is not None and known is not None:
                owner = scope.name_of(module)
                hook = self.log.hooks[row]
                self.log.hooks[row] = msgspec.structs.replace(hook, module=known, owner=owner)

    def check_views(self) -> None:
        """Find out which views with hooks were written to since."""
        for row, (seen, version) in tuple(self._views.items()):
            tensor = seen.ref()
            if tensor is None:
                del self._views[row]
            elif _torch.version_of(tensor) != version:
                self._update(row, stale=True)
                del self._views[row]

    def settle(self) -> None:
        """Find out, at the end of the block, which hooks are left and can be removed."""
        self.log.sticky = _torch_hooks.global_flag_is_left()
        for row, (handle, dictionary, number) in self._handles.items():
            if row in self.log.registrations:
                left = number in (dictionary() or ())
                self._update(row, left=left, dropped=handle() is None)
        self.check_views()
        self.log.graphs = graphs_compiled()

    def forget(self) -> None:
        """Drop what refers to the traced program."""
        self._functions.clear()
        self._codes.clear()
        self._handles.clear()
        self._views.clear()
        self._homeless.clear()

    def _update(self, row: HookId, **facts: Any) -> None:
        rows = self.log.registrations
        rows[row] = msgspec.structs.replace(rows[row], **facts)

    def _code(self, code: CodeType | None) -> int:
        """Return a number for a code object, which tells two lambdas in one line apart."""
        return -1 if code is None else self._codes.setdefault(id(code), (code, len(self._codes)))[1]

    def _number(self, function: Any) -> int:
        """Return a number for a function object; one of a method goes by what it is bound to."""
        bound = isinstance(function, MethodType)
        part = function.__func__ if bound else function
        key = (id(part), id(function.__self__) if bound else None)
        known = self._functions.get(key)
        if known is not None and known[0]() is part:
            return known[1]
        try:
            ref: Any = weakref.ref(part)
        except TypeError:  # such as a builtin, which is not made anew
            ref = functools.partial(_same, part)
        number = next(self._count)
        self._functions[key] = ref, number
        return number


def _same(thing: Any) -> Any:
    return thing


def function_name(function: Any) -> str:
    """Return the name of a hook's function as its author would say it."""
    if isinstance(function, functools.partial):
        return f"partial({function_name(function.func)})"
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]


def defined_at(function: Any) -> str:
    """Return ``file:line`` of a hook's function; empty for builtins."""
    code = code_of(function)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def code_of(function: Any) -> CodeType | None:
    """Return the code that runs when `function` is called, if it is Python's.

    Of a decorated function, such as by ``torch.no_grad()``, it is that of the function inside.
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    while isinstance(function, FunctionType) and "__wrapped__" in vars(function):
        function = vars(function)["__wrapped__"]
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    return code if isinstance(code, CodeType) else None


def _names(code: CodeType | None) -> tuple[str, ...]:
    """Return the names that code uses, that of the functions inside it included."""
    if code is None:
        return ()
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def _argument(function: Any) -> str:
    """Return what a function of Python calls the first argument that it is given."""
    code, bound = code_of(function), 0
    while isinstance(function, functools.partial):
        function, bound = function.func, bound + len(function.args)
    if not isinstance(function, FunctionType):  # a method, or an object with __call__
        bound += 1
    arguments = () if code is None else code.co_varnames[: code.co_argcount]
    return arguments[bound] if len(arguments) > bound else ""
