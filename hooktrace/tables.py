"""The rows of the tables that events point into: modules, hooks, tensors, autograd nodes."""

from __future__ import annotations

from hooktrace.records import CallId, HookId, ModuleId, NodeId, Record, TensorId, TensorSummary

__all__ = [
    "Member",
    "OwnTensor",
    "Registration",
    "TracedHook",
    "TracedModule",
    "TracedNode",
    "TracedTensor",
]


class TracedModule(Record, frozen=True, gc=False):
    """A module that was seen.

    Attributes:
        name: Fully qualified name, as in ``named_modules()``; empty for the root.
        aliases: Further names of the same module object (a shared module).
        type: Name of its class.
        config: Its ``extra_repr()``, such as ``3, 64, kernel_size=(11, 11)``.
        parameters: Number of elements of the parameters it owns itself, without its children.
        root: Index of the traced model it belongs to; None if it is no part of one.
        base: Name of the first of its classes that ``torch.nn`` defines, such as ``ReLU``;
            ``Module`` for most of a user's own.
    """

    id: ModuleId
    name: str
    type: str
    aliases: tuple[str, ...] = ()
    config: str = ""
    parameters: int = 0
    root: int | None = None
    base: str = "Module"

    @property
    def label(self) -> str:
        """The name, or the class for a root, which has no name."""
        return self.name or self.type

    @property
    def title(self) -> str:
        """The label, for a sentence: a name that is a number, as in `Sequential`, with its class.

        >>> TracedModule(ModuleId(0), "1", "Dropout").title
        '1 (Dropout)'
        """
        return f"{self.name} ({self.type})" if self.name.isdigit() else self.label


class OwnTensor(Record, frozen=True, gc=False):
    """A parameter or buffer as one module has it.

    Attributes:
        name: Its name in the module, such as ``weight``.
        tensor: Which tensor it is: a shared one has the same number wherever it is had.
        buffer: Whether it is a buffer.
    """

    name: str
    tensor: TensorId
    summary: TensorSummary
    buffer: bool = False


class Member(Record, frozen=True, gc=False):
    """A module of a traced model, called or not, as it was when the block ended.

    Attributes:
        name: Its first name, as in ``named_modules()``; empty for the root.
        aliases: Further names of the same module object.
        type: Name of its class.
        root: Index of the traced model it belongs to.
        module: Its row among the modules that were seen to run or to have hooks; None if it
            was not.
        tensors: The parameters and buffers that it has itself, without its children.
    """

    name: str
    aliases: tuple[str, ...]
    type: str
    root: int
    module: ModuleId | None = None
    tensors: tuple[OwnTensor, ...] = ()


class TracedHook(Record, frozen=True, gc=False):
    """A hook that was registered.

    Attributes:
        kind: PyTorch's own word for it, a name out of `hooktrace.kinds.KINDS`.
        owner: Name of the module, tensor, optimizer or node it hangs on, or what else it is
            registered for, such as ``every module``.
        name: Qualified name of the function.
        defined_at: ``file:line`` of the function; empty for builtins.
        registered_at: ``file:line`` of the registration; None if it was there before the block.
        module: The module it hangs on, if any.
        tensor: The tensor it hangs on, if any.
        options: Options given at the registration, such as ``("prepend", "with_kwargs")``.
        feature: The feature of PyTorch or the library that registered it as its own, such as
            ``spectral_norm`` or ``peft``; empty for the user's hooks.
        node: The autograd node it hangs on, once that is known.
    """

    id: HookId
    kind: str
    owner: str
    name: str
    defined_at: str = ""
    registered_at: str | None = None
    module: ModuleId | None = None
    tensor: TensorId | None = None
    options: tuple[str, ...] = ()
    feature: str = ""
    node: NodeId | None = None


class Registration(Record, frozen=True, gc=False):
    """What PyTorch and Python know of a hook beside what it is.

    Attributes:
        number: Its key in the dictionary that PyTorch stores it in; -1 if it has none.
        function: Equal for hooks that are one function object.
        names: Names of globals and attributes that the code of the function uses.
        argument: Name of the function's first argument, ``self`` of a method left out.
        beyond: Whether PyTorch has yet to give out its number: it came by unpickling, and the
            hook that gets the number next replaces it.
        left: Whether it was registered inside the block and still was when that ended.
        dropped: Whether its handle was gone by then, so that nobody can remove it.
        node: For a hook on a tensor, the node that had made the tensor when it was registered.
        base: For a hook on a view, the tensor whose memory it shows.
        stale: Whether it is on a view that was written to later, itself or through its base:
            the view then has another node, and the hook is called no more.
        early: Whether the trace came to know its module only after it was registered; it may have
            been registered while the module was made.
        graphs: How many graphs ``torch.compile`` had compiled in the process by then.
        code: Equal for functions that run one code object, as closures made in a loop do; -1 if
            that is not Python's.
    """

    number: int
    function: int
    names: tuple[str, ...] = ()
    argument: str = ""
    beyond: bool = False
    left: bool = False
    dropped: bool = False
    node: NodeId | None = None
    base: TensorId | None = None
    stale: bool = False
    early: bool = False
    graphs: int = 0
    code: int = -1


class TracedTensor(Record, frozen=True, gc=False):
    """A tensor that was seen.

    Attributes:
        name: Name of the parameter or of the caller's variable; empty if it has none.
        leaf: Whether it is a leaf of the autograd graph that requires a gradient.
        parameter: Whether it is a parameter of a traced module.
    """

    id: TensorId
    name: str = ""
    leaf: bool = False
    parameter: bool = False


class TracedNode(Record, frozen=True, gc=False):
    """A node of the autograd graph.

    Attributes:
        name: Such as ``ConvolutionBackward0``.
        call: Innermost module call that was open when it was created; None outside of all.
        next: Pairs (node, output number): where it sends its gradients.
        leaf: For ``AccumulateGrad``, the tensor whose ``.grad`` it fills.
    """

    id: NodeId
    name: str
    call: CallId | None = None
    next: tuple[tuple[NodeId, int], ...] = ()
    leaf: TensorId | None = None
