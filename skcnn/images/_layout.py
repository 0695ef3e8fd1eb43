"""Where rows, columns and channels are in the images that a user gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

from skcnn.exceptions import AmbiguousImageShapeWarning, warn_caller

CHANNEL_COUNTS = (1, 3, 4)


class ImageLayout(NamedTuple):
    """How one row of X becomes an image."""

    row_shape: tuple[int, ...]  # X.shape[1:]
    shape: tuple[int, int, int]  # (C, H, W)
    channels_last: bool  # whether the row, unfolded, is (H, W, C)

    @property
    def unfolded(self) -> tuple[int, int, int]:
        """Shape of one image before the channel axis is moved to the front."""
        channels, height, width = self.shape
        return (height, width, channels) if self.channels_last else self.shape

    def for_rows(self, row_shape: tuple[int, ...]) -> ImageLayout | None:
        """Layout of rows of `row_shape` that hold the same images; None if they cannot.

        Flat rows are folded as `fit` did, or would have done; a channel of grey images may be
        there or not.
        """
        fits = row_shape == (math.prod(self.shape),) or (
            len(row_shape) > 1
            and _without_single_channel(row_shape) == _without_single_channel(self.unfolded)
        )
        return self._replace(row_shape=row_shape) if fits else None


def infer_layout(
    row_shape: tuple[int, ...], image_shape: Sequence[int] | None, estimator: str
) -> ImageLayout:
    """Find the image behind the rows of X.

    Parameters
    ----------
    row_shape : tuple of int
        ``X.shape[1:]``, of length 1 (flat rows), 2 (H, W) or 3 (channels first or last).
    image_shape : tuple of int or None
        (H, W), (C, H, W) or (H, W, C); None: infer.
    estimator : str
        Name of the estimator, for the error messages.

    Returns
    -------
    layout : ImageLayout

    Raises
    ------
    ValueError
        If `row_shape` is not an image, or `image_shape` is not the shape of it.

    Warns
    -----
    AmbiguousImageShapeWarning
        If the channel axis may be the first or the last: the last is taken. If flat rows make no
        square of one channel: one of three is taken, or else an image one pixel high.
    """
    if len(row_shape) > 3:
        raise ValueError(
            f"X must be (n, d), (n, H, W), (n, H, W, C) or (n, C, H, W); got "
            f"{len(row_shape) + 1} dimensions instead."
        )
    if 0 in row_shape:
        raise ValueError(f"X must have images of at least one pixel; got shape {row_shape} each.")
    flat = len(row_shape) == 1
    if image_shape is not None:
        image_shape = _check_image_shape(image_shape, row_shape, flat, estimator)
    elif flat:
        image_shape = _guess_flat(row_shape[0])
    else:
        image_shape = row_shape
    if len(image_shape) == 2:
        return ImageLayout(row_shape, (1, *image_shape), channels_last=False)
    return _find_channels(row_shape, image_shape)


def _check_image_shape(
    image_shape: Sequence[int], row_shape: tuple[int, ...], flat: bool, estimator: str
) -> tuple[int, ...]:
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or not all(isinstance(s, Integral) and s > 0 for s in shape):
        raise ValueError(
            f"The 'image_shape' parameter of {estimator} must be (H, W), (C, H, W) or (H, W, C) "
            f"in positive integers, or None; got {image_shape!r} instead."
        )
    if flat and math.prod(shape) != row_shape[0]:
        raise ValueError(
            f"The 'image_shape' parameter of {estimator} must multiply to the number of features "
            f"of X, {row_shape[0]}; got {shape} = {math.prod(shape)} instead."
        )
    if not flat and _without_single_channel(shape) != _without_single_channel(row_shape):
        raise ValueError(
            f"The 'image_shape' parameter of {estimator} must be the shape of the images in X, "
            f"{row_shape}; got {shape} instead. It is only needed for flat rows: leave it None."
        )
    return tuple(int(s) for s in shape) if flat else row_shape


def _without_single_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 3 and shape[-1] == 1:
        return shape[:-1]
    if len(shape) == 3 and shape[0] == 1:
        return shape[1:]
    return shape


def _guess_flat(n_features: int) -> tuple[int, ...]:
    side = math.isqrt(n_features)
    if side * side == n_features:
        return (side, side)
    side = math.isqrt(n_features // 3)
    if 3 * side * side == n_features:
        warn_caller(
            f"The rows of X have {n_features} features: taken as images of {side} × {side} pixels "
            f"and 3 channels, channels last. Say image_shape=({side}, {side}, 3), "
            f"(3, {side}, {side}) or (1, {n_features}) to choose.",
            AmbiguousImageShapeWarning,
        )
        return (side, side, 3)
    warn_caller(
        f"The rows of X have {n_features} features, which make no square image: taken as images "
        f"of 1 × {n_features} pixels, on which a network is slow and learns little. Say "
        "image_shape=(H, W) if they are images of another shape; columns that were left out or "
        "added, as by feature selection, leave none.",
        AmbiguousImageShapeWarning,
    )
    return (1, n_features)


def _find_channels(row_shape: tuple[int, ...], image_shape: tuple[int, ...]) -> ImageLayout:
    first, last = image_shape[0] in CHANNEL_COUNTS, image_shape[-1] in CHANNEL_COUNTS
    if not (first or last):
        raise ValueError(
            f"Images of three dimensions must have 1, 3 or 4 channels, on the first or the last "
            f"axis; got {image_shape} instead."
        )
    if first and last:
        warn_caller(
            f"Images of shape {image_shape} may have their channels first or last: the last axis "
            "was taken. Move the channels to the last axis if that is wrong.",
            AmbiguousImageShapeWarning,
        )
    if last:
        height, width, channels = image_shape
    else:
        channels, height, width = image_shape
    return ImageLayout(row_shape, (channels, height, width), channels_last=last)
