"""What a method of class activation maps is, and the registry of all methods.

A method is one file in `hooktrace.cam.methods`, found by its being there: a frozen dataclass
whose docstring gives the formula and its source, whose fields are its options, and whose
`map` computes it from `Evidence`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar

from torch import Tensor

from hooktrace._registry import Registry
from hooktrace.cam.evidence import Evidence
from hooktrace.errors import UnknownNameError, nearest

__all__ = ["METHODS", "Method", "method"]


@dataclass(frozen=True)
class Method(ABC):
    """One way to make a heat map.

    Attributes:
        name: In the registry: ``gradcam``.
        title: As its authors write it: ``Grad-CAM``.
        scope: ``layer`` if it makes one map of each layer; ``layers`` if it makes one of all that
            are asked for together; ``model`` if it looks at the whole model.
        gradients: Whether it needs gradients.
        reruns: Whether it runs the model again.
        relu: Whether its authors show the positive part only; `raw` maps are before that.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    scope: ClassVar[Literal["layer", "layers", "model"]] = "layer"
    gradients: ClassVar[bool] = True
    reruns: ClassVar[bool] = False
    relu: ClassVar[bool] = True

    @abstractmethod
    def map(self, evidence: Evidence) -> Tensor:
        """Return the signed map (N, *S), unnormalised, before any ReLU."""

    @property
    def label(self) -> str:
        """Its name, and the options that are not the default: ``fem(form='activations')``."""
        options = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in fields(self)
            if getattr(self, one.name) != one.default
        ]
        return f"{self.name}({', '.join(options)})" if options else self.name

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        """Return what else it found, for `HeatMap.extra`; it is called after `map`."""
        return {}


class Methods(Registry[type[Method]]):
    """Every method by name; other spellings, such as ``GradCAMPlusPlus``, are told the name."""

    def __getitem__(self, name: str) -> type[Method]:
        """Return the method of this name.

        Raises:
            UnknownNameError: There is none; the message names the nearest.
        """
        if name in self:
            return super().__getitem__(name)
        spelled = {_folded(super(Methods, self).__getitem__(one).title): one for one in self}
        spelled.update((_folded(one), one) for one in self)
        meant = spelled.get(_folded(name))
        hint = nearest(name, self) if meant is None else f" Did you mean {meant!r}?"
        raise UnknownNameError(f"There is no method {name!r} of heat maps.{hint}")


def _folded(name: str) -> str:
    """Return a name as it is whatever its capitals, hyphens and way to write ++."""
    plain = re.sub(r"[^a-z0-9+]", "", name.lower()).replace("plus", "+")
    return f"{plain[:-2]}++" if plain.endswith("campp") else plain


METHODS = Methods("cam_methods")
"""Every method by name."""

M = TypeVar("M", bound=type[Method])


def method(found: M) -> M:
    """Enter a method under its name."""
    entered: Callable[[M], M] = METHODS.register(found.name)  # type: ignore[assignment]
    return entered(found)
