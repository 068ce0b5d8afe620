"""The exporters, one format or one family of formats in a file; what lies here enters itself."""

from __future__ import annotations

import importlib
import pkgutil

__all__: list[str] = []

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")
