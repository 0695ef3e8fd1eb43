"""What the networks share: window arithmetic, named choices of layers, initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
# Images of larger sides, in pixels, need no small stem, which costs several times as much.
LARGEST_SMALL_SIDE = 40


class Window(NamedTuple):
    """A convolution or pooling window, as far as sizes are concerned (pixels).

    With `ceil`, a last window that reaches over the edge counts too.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    ceil: bool = False


def output_side(side: int, windows: Sequence[Window]) -> int:
    """Side of the feature map after `windows`; less than 1 where they do not fit."""
    for kernel, stride, padding, ceil in windows:
        reach = side + 2 * padding - kernel
        side = (reach + (stride - 1 if ceil else 0)) // stride + 1
        if side < 1:
            return 0
    return side


def smallest_side(windows: Sequence[Window]) -> int:
    """Smallest image side that leaves one pixel after `windows`."""
    side = 1
    for kernel, stride, padding, ceil in reversed(windows):
        side = (side - 1) * stride + kernel - 2 * padding - (stride - 1 if ceil else 0)
        side = max(1, side)
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


def divided(channels: int, width_ratio: float) -> int:
    """Channels of a layer in a network that is slimmer by `width_ratio`."""
    return max(1, round(channels / width_ratio))


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution, batch normalisation (ε 1e-3, and no bias before it) if `norm`, ReLU."""
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=not norm
    )
    layers = nn.Sequential()
    layers.add_module("conv", conv)
    if norm:
        layers.add_module("bn", nn.BatchNorm2d(out_channels, eps=1e-3))
    layers.add_module("relu", nn.ReLU(inplace=True))
    return layers


def init_he(layer: nn.Module) -> None:
    """Draw He-normal weights for a convolution, Xavier-normal for a linear layer; zero biases.

    For ``nn.Module.apply``. K. He et al. "Delving deep into rectifiers". ICCV 2015; X. Glorot,
    Y. Bengio. "Understanding the difficulty of training deep feedforward neural networks".
    AISTATS 2010.
    """
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.xavier_normal_(layer.weight)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
