"""Module calls: `nn.Module.__call__` is wrapped once for the whole process.

Not by hooks: the first hook of any kind takes every module call off PyTorch's fast path, and a
hook on a child of ``TransformerEncoderLayer`` changes which code runs at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from hooktrace._torch import is_compiling
from hooktrace.opencall import close_call, fail_call, open_call
from hooktrace.patches import Patch, active

__all__ = ["patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(nn.Module, "__call__", _traced_call)


def _traced_call(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __call__(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        recorders = active()
        if not recorders or is_compiling():
            return original(self, *args, **kwargs)
        calls = [
            (recorder, call)
            for recorder in recorders
            if (call := open_call(recorder, self, args, kwargs)) is not None
        ]
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            for recorder, call in calls:
                fail_call(recorder, call, error)
            raise
        for recorder, call in calls:
            close_call(recorder, call, result)
        return result

    return __call__
