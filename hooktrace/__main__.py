"""``python -m hooktrace`` is the command ``hooktrace``."""

from hooktrace.cli import main

main()
