"""What all tests share: strict probes, seeds, one thread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HOOKTRACE_STRICT"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
