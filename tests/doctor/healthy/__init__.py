"""A zoo of healthy programs: models, training steps and hooks as they should be.

Each entry is a small function that runs in a trace and returns it.  The doctor finds no error in
any of them, and no warning but those to which a reviewer agreed, beside the program.
"""

from . import hooks, machinery, modules, sequences, several, training, vision
from .program import HEALTHY, Healthy

__all__ = ["HEALTHY", "Healthy"]

SECTIONS = (vision, sequences, training, several, modules, hooks, machinery)
