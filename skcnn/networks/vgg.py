"""VGG (Simonyan and Zisserman 2014): blocks of 3 × 3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Literal

from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window

# Depth → for each block its number of convolutions, and their channels.
BLOCKS = {
    11: ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)),
    13: ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512)),
    16: ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
    19: ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)),
}
# Beyond it, numbers are exchanged, or come from a file that is meant to fill the memory.
_MOST_CONVOLUTIONS = 1000


class VGG(nn.Module):
    """Blocks of 3 × 3 convolutions, each halving the size, and three linear layers.

    With ``pooled_side=7``, the layers and their names are those of torchvision's VGG.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(224, 224)
        Height and width of the images, in pixels.
    depth : {11, 13, 16, 19}, default=11
        Number of layers with weights, as in the paper. Only used when `blocks` is None.
    blocks : sequence of (int, int), default=None
        For each block its number of convolutions, and their channels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    hidden_units : int, default=4096
        Width of the two hidden linear layers.
    norm : {None, "batch"}, default=None
        "batch": batch normalisation (Ioffe and Szegedy 2015) after every convolution.
    dropout : float, default=0.5
        Share of the hidden units dropped in training.
    pooled_side : int, default=None
        The last feature maps are averaged to this many pixels a side, or repeated where they are
        smaller, so that the linear layers fit images of any size. None: left as they are.

    Attributes
    ----------
    head_name : str
        Name of the layer that makes the logits.

    Raises
    ------
    ValueError
        If `input_size` is below :meth:`smallest_side`, or `blocks` are no pairs of numbers.

    References
    ----------
    K. Simonyan, A. Zisserman. "Very deep convolutional networks for large-scale image
    recognition". ICLR 2015.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import VGG
    >>> VGG(depth=11, width_ratio=8, input_size=(32, 32))(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (224, 224),
        depth: Literal[11, 13, 16, 19] = 11,
        blocks: Sequence[tuple[int, int]] | None = None,
        width_ratio: float = 1.0,
        hidden_units: int = 4096,
        norm: Literal["batch"] | None = None,
        dropout: float = 0.5,
        pooled_side: int | None = None,
    ):
        super().__init__()
        blocks = BLOCKS[depth] if blocks is None else _checked(blocks)
        windows = self._windows(blocks)
        height, width = _blocks.feature_map_size("VGG", input_size, windows)

        self.features = nn.Sequential()
        for n_convolutions, channels in blocks:
            out_channels = _blocks.divided(channels, width_ratio)
            for _ in range(n_convolutions):
                self.features.append(nn.Conv2d(in_channels, out_channels, 3, padding=1))
                if norm == "batch":
                    self.features.append(nn.BatchNorm2d(out_channels))
                self.features.append(nn.ReLU(inplace=True))
                in_channels = out_channels
            self.features.append(nn.MaxPool2d(2, 2))
        self.avgpool = nn.Identity()
        if pooled_side is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(pooled_side)
            height = width = pooled_side
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * height * width, hidden_units),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_units, hidden_units),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden_units, n_classes),
        )
        self.head_name = "classifier.6"
        self.apply(_blocks.init_he)

    @staticmethod
    def _windows(blocks: Sequence[tuple[int, int]]) -> tuple[Window, ...]:
        return tuple(
            window
            for n_convolutions, _ in blocks
            for window in (*[Window(3, 1, 1)] * n_convolutions, Window(2, 2))
        )

    @classmethod
    def smallest_side(
        cls, *, depth: int = 11, blocks: Sequence[tuple[int, int]] | None = None, **_: object
    ) -> int:
        """Smallest image side, in pixels: 32 with five blocks; other options do not matter."""
        blocks = BLOCKS[depth] if blocks is None else _checked(blocks)
        return _blocks.smallest_side(cls._windows(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.features(x)  # (n, channels of the last block, h, w)
        x = self.avgpool(x)
        return self.classifier(x.flatten(1))


def _checked(blocks: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    def is_count(n: object) -> bool:
        return isinstance(n, Integral) and not isinstance(n, bool) and n >= 1

    pairs = [tuple(block) if isinstance(block, Sequence) else (block,) for block in blocks]
    if not pairs or not all(len(pair) == 2 and all(map(is_count, pair)) for pair in pairs):
        raise ValueError(
            "The 'blocks' parameter of VGG must be None, or for each block its number of "
            f"convolutions and their channels, as ((1, 64), (2, 128)); got {blocks!r} instead."
        )
    if sum(n_convolutions for n_convolutions, _ in pairs) > _MOST_CONVOLUTIONS:
        raise ValueError(
            f"The 'blocks' parameter of VGG must have at most {_MOST_CONVOLUTIONS} convolutions; "
            f"got {blocks!r} instead. Each block lists their number first, then their channels."
        )
    return pairs
