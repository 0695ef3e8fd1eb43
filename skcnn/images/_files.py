"""Images on disk that are indexed as an array is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from os import PathLike
from typing import Any, Literal

import numpy as np

from skcnn.exceptions import ImageFileError
from skcnn.images._cache import PixelCache, in_threads
from skcnn.images._decoding import (
    CHANNELS,
    MAX_PIXELS,
    Header,
    Recipe,
    read_header,
    read_stamp,
    reason_of,
)

_PROBED_AT_ONCE = 1024
_ITERATED_AT_ONCE = 256


class ImageFiles:
    """Images in files, to be used as an array of them.

    Its items are images, decoded when they are first needed: an int gives one as an ndarray; a
    slice, a mask or an array of indices gives an `ImageFiles` again. So it goes wherever an array
    of images does: into `fit`, `predict` and `score` of the classifiers of skcnn, and into
    ``train_test_split``, ``cross_val_score`` and ``GridSearchCV``.

    Each file is decoded once, in parallel, into a file of bytes among the temporary files. All
    slices, folds, epochs and processes read from there. A fit decodes what it needs before it
    starts to train.

    Parameters
    ----------
    paths : sequence of str or path-like
        The files: JPEG, PNG, GIF, BMP, TIFF, WebP or PPM, whatever their names end in. A DataFrame
        of one column, and an array of shape (n, 1), are sequences too.
    image_size : int or tuple of int, default=None
        Side, or (H, W), to which images are resized: to `max_pixels` of them at most, or to
        89478485 if that is more. None: all files must have one size.
    mode : {"L", "RGB", "RGBA"}, default=None
        Grey, colour, or colour and opacity. None: "L" if all files are grey, else "RGB".
    resize : {"squash", "crop"}, default="squash"
        Whether images of another shape are squashed, or cropped around their centre. Only used
        with `image_size`.
    crop_pct : float, default=0.875
        Share of the shorter side that is kept when cropping, in (0, 1]. Only used when
        ``resize="crop"``.
    max_pixels : int, default=89478485
        Pixels that an image may have at most before it is resized. Small files can hold images that
        fill the memory: raise this only for files that you trust.

    Attributes
    ----------
    shape : tuple of int
        (n, H, W) for grey images, else (n, H, W, C).
    ndim : int
        Length of `shape`.
    dtype : dtype
        uint8.
    mode : str
        "L", "RGB" or "RGBA", as given or found.
    options : dict
        The parameters, all but `paths`, that read other files alike: ``ImageFiles(others,
        **X.options)``.
    paths : list of str
        The files, by their absolute paths.

    Raises
    ------
    ValueError
        If a parameter is not allowed, or files differ in size and `image_size` is None.
    ImageFileError
        If a file is missing or is no image. If it is damaged, this is seen when it is decoded.

    Warns
    -----
    AnimatedImageWarning
        When a file with several frames is decoded: the first is taken.

    See Also
    --------
    skcnn.datasets.load_image_folder : A folder of each class.
    skcnn.datasets.load_image_table : Paths and labels in a table.

    Notes
    -----
    Images are turned as their EXIF orientation says. Of 16 bits the upper 8 are kept. Palettes and
    CMYK become colour; what is transparent is laid over white, unless ``mode="RGBA"``. Colour
    becomes grey by Rec. 601 luma. Resizing is bilinear, over all pixels that count (antialiased);
    larger JPEG files are decoded at a half, a quarter or an eighth of their size, if that is still
    twice the size wanted. Colour profiles are not applied.

    A file that changes, or is gone, before it was decoded is an error; afterwards it no longer
    matters.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from skcnn import ImageFiles
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [Path(folder, f"{name}.png") for name in ("black", "grey", "white")]
    ...     for path, value in zip(paths, (0, 128, 255)):
    ...         Image.new("L", (40, 30), value).save(path)
    ...     X = ImageFiles(paths, image_size=(6, 8))
    ...     print(X.shape, X.dtype, X[1:].shape, X[[2, 0]][0].max())
    (3, 6, 8) uint8 (2, 6, 8) 255
    """

    def __init__(
        self,
        paths: Sequence[str | PathLike],
        image_size: int | tuple[int, int] | None = None,
        mode: Literal["L", "RGB", "RGBA"] | None = None,
        *,
        resize: Literal["squash", "crop"] = "squash",
        crop_pct: float = 0.875,
        max_pixels: int = MAX_PIXELS,
    ):
        size = _check_size(image_size)
        _check(mode is None or mode in list(CHANNELS), "mode", "None, 'L', 'RGB' or 'RGBA'", mode)
        _check(resize in ("squash", "crop"), "resize", "'squash' or 'crop'", resize)
        _check(isinstance(crop_pct, Real) and 0 < crop_pct <= 1, "crop_pct", "in (0, 1]", crop_pct)
        _check(_is_positive(max_pixels), "max_pixels", "a positive integer", max_pixels)
        _check_n_pixels(size, max_pixels)
        paths = _check_paths(paths)
        stamps, headers = _probe(paths, max_pixels, headers=size is None or mode is None)
        if size is None:
            size, resize = _common_size(paths, headers), None
        if mode is None:
            mode = "L" if all(header.is_grey for header in headers) else "RGB"
        self._cache = PixelCache(paths, stamps, Recipe(mode, size, resize, crop_pct, max_pixels))
        self._rows = np.arange(len(paths))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that this stands for."""
        return (len(self), *self._cache.recipe.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Size of the pixels once decoded."""
        return math.prod(self.shape)

    @property
    def mode(self) -> str:
        """Mode of the images."""
        return self._cache.recipe.mode

    @property
    def paths(self) -> list[str]:
        """Paths of the files, in order."""
        return [self._cache.paths[row] for row in self._rows]

    @property
    def options(self) -> dict[str, Any]:
        """What has an `ImageFiles` of other files read them alike: its parameters but `paths`.

        Where `image_size` was None, it is None here too, and `mode` is what was found.
        """
        mode, size, resize, crop_pct, max_pixels = self._cache.recipe
        return {
            "image_size": None if resize is None else size,
            "mode": mode,
            "resize": resize or "squash",
            "crop_pct": crop_pct,
            "max_pixels": max_pixels,
        }

    def decode(self, *, verbose: bool = False) -> ImageFiles:
        """Decode all files that are not decoded yet, in parallel.

        Parameters
        ----------
        verbose : bool, default=False
            Show a progress bar.

        Returns
        -------
        self : ImageFiles

        Raises
        ------
        ValueError
            If `verbose` is not a bool.
        ImageFileError
            If files are damaged, gone, or changed. All others are decoded nonetheless.
        OSError
            If there is no room for the pixels among the temporary files.
        MemoryError
            If the memory does not suffice to decode a file.
        """
        _check(isinstance(verbose, bool | np.bool_), "verbose", "True or False", verbose)
        reasons = self._cache.fill(self._rows, verbose=verbose)
        if reasons:
            raise ImageFileError(reasons)
        return self

    def cached(self) -> tuple[np.memmap, np.ndarray]:
        """Return the decoded images of a whole collection, and the rows of it that are here.

        Returns
        -------
        pixels : memmap of shape (n_files, H, W) or (n_files, H, W, C)
            Read-only; those of other rows may not be decoded.
        rows : ndarray of shape (n,)
        """
        self.decode()
        return self._cache.pixels, self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray | ImageFiles:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # X[rows, ...] is what scikit-learn asks of arrays
        if isinstance(key, tuple) or key is None or key is Ellipsis:
            raise IndexError(
                "The index of ImageFiles must be an int, a slice, a mask or a sequence of ints; "
                f"got {key!r} instead. For parts of images, take np.asarray(X) first."
            )
        # An empty list would be taken for floats.
        rows = self._rows[[] if isinstance(key, list) and not key else key]
        picked = self._pick(np.atleast_1d(rows))
        return np.asarray(picked)[0] if rows.ndim == 0 else picked

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), _ITERATED_AT_ONCE):
            yield from np.asarray(self[start : start + _ITERATED_AT_ONCE])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("ImageFiles must be copied into an array; got copy=False instead.")
        pixels, rows = self.cached()
        return np.asarray(pixels[rows], dtype=dtype)

    def __repr__(self) -> str:
        return f"<ImageFiles of shape {self.shape}, mode {self.mode!r}>"

    def _pick(self, rows: np.ndarray) -> ImageFiles:
        if rows.ndim != 1:
            raise IndexError(f"ImageFiles has one axis to index; got {rows.ndim} axes instead.")
        return files_of(self._cache, rows)


def files_of(cache: PixelCache, rows: np.ndarray) -> ImageFiles:
    """Make an `ImageFiles` of some rows of a cache."""
    files = object.__new__(ImageFiles)
    files._cache, files._rows = cache, rows
    return files


def _check(is_allowed: bool, name: str, allowed: str, got: Any) -> None:
    if not is_allowed:
        raise ValueError(
            f"The {name!r} parameter of ImageFiles must be {allowed}; got {got!r} instead."
        )


def _is_positive(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def _check_size(image_size: Any) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = image_size if isinstance(image_size, tuple | list) else (image_size,) * 2
    allowed = "None, a positive integer, or (H, W) of two"
    _check(len(size) == 2 and all(map(_is_positive, size)), "image_size", allowed, image_size)
    return int(size[0]), int(size[1])


def _check_n_pixels(size: tuple[int, int] | None, max_pixels: int) -> None:
    """Refuse a size of which a single image would fill the memory."""
    most = max(max_pixels, MAX_PIXELS)
    if size is not None and math.prod(size) > most:
        raise ValueError(
            f"The 'image_size' parameter of ImageFiles must be of {most} pixels at most; got "
            f"{_of(size)} instead. Networks take a few hundred a side; if you have the memory for "
            "such images, raise max_pixels."
        )


def _check_paths(paths: Any) -> list[str]:
    paths = _only_column(paths)
    is_single = isinstance(paths, str | bytes | PathLike)
    is_table = isinstance(paths, Mapping) or hasattr(paths, "columns")
    if is_single or is_table or not isinstance(paths, Iterable):
        raise ValueError(
            "The 'paths' parameter of ImageFiles must be a sequence of paths, or one column of "
            f"them; got {paths!r:.200} instead. For one file, pass a list of it; for a folder, see "
            "skcnn.datasets.load_image_folder; for a table, load_image_table."
        )
    paths = list(paths)
    for i, path in enumerate(paths):
        if not _is_path(path):
            raise ValueError(
                f"The 'paths' parameter of ImageFiles must hold paths; got {path!r:.60} at {i} "
                "instead. Images that are in memory already can be passed to fit as arrays."
            )
    _check(len(paths) > 0, "paths", "at least one path", paths)
    return [os.path.abspath(os.fsdecode(path)) for path in paths]


def _only_column(paths: Any) -> Any:
    if len(getattr(paths, "columns", ())) == 1:
        return paths[paths.columns[0]]
    if isinstance(paths, np.ndarray) and paths.ndim == 2 and paths.shape[1] == 1:
        return paths[:, 0]
    return paths


def _is_path(path: Any) -> bool:
    if not isinstance(path, str | bytes | PathLike):
        return False
    name = os.fsdecode(path)
    return name != "" and "\0" not in name  # as there is in the content of a file


def _probe(paths: list[str], max_pixels: int, headers: bool) -> tuple[np.ndarray, list[Header]]:
    """Stamps of all files, and their headers if they are asked for."""
    reasons, found = {}, []
    probe = partial(_probe_one, max_pixels=max_pixels, header=headers)
    for path, result in zip(paths, in_threads(probe, paths, _PROBED_AT_ONCE), strict=True):
        if isinstance(result, str):
            reasons[path] = result
        else:
            found.append(result)
    if reasons:
        raise ImageFileError(reasons)
    return np.array([stamp for stamp, _ in found]), [header for _, header in found]


def _probe_one(
    path: str, max_pixels: int, header: bool
) -> tuple[tuple[int, int], Header | None] | str:
    try:
        return read_stamp(path), read_header(path, max_pixels) if header else None
    except MemoryError:  # of which the file is innocent
        raise
    except Exception as error:  # see decode_image
        return reason_of(error)


def _common_size(paths: list[str], headers: list[Header]) -> tuple[int, int]:
    size = headers[0].size
    for path, header in zip(paths, headers, strict=True):
        if header.size != size:
            raise ValueError(
                "The 'image_size' parameter must be given for files of several sizes; got none, "
                f"with {_of(size)} pixels in {paths[0]!r} and {_of(header.size)} in {path!r}. Give "
                "a side to which all are resized; ImageFiles takes (H, W) too."
            )
    return size


def _of(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"
