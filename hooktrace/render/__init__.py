"""Renderers: from the log to text and pictures."""
