"""How faithful a heat map is: what the model says when what the map shows is taken away or kept.

Each metric is a plain function that returns one value, or one curve, for each image.  What the
numbers do and do not mean: they judge the map and the model together, on inputs that are partly
erased and hence unlike those the model was trained on; compare maps of the same model on the same
images.

All of them run the model in evaluation mode without a graph, and leave its flags, hooks, gradients
and the global random state as they were.  Hooks that are registered on the model run as usual.
"""

from __future__ import annotations

from hooktrace.cam.metrics.adcc import adcc, coherency, complexity
from hooktrace.cam.metrics.completeness import completeness
from hooktrace.cam.metrics.confidence import average_drop, confidence_change, increase
from hooktrace.cam.metrics.curves import deletion, insertion
from hooktrace.cam.metrics.imputation import imputed
from hooktrace.cam.metrics.pointing import energy_pointing_game, pointing_game
from hooktrace.cam.metrics.randomization import randomization
from hooktrace.cam.metrics.road import road, road_lerf, road_morf
from hooktrace.cam.metrics.scores import Curve, Scores
from hooktrace.cam.metrics.sensitivity import sensitivity_max
from hooktrace.cam.metrics.table import Table, evaluate

__all__ = [
    "Curve",
    "Scores",
    "Table",
    "adcc",
    "average_drop",
    "coherency",
    "completeness",
    "complexity",
    "confidence_change",
    "deletion",
    "energy_pointing_game",
    "evaluate",
    "imputed",
    "increase",
    "insertion",
    "pointing_game",
    "randomization",
    "road",
    "road_lerf",
    "road_morf",
    "sensitivity_max",
]
