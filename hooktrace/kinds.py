"""The kinds of hooks that PyTorch has, by PyTorch's own words, and how each is called.

Order of the table: as they come in the life of a training step.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "HookKind", "spoken"]


@dataclass(frozen=True)
class HookKind:
    """One kind of hook.

    Attributes:
        name: As in ``register_<name>_hook``, where there is such a function.
        family: What it hangs on: ``module``, ``tensor``, ``node``, ``optimizer``, ``backward``
            (a run of the engine), ``thread`` (a ``with`` block), ``state_dict``,
            ``registration`` or ``communication``.
        registered_by: The function or context manager that takes it.
        arguments: What it is called with; optional ones in front.
        replaces: The argument that a result stands for; empty if a result means something else
            or nothing.
        gradient: Whether what it is given are gradients.
    """

    name: str
    family: str
    registered_by: str
    arguments: tuple[str, ...]
    replaces: str = ""
    gradient: bool = False


_LOADING = "module state_dict prefix local_metadata strict missing_keys unexpected_keys error_msgs"


def _kind(
    name: str, family: str, by: str, arguments: str, replaces: str = "", gradient: bool = False
) -> HookKind:
    return HookKind(name, family, by, tuple(arguments.split()), replaces, gradient)


_ALL = (
    _kind(
        "parameter_registration",
        "registration",
        "torch.nn.modules.module.register_module_parameter_registration_hook",
        "module name parameter",
        "parameter",
    ),
    _kind(
        "buffer_registration",
        "registration",
        "torch.nn.modules.module.register_module_buffer_registration_hook",
        "module name buffer",
        "buffer",
    ),
    _kind(
        "module_registration",
        "registration",
        "torch.nn.modules.module.register_module_module_registration_hook",
        "module name submodule",
        "submodule",
    ),
    _kind(
        "forward_pre", "module", "Module.register_forward_pre_hook", "module args kwargs", "args"
    ),
    _kind("pack", "thread", "torch.autograd.graph.saved_tensors_hooks", "tensor"),
    _kind("node_creation", "thread", "torch.autograd.graph.node_creation_hook", "node"),
    _kind(
        "forward", "module", "Module.register_forward_hook", "module args kwargs output", "output"
    ),
    _kind("tensor", "tensor", "Tensor.register_hook", "grad", "grad", True),
    _kind("retain_grad", "tensor", "Tensor.retain_grad", "grad", "", True),
    _kind(
        "multi_grad",
        "tensor",
        "torch.autograd.graph.register_multi_grad_hook",
        "grads",
        "",
        True,
    ),
    _kind("node_pre", "node", "Node.register_prehook", "grad_outputs", "grad_outputs", True),
    _kind(
        "full_backward_pre",
        "module",
        "Module.register_full_backward_pre_hook",
        "module grad_output",
        "grad_output",
        True,
    ),
    _kind("unpack", "thread", "torch.autograd.graph.saved_tensors_hooks", "packed"),
    _kind("function_backward", "node", "torch.autograd.Function", "grad_outputs", "", True),
    _kind(
        "backward",
        "module",
        "Module.register_backward_hook",
        "module grad_input grad_output",
        "grad_input",
        True,
    ),
    _kind(
        "full_backward",
        "module",
        "Module.register_full_backward_hook",
        "module grad_input grad_output",
        "grad_input",
        True,
    ),
    _kind(
        "post_accumulate_grad",
        "tensor",
        "Tensor.register_post_accumulate_grad_hook",
        "param",
        "",
        True,
    ),
    _kind("node", "node", "Node.register_hook", "grad_inputs grad_outputs", "grad_inputs", True),
    _kind("queue_callback", "backward", "Variable._execution_engine.queue_callback", ""),
    _kind(
        "comm",
        "communication",
        "DistributedDataParallel.register_comm_hook",
        "state bucket",
        "",
        True,
    ),
    _kind(
        "optimizer_step_pre",
        "optimizer",
        "Optimizer.register_step_pre_hook",
        "optimizer args kwargs",
        "args, kwargs",
    ),
    _kind(
        "optimizer_step_post",
        "optimizer",
        "Optimizer.register_step_post_hook",
        "optimizer args kwargs",
    ),
    _kind(
        "state_dict_pre",
        "state_dict",
        "Module.register_state_dict_pre_hook",
        "module prefix keep_vars",
    ),
    _kind(
        "state_dict_post",
        "state_dict",
        "Module.register_state_dict_post_hook",
        "module state_dict prefix local_metadata",
        "state_dict",
    ),
    _kind(
        "load_state_dict_pre",
        "state_dict",
        "Module.register_load_state_dict_pre_hook",
        _LOADING,
    ),
    _kind(
        "load_state_dict_post",
        "state_dict",
        "Module.register_load_state_dict_post_hook",
        "module incompatible_keys",
    ),
    _kind(
        "optimizer_state_dict_pre",
        "state_dict",
        "Optimizer.register_state_dict_pre_hook",
        "optimizer",
    ),
    _kind(
        "optimizer_state_dict_post",
        "state_dict",
        "Optimizer.register_state_dict_post_hook",
        "optimizer state_dict",
        "state_dict",
    ),
    _kind(
        "optimizer_load_state_dict_pre",
        "state_dict",
        "Optimizer.register_load_state_dict_pre_hook",
        "optimizer state_dict",
        "state_dict",
    ),
    _kind(
        "optimizer_load_state_dict_post",
        "state_dict",
        "Optimizer.register_load_state_dict_post_hook",
        "optimizer",
    ),
)

KINDS: dict[str, HookKind] = {kind.name: kind for kind in _ALL}
"""Every kind of hook that is seen, by name; ``backward`` is the legacy module hook."""


def spoken(kind: str) -> str:
    """Return what a hook of a kind is called in a sentence.

    >>> spoken("full_backward"), spoken("forward_pre"), spoken("multi_grad")
    ('full backward hook', 'forward pre-hook', 'multi-grad hook')
    """
    if kind in _COMPOUND:
        return _COMPOUND[kind]
    words, _, last = kind.replace("_", " ").rpartition(" ")
    return f"{words} {last}-hook" if last in ("pre", "post") else f"{words} {last} hook".strip()


_COMPOUND = {
    "multi_grad": "multi-grad hook",
    "post_accumulate_grad": "post-accumulate-grad hook",
    "queue_callback": "queued callback",
}
