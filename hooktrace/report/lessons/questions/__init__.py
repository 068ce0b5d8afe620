"""The kinds of questions, one file each; what lies in this folder is asked."""

from __future__ import annotations

import importlib
import pkgutil

__all__: list[str] = []

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")
