"""The full gradients of a score: what the input adds to it, and what the bias of each layer adds.

The bias of a convolution or a linear layer is its own; that of BatchNorm in evaluation mode, which
is ``y = gamma (x - mean) / sqrt(var + eps) + beta``, is ``beta - gamma mean / sqrt(var + eps)``.
What other layers add to what is linear in their input, such as GELU or LayerNorm, is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam.axes import descendants
from hooktrace.cam.backwards import run_back
from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.trees import tensors_of
from hooktrace.errors import MapShapeError, MethodError, NoGraphError, NotKeptError
from hooktrace.views.calls import Call

__all__ = ["Parts", "parts"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What makes up the score, element by element, float32 or wider.

    Attributes:
        image: (N, channels, *S) the image times its gradient.
        biases: By call, such as ``layer1.0.bn2@0``: bias times gradient of what it returned, of
            its shape.
        spatial: The calls of convolutions and BatchNorm whose parts are (N, C, *S), as the image.
    """

    image: Tensor
    biases: dict[str, Tensor]
    spatial: frozenset[str]

    def sum(self) -> Tensor:
        """Return (N,): the score, where only biases and the input add to it."""
        terms = (self.image, *self.biases.values())
        return torch.stack([one.flatten(1).sum(1) for one in terms]).sum(0)


def parts(evidence: Evidence) -> Parts:
    """Return the full gradients of the score, by one backward run.

    A layer that the score does not depend on adds nothing.

    Raises:
        NotKeptError: A layer with a bias was not kept.
        NoGraphError: The image requires no gradient.
        GraphFreedError: A backward has freed the graph.
        MissingModelError: ``model=`` and ``inputs=`` were not given.
        MethodError: The model in ``model=`` is another, or a BatchNorm ran in training mode.
        MapShapeError: ``inputs=`` holds no batch of images of the size that was traced.
    """
    given = evidence.rerun("fullgrad")
    question = evidence.asked("starts from the score")
    found = list(_biases(evidence.root, given.model))
    edges = _edges(evidence, [call for call, _, _ in found])
    heads, seeds = question.start()
    image = _image((given.args, given.kwargs), evidence.layer.image)
    edges.append(_edge_of(image, heads))
    *gradients, arrived = run_back(heads, seeds, edges, str(evidence.root))
    if arrived is None:
        raise NoGraphError(f"The images in inputs= are not those that were traced. {_REQUIRE}")
    biases, spatial = {}, set()
    for (call, module, bias), gradient in zip(found, gradients, strict=True):
        if gradient is None:
            continue
        last = isinstance(module, nn.Linear)
        shape = (-1,) if last else (-1, *[1] * (gradient.dim() - 2))
        biases[str(call)] = wide(gradient) * wide(bias).reshape(shape)
        if not last and gradient.dim() == image.dim() and len(gradient) == len(image):
            spatial.add(str(call))
    return Parts(wide(arrived) * wide(image.detach()), biases, frozenset(spatial))


# ------------------------------------------------------------------ the layers


def _biases(root: Call, model: nn.Module) -> Iterator[tuple[Call, nn.Module, Tensor]]:
    """Yield the calls of layers that have a bias, with the layer and its bias (C,)."""
    known = dict(model.named_modules())
    for call in (root, *descendants(root)):
        module = known.get(call.module.name)
        if module is None or type(module).__name__ != call.module.type:
            raise MethodError(
                f"model= has no {call.module.type} of the name {call.module.name!r}, which the "
                f"trace called. Give the model that was traced."
            )
        bias = _bias(call, module)
        if bias is not None and not call.recomputed:
            yield call, module, bias.detach()


def _bias(call: Call, module: Any) -> Tensor | None:
    """Return what a layer adds to what is linear in its input, (C,); None if it adds nothing."""
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        own: Tensor | None = module.bias
        return own
    if not isinstance(module, _NORMS) and type(module).__name__ != "FrozenBatchNorm2d":
        return None
    if module.running_mean is None or (isinstance(module, _NORMS) and call.mode.training):
        raise MethodError(
            f"{call} normalised by the statistics of the batch, which makes each image depend on "
            f"the others: there is no bias of its own. Call model.eval() before the trace."
        )
    shift: Tensor = -wide(module.running_mean) * (wide(module.running_var) + module.eps).rsqrt()
    if module.weight is not None:
        shift = shift * module.weight
    return shift if module.bias is None else shift + module.bias


def _edges(evidence: Evidence, calls: Sequence[Call]) -> list[Any]:
    """Return the gradient edges of what layers returned."""
    missing = [str(call) for call in calls if not call.kept]
    if missing or evidence.log.released:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise NotKeptError(
            f"FullGrad needs the gradients of all layers with a bias, but these were not kept: "
            f"{', '.join(missing[:8])}{more}. Keep all with trace(model, keep=True), or use "
            f'ht.explain(model, images, method="fullgrad").'
        )
    edges = evidence.log.edges
    cut = [str(call) for call in calls if (call.id, "output") not in edges]
    if cut:
        raise NoGraphError(
            f"FullGrad needs a graph through all layers with a bias, but what {cut[0]} returned "
            f"has none: the input requires no gradient, or it ran under no_grad(). {_REQUIRE}"
        )
    return [edges[call.id, "output"] for call in calls]


# ------------------------------------------------------------------ the input

_REQUIRE = (
    "Call images.requires_grad_() before the trace, or use "
    'ht.explain(model, images, method="fullgrad"), which does.'
)


def _image(arguments: Any, sizes: tuple[int, ...]) -> Tensor:
    """Return the batch of images out of what the model was called with."""
    for one in tensors_of(arguments):
        if one.is_floating_point() and one.dim() > 2 and tuple(one.shape[2:]) == sizes:
            return one
    raise MapShapeError(f"inputs= holds no batch of images (N, channels, *{sizes}), as was traced.")


def _edge_of(image: Tensor, heads: Sequence[Any]) -> Any:
    """Return the gradient edge of the images that the model was given.

    They are in the graph: themselves, or as a leaf of the same numbers that was made of them.

    Raises:
        NoGraphError: There is no such leaf, or several.
    """
    if image.requires_grad:
        return torch.autograd.graph.get_gradient_edge(image)
    same = [one for one in _leaves(heads) if _same(one, image)]
    if len(same) == 1:
        return torch.autograd.graph.get_gradient_edge(same[0])
    raise NoGraphError(
        f"FullGrad needs the gradient of the input, but the images in inputs= require none, and "
        f"{'several' if same else 'no'} inputs of the graph hold what they hold. {_REQUIRE}"
    )


def _same(leaf: Tensor, image: Tensor) -> bool:
    return leaf.shape == image.shape and leaf.dtype == image.dtype and torch.equal(leaf, image)


def _leaves(heads: Sequence[Any]) -> Iterator[Tensor]:
    """Yield the tensors at the ends of a graph: parameters and inputs that require a gradient."""
    queue = [head.node for head in heads]
    seen = set(queue)
    for node in queue:
        if hasattr(node, "variable"):
            yield node.variable
        fresh = {one for one, _ in node.next_functions if one is not None} - seen
        seen |= fresh
        queue.extend(fresh)
