"""Files that a command writes: refused before the work begins, not after it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any


def check_outputs(args: argparse.Namespace, *names: str) -> None:
    """End with a usage error unless all files that the arguments `names` give can be written."""
    for name in names:
        path = getattr(args, name)
        reason = path and _reason_against(path, args.force)
        if reason:
            args.parser.error(f"argument --{name.replace('_', '-')}: {str(path)!r} {reason}")


def _reason_against(path: Path, force: bool) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"cannot be written: there is no folder {str(folder)!r}. Make it first."
    if path.is_dir():
        return "is a folder. Give the name of a file in it."
    if path.exists() and not force:
        return "exists. Give another name, or replace it with --force."
    if not os.access(path if path.exists() else folder, os.W_OK):
        return "cannot be written: no permission."
    return None


def save_figure(display: Any, path: Path) -> None:
    """Save what a display of skcnn.inspection drew."""
    import matplotlib.pyplot as plt

    display.figure_.savefig(path, dpi=120)
    plt.close(display.figure_)
