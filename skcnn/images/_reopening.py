"""Files named by their paths alone, in one fit after the other: decoded once by a process."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from skcnn.images._cache import PixelCache
from skcnn.images._files import ImageFiles, files_of

# Decoded images that are kept for fits to come, in the temporary files, and what each counts at
# least, since its path is in memory.
_KEPT_BYTES = 1 << 32
_LEAST_BYTES = 1 << 12


def open_paths(paths: Sequence[str | PathLike], **options: Any) -> ImageFiles:
    """Make an `ImageFiles` that decodes no file which this process keeps from others made here."""
    return files_of(*_kept.take_in(ImageFiles(paths, **options)._cache))


class KeptPixels:
    """Keeps the pixels of files for whoever names these files next, as folds of data do.

    Of one recipe at a time, and of limited size: when the next files are decoded otherwise, or
    would not fit in, they take the place of all that are kept.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Let go of all that is kept."""
        self._lock = threading.Lock()
        self._cache: PixelCache | None = None
        self._rows: dict[tuple, int] = {}  # path and stamp → row of the cache

    def take_in(self, cache: PixelCache) -> tuple[PixelCache, np.ndarray]:
        """Find a cache that has the files of `cache`, maybe among others.

        Returns
        -------
        kept : PixelCache
            Or `cache` itself, where its files are too many to be kept.
        rows : ndarray of shape (n_files,)
            Rows of `kept`, for those of `cache`.
        """
        keys = list(zip(cache.paths, *cache.stamps.T.tolist(), strict=True))
        most = _KEPT_BYTES // max(_LEAST_BYTES, math.prod(cache.recipe.shape))
        with self._lock:
            new = {key: i for i, key in enumerate(keys) if key not in self._rows}
            if self._goes_with(cache) and len(self._rows) + len(new) <= most:
                self._extend(cache, new)
            elif len(keys) <= most:
                self._cache, self._rows = cache, {key: i for i, key in enumerate(keys)}
            else:
                return cache, np.arange(len(keys))
            return self._cache, np.array([self._rows[key] for key in keys])

    def _goes_with(self, cache: PixelCache) -> bool:
        kept = self._cache
        return kept is not None and kept.recipe == cache.recipe and kept.is_whole

    def _extend(self, cache: PixelCache, new: dict[tuple, int]) -> None:
        if not new:
            return
        first = len(self._cache.paths)
        rows = list(new.values())
        self._cache.extend([cache.paths[row] for row in rows], cache.stamps[rows])
        self._rows |= {key: first + i for i, key in enumerate(new)}


_kept = KeptPixels()
if hasattr(os, "register_at_fork"):  # a fork must not write to what is its parent's
    os.register_at_fork(after_in_child=lambda: _kept.clear())
