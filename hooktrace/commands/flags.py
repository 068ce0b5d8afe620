"""Flags that are the keyword arguments of other functions, so that no list is in two places.

What those functions are is only known when they are imported, which takes longer than the list of
all commands may.  So a command gets its flags when it is called or asked for its help.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from hooktrace.signatures import Option

__all__ = ["Group", "flagged", "given"]

Function = Callable[..., Any]
_FLAGS: dict[str, tuple[Function, Callable[[], Iterable[Option]]]] = {}


class Group(TyperGroup):
    """The commands; those of `flagged` are completed when they are called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and the rest of the arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in _FLAGS:
            function, options = _FLAGS[name]
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command(name)(_with_flags(function, options()))
            command = typer.main.get_command(alone)
        return name, command, rest


def flagged(options: Callable[[], Iterable[Option]]) -> Callable[[Function], Function]:
    """Return a decorator for a command with a parameter ``**flags``: it gets these options.

    Args:
        options: Called when the command is: it may import what it likes.
    """

    def enter(function: Function) -> Function:
        _FLAGS[function.__name__] = function, options
        return _with_flags(function, ())

    return enter


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given: what is None was not."""
    return {name: value for name, value in flags.items() if value is not None}


def _with_flags(function: Function, options: Iterable[Option]) -> Function:
    """Return the command with a parameter for each option in the place of ``**flags``."""

    def command(**arguments: Any) -> Any:
        return function(**arguments)

    signature = inspect.signature(function, eval_str=True)
    parameters = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters += [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_typed(one.type) | None, typer.Option(help=_help(one))],
        )
        for one in options
    ]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _typed(kind: Any) -> Any:
    """Return the type of a flag: of what may be text or something that no flag can say, text."""
    return str if str in get_args(kind) else kind


def _help(option: Option) -> str:
    """Return the help of a flag, with what holds if it is not given."""
    text = option.help.replace("; None for ", "; without it ")
    return text if option.default is None else f"{text} [default: {option.default}]"
