"""One look at every pixel before training: range, mean, spread, and which images are equal."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skcnn.exceptions import ValueRangeWarning, warn_caller
from skcnn.images._sources import ArrayImages, DatasetImages

_CHUNK_PIXELS = 1 << 21  # values looked at together: 16 MB as float64


class PixelRange(NamedTuple):
    """Smallest and largest pixel; bytes count as divided by 255, as networks see them."""

    low: float
    high: float
    is_uint8: bool

    def widened(self, batch: Tensor) -> PixelRange:
        """Range that covers `batch` as well."""
        low, high = (value.item() for value in batch.aminmax())
        scale = 255.0 if self.is_uint8 else 1.0
        return self._replace(low=min(self.low, low / scale), high=max(self.high, high / scale))

    @classmethod
    def empty(cls, is_uint8: bool) -> PixelRange:
        """Range of no pixel at all."""
        return cls(math.inf, -math.inf, is_uint8)

    def warn_if_unlike(self, fitted: PixelRange) -> None:
        """Warn when these pixels are on another scale than those that `fit` saw."""
        unit = self.low >= 0 and 0 < self.high <= 1
        fitted_unit = fitted.low >= 0 and fitted.high <= 1
        if unit and fitted.low >= 0 and fitted.high >= 10:
            problem = (
                f"fit saw pixels in 0–{fitted.high:g}, these lie in 0–1: the predictions are "
                "probably wrong. Pass them on the scale and in the dtype that fit saw."
            )
        elif fitted_unit and self.low >= 0 and self.high >= 10:
            problem = (
                f"fit saw pixels in 0–1{' (uint8, divided by 255)' if fitted.is_uint8 else ''}, "
                f"these reach {self.high:g}: the predictions are probably wrong. Pass them in the "
                "dtype that fit saw, or divide them by 255."
            )
        elif unit and fitted.is_uint8 and not self.is_uint8:
            problem = (
                "fit saw uint8 pixels in 0–255, these are floats in 0–1: taken as already divided "
                "by 255. Pass uint8 pixels if they are not."
            )
        else:
            return
        warn_caller(problem, ValueRangeWarning)


class ImageScan(NamedTuple):
    """What one pass over n images of C channels found."""

    pixel_range: PixelRange
    keys: np.ndarray  # (n,) uint64: equal for equal images
    row_mean: np.ndarray  # (n, C) float64: mean of each image and channel
    row_m2: np.ndarray  # (n, C) float64: sum of squared deviations from it
    n_pixels: int  # pixels of one channel of one image
    digest: str | None  # SHA-256 of all images, as networks see them; None: not asked for

    def mean_and_std(
        self, rows: np.ndarray, weights: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel over the images `rows`, shape (C,) each.

        Each image counts by its weight, if there are `weights`. Combined from the images' own
        (Chan, Golub and LeVeque 1983), which loses no digits where the mean is large beside the
        spread. A constant channel has standard deviation 1.
        """
        weights = np.ones((len(rows), 1)) if weights is None else weights[:, None]
        row_mean, row_m2 = self.row_mean[rows], self.row_m2[rows]
        mean = (weights * row_mean).sum(axis=0) / weights.sum()
        deviations = (weights * (row_mean - mean) ** 2).sum(axis=0)
        m2 = (weights * row_m2).sum(axis=0) + self.n_pixels * deviations
        std = np.sqrt(m2 / (weights.sum() * self.n_pixels))
        return mean, np.where(std > 1e-7 * np.abs(mean), std, 1.0)


def scan_images(
    images: ArrayImages | DatasetImages, name: str = "X", *, digest: bool = False
) -> ImageScan:
    """Read all images once, in chunks.

    Parameters
    ----------
    images : ArrayImages or DatasetImages
    name : str, default="X"
        What errors call them.
    digest : bool, default=False
        Compute their SHA-256 sum too.

    Raises
    ------
    ValueError
        If a pixel is NaN, infinite, or too large for float32.
    """
    n, (channels, height, width) = len(images), images.layout.shape
    n_pixels = height * width
    # Multilinear hashing: a sum of 32-bit words times fixed random 64-bit odd numbers.
    multipliers = np.random.default_rng(0).integers(
        0, 2**63, size=channels * n_pixels, dtype=np.uint64
    )
    multipliers = 2 * multipliers + np.uint64(1)
    keys = np.empty(n, dtype=np.uint64)
    row_mean, row_m2 = np.empty((2, n, channels))
    pixel_range = PixelRange.empty(images.is_uint8)
    content = hashlib.sha256(f"{images.layout.shape} {images.is_uint8}".encode())
    step = max(1, _CHUNK_PIXELS // (channels * n_pixels))
    for start in range(0, n, step):
        chunk = slice(start, start + step)
        batch = images.read(chunk)
        check_finite(batch, start, name)
        pixel_range = pixel_range.widened(batch)
        if digest:
            content.update(batch.contiguous().numpy().data)
        pixels = batch.numpy().astype(np.float32)
        if images.is_uint8:
            pixels /= 255
        pixels += 0.0  # -0.0 and 0.0 are the same pixel
        keys[chunk] = (
            pixels.reshape(len(pixels), -1).view(np.uint32).astype(np.uint64) @ multipliers
        )
        values = pixels.reshape(len(pixels), channels, n_pixels).astype(np.float64)
        row_mean[chunk] = values.mean(axis=2)
        values -= row_mean[chunk, :, None]
        row_m2[chunk] = np.einsum("ncp,ncp->nc", values, values)
    hexadecimal = content.hexdigest() if digest else None
    return ImageScan(pixel_range, keys, row_mean, row_m2, n_pixels, hexadecimal)


def check_finite(batch: Tensor, first_row: int, name: str = "X") -> None:
    """Refuse a float batch with NaN or infinite pixels, naming the first such image."""
    if not batch.is_floating_point():
        return
    low, high = (value.item() for value in batch.aminmax())
    if math.isfinite(low) and math.isfinite(high):
        return
    flat = batch.flatten(1)
    row = first_row + int((~flat.isfinite()).any(dim=1).nonzero()[0, 0])
    what = "NaN" if flat.isnan().any() else "infinity or a value too large for dtype('float32')"
    raise ValueError(
        f"Input {name} contains {what}, first in image {row}. Every pixel must be a finite number: "
        "drop or repair such images first."
    )
