"""Training, evaluation and prediction from the shell: a thin layer over the classifiers.

Each command is a file of its own, which is imported once it is asked for: ``--help`` waits for
nothing.
"""

from skcnn.command._main import main

__all__ = ["main"]
