"""Paths of images where images themselves are expected."""

from __future__ import annotations

import os
from os import PathLike
from typing import Any

import numpy as np


def paths_in(X: Any, name: str = "X") -> list[str | PathLike] | None:
    """Paths in a list, a 1-D array, a Series, or one column of them; None for anything else.

    Those in bytes become str.

    Raises
    ------
    ValueError
        If some of the values are paths, and others are not.
    """
    columns = getattr(X, "columns", None)
    if columns is not None and len(columns) == 1:
        X = X[columns[0]]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]  # what a ColumnTransformer hands on
    if not _may_hold_paths(X):
        return None
    values = list(X)
    are_paths = [isinstance(value, str | bytes | PathLike) for value in values]
    if not any(are_paths):
        return None
    if not all(are_paths):
        i = are_paths.index(False)
        raise ValueError(
            f"{name} must hold a path in each row, if it holds paths; got {values[i]!r:.60} in row "
            f"{i} instead. Leave out rows without an image."
        )
    return [os.fsdecode(value) if isinstance(value, bytes) else value for value in values]


def _may_hold_paths(X: Any) -> bool:
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and X.dtype.kind in "OSUT"
    # A Series, of pandas or another library, has one dtype and no columns.
    is_series = hasattr(X, "to_numpy") and hasattr(X, "dtype") and not hasattr(X, "columns")
    return isinstance(X, list | tuple) or is_series
