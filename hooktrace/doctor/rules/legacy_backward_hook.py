"""Legacy backward hooks, which see one node of a call only."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, NodeId, Observation, TensorSummary, TracedHook
from hooktrace.findings import Finding
from hooktrace.views.call import Call

__all__ = ["LegacyBackwardHook"]


@rule
class LegacyBackwardHook(Rule):
    """A hook of ``register_backward_hook`` is given the gradients of one node, not of the module.

    What it finds: legacy backward hooks in whose call there is more than one autograd node, or
        whose one node has other inputs than the call: their ``grad_input`` is what the call's
        last node sends out, such as gradients of a bias and of a transposed weight.
    Why it matters: what is taken for the gradient of the module's input is another tensor's.
    Instead: ``register_full_backward_hook``, or the ``grad_inputs`` of a traced call where
        operations in place forbid that.
    Limits: calls whose output was made by an earlier call, or written to later, are judged by the
        shapes of the gradients only.
    Source: https://github.com/pytorch/pytorch/issues/12331 and
        https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html, which calls it
        deprecated.
    Fires:
        import warnings
        model = nn.Linear(3, 2)
        model.register_backward_hook(lambda module, grad_input, grad_output: None)
        with warnings.catch_warnings(action="ignore"), ht.trace(model) as t:
            model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    Silent:
        import warnings
        model = nn.ReLU()
        model.register_backward_hook(lambda module, grad_input, grad_output: None)
        with warnings.catch_warnings(action="ignore"), ht.trace(model) as t:
            model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    """

    name = "legacy-backward-hook"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the first firing of each hook in a call that it does not describe."""
        for hook in case.hooks:
            if hook.kind != "backward":
                continue
            for firing in case.firings.get(hook.id, ()):
                call = None if firing.call is None else case.calls.calls[firing.call]
                inner = [] if call is None else _inner_nodes(case, call)
                if call is not None and (len(inner) > 1 or not _fits(firing, call)):
                    yield self._of(case, hook, firing, call, inner)
                    break

    def _of(
        self, case: Case, hook: TracedHook, firing: HookFired, call: Call, inner: list[NodeId]
    ) -> Finding:
        last = _last_node(case, call)
        name = "the last node of the call" if last is None else case.log.nodes[last].name
        return self.finding(
            f"The hook {hook.name} on {case.owner(hook)} was given the grad_input of {name}, "
            + (
                f"the last of its {len(inner)} nodes, not that of the module."
                if len(inner) > 1
                else "which has other inputs than the module."
            ),
            hook=hook,
            events=(firing.seq,),
            evidence=(
                f"grad_input of the hook: {_shapes(_given(firing), 'gradient')}",
                f"{call} was given {_shapes(call.seen_inputs, 'input')}",
            ),
        )


def _last_node(case: Case, call: Call) -> NodeId | None:
    """Return the node that made the first output that is a tensor, on which PyTorch hangs it."""
    values = [one.value for one in call.seen_outputs if one.value is not None]
    return case.node_of(values[0]) if values else None


def _inner_nodes(case: Case, call: Call) -> list[NodeId]:
    """Return the nodes that were made in a call, from its last one on."""
    last = _last_node(case, call)
    inside, queue = {call.id}, list(call.children)
    for child in queue:
        inside.add(child.id)
        queue.extend(child.children)
    parts = case.log.nodes.parts
    found = [] if last is None or parts[last][1] not in inside else [last]
    for node in found:
        for following, _ in parts[node][2]:
            if parts[following][1] in inside and following not in found:
                found.append(following)
    return found


def _given(firing: HookFired) -> list[Observation]:
    return [one for one in firing.inputs if one.role.startswith("grad_input")]


def _fits(firing: HookFired, call: Call) -> bool:
    """Whether the gradients have the shapes of the call's inputs; None fits everything."""
    given, inputs = _given(firing), call.seen_inputs
    if len(given) != len(inputs):
        return False
    pairs = zip((one.summary for one in given), (one.summary for one in inputs), strict=True)
    return all(
        not isinstance(one, TensorSummary)
        or (isinstance(other, TensorSummary) and one.shape == other.shape)
        for one, other in pairs
    )


def _shapes(seen: list[Observation] | tuple[Observation, ...], noun: str) -> str:
    """Say how many there are and of which shapes: ``2 gradients of shape (2,)``."""
    summaries = [one.summary for one in seen]
    found = [str(one.shape if isinstance(one, TensorSummary) else one) for one in summaries]
    count = f"{len(found) or 'no'} {noun}{'s' * (len(found) != 1)}"
    if not any(isinstance(one, TensorSummary) for one in summaries):
        return f"{count}: {', '.join(found)}" if found else count
    if len(set(found)) == 1:
        return f"{count} of shape {found[0]}"
    return f"{count} of shapes {', '.join(found)}"
