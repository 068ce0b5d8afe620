"""Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.masking import Masked, MaskingMethod
from hooktrace.cam.method import method

__all__ = ["ScoreCam"]


@method
@dataclass(frozen=True)
class ScoreCam(MaskingMethod):
    """Channels weighted by the score of the image seen through each of them.

    With activations A: (N, C, *S), the image X and the mask ``H_k = s(up(A_k))``, where up resizes
    to the image and ``s(h) = (h - min h) / (max h - min h)``: ``w = softmax_k(f(X * H_k))`` and
    ``map_p = sum_k w_k A_kp``.  The paper subtracts the score of a baseline image from each
    ``f(X * H_k)``; softmax over the channels does not change by that.  A channel that is the same
    everywhere has the mask 0.  Equal channels share one run of the model.

    Source: Wang et al. 2020, equations 4 to 8, arXiv 1910.01279 (there followed by a ReLU).

    Attributes:
        order: ``resize_first``, as in the paper and the grad-cam library, or ``normalize_first``,
            as in torchcam.
        batch_size: How many masked images the model is given at once.
    """

    name = "scorecam"
    title = "Score-CAM"

    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        return masked.scores(lambda images, masks: images * masks)
