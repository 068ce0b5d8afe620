"""Small awkward programs, each built fresh from a fixed seed.

A program is a function that builds its models outside of any trace and returns them, together
with the step to run.  The step returns whatever a user could have noticed: tensors, gradients, what
hooks were given.  Facts of identity are returned as booleans.
"""

from zoo import (
    calls,
    exceptions,
    features,
    friends,
    gradients,
    hook_objects,
    hooks,
    modules,
    nets,
    nodes,
    states,
    tensors,
    tracers,
)
from zoo.program import PROGRAMS

SECTIONS = (
    nets,
    nodes,
    calls,
    hooks,
    modules,
    exceptions,
    features,
    gradients,
    friends,
    tracers,
    tensors,
    hook_objects,
    states,
)

__all__ = ["PROGRAMS", "SECTIONS"]
