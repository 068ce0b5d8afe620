"""Deep Feature Factorization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.factorization import factorize
from hooktrace.cam.method import Method, method

__all__ = ["Concepts", "Dff"]


class Concepts(NamedTuple):
    """What a factorization found.

    Attributes:
        maps: (N, K, *S) how much of each concept is at each position.
        vectors: (K, C) the concepts, each of length 1, the one that is most present first.
    """

    maps: Tensor
    vectors: Tensor


@method
@dataclass(frozen=True)
class Dff(Method):
    """The activations of the whole batch as a few non-negative concepts; the map is that of one.

    With A the activations of all N images as N P positions by C channels, the negative ones set to
    zero: ``min |A - H W|^2`` over non-negative H (N P, K) and W (K, C).  Column k of H is the map
    of concept k, row k of W its direction, of length 1.  Which concept is shown is asked of each
    image: ``present`` is the one with the largest sum of its map; ``class`` the one that adds most
    to the score to first order, ``sum_p H_pk (g_p . w_k)`` with g = dy/dA; a number that one.  The
    maps themselves know no class.  All are in `HeatMap.extra`: ``maps`` (N, K, *S), ``vectors``
    (K, C), and ``chosen``, one number for each image.

    Source: Collins et al. 2018, equation 3, arXiv 1806.10206.  How one of the maps is chosen is
    this library's.

    Attributes:
        concepts: K.
        concept: ``present``, ``class`` (which needs gradients) or the number of a concept.
        sweeps: How often H and W are improved at most.
        tolerance: Stop when a sweep changes less than this part of what the first one did.
    """

    concepts: int = 5
    concept: int | str = "present"
    sweeps: int = 200
    tolerance: float = 1e-4

    name = "dff"
    title = "Deep Feature Factorization"
    gradients = False

    def __post_init__(self) -> None:
        if self.concepts < 1:
            raise ValueError(f"concepts= is at least 1, but got {self.concepts}.")
        if isinstance(self.concept, str):
            if self.concept not in ("present", "class"):
                raise ValueError(
                    f"concept= is present, class or a number, but got {self.concept!r}."
                )
        elif not 0 <= self.concept < self.concepts:
            raise ValueError(f"concept= is below {self.concepts}, but got {self.concept}.")

    def map(self, evidence: Evidence) -> Tensor:
        maps = self._found(evidence).maps
        chosen = self._chosen(evidence)
        return maps[torch.arange(len(maps), device=maps.device), chosen]

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        found = self._found(evidence)
        chosen = tuple(self._chosen(evidence).tolist())
        return {"maps": found.maps, "vectors": found.vectors, "chosen": chosen}

    def _found(self, evidence: Evidence) -> Concepts:
        found: Concepts = evidence.once(f"{self!r}", lambda: self._factorized(evidence))
        return found

    def _factorized(self, evidence: Evidence) -> Concepts:
        activations = evidence.activations
        images, channels, *sizes = activations.shape
        points = activations.clamp_min(0).movedim(1, -1).reshape(-1, channels)
        amounts, vectors = factorize(
            points, self.concepts, evidence.generator(), self.sweeps, self.tolerance
        )
        return Concepts(amounts.reshape(images, *sizes, -1).movedim(-1, 1).contiguous(), vectors)

    def _chosen(self, evidence: Evidence) -> Tensor:
        """Return (N,) the number of the concept that is shown of each image."""
        maps, vectors = self._found(evidence)
        flat = maps.flatten(2)
        if isinstance(self.concept, int):
            return torch.full((len(maps),), self.concept, device=maps.device)
        if self.concept == "present":
            return flat.sum(2).argmax(1)
        towards = vectors @ evidence.gradients.flatten(2)
        return (flat * towards).sum(2).argmax(1)
