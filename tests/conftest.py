"""What all tests share: strict probes, seeds, one thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HOOKTRACE_STRICT"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("any machine", deadline=None)  # how long a test takes is not tested
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
