"""Experiments: what runs the user's code on purpose, on copies or twice from one state."""
