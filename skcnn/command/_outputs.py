"""Files that a command writes: refused before the work begins, and whole once it is done."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from skcnn._files import open_whole
from skcnn.command._messages import naming
from skcnn.datasets._folder_walk import SUFFIXES

FIGURES = ("plot", "confusion_matrix")


def check_outputs(
    args: argparse.Namespace, *names: str, inputs: Mapping[str, Iterable[str | Path]]
) -> None:
    """End with a usage error unless all files that the arguments `names` give can be written.

    None of them may be one of the `inputs` either: argument → files and folders that it gives. In a
    folder, images are what counts.
    """
    outputs = {name: path for name in names if (path := getattr(args, name)) is not None}
    for i, (name, path) in enumerate(outputs.items()):
        others = {_option(other): [outputs[other]] for other in list(outputs)[:i]}
        reason = _reason_against(name, path, args.force) or _reason_to_keep(path, others | inputs)
        if reason:
            args.parser.error(f"argument {_option(name)}: {str(path)!r} {reason}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _reason_against(name: str, path: Path, force: bool) -> str | None:
    folder = path.parent
    if not os.path.isdir(folder):
        return f"cannot be written: there is no folder {str(folder)!r}. Make it first."
    if os.path.isdir(path):
        return "is a folder. Give the name of a file in it."
    if name in FIGURES and (formats := _formats_but(path)):
        return f"is of no format that can be drawn. Let its name end in one of {formats}."
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"cannot be written: {error.strerror}. Give another name."
    exists = os.path.exists(path)
    if exists and not os.path.isfile(path):  # a device, or a pipe
        # A model is written beside it, and would take the place of the device.
        return "is no regular file. Give another name." if name == "out" else None
    if exists and not force:
        return "exists. Give another name, or replace it with --force."
    if not os.access(path if exists else folder, os.W_OK):
        return "cannot be written: no permission."
    return None


def _formats_but(path: Path) -> str | None:
    """List the endings of pictures, unless `path` has one of them, or none at all."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    suffix = path.suffix.lower().removeprefix(".")
    return None if not suffix or suffix in formats else ", ".join(f".{f}" for f in formats)


def _reason_to_keep(path: Path, others: Mapping[str, Iterable[str | Path]]) -> str | None:
    for argument, places in others.items():
        for other in places:
            if _is_same(path, other):
                return f"is the file of {argument} too. Give another name."
            if os.path.exists(path) and any(_is_same(path, file) for file in _images_in(other)):
                return f"is one of the images of {argument}. Give another name."
    return None


def _is_same(path: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them is not there yet
        return os.path.realpath(path) == os.path.realpath(other)


def _images_in(folder: str | Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield os.path.join(parent, name)


@contextlib.contextmanager
def written_whole(path: Path, kind: str = "t", **options: Any) -> Iterator[IO[Any]]:
    """Open a file that takes its name once it is whole; a device, or a pipe, has what is written.

    `kind` is "t" for text or "b" for bytes, `options` are those of `open`.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, f"w{kind}", **options) as file:
            yield file
        return
    with open_whole(path, kind, **options) as file:
        yield file


def save_figure(display: Any, path: Path) -> None:
    """Save what a display of skcnn.inspection drew."""
    import matplotlib.pyplot as plt

    picture_format = path.suffix.removeprefix(".") or "png"
    with naming(path), written_whole(path, "b") as file:
        display.figure_.savefig(file, dpi=120, format=picture_format)
    plt.close(display.figure_)
