"""NiN, network in network (Lin, Chen and Yan 2013)."""

from __future__ import annotations

from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window

# Of each block the channels, and the window of its first convolution; a pooling follows each.
BLOCKS = ((96, Window(11, 4, 0)), (256, Window(5, 1, 2)), (384, Window(3, 1, 1)))
HEAD = Window(3, 1, 1)
POOL = Window(3, 2)


class NiN(nn.Module):
    """Blocks of a convolution and two 1 × 1 convolutions; no linear layer.

    The last block has one channel a class, whose average over all pixels is the logit. Departure
    from the paper: no ReLU after the very last convolution, so that logits can be negative, and a
    class whose logits are all zero cannot stop learning.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(224, 224)
        Height and width of the images, in pixels.
    width_ratio : float, default=1.0
        The channels of all blocks but the last are divided by it.
    dropout : float, default=0.5
        Share of the values dropped before the last block in training.

    Attributes
    ----------
    head_name : str
        Name of the block that makes the logits.

    Raises
    ------
    ValueError
        If `input_size` is below :meth:`smallest_side`.

    References
    ----------
    M. Lin, Q. Chen, S. Yan. "Network in network". ICLR 2014.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import NiN
    >>> NiN(width_ratio=8, input_size=(67, 67))(torch.zeros(2, 1, 67, 67)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (224, 224),
        width_ratio: float = 1.0,
        dropout: float = 0.5,
    ):
        super().__init__()
        _blocks.feature_map_size("NiN", input_size, self._windows())

        def block(in_channels: int, out_channels: int, window: Window) -> list[nn.Module]:
            kernel, stride, padding, _ = window
            return [
                nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding),
                nn.ReLU(inplace=True),
                nn.Conv2d(out_channels, out_channels, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(out_channels, out_channels, 1),
            ]

        self.features = nn.Sequential()
        for channels, window in BLOCKS:
            out_channels = _blocks.divided(channels, width_ratio)
            self.features.append(
                nn.Sequential(*block(in_channels, out_channels, window), nn.ReLU(inplace=True))
            )
            self.features.append(nn.MaxPool2d(POOL.kernel, POOL.stride))
            in_channels = out_channels
        self.features.append(nn.Dropout(dropout))
        self.classifier = nn.Sequential(*block(in_channels, n_classes, HEAD))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.head_name = "classifier"
        self.apply(_blocks.init_he)
        self._open_head()

    def _open_head(self) -> None:
        """Let the 1 × 1 convolutions of the head begin as the identity, and its ReLUs open.

        A class has one channel there. With random weights, many of the few channels begin, and
        stay, negative for all images, and their classes are hardly learned.
        """
        for layer in (self.classifier[2], self.classifier[4]):
            nn.init.dirac_(layer.weight)
        for layer in (self.classifier[0], self.classifier[2]):
            nn.init.constant_(layer.bias, 0.5)

    @staticmethod
    def _windows() -> tuple[Window, ...]:
        return (*(window for _, first in BLOCKS for window in (first, POOL)), HEAD)

    @classmethod
    def smallest_side(cls, **_: object) -> int:
        """Smallest image side, in pixels: 67 with all options."""
        return _blocks.smallest_side(cls._windows())

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.features(x)  # (n, 384, h, w)
        x = self.classifier(x)  # (n, n_classes, h, w)
        return self.avgpool(x).flatten(1)
