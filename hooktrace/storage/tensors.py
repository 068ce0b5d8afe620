"""Kept tensors in a file: safetensors, read when they are asked for, and only then with torch."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hooktrace.errors import TraceFormatError

if TYPE_CHECKING:
    import torch

    from hooktrace.storage.archive import Reader

__all__ = ["Pack", "StoredTensors", "Vault"]

Key = TypeVar("Key")


class Pack:
    """Tensors on their way into a file.

    Attributes:
        views: By name the dtype of a tensor that is stored as its bytes.
    """

    def __init__(self) -> None:
        self.views: dict[str, str] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._names: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._tensors)

    def add(self, tensor: torch.Tensor) -> str | None:
        """Add a tensor; return its name in the file, or None if it has no bytes to be stored."""
        import torch

        name = self._names.get(id(tensor))
        if name is not None:
            return name
        plain = tensor.layout is torch.strided and not tensor.is_quantized
        if not plain or tensor.device.type == "meta":
            return None
        name = self._names[id(tensor)] = str(len(self._tensors))
        dense = tensor.detach().cpu().resolve_conj().resolve_neg()
        dense = dense.clone(memory_format=torch.contiguous_format)
        if dense.dtype not in _stored_dtypes():
            self.views[name] = str(dense.dtype).removeprefix("torch.")
            dense = dense.reshape(-1).view(torch.uint8).reshape(*dense.shape, -1)
        self._tensors[name] = dense
        return name

    def bytes(self) -> bytes:
        """Return all of them as safetensors."""
        from safetensors.torch import save

        return save(self._tensors)


def _stored_dtypes() -> set[Any]:
    import torch

    names = (
        "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
        "float8_e4m3fn float8_e5m2"
    )
    return {getattr(torch, name) for name in names.split()}


class Vault:
    """The tensors of one part of a file, read all at once when the first is asked for."""

    def __init__(self, reader: Reader, entry: str, views: dict[str, str]) -> None:
        self._reader = reader
        self._entry = entry
        self._views = views
        self._tensors: dict[str, torch.Tensor] | None = None

    def __getitem__(self, name: str) -> torch.Tensor:
        """Return the tensor of this name.

        Raises:
            TraceFormatError: The file has none, or was changed since it was opened.
        """
        if self._tensors is None:
            self._tensors = self._read()
        found = self._tensors.get(name)
        if found is None:
            raise TraceFormatError(f"{self._reader.path} is damaged: {self._entry} has no {name}.")
        return found

    def _read(self) -> dict[str, torch.Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            found: dict[str, torch.Tensor] = load(self._reader.read(self._entry))
            return {
                name: self._seen_as(one, self._views.get(name, "")) for name, one in found.items()
            }
        except FileNotFoundError:
            raise TraceFormatError(
                f"{self._reader.path} is gone, and with it the kept tensors that had not been read "
                f"yet."
            ) from None
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            raise TraceFormatError(
                f"{self._reader.path} is damaged at {self._entry}: {error}"
            ) from None

    def _seen_as(self, stored: torch.Tensor, dtype: str) -> torch.Tensor:
        import torch

        kind = getattr(torch, dtype, None) if dtype else stored.dtype
        if not isinstance(kind, torch.dtype):
            raise TraceFormatError(
                f"{self._reader.path} is damaged: {self._entry} speaks of a dtype {dtype!r}."
            )
        if not dtype:
            return stored
        return stored.reshape(-1).view(kind).reshape(stored.shape[:-1])


class StoredTensors(MutableMapping[Key, Any], Generic[Key]):
    """Tensors by key; those of a file are read when they are asked for."""

    def __init__(self) -> None:
        self._places: dict[Key, tuple[Vault, str]] = {}
        self._own: dict[Key, Any] = {}

    def place(self, key: Key, vault: Vault, name: str) -> None:
        """Say where the tensor of a key is to be found."""
        self._places[key] = vault, name

    def __getitem__(self, key: Key) -> Any:
        if key in self._own:
            return self._own[key]
        vault, name = self._places[key]
        return vault[name]

    def __setitem__(self, key: Key, tensor: Any) -> None:
        self._own[key] = tensor

    def __delitem__(self, key: Key) -> None:
        known = self._own.pop(key, None) is not None
        if self._places.pop(key, None) is None and not known:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return key in self._own or key in self._places

    def __iter__(self) -> Iterator[Key]:
        return iter(dict.fromkeys((*self._places, *self._own)))

    def __len__(self) -> int:
        return len(self._places.keys() | self._own.keys())
