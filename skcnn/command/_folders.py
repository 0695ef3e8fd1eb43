"""Labelled images in folders, as the command line has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skcnn.command._messages import in_the_shell, printable
from skcnn.datasets import load_image_folder

SUBSETS = ("train", "test", "val")
_NAMED = 10  # classes that are printed by name
_LISTED = 3  # files that are


def subsets_of(folder: Path) -> list[str]:
    """Return the subsets that a folder is divided into; none, if it holds the classes."""
    names = {path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."}
    found = [name for name in SUBSETS if name in names]
    is_divided = names <= set(SUBSETS) or ("train" in found and len(found) > 1)
    return found if is_divided else []


def load_labelled(
    folder: Path,
    subset: str | None,
    image_options: Mapping[str, Any],
    *,
    skip_bad: bool,
    follow_links: bool,
    verbose: bool,
    max_per_class: int | None = None,
) -> Bunch:
    """Load the images of a folder, or of a subset of it."""
    return load_image_folder(
        folder,
        subset=subset,
        max_per_class=max_per_class,
        on_error="skip" if skip_bad else "raise",
        follow_links=follow_links,
        verbose=verbose,
        **image_options,
    )


def labels_of(images: Bunch) -> np.ndarray:
    """Return the name of the class of each image."""
    return images.target_names[images.target]


def check_known(labels: np.ndarray, known: Iterable[str], what: str) -> None:
    """Raise a ValueError if there are classes that a model does not know."""
    known = list(known)
    unknown = sorted(set(labels) - set(known))
    if unknown:
        raise ValueError(
            f"{what} must have classes that the model knows, {_names(known)}; got "
            f"{_names(unknown)} as well. Rename or remove these folders."
        )


def _names(labels: Iterable[str]) -> str:
    return ", ".join(map(printable, labels))


def describe(folder: Path, subset: str | None, images: Bunch) -> str:
    """Say what was found in a folder, and what was not taken from it."""
    name = printable(folder / subset if subset else folder)
    counts = {label: count for label, count in images.report.counts.items() if count}
    lines = [
        f"{name}: {len(images.target):,} images of {len(counts):,} classes ({_listed(counts)})"
    ]
    for what, reasons in (
        ("ignored", images.report.ignored),
        ("left out, as they cannot be read", images.report.skipped),
    ):
        if reasons:
            lines.append(f"{name}: {len(reasons):,} {what}:")
            lines += [
                f"  {printable(path)}: {in_the_shell(reason)}"
                for path, reason in list(reasons.items())[:_LISTED]
            ]
            if len(reasons) > _LISTED:
                lines.append(f"  and {len(reasons) - _LISTED:,} more")
    return "\n".join(lines)


def _listed(counts: dict[str, int]) -> str:
    if len(counts) > _NAMED:
        fewest, most = min(counts.values()), max(counts.values())
        return f"{fewest:,} of each" if fewest == most else f"{fewest:,} to {most:,} of each"
    return ", ".join(f"{printable(label)} {count:,}" for label, count in counts.items())
