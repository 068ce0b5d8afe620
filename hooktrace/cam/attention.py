"""Recorded calls of `MultiheadAttention`: what a score's gradient for the attention is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from hooktrace.cam.axes import descendants
from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.layouts import Layout, find_layout
from hooktrace.cam.question import Place
from hooktrace.errors import MethodError, NoGraphError, NotKeptError
from hooktrace.log import EventLog
from hooktrace.views.calls import Call

__all__ = ["Attention", "attentions"]

_RESULT = "output[0]"


@dataclass(frozen=True)
class Attention:
    """One call of a `MultiheadAttention` of tokens on themselves.

    Attributes:
        log: Of the trace.
        call: The call.
        module: The module that was called.
        layout: How what its block returned is laid out.
    """

    log: EventLog
    call: Call
    module: nn.MultiheadAttention
    layout: Layout

    @property
    def place(self) -> Place:
        """Where a `Question` finds what it returned."""
        return self.call.id, _RESULT

    @property
    def edge(self) -> Any:
        """The gradient edge of what it returned."""
        return _edge(self.log, self.call, _RESULT)

    def block(self) -> tuple[Tensor, Any]:
        """Return what the block around it returned, as it was returned, and the gradient edge."""
        block = _block(self.call)
        return block.output, _edge(self.log, block, "output")

    def batch_first(self, tokens: Tensor) -> Tensor:
        """Return (N, T, C) of tokens as the attention takes them."""
        return tokens if self.module.batch_first else tokens.transpose(0, 1)

    def gradient(self, arrived: Tensor) -> Tensor:
        """Return (N, heads, T, T), the gradient for the attention of queries to keys.

        Args:
            arrived: The gradient for what it returned, of its shape.
        """
        module, size, heads = self.module, self.module.embed_dim, self.module.num_heads
        joined = module.in_proj_weight
        weight = module.v_proj_weight if joined is None else joined[2 * size :]
        bias = None if module.in_proj_bias is None else wide(module.in_proj_bias[2 * size :])
        given = wide(self.batch_first(_values(self.call)))
        values = functional.linear(given, wide(weight).to(given), bias)
        mixed = wide(self.batch_first(arrived)) @ wide(module.out_proj.weight)
        queries, keys = (
            one.reshape(*one.shape[:2], heads, -1).transpose(1, 2) for one in (mixed, values)
        )
        return queries @ keys.mT

    def on_grid(self, tokens: Tensor) -> Tensor:
        """Return numbers of tokens (N, T) where they are in space: (N, *S)."""
        return self.layout.arrange(self.batch_first(tokens.unsqueeze(2)))[:, 0]


def attentions(evidence: Evidence) -> list[Attention]:
    """Return the attentions of the run that is judged, in order.

    Raises:
        MethodError: There is none of tokens on themselves, it dropped some of it, or the model in
            ``model=`` is another.
        NotKeptError: What one or its block returned, or what it was given, was not kept.
        MapShapeError: The tokens are no grid of the proportions of the image.
    """
    known = dict(evidence.rerun("legrad").model.named_modules())
    calls = _attentions(evidence.root)
    if not calls:
        raise MethodError(f"LeGrad needs MultiheadAttention, but {evidence.root} called none.")
    found = []
    for call in calls:
        module = known.get(call.module.name)
        if not isinstance(module, nn.MultiheadAttention):
            raise MethodError(
                f"model= has no MultiheadAttention of the name {call.module.name!r}. Give the "
                f"model that was traced."
            )
        found.append(_checked(evidence, call, module))
    return found


def _checked(evidence: Evidence, call: Call, module: nn.MultiheadAttention) -> Attention:
    block = _block(call)
    kept = (call.outputs[0], block.outputs[0], _values(call))
    if not all(isinstance(one, Tensor) for one in kept):
        raise NotKeptError(
            f"LeGrad needs what {call} and the block around it, {block}, returned, and what the "
            f"attention was given, if a module returned that. Keep all with trace(model, "
            f'keep=True), or use ht.explain(model, images, method="legrad").'
        )
    if call.mode.training and module.dropout > 0:
        raise MethodError(f"{call} dropped some of the attention. Call model.eval() before.")
    if len({tuple(one.shape) for one in kept}) > 1:
        raise MethodError(
            f"LeGrad needs attention of tokens on themselves inside a block that returns them, but "
            f"{call} is given {tuple(kept[2].shape)} and returns {tuple(kept[0].shape)}, and "
            f"{block} returns {tuple(kept[1].shape)}."
        )
    layout = find_layout(block, tuple(kept[1].shape), evidence.layer.image)
    return Attention(evidence.log, call, module, layout)


def _attentions(around: Call) -> list[Call]:
    """Return the attentions inside a call, in order."""
    return [
        call
        for call in descendants(around)
        if call.module.base == "MultiheadAttention" and not call.recomputed
    ]


def _block(call: Call) -> Call:
    """Return the outermost call around an attention that holds no other one.

    Where there is no other one, that would be the model; then it is the call right around it.
    """
    block = call.parent or call
    if len(_attentions(call.root)) > 1:
        while block.parent is not None and len(_attentions(block.parent)) == 1:
            block = block.parent
    return block


def _values(call: Call) -> Any:
    """Return what the attention was given as value."""
    for seen, given in zip(call.seen_inputs, call.inputs, strict=True):
        if seen.role in ("args[2]", "kwargs['value']"):
            return given
    return None


def _edge(log: EventLog, call: Call, role: str) -> Any:
    if (call.id, role) not in log.edges:
        raise NoGraphError(
            f"What {call} returned has no graph. Require a gradient of the input or of a parameter "
            f"before it, run without no_grad(), or use ht.explain(model, images)."
        )
    return log.edges[call.id, role]
