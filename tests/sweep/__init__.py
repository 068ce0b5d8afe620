"""The sweep: many whole models, traced and untraced, compared bit by bit.

    PYTHONPATH=tests python -m sweep

Every model builder of torchvision, some of each family of timm, tiny configurations of
transformers, and PyTorch's own databases of modules, optimizers and operators.  Results are
lines of JSON in a folder that git ignores; a run goes on where the last one ended, and writes
the table ``docs/sweep.md`` at its end.
"""
