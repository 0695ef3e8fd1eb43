"""Labelled images in folders, as the command line has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklearn.utils import Bunch

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
    verbose: bool,
    max_per_class: int | None = None,
) -> Bunch:
    """Load the images of a folder, or of a subset of it."""
    return load_image_folder(
        folder,
        subset=subset,
        max_per_class=max_per_class,
        on_error="skip" if skip_bad else "raise",
        verbose=verbose,
        **image_options,
    )


def describe(folder: Path, subset: str | None, images: Bunch) -> str:
    """Say what was found in a folder, and what was not taken from it."""
    name = str(folder / subset) if subset else str(folder)
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
            lines += [f"  {path}: {reason}" for path, reason in list(reasons.items())[:_LISTED]]
            if len(reasons) > _LISTED:
                lines.append(f"  and {len(reasons) - _LISTED:,} more")
    return "\n".join(lines)


def _listed(counts: dict[str, int]) -> str:
    if len(counts) > _NAMED:
        fewest, most = min(counts.values()), max(counts.values())
        return f"{fewest:,} of each" if fewest == most else f"{fewest:,} to {most:,} of each"
    return ", ".join(f"{label} {count:,}" for label, count in counts.items())
