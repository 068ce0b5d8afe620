"""ShapleyCAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence, Layer, wide
from hooktrace.cam.method import Method, method
from hooktrace.cam.question import Question
from hooktrace.errors import MethodError

__all__ = ["ShapleyCam"]


@method
@dataclass(frozen=True)
class ShapleyCam(Method):
    """Grad-CAM with a correction of second order, from the Shapley values of the positions.

    With activations A, gradients g = dy/dA and the Hessian H of y for A: ``w_k = mean_p(g_kp -
    (1/2) (H A)_kp)`` and ``map_p = sum_k w_k A_kp``, all (N, C, *S).  Where the score is piecewise
    linear in A, as a logit of a ReLU network is, H is 0 and the map is that of Grad-CAM: give a
    target that is not, such as ``hooktrace.cam.targets.SoftmaxScore``.

    Source: Cai 2025, CAMs as Shapley value-based explainers, arXiv 2501.06261.

    Raises:
        NoGradientError: With ``target="backward"``, which has no second derivative.
        MethodError: An operation between the layer and the result has none, as fused attention.
    """

    name = "shapleycam"
    title = "ShapleyCAM"

    def map(self, evidence: Evidence) -> Tensor:
        layer = evidence.layer
        question = evidence.asked("takes a second derivative of the score")
        bent = layer.layout.arrange(_bent(question, layer))
        corrected = evidence.gradients - wide(bent) / 2
        weights = corrected.flatten(2).mean(2).unsqueeze(1)
        flat = evidence.activations.flatten(2)
        return (weights @ flat).reshape(flat.shape[0], *layer.activations.shape[2:])


def _bent(question: Question, layer: Layer) -> Tensor:
    """Return the Hessian of the score times what the layer returned, of its shape."""
    try:
        return question.curvature(layer.place, layer.value)
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise MethodError(
            f"ShapleyCAM needs the second derivative of all that lies between {layer.call} and the "
            f"result, but PyTorch says: {error}. Fused attention has none; let the model run with "
            f"torch.nn.attention.sdpa_kernel(SDPBackend.MATH)."
        ) from None
