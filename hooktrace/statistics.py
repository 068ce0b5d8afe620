"""Statistics of tensors: computed on their device when they are seen, fetched when they are read.

Nothing here waits for a device until the log is read or the block ends; then everything that lies
on a device comes over in one transfer.  What is measured costs a pass over the data for each
statistic and, while it is computed, memory for one more tensor of the same size; what is kept of
a tensor are nine numbers.

Nothing is measured of tensors whose data cannot be read (`_torch.is_wrapped`: subclasses, wrappers
of functorch, fake, meta, sparse and nested tensors), of those without elements or without memory,
of dtypes other than the four that compute (integers, truth values, complex and quantized numbers,
floats of 8 bits), nor while a CUDA graph is being captured, whose every replay would measure again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

import torch

from hooktrace import _torch, _torch_hooks
from hooktrace._torch_data import computable, wait_for
from hooktrace.identity import Identities, Seen
from hooktrace.records import CallId
from hooktrace.scope import Scope
from hooktrace.tensorstats import ParameterSighting, StatsTable, TensorStats

__all__ = ["Statistics", "is_measured", "measure"]

_WIDE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
"""The dtypes that are measured, and in which one."""

_EXACT = 1 << 24
"""Single precision counts up to here."""

_Sizes = tuple[int, int | None]


class Statistics:
    """Takes the statistics of one trace.

    Args:
        table: Where they go.
        failed: What is told when something could not be measured, while that is handled.
    """

    def __init__(self, table: StatsTable, failed: Callable[[str], None]) -> None:
        self._table = table
        self._failed = failed
        self._lock = threading.Lock()
        self._taken = 0
        self._waiting: dict[int, tuple[_Sizes, torch.Tensor]] = {}
        table.taken = True
        table.fetch = self._fetch

    def number_of(self, tensor: torch.Tensor, seen: Seen) -> int | None:
        """Return the number of the statistics of what `tensor` holds now, or None.

        A value that is seen again is not measured again, but for inference tensors, whose values
        cannot be told apart.
        """
        known = seen.measured
        if known is not None and known[0] is seen.value and seen.value.version is not None:
            return known[1]
        number = self.take(tensor)
        seen.measured = None if number is None else (seen.value, number)
        return number

    def take(self, tensor: torch.Tensor) -> int | None:
        """Measure what a tensor holds; return the number of its statistics, or None."""
        try:
            if not is_measured(tensor):
                return None
            numbers = measure(tensor)
        except Exception:
            self._failed("the statistics of a tensor")
            return None
        shape = tensor.shape
        sizes = (shape.numel(), shape[1] if len(shape) > 1 else None)
        with self._lock:
            number, self._taken = self._taken, self._taken + 1
            self._waiting[number] = sizes, numbers
        return number

    def take_parameters(self, call: CallId, scope: Scope, identities: Identities) -> None:
        """Measure the parameters and buffers of a trace's models, as an outermost call begins."""
        for name, module in scope.modules():
            for own, tensor in _own_tensors(module):
                seen = identities.seen(tensor)
                if _torch.version_of(tensor) != seen.value.version:
                    identities.refresh(tensor, seen)
                known = seen.measured
                number = self.number_of(tensor, seen)
                if number is not None and seen.measured is not known:
                    full = f"{name}.{own}" if name else own
                    parameter = isinstance(tensor, torch.nn.Parameter)
                    row = identities.name(tensor, full, leaf=parameter, parameter=parameter)
                    self._table.parameters.append(ParameterSighting(call, row, number))

    def _fetch(self) -> dict[int, TensorStats]:
        """Bring over what waits on the devices."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        places: defaultdict[torch.device, list[int]] = defaultdict(list)
        for place, (_, numbers) in waiting.items():
            places[numbers.device].append(place)
        found: dict[int, list[float]] = {}
        with torch.no_grad(), _torch.hidden():
            for device, own in places.items():
                wait_for(device)
                rows = torch.stack([waiting[place][1] for place in own]).tolist()
                found.update(zip(own, rows, strict=True))
        return {place: _record(sizes, found[place]) for place, (sizes, _) in waiting.items()}

    def finish(self) -> None:
        """Fetch everything; nothing is left on a device."""
        try:
            self._table.settle()
        except Exception:
            self._failed("the statistics")
        finally:
            self._table.fetch = None
            self._waiting.clear()


def _own_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from _torch_hooks.own_parameters(module)
    yield from module.named_buffers(recurse=False)


def is_measured(tensor: torch.Tensor) -> bool:
    """Whether statistics of a tensor are taken."""
    return tensor.dtype in _WIDE and not _torch.is_wrapped(tensor) and computable(tensor)


def measure(tensor: torch.Tensor) -> torch.Tensor:
    """Return nine numbers of a tensor, on its device, without waiting for it.

    Args:
        tensor: (*S), of one of the dtypes that are measured; at least one element.

    Returns:
        (9,): minimum, maximum, mean, root of the mean squared deviation, norm, number of NaNs,
        of elements that are not finite, of zeros, and of places in dimension 1 where all elements
        are zero (zero where there is no such dimension).
    """
    with torch.inference_mode(), _torch.aside():
        wide = tensor.to(_WIDE[tensor.dtype])
        total = wide.numel()
        exact = torch.float64 if total > _EXACT else wide.dtype
        low, high = torch.aminmax(wide)
        mean = wide.mean()
        norm = torch.linalg.vector_norm(wide)
        buffer = torch.sub(wide, mean)
        deviation = torch.linalg.vector_norm(buffer) / total**0.5
        nan = torch.ne(wide, wide, out=buffer).sum(dtype=exact)
        # a finite number times zero is zero, and everything else is NaN
        odd = torch.mul(wide, 0, out=buffer).ne_(0).sum(dtype=exact)
        zero = torch.eq(wide, 0, out=buffer)
        numbers = [low, high, mean, deviation, norm, nan, odd]
        if wide.dim() < 2:
            numbers += [zero.sum(dtype=exact), nan.new_zeros(())]
        else:
            others = [place for place in range(wide.dim()) if place != 1]
            zeros = zero.sum(others, dtype=exact)
            numbers += [zeros.sum(dtype=exact), (zeros == total // wide.shape[1]).sum()]
        return torch.stack([number.to(exact) for number in numbers])


def _record(sizes: _Sizes, numbers: list[float]) -> TensorStats:
    total, channels = sizes
    low, high, mean, deviation, norm, nan, odd, zeros, dead = numbers
    return TensorStats(
        low,
        high,
        mean,
        deviation,
        norm,
        int(nan),
        int(odd - nan),
        int(zeros),
        total,
        channels,
        None if channels is None else int(dead),
    )
