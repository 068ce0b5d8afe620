"""`hooks()`: every hook that is registered now, in the order in which it would fire."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import torch
from torch import nn

from hooktrace import _torch, _torch_graph, _torch_hooks, _torch_stores
from hooktrace.events import HookId, TracedHook
from hooktrace.hooklist import HookList
from hooktrace.hooktable import HookTable
from hooktrace.identity import Identities
from hooktrace.log import EventLog
from hooktrace.patches import active
from hooktrace.scope import Scope
from hooktrace.spiedhooks import stored
from hooktrace.spies import user_hook

__all__ = ["HookList", "Inventory", "hooks"]


def hooks(*things: Any) -> HookList:
    """List every hook that is registered on some things now, in the order of firing.

    That is the order of a training step: forward, backward, the optimizer's step; then saving and
    loading.  Modules are taken in the order in which they are defined, the parameters of a module
    in the reverse of it, tensors as they are given: only a run tells in which order they are
    used.  Hooks on intermediate tensors are found only if the tensors are given.  Where a trace
    is open, a hook knows where it was registered.

    Args:
        *things: Modules, with their parameters and buffers and the nodes that accumulate their
            gradients; tensors, with the autograd nodes that can be reached from them; optimizers.

    Returns:
        A sequence of `TracedHook`; ``print`` it.

    Raises:
        TypeError: One of the things is none of these.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> handle = net[1].register_forward_hook(lambda module, args, output: output * 2)
        >>> [(hook.kind, hook.owner) for hook in hooks(net)]
        [('forward', '1')]
    """
    for thing in things:
        if not isinstance(thing, (nn.Module, torch.Tensor, torch.optim.Optimizer)):
            raise TypeError(
                f"hooks() takes modules, tensors and optimizers, but got {type(thing).__name__}."
            )
    inventory = Inventory([thing for thing in things if isinstance(thing, nn.Module)])
    return HookList(inventory.take(things))


class Inventory:
    """Finds hooks; what it makes rows for stands in `order`.

    Args:
        models: The modules that give names to all others.
        prefixes: What goes before these names; None for the classes, if there are several.
        everywhere: Whether to take the hooks for every module and optimizer also if there is none.

    Attributes:
        places: Where each hook is stored: dictionaries, with the number there and the function.
    """

    def __init__(
        self,
        models: list[nn.Module],
        prefixes: list[str] | None = None,
        *,
        everywhere: bool = False,
    ) -> None:
        log = EventLog()
        if prefixes is None:
            prefixes = [""] if len(models) == 1 else [type(one).__name__ for one in models]
        pairs = list(zip(prefixes, models, strict=True))
        self.log = log
        self.everywhere = everywhere
        self.scope = Scope(log, pairs, everything=True, keep=False)
        self.identities = Identities(log)
        self.table = HookTable(log, self.scope, self.identities)
        self.order: dict[HookId, str | None] = {}  # and where each was registered
        self.places: dict[HookId, list[tuple[Any, int, Any]]] = {}

    def take(self, things: Sequence[Any]) -> list[TracedHook]:
        """Return the rows of all hooks on `things`."""
        for name, parameter in self.scope.parameters():
            self.identities.name(parameter, name, leaf=True, parameter=True)
        models = [thing for thing in things if isinstance(thing, nn.Module)]
        tensors = [thing for thing in things if isinstance(thing, torch.Tensor)]
        optimizers = [thing for thing in things if isinstance(thing, torch.optim.Optimizer)]
        self._everywhere(_torch_stores.registration_hooks(), models)
        self._thread("pack")
        self._forward(models)
        self._backward(models, tensors)
        self._steps(optimizers)
        self._saving(models, optimizers)
        self.log.sticky = _torch_hooks.global_flag_is_left()
        return [self._placed(row) for row in self.order]

    def _placed(self, row: HookId) -> TracedHook:
        return msgspec.structs.replace(self.log.hooks[row], registered_at=self.order[row])

    # -------------------------------------------------------------- in the order of firing

    def _forward(self, models: list[nn.Module]) -> None:
        everywhere = _torch_hooks.global_hooks()
        if models or self.everywhere:
            self._add("forward_pre", everywhere["forward_pre"], None)
            self._add("forward", everywhere["forward"], None)
        for module, entered in _nested(models, backwards=False):
            kind = "forward_pre" if entered else "forward"
            self._add(kind, _torch_hooks.own_hooks(module)[kind], module)

    def _backward(self, models: list[nn.Module], tensors: list[torch.Tensor]) -> None:
        everywhere = _torch_hooks.global_hooks()
        if models or self.everywhere:
            for kind in ("full_backward_pre", "full_backward", "backward"):
                self._add(kind, everywhere.get(kind, {}), None)
        reached = [leaf for tensor in tensors for leaf in self._of_result(tensor)]
        self._thread("unpack")
        for module, entered in _nested(models, backwards=True):
            own = _torch_hooks.own_hooks(module)
            if entered:
                self._add("full_backward_pre", own["full_backward_pre"], module)
                continue
            for leaf in reversed(list(_torch_hooks.own_tensors(module))):
                self._of_leaf(leaf)
            self._add("backward", own["backward"], module)
            self._add("full_backward", own["full_backward"], module)
        for leaf in reached:
            self._of_leaf(leaf)

    def _of_result(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Add the hooks on a tensor and on the nodes behind it; return the leaves behind it."""
        if tensor.is_leaf:
            return [tensor]
        self._add("tensor", _torch_hooks.hooks_on(tensor, "tensor"), tensor)
        if tensor.retains_grad:
            number = self.identities.seen(tensor).id
            row = self.table.add("retain_grad", number, torch.Tensor.retain_grad, tensor)
            self.order.setdefault(row, None)
        nodes = _torch_graph.reachable([_torch_graph.node_of(tensor)])
        inner = [node for node in nodes if not hasattr(node, "variable")]
        inner.sort(key=_torch.sequence_of, reverse=True)  # the engine runs younger nodes first
        found = list(_torch_graph.hooks_of_nodes(inner))
        for _, here in itertools.groupby(found, key=lambda one: one[0]):
            on_node = list(here)
            self._on_nodes(on_node, "node_pre")
            self._on_nodes(on_node, "node")
        return [node.variable for node in nodes if hasattr(node, "variable")]

    def _of_leaf(self, leaf: torch.Tensor) -> None:
        """Add the hooks on a leaf and on the node that accumulates its gradient."""
        if not leaf.requires_grad:
            return
        self._add("tensor", _torch_hooks.hooks_on(leaf, "tensor"), leaf)
        found = list(_torch_graph.hooks_of_nodes([_torch_graph.node_of(leaf)]))
        self._on_nodes(found, "node_pre")
        after = _torch_hooks.hooks_on(leaf, "post_accumulate_grad")
        self._add("post_accumulate_grad", after, leaf)
        self._on_nodes(found, "node")

    def _on_nodes(self, found: list[tuple[Any, str, Any]], wanted: str) -> None:
        for node, kind, dictionary in found:
            if kind == wanted:
                users = {
                    number: function
                    for number, function in dictionary.items()
                    if isinstance(number, int) and not _torch_hooks.is_internal(user_hook(function))
                }
                self._add(kind, users, self._title(node), dictionary)

    def _title(self, node: Any) -> str:
        leaf = getattr(node, "variable", None)
        if leaf is None:
            return _torch.node_name(node)
        row = self.log.tensors[self.identities.seen(leaf).id]
        return f"AccumulateGrad of {row.name or 'a leaf'}"

    def _steps(self, optimizers: list[torch.optim.Optimizer]) -> None:
        everywhere = _torch_stores.step_hooks()
        stores = _torch_stores.OPTIMIZER_HOOKS
        if optimizers or self.everywhere:
            self._add("optimizer_step_pre", everywhere["optimizer_step_pre"], "every optimizer")
        for kind in ("optimizer_step_pre", "optimizer_step_post"):
            for optimizer in optimizers:
                self._add(kind, getattr(optimizer, stores[kind]), optimizer)
        if optimizers or self.everywhere:
            self._add("optimizer_step_post", everywhere["optimizer_step_post"], "every optimizer")

    def _saving(self, models: list[nn.Module], optimizers: list[torch.optim.Optimizer]) -> None:
        for kind in ("state_dict", "load_state_dict"):
            for module, entered in _nested(models, backwards=False):
                name = f"{kind}_pre" if entered else f"{kind}_post"
                self._add(name, getattr(module, _torch_stores.MODULE_HOOKS[name]), module)
        for kind, attribute in _torch_stores.OPTIMIZER_HOOKS.items():
            if "state_dict" in kind:
                for optimizer in optimizers:
                    self._add(kind, getattr(optimizer, attribute), optimizer)

    def _everywhere(self, stores: dict[str, Any], models: list[nn.Module]) -> None:
        for kind, dictionary in stores.items():
            self._add(kind, dictionary if models or self.everywhere else {}, "every module")

    def _thread(self, kind: str) -> None:
        """Add the hook on saved tensors that is active on this thread."""
        pair = _torch_graph.top_pair()
        if pair is not None:
            hook = user_hook(pair[0] if kind == "pack" else pair[1])
            self._add(kind, {0: hook}, "tensors saved on this thread")

    # -------------------------------------------------------------- rows

    def _add(self, kind: str, dictionary: Any, owner: Any, stored_in: Any = None) -> None:
        """Add the hooks in a dictionary, in its order; it may be a part of the one they are in."""
        for number, hook in (dictionary or {}).items():
            if not isinstance(number, int):
                continue
            function = _torch_hooks.registered(user_hook(hook))
            options = _torch_stores.saving_options(kind, user_hook(hook))
            if isinstance(owner, nn.Module):
                options += _torch_hooks.hook_options(owner, kind, number)
            row = self.table.add(kind, number, function, owner, options=options)
            self.order.setdefault(row, _registered_at(kind, number, function))
            place = dictionary if stored_in is None else stored_in
            self.places.setdefault(row, []).append((stored(place), number, function))


def _registered_at(kind: str, number: int, function: Any) -> str | None:
    """Return where a hook was registered, if an open trace has seen it."""
    lines = (
        recorder.log.hooks[row].registered_at
        for recorder in active()
        if (row := recorder.hooks.find(kind, number, function)) is not None
    )
    return next((line for line in lines if line), None)


def _nested(models: list[nn.Module], *, backwards: bool) -> Iterator[tuple[nn.Module, bool]]:
    """Yield each module twice, as it is entered and as it is left, its members in between."""
    seen: set[int] = set()

    def visit(module: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        yield module, True
        members = list(module.children())
        for member in reversed(members) if backwards else members:
            yield from visit(member)
        yield module, False

    for model in models:
        yield from visit(model)
