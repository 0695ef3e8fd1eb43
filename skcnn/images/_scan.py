"""One look at every pixel before training: scale, mean, spread, and which images are equal."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from skcnn.images._scale import (
    BYTE_DIVISOR,
    PixelScale,
    ScaleComparison,
    image_extremes,
    pixel_divisor,
)
from skcnn.images._sources import ArrayImages, DatasetImages

_CHUNK_PIXELS = 1 << 17  # values looked at together, which a processor's cache holds
_HASH_BYTES = 16


class ImageScan(NamedTuple):
    """What one pass over n images of C channels found."""

    scale: PixelScale
    keys: np.ndarray  # (n,) uint64: equal for equal images
    row_mean: np.ndarray  # (n, C) float64: mean of each image and channel, divided
    row_m2: np.ndarray  # (n, C) float64: sum of squared deviations from it
    n_pixels: int  # pixels of one channel of one image
    digest: str | None  # equal for equal numbers in equal order; None: not asked for

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
    images: ArrayImages | DatasetImages,
    name: str = "X",
    *,
    fitted: PixelScale | None = None,
    digest: bool = False,
) -> ImageScan:
    """Read all images once, in chunks.

    Parameters
    ----------
    images : ArrayImages or DatasetImages
        Undivided, or divided as `fitted` says.
    name : str, default="X"
        What errors and warnings call them.
    fitted : PixelScale, default=None
        What the images of an earlier fit were like, on whose scale these are expected. None: the
        numbers of these images set the scale.
    digest : bool, default=False
        Compute a hash of all images too.

    Raises
    ------
    ValueError
        If a pixel is NaN, infinite, or too large for float32.

    Warns
    -----
    ValueRangeWarning
        If the images are on another scale than `fitted`.
    """
    comparison = divisor = None
    if fitted is not None:
        comparison, divisor = ScaleComparison(fitted), fitted.divisor
    scan, right = _scan(images, name, divisor, comparison, digest)
    if comparison is not None:
        comparison.warn(name)
    elif right != scan.scale.divisor:  # the first images are darker than others
        scan, _ = _scan(images, name, right, None, digest)
    return scan


def _scan(
    images: ArrayImages | DatasetImages,
    name: str,
    divisor: float | None,
    comparison: ScaleComparison | None,
    digest: bool,
) -> tuple[ImageScan, float]:
    """Scan pixels over `divisor`, or what their first chunk tells; give the right divisor too."""
    n, (channels, height, width) = len(images), images.layout.shape
    n_pixels = height * width
    low, high = np.empty((2, n))
    row_mean, row_m2 = np.empty((2, n, channels))
    hashes = []
    is_uint8, lowest, highest = True, np.inf, -np.inf
    step = max(1, _CHUNK_PIXELS // (channels * n_pixels))
    for start in range(0, n, step):
        chunk = slice(start, start + step)
        batch = images.read(chunk)
        smallest, largest = image_extremes(batch, start, name)
        lowest, highest = min(lowest, smallest.min()), max(highest, largest.max())
        if divisor is None:
            divisor = pixel_divisor(lowest, highest)
        if comparison is not None:
            comparison.add(batch, smallest, largest)
        pixels = batch.flatten(1).numpy()
        unit = divisor if pixels.dtype == np.uint8 else divisor / images.divisor
        is_uint8 = is_uint8 and pixels.dtype == np.uint8
        low[chunk], high[chunk] = (
            np.true_divide(values, unit, dtype=np.float32) for values in (smallest, largest)
        )
        if pixels.dtype == np.uint8 and unit == BYTE_DIVISOR:
            levels, are_levels = pixels, np.ones(len(pixels), dtype=bool)
        else:
            pixels = np.true_divide(pixels, unit, dtype=np.float32)
            pixels += 0.0  # -0.0 and 0.0 are the same pixel
            levels, are_levels = _levels(pixels, low[chunk], high[chunk])
        hashes += [
            hashlib.blake2b(levels[i] if is_level else pixels[i], digest_size=_HASH_BYTES).digest()
            for i, is_level in enumerate(are_levels.tolist())
        ]
        for rows, values, statistics in (
            (are_levels, levels, _level_statistics),
            (~are_levels, pixels, _statistics),
        ):
            if rows.any():
                values = values if rows.all() else values[rows]
                row_mean[chunk][rows], row_m2[chunk][rows] = statistics(
                    values.reshape(-1, channels, n_pixels)
                )
    joined = b"".join(hashes)
    keys = np.frombuffer(joined, dtype="<u8")[:: _HASH_BYTES // 8].astype(np.uint64)
    content = hashlib.sha256(f"{images.layout.shape} {divisor}".encode() + joined).hexdigest()
    scale = PixelScale.of(low, high, divisor, is_uint8)
    scan = ImageScan(scale, keys, row_mean, row_m2, n_pixels, content if digest else None)
    return scan, pixel_divisor(lowest, highest)


def _levels(pixels: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes k of images whose pixels are all k / 255, and which images these are.

    Such images are hashed and summed as bytes, whatever they came as.
    """
    are_levels = (low >= 0) & (high <= 1)
    if not are_levels.any():
        return pixels, are_levels
    with np.errstate(invalid="ignore"):  # of other images
        levels = np.rint(pixels * BYTE_DIVISOR).astype(np.uint8)
    are_levels &= (levels / np.float32(BYTE_DIVISOR) == pixels).all(axis=1)
    return levels, are_levels


def _statistics(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and sum of squared deviations from it, of images and channels (n, C, pixels)."""
    values = pixels.astype(np.float64)
    mean = values.mean(axis=2)
    values -= mean[:, :, None]
    return mean, np.einsum("ncp,ncp->nc", values, values)


def _level_statistics(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likewise, of bytes over 255: from their sums, which are exact in float64."""
    values = levels.astype(np.float64)
    sums, squares = values.sum(axis=2), np.einsum("ncp,ncp->nc", values, values)
    mean = sums / levels.shape[2]
    return mean / BYTE_DIVISOR, np.maximum(squares - sums * mean, 0) / BYTE_DIVISOR**2
