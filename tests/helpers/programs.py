"""Programs run in the process of the tests, which saves the seconds that imports take.

Where a test is about the process itself - what it imports, how it ends, what a signal does - it
must start one of its own.
"""

import contextlib
import io
import os
import runpy
import sys
import warnings
from typing import NamedTuple

import matplotlib.pyplot as plt
import pytest


class Run(NamedTuple):
    """What a program printed, and the warnings that a user of it would have seen."""

    stdout: str
    stderr: str
    warnings: list[str]


@contextlib.contextmanager
def _as_a_user(folder):
    """Be in that folder, with filters of warnings and a backend of figures as a new process has."""
    out, err = io.StringIO(), io.StringIO()
    cwd = os.getcwd()
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning):
            warnings.simplefilter("ignore", category)
        warnings.simplefilter("ignore", ResourceWarning)
        plt.switch_backend("agg")
        os.chdir(folder)
        try:
            yield out, err, caught
        finally:
            os.chdir(cwd)
            plt.close("all")


def run_script(path, *arguments, folder):
    """Run a script as the main program, in that folder."""
    with pytest.MonkeyPatch.context() as monkeypatch, _as_a_user(folder) as (out, err, caught):
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name="__main__")
    return Run(out.getvalue(), err.getvalue(), [w.category.__name__ for w in caught])


def run_code(code, *, folder):
    """Run code as `python -c` does, in that folder."""
    with _as_a_user(folder) as (out, err, caught):
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
    return Run(out.getvalue(), err.getvalue(), [w.category.__name__ for w in caught])
