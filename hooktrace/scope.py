"""Which modules a trace records, what they are called, and which ones it keeps."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from hooktrace import _torch_hooks
from hooktrace.errors import (
    UnknownNameError,
    UnsupportedKeepError,
    nearest,
)
from hooktrace.events import ModuleId, TracedModule
from hooktrace.log import EventLog
from hooktrace.modulefacts import base_of, config_of, size_of

__all__ = ["Keep", "Scope"]

_Place = tuple[weakref.ref[nn.Module], list[str], int]  # module, its names, its model or -1
Keep = bool | str | nn.Module | Sequence[str | nn.Module]


class Scope:
    """The modules of a trace.

    Without models (``trace()``) every module that runs belongs to it; the outermost ones
    become models as they are called, named by the caller's variable or their class.

    Args:
        log: Whose table of modules is filled as modules are first called.
        models: Pairs of a prefix and a module.  An empty prefix leaves names as they are.
        everything: Whether modules outside of `models` belong to the trace as well.
        keep: What `trace` was given.
        only: With `everything`: the class of the models that belong to the trace, an fnmatch
            pattern.

    Raises:
        UnknownNameError: `keep` names no module of the models.
        UnsupportedModuleError: A model is a ScriptModule.
    """

    def __init__(
        self,
        log: EventLog,
        models: Sequence[tuple[str, nn.Module]],
        *,
        everything: bool,
        keep: Keep,
        only: str | None = None,
    ) -> None:
        self.log = log
        self._only = only
        self.met = False  # whether a model was met of which the parameters have not been entered
        self.everything = everything
        self.outsiders: dict[str, int] = {}  # class -> calls of modules that are no part of it
        self._rows: dict[int, tuple[weakref.ref[nn.Module], ModuleId]] = {}
        self._live: dict[ModuleId, weakref.ref[nn.Module]] = {}
        self._names: dict[int, _Place] = {}
        self._roots: list[weakref.ref[nn.Module]] = []
        for prefix, model in models:
            self._enlist(prefix, model)
        self._patterns, self._kept_modules = _split(keep)
        if not everything:
            self._check_keep()

    # -------------------------------------------------------------- what belongs

    def modules(self) -> list[tuple[str, nn.Module]]:
        """Return every module of the models that still lives, with its name."""
        places = tuple(self._names.values())
        return [(names[0], module) for ref, names, _ in places if (module := ref()) is not None]

    def members(self) -> Iterator[tuple[nn.Module, list[str], int, ModuleId | None]]:
        """Yield every module of the models that still lives: it, its names, its model, its row."""
        for ref, names, root in tuple(self._names.values()):
            module = ref()
            if module is not None:
                known = self._rows.get(id(module))
                row = known[1] if known is not None and known[0]() is module else None
                yield module, names, root, row

    def models(self) -> list[nn.Module]:
        """Return the models that still live."""
        return [model for ref in self._roots if (model := ref()) is not None]

    def parameters(self, *, aliases: bool = False) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters that the models have now, with their names.

        Args:
            aliases: Whether to go through all names of a module that has several.
        """
        found: list[tuple[str, nn.Parameter]] = []
        for ref, names, _ in tuple(self._names.values()):
            module = ref()
            own = () if module is None else _torch_hooks.own_parameters(module)
            if own:
                for name in names if aliases else names[:1]:
                    start = f"{name}." if name else ""
                    found += [(start + last, parameter) for last, parameter in own]
        return found

    def live_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the models have now."""
        places = tuple(self._names.values())
        modules = [module for ref, _, _ in places if (module := ref()) is not None]
        return _torch_hooks.parameters_of(modules)

    @property
    def has_aliases(self) -> bool:
        """Whether a module has several names."""
        return any(len(names) > 1 for _, names, _ in self._names.values())

    def find(self, module: nn.Module, parent: ModuleId | None) -> ModuleId | None:
        """Return the row of `module` if it belongs to the trace.

        Args:
            module: A module that is being called.
            parent: The innermost module of the trace that is open on this thread: what that
                one calls belongs to the trace, also if it was made a moment ago.
        """
        entry = self._rows.get(id(module))
        if entry is not None and entry[0]() is module:
            return entry[1]
        return self._admit(module, parent)

    def known(self, module: nn.Module) -> ModuleId | None:
        """Return the row of `module` if it is part of a model or has run."""
        entry = self._rows.get(id(module))
        if entry is not None and entry[0]() is module:
            return entry[1]
        named = self._names.get(id(module))
        return self._admit(module, None) if named is not None and named[0]() is module else None

    def name_of(self, module: nn.Module) -> str:
        """Return the name of a module that belongs to the trace."""
        number = self.known(module)
        return type(module).__name__ if number is None else self.log.modules[number].label

    def unknown_patterns(self) -> list[str]:
        """Return what `keep` names that no module seen so far matches."""
        names = [row.name for row in self.log.modules]
        names += [name for _, all_names, _ in self._names.values() for name in all_names]
        asked = (one for one in self._patterns if one != "*")  # which asks for what there may be
        return [one for one in asked if not any(fnmatchcase(name, one) for name in names)]

    # -------------------------------------------------------------- inner workings

    def _enlist(self, prefix: str, model: nn.Module) -> int:
        root = len(self._roots)
        self._roots.append(weakref.ref(model))
        self.log.roots.append(prefix)
        for name, module in model.named_modules(remove_duplicate=False):
            full = f"{prefix}.{name}" if prefix and name else prefix or name
            self.log.parts.add(full)
            known = self._names.get(id(module))
            if known is not None and known[0]() is module:
                known[1].append(full)
            else:
                self._names[id(module)] = (weakref.ref(module), [full], root)
        return root

    def _admit(self, module: nn.Module, parent: ModuleId | None) -> ModuleId | None:
        named = self._names.get(id(module))
        if named is None or named[0]() is not module:
            named = self._place(module, parent)
        if named is None:
            outsider = type(module).__name__
            self.outsiders[outsider] = self.outsiders.get(outsider, 0) + 1
            return None
        _, names, root = named
        number, kind = ModuleId(len(self.log.modules)), type(module)
        self.log.modules.append(
            TracedModule(
                number,
                names[0],
                kind.__name__,
                tuple(names[1:]),
                config_of(module),
                size_of(module),
                root if root >= 0 else None,
                base_of(kind),
            )
        )
        self._rows[id(module)] = (weakref.ref(module), number)
        self._live[number] = weakref.ref(module)
        if self._keeps(names, module):
            self.log.kept.add(number)
        return number

    def _place(self, module: nn.Module, parent: ModuleId | None) -> _Place | None:
        """Find a name for a module that no model had when it was enlisted."""
        if parent is not None:
            row = self.log.modules[parent]
            caller = self._live[parent]()
            root = -1 if row.root is None else row.root
            members = caller.named_modules() if caller is not None else ()
            own = next((name for name, member in members if member is module), None)
            name = own if own is not None else f"<{type(module).__name__}>"
            return weakref.ref(module), [f"{row.name}.{name}" if row.name else name], root
        for root, ref in enumerate(self._roots):
            model = ref()
            for name, member in model.named_modules() if model is not None else ():
                if member is module:
                    prefix = self.log.roots[root]
                    return weakref.ref(module), [f"{prefix}.{name}" if prefix else name], root
        if self.everything and (self._only is None or _is_of(type(module), self._only)):
            self._enlist(self._free(type(module).__name__), module)
            self.met = True
            return self._names[id(module)]
        return None

    def _free(self, name: str) -> str:
        taken = set(self.log.roots)
        if name not in taken:
            return name
        return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)

    def _keeps(self, names: list[str], module: nn.Module) -> bool:
        if any(module is ref() for ref in self._kept_modules):
            return True
        if not self._patterns:
            return False
        labels = [name or type(module).__name__ for name in names]
        return any(fnmatchcase(name, one) for name in (*names, *labels) for one in self._patterns)

    def _check_keep(self) -> None:
        names = [name for _, all_names, _ in self._names.values() for name in all_names]
        names += [type(model).__name__ for model in self.models()]
        for pattern in self._patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise UnknownNameError(
                    f"keep={pattern!r} names no module of the model.{nearest(pattern, names)}"
                )
        for ref in self._kept_modules:
            module = ref()
            if module is not None and id(module) not in self._names:
                raise UnknownNameError(
                    f"keep={type(module).__name__}(...) is not a part of the traced model. Give a "
                    f"module out of model.named_modules(), or its name."
                )


_KEEP = "keep= takes names, patterns and modules, one or several, or True; but got {}."


def _split(keep: Keep) -> tuple[list[str], list[weakref.ref[nn.Module]]]:
    if isinstance(keep, bool):
        return (["*"] if keep else []), []
    if isinstance(keep, (str, nn.Module)):
        keep = [keep]
    if not isinstance(keep, Iterable):
        raise UnsupportedKeepError(_KEEP.format(type(keep).__name__))
    patterns, modules = [], []
    for item in keep:
        if isinstance(item, str):
            patterns.append(item)
        elif isinstance(item, nn.Module):
            modules.append(weakref.ref(item))
        else:
            raise UnsupportedKeepError(_KEEP.format(type(item).__name__))
    return patterns, modules


def _is_of(kind: type[nn.Module], pattern: str) -> bool:
    """Whether a class, or one that it is made of, has such a name."""
    return any(fnmatchcase(one.__name__, pattern) for one in kind.__mro__[:-1])
