"""Marks for tests of what the oldest PyTorch lacks; each asks for the feature, not a version."""

from __future__ import annotations

import importlib.util

import pytest
import torch

DEBUG_MODE = pytest.mark.skipif(
    importlib.util.find_spec("torch.utils._debug_mode") is None,
    reason="needs torch.utils._debug_mode, which PyTorch 2.6 lacks and 2.10 has",
)

FSDP_ON_CPU = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"),
    reason="needs torch.cpu.Stream.record_event, by which fully_shard runs without an "
    "accelerator; PyTorch 2.6 lacks it and 2.10 has it",
)
NODE_CREATION_HOOK = pytest.mark.skipif(
    not hasattr(torch.autograd.graph, "node_creation_hook"),
    reason="needs torch.autograd.graph.node_creation_hook (PyTorch 2.15)",
)
TOP_PAIR = pytest.mark.skipif(
    not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"),
    reason="needs torch._C._autograd._top_saved_tensors_default_hooks (PyTorch 2.8)",
)
