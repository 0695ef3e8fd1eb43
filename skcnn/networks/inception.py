"""Inception v3 (Szegedy et al. 2015): factored convolutions on parallel paths."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window, conv_norm_relu, divided


class Conv(NamedTuple):
    """A convolution: padded to keep the size, unless its stride is 2."""

    channels: int
    kernel: int | tuple[int, int]
    stride: int = 1


Path = tuple[Conv | tuple[Conv, Conv], ...]  # a pair stands side by side


def _a(pool: int) -> dict[str, Path]:
    """5 × 5 beside two 3 × 3."""
    return {
        "branch1x1": (Conv(64, 1),),
        "branch5x5": (Conv(48, 1), Conv(64, 5)),
        "branch3x3dbl": (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
        "branch_pool": (Conv(pool, 1),),
    }


def _c(channels: int) -> dict[str, Path]:
    """7 × 7 factored into 1 × 7 and 7 × 1, once and twice."""
    wide, high = Conv(channels, (1, 7)), Conv(channels, (7, 1))
    return {
        "branch1x1": (Conv(192, 1),),
        "branch7x7": (Conv(channels, 1), wide, Conv(192, (7, 1))),
        "branch7x7dbl": (Conv(channels, 1), high, wide, high, Conv(192, (1, 7))),
        "branch_pool": (Conv(192, 1),),
    }


_PAIR = (Conv(384, (1, 3)), Conv(384, (3, 1)))  # 3 × 3 split into parallel halves
_E: dict[str, Path] = {
    "branch1x1": (Conv(320, 1),),
    "branch3x3": (Conv(384, 1), _PAIR),
    "branch3x3dbl": (Conv(448, 1), Conv(384, 3), _PAIR),
    "branch_pool": (Conv(192, 1),),
}

# Name, channels and window of the convolutions and poolings before the blocks.
STEMS = {
    "imagenet": {
        "Conv2d_1a_3x3": (32, Window(3, 2)),
        "Conv2d_2a_3x3": (32, Window(3)),
        "Conv2d_2b_3x3": (64, Window(3, 1, 1)),
        "maxpool1": (None, Window(3, 2)),
        "Conv2d_3b_1x1": (80, Window(1)),
        "Conv2d_4a_3x3": (192, Window(3)),
        "maxpool2": (None, Window(3, 2)),
    },
    "small": {
        "Conv2d_1a_3x3": (32, Window(3, 1, 1)),
        "Conv2d_2b_3x3": (64, Window(3, 1, 1)),
        "maxpool1": (None, Window(3, 2)),
        "Conv2d_3b_1x1": (80, Window(1)),
        "Conv2d_4a_3x3": (192, Window(3, 1, 1)),
    },
}
# Name and paths of the blocks. A block without "branch_pool" halves the size.
BLOCKS: dict[str, dict[str, Path]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": {
        "branch3x3": (Conv(384, 3, 2),),
        "branch3x3dbl": (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2)),
    },
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": {
        "branch3x3": (Conv(192, 1), Conv(320, 3, 2)),
        "branch7x7x3": (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2)),
    },
    "Mixed_7b": _E,
    "Mixed_7c": _E,
}
HALVING = Window(3, 2)


class InceptionBlock(nn.Module):
    """Paths side by side, the last of them a pooling, joined along the channels.

    The layers of path "x" are named "x_1", "x_2", … ("x" where there is one; "x_2a" and "x_2b"
    where two stand side by side), as torchvision names them.
    """

    def __init__(self, in_channels: int, paths: dict[str, Path], *, width_ratio: float):
        super().__init__()
        halving = "branch_pool" not in paths
        self.pool = (
            nn.MaxPool2d(HALVING.kernel, HALVING.stride)
            if halving
            else nn.AvgPool2d(3, stride=1, padding=1)
        )
        self.out_channels = in_channels if halving else 0  # those of the bare pooling
        self.paths: list[list[list[str]]] = []
        for path_name, path in paths.items():
            channels = in_channels
            steps = []
            for number, step in enumerate(path, start=1):
                suffix = f"_{number}" if len(path) > 1 else ""
                convs = {suffix: step} if isinstance(step, Conv) else {}
                convs = convs or {f"{suffix}{side}": c for side, c in zip("ab", step, strict=True)}
                widths = []
                for suffix, (width, kernel, stride) in convs.items():
                    widths.append(divided(width, width_ratio))
                    height_width = (kernel, kernel) if isinstance(kernel, int) else kernel
                    padding = tuple(side // 2 if stride == 1 else 0 for side in height_width)
                    conv = conv_norm_relu(
                        channels, widths[-1], kernel, stride=stride, padding=padding
                    )
                    self.add_module(path_name + suffix, conv)
                steps.append([path_name + suffix for suffix in convs])
                channels = sum(widths)
            self.paths.append(steps)
            self.out_channels += channels

    def forward(self, x: Tensor) -> Tensor:
        joined = []
        for steps in self.paths:
            y = self.pool(x) if steps == [["branch_pool"]] else x
            for names in steps:
                parts = [self.get_submodule(name)(y) for name in names]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            joined.append(y)
        if isinstance(self.pool, nn.MaxPool2d):
            joined.append(self.pool(x))
        return torch.cat(joined, dim=1)


class InceptionV3(nn.Module):
    """A stem of five convolutions, eleven Inception blocks, and one linear layer.

    With the default stem, the layers and their names are those of torchvision's ``inception_v3``,
    without its auxiliary head. Every convolution is followed by batch normalisation.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(299, 299)
        Height and width of the images, in pixels.
    stem : {"imagenet", "small"}, default="imagenet"
        "imagenet": five convolutions and two poolings, which divide the sides by 8. "small": four
        convolutions and one pooling, which halve them, for images of few pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    dropout : float, default=0.5
        Share of the features dropped in training.

    Attributes
    ----------
    head_name : str
        Name of the layer that makes the logits.

    Raises
    ------
    ValueError
        If `input_size` is below :meth:`smallest_side`.

    References
    ----------
    C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna. "Rethinking the Inception
    architecture for computer vision". CVPR 2016.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import InceptionV3
    >>> InceptionV3(width_ratio=8, input_size=(75, 75))(torch.zeros(2, 1, 75, 75)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (299, 299),
        stem: Literal["imagenet", "small"] = "imagenet",
        width_ratio: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        _blocks.feature_map_size("InceptionV3", input_size, self._windows(stem))
        channels = in_channels
        for name, (out_channels, window) in STEMS[stem].items():
            kernel, stride, padding, _ = window
            if out_channels is None:
                self.add_module(name, nn.MaxPool2d(kernel, stride))
                continue
            width = divided(out_channels, width_ratio)
            self.add_module(
                name, conv_norm_relu(channels, width, kernel, stride=stride, padding=padding)
            )
            channels = width
        for name, paths in BLOCKS.items():
            block = InceptionBlock(channels, paths, width_ratio=width_ratio)
            self.add_module(name, block)
            channels = block.out_channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, n_classes)
        self.head_name = "fc"
        self.apply(_blocks.init_he)

    @staticmethod
    def _windows(stem: str) -> tuple[Window, ...]:
        halvings = [HALVING for paths in BLOCKS.values() if "branch_pool" not in paths]
        return (*(window for _, window in STEMS[stem].values()), *halvings)

    @classmethod
    def smallest_side(cls, *, stem: str = "imagenet", **_: object) -> int:
        """Smallest image side, in pixels: 75, or 15 with ``stem="small"``."""
        return _blocks.smallest_side(cls._windows(stem))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        for layer in self.children():  # in the order of __init__
            if layer is self.dropout:
                x = x.flatten(1)  # (n, 2048)
            x = layer(x)
        return x
