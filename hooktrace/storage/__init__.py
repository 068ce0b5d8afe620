"""Traces in files: saved and read back without running code, and, but for kept tensors, torch."""

from hooktrace.storage.reading import load_log, read_events
from hooktrace.storage.saving import save

__all__ = ["load_log", "read_events", "save"]
