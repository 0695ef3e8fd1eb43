"""``predict``: a line for each file, with its class."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from skcnn.command._messages import complain, naming, printable, warn
from skcnn.command._outputs import check_outputs, written_whole
from skcnn.datasets._folder_walk import FolderWalk
from skcnn.exceptions import ImageFileError
from skcnn.images import ImageFiles
from skcnn.persistence import load

# Files that are decoded together: their pixels take room, and wait for each other.
_AT_ONCE = 256

Ranked = list[tuple[Any, float]]  # labels with their probabilities, the most probable first


def run(args: argparse.Namespace) -> int:
    """Predict in batches, and write each at once."""
    check_outputs(args, "output", inputs={"MODEL": [args.model], "FILE": args.files})
    classifier = load(args.model)
    k = min(args.top_k, len(classifier.classes_))
    n_bad = 0
    names = _names(args.files, b"\0" if args.null else b"\n", args.follow_links)
    with naming(args.output or "standard output"), _opened(args.output, args.format) as stream:
        write = _writer(stream, args.format, k)
        while batch := list(itertools.islice(names, _AT_ONCE)):
            found, reasons = _predict(classifier, batch, k)
            for name in batch:
                if name in reasons:
                    complain(f"{printable(name)}: {reasons[name]}")
                else:
                    write(name, found[name])
            stream.flush()
            n_bad += len(reasons)
    return 1 if n_bad else 0


# Names of files ----------------------------------------------------------------------------------


def _names(files: Iterable[str], end: bytes, follow_links: bool) -> Iterator[str]:
    """All files, those in folders and those that standard input names among them."""
    for name in files:
        if name == "-":
            read = _read_names(end)
            yield from _without_return(read) if end == b"\n" else read
        elif os.path.isdir(name):
            yield from _images_in(name, follow_links)
        else:
            yield name


def _read_names(end: bytes) -> Iterator[str]:
    begun = b""
    with naming("standard input"):
        while chunk := sys.stdin.buffer.read1():
            *names, begun = (begun + chunk).split(end)
            yield from (os.fsdecode(name) for name in names if name)
    if begun:
        yield os.fsdecode(begun)


def _without_return(lines: Iterable[str]) -> Iterator[str]:
    """Take off the carriage returns that lists from Windows have, unless they belong to a name."""
    for line in lines:
        name = line.removesuffix("\r")
        if name != line and os.path.exists(line):
            yield line
        elif name:
            yield name


def _images_in(folder: str, follow_links: bool) -> list[str]:
    walk = FolderWalk(folder, follow_links)
    (images,) = walk.images_in({folder: folder}).values()
    if walk.unreadable:
        raise ImageFileError(walk.unreadable)
    if walk.ignored:
        path, reason = next(iter(walk.ignored.items()))
        folder, path = printable(folder), printable(path)
        warn(f"{folder}: {len(walk.ignored):,} other things are passed over, as {path}: {reason}")
    return images


# Prediction --------------------------------------------------------------------------------------


def _predict(classifier: Any, names: list[str], k: int) -> tuple[dict[str, Ranked], dict[str, str]]:
    """Find the `k` most probable classes of each file, and why other files cannot be used."""
    reasons: dict[str, str] = {}
    left = names
    while left:
        try:
            # Not as bare paths, whose pixels would be kept for fits to come.
            files = ImageFiles(left, **classifier.file_options_)
            ranked = _ranked(classifier.predict_proba(files), classifier.classes_, k)
            return dict(zip(left, ranked, strict=True)), reasons
        except ImageFileError as error:
            # It names what is missing at first, and then what is damaged, by absolute paths.
            for name in left:
                if os.path.abspath(name) in error.reasons:
                    reasons[name] = error.reasons[os.path.abspath(name)]
            left = [name for name in left if name not in reasons]
    return {}, reasons


def _ranked(probabilities: np.ndarray, classes: np.ndarray, k: int) -> Iterator[Ranked]:
    labels = classes.tolist()
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:k]
        yield [(labels[i], round(float(row[i]), 6)) for i in best]


# Output ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path | None, file_format: str) -> Iterator[TextIO]:
    """Stream in UTF-8 for names that need not be text: CSV has their bytes, JSON escapes them."""
    errors = "surrogateescape" if file_format == "csv" else "backslashreplace"
    if path is not None:
        with written_whole(path, newline="", encoding="utf-8", errors=errors) as file:
            yield file
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=errors, newline="")
    yield sys.stdout


def _writer(stream: TextIO, file_format: str, k: int) -> Callable[[str, Ranked], None]:
    """Return a function that writes the line of a file."""
    if file_format == "jsonl":
        return lambda name, ranked: _write_json(stream, name, ranked)
    rows = csv.writer(stream, lineterminator="\n")
    more = [f"{column}_{i}" for i in range(2, k + 1) for column in ("label", "probability")]
    rows.writerow(["file", "label", "probability", *more])
    return lambda name, ranked: rows.writerow([name, *itertools.chain(*ranked)])


def _write_json(stream: TextIO, name: str, ranked: Ranked) -> None:
    best, *others = [{"label": label, "probability": p} for label, p in ranked]
    line = {"file": name, **best}
    if others:
        line["others"] = others
    stream.write(json.dumps(line, ensure_ascii=False) + "\n")
