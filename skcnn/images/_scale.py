"""The scale of pixels: the divisor that `fit` chooses, and whether later pixels are alike."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from skcnn.exceptions import ValueRangeWarning, warn_caller

BYTE_DIVISOR = 255.0
# Pixels in 0–16, as those of load_digits, and in 0–1 are not divided.
LARGEST_UNDIVIDED = 16.0

# Images beyond these quantiles of what `fit` saw do not count: hot pixels, blank frames.
_QUANTILES = (0.001, 0.999)
# The largest values on usual scales: where `fit` saw most of one, the rest of it is no surprise.
_SCALE_ENDS = (1.0, LARGEST_UNDIVIDED)
_MOST = 1 / 8
# Pixels of another scale lie beyond that of `fit` by half its width, at least this share of them.
# Rows of MinMaxScaler or StandardScaler have few such pixels, however far they are.
_FAR_SHARE = 0.05
# From so many images on, it is no accident that none is as bright, or as dark, as any of `fit`.
_SEVERAL = 4
_FEW_DARK = 0.05  # share of the images of `fit`
# How many times smaller the largest pixels must be: than in any image of `fit`, for several images
# and for fewer, or, for several, than in all but few of them, which may have been black.
_SMALLER, _SMALLER_ALONE, _SMALLER_THAN_MOST = 10, 64, 32
_NEGATIVE_SHARE = 0.25  # of the width of the scale, in every image of `fit`


def pixel_divisor(low: float, high: float) -> float:
    """Divisor for pixels from `low` to `high`: 255 if they are in 0–255 and some exceed 16."""
    return BYTE_DIVISOR if low >= 0 and LARGEST_UNDIVIDED < high <= BYTE_DIVISOR else 1.0


def image_extremes(
    batch: Tensor, first_row: int = 0, name: str = "X"
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest pixel of each image of a batch on the CPU, shape (n,) each.

    Raises
    ------
    ValueError
        If a pixel is NaN, infinite, or too large for float32; names the first such image.
    """
    pixels = batch.flatten(1).numpy()
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    if not batch.is_floating_point():
        return low, high
    is_finite = np.isfinite(low) & np.isfinite(high)
    if not is_finite.all():
        row = int(np.argmin(is_finite))
        is_nan = np.isnan(low).any()
        what = "NaN" if is_nan else "infinity or a value too large for dtype('float32')"
        raise ValueError(
            f"Input {name} contains {what}, first in image {first_row + row}. Every pixel must be "
            "a finite number: drop or repair such images first."
        )
    return low, high


class PixelScale(NamedTuple):
    """How pixels are divided, and what those that `fit` saw are like, once divided."""

    divisor: float
    is_uint8: bool  # whether all were bytes
    low: float  # smallest and largest pixel, but for a thousandth of the images at either end
    high: float
    least_peak: float  # largest magnitude in an image: its smallest over the images, likewise
    usual_peak: float  # the same, but for few dark images
    most_low: float  # smallest pixel of an image: its largest over the images, likewise

    @classmethod
    def of(cls, low: np.ndarray, high: np.ndarray, divisor: float, is_uint8: bool) -> PixelScale:
        """Describe images by the smallest and the largest pixel of each, once divided."""
        peaks = np.maximum(np.abs(low), np.abs(high))
        peaks = peaks[peaks > 0] if peaks.any() else np.array([math.inf])
        first, last = _QUANTILES
        return cls(
            divisor,
            is_uint8,
            float(np.quantile(low, first, method="lower")),
            float(np.quantile(high, last, method="higher")),
            *np.quantile(peaks, (first, _FEW_DARK), method="lower").tolist(),
            float(np.quantile(low, last, method="higher")),
        )

    def joined(self, other: PixelScale) -> PixelScale:
        """Scale of the images of both, which are divided alike."""
        return PixelScale(
            self.divisor,
            self.is_uint8 and other.is_uint8,
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.least_peak, other.least_peak),
            min(self.usual_peak, other.usual_peak),
            max(self.most_low, other.most_low),
        )

    @property
    def limits(self) -> tuple[float, float]:
        """Values beyond which pixels are no longer on this scale."""
        low, high = self.low, self.high
        if low >= 0:
            low = 0.0
            high = next((end for end in _SCALE_ENDS if _MOST * end <= high <= end), high)
        elif max(-low, high) >= _MOST:
            low, high = min(low, -1.0), max(high, 1.0)
        margin = (high - low) / 2
        return low - margin, high + margin


class ScaleComparison:
    """Collects what later pixels are like, batch by batch, and compares it with what `fit` saw.

    Single images and few tell little, since they may be dark or bright: what counts is where most
    pixels are, or that of several images none is like any that `fit` saw.

    Parameters
    ----------
    fitted : PixelScale
    """

    def __init__(self, fitted: PixelScale):
        self.fitted = fitted
        self.n_images = self.n_pixels = self.n_far = 0
        self.low, self.high = math.inf, -math.inf

    def add(self, batch: Tensor, low: np.ndarray, high: np.ndarray) -> None:
        """Take in a batch: bytes, or divided floats, and the extremes of its images."""
        unit = 1.0 if batch.is_floating_point() else self.fitted.divisor
        lowest, highest = (limit * unit for limit in self.fitted.limits)
        reaching = (low < lowest) | (high > highest)
        if reaching.any():
            pixels = batch.flatten(1).numpy()[reaching]
            self.n_far += np.count_nonzero((pixels < lowest) | (pixels > highest))
        self.n_images += np.count_nonzero(low) + np.count_nonzero(high[low == 0])  # not black
        self.n_pixels += batch.numel()
        self.low = min(self.low, float(low.min()) / unit)
        self.high = max(self.high, float(high.max()) / unit)

    @property
    def differs(self) -> bool:
        """Whether the pixels are on another scale than those of `fit`."""
        return self._is_far or self._is_small or self._lacks_negatives

    @property
    def _is_far(self) -> bool:
        return self.n_far >= max(1, _FAR_SHARE * self.n_pixels)

    @property
    def _is_small(self) -> bool:
        peak, least, usual = (
            max(-self.low, self.high),
            self.fitted.least_peak,
            self.fitted.usual_peak,
        )
        if self.n_images >= _SEVERAL:
            return least >= _SMALLER * peak or usual >= _SMALLER_THAN_MOST * peak
        return peak > 0 and least >= _SMALLER_ALONE * peak

    @property
    def _lacks_negatives(self) -> bool:
        width = self.fitted.high - self.fitted.low
        always_negative = self.fitted.most_low < 0 and (
            self.fitted.most_low <= -_NEGATIVE_SHARE * width
        )
        return always_negative and self.low >= 0 and self.n_images >= _SEVERAL

    def warn(self, name: str = "X") -> None:
        """Warn if the pixels are on another scale than those of `fit`."""
        if not self.differs:
            return
        fitted = self.fitted
        low, high, own_low, own_high = (
            value * fitted.divisor for value in (fitted.low, fitted.high, self.low, self.high)
        )
        warn_caller(
            f"The pixels of {name} seem to be on another scale than those that fit saw: they lie "
            f"in {own_low:g} to {own_high:g}, those of fit in {low:g} to {high:g}. Predictions for "
            f"them are probably wrong. Pass pixels on the scale that fit saw; their type does not "
            "matter.",
            ValueRangeWarning,
        )
