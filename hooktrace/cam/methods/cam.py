"""CAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.heads import weights_in_graph, weights_in_model
from hooktrace.cam.method import Method, method
from hooktrace.errors import MissingModelError, NoGraphError

__all__ = ["Cam"]


@method
@dataclass(frozen=True)
class Cam(Method):
    """Channels weighted by the head's weights of the class, behind global average pooling.

    With activations A: (N, C, *S) and logits ``z = W mean_p(A_p) + b``:
    ``map_p = sum_k W_ck A_kp``, the mean of which is the logit less the bias.

    A trace keeps no weights, but its graph has them: once it has shown that nothing but average
    pooling and one linear layer follows, the gradient at each of T positions is ``W_c / T``.  With
    a target other than a class, such as several classes, that makes W_c the target's gradient for
    the pooled channels.  Without a graph the weights are those of the last linear layer in
    ``model=``, if they give the recorded logits.

    Source: Zhou et al. 2016, equation 2, arXiv 1512.04150.

    Raises:
        MethodError: Something else lies between the layer and the result.
        NoGraphError: There is no graph, or it was freed, and no ``model=`` and ``inputs=``.
    """

    name = "cam"
    title = "CAM"

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        return (_weights(evidence).unsqueeze(1) @ activations.flatten(2)).reshape(
            activations.shape[0], *activations.shape[2:]
        )


def _weights(evidence: Evidence) -> Tensor:
    """Return W[c] for the class of each image: (N, C)."""
    question = evidence.asked("needs to know the score")
    try:
        return weights_in_graph(evidence, question)
    except NoGraphError as error:
        try:
            given = evidence.rerun(Cam.name)
        except MissingModelError:
            hint = "Or give t.cam() model= and inputs=, for the weights of the model's last layer."
            raise type(error)(f"{error} {hint}") from None
        return weights_in_model(evidence, question, given.model)
