"""What the networks share: window arithmetic and the named choices of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class Window(NamedTuple):
    """A convolution or pooling window, as far as sizes are concerned (pixels)."""

    kernel: int
    stride: int = 1
    padding: int = 0


def output_side(side: int, windows: Sequence[Window]) -> int:
    """Side of the feature map after `windows`; less than 1 where they do not fit."""
    for kernel, stride, padding in windows:
        side = (side + 2 * padding - kernel) // stride + 1
        if side < 1:
            return 0
    return side


def smallest_side(windows: Sequence[Window]) -> int:
    """Smallest image side that leaves one pixel after `windows`."""
    side = 1
    for kernel, stride, padding in reversed(windows):
        side = max(1, (side - 1) * stride + kernel - 2 * padding)
    return side


def feature_map_size(
    network: str, input_size: tuple[int, int], windows: Sequence[Window]
) -> tuple[int, int]:
    """Height and width after `windows`.

    Raises
    ------
    ValueError
        If `input_size` is too small; the message names the smallest side.
    """
    height, width = (output_side(side, windows) for side in input_size)
    if min(height, width) < 1:
        raise ValueError(
            f"The 'input_size' parameter of {network} must be at least "
            f"{smallest_side(windows)} pixels a side with these options; got "
            f"{tuple(input_size)} instead. Use larger images, or resize them with image_size="
            f"{smallest_side(windows)}."
        )
    return height, width
