"""ConvNet: plain 3 × 3 convolutions for images of any size, the default network of skcnn."""

from __future__ import annotations

import math

from torch import Tensor, nn

from skcnn.networks._blocks import conv_norm_relu, divided, init_he

# Convolutions and channels of each stage; maps are halved after a stage.
STAGES = ((1, 32), (2, 64), (1, 128))
# Larger images are averaged down to this side: what it costs grows with the square of the side.
LARGEST_SIDE = 40
# Maps of this side are not halved any further: where things are matters in small images.
SMALLEST_MAP = 4


class ConvNet(nn.Module):
    """Four 3 × 3 convolutions in three stages, with batch normalisation, and a linear layer.

    Chosen for accuracy per second on small data sets. Maps are halved by max pooling after each
    stage, along axes of more than 4 pixels; sides above 40 pixels are first divided by the
    smallest whole number that brings them to 40 or less, by averaging.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(28, 28)
        Height and width of the images, in pixels; any size from 1 × 1.
    width_ratio : float, default=1.0
        The channels, 32, 64, 64 and 128, are divided by it.
    dropout : float, default=0.3
        Share of the features dropped in training, in [0, 1).

    Attributes
    ----------
    head_name : str
        Name of the layer that makes the logits.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import ConvNet
    >>> ConvNet(in_channels=3, input_size=(64, 48))(torch.zeros(2, 3, 64, 48)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (28, 28),
        width_ratio: float = 1.0,
        dropout: float = 0.3,
    ):
        super().__init__()
        shrink = tuple(math.ceil(side / LARGEST_SIDE) for side in input_size)
        self.shrink = nn.AvgPool2d(shrink, ceil_mode=True) if max(shrink) > 1 else nn.Identity()
        sides = [math.ceil(side / k) for side, k in zip(input_size, shrink, strict=True)]
        self.features = nn.Sequential()
        for n_convolutions, channels in STAGES:
            out_channels = divided(channels, width_ratio)
            for _ in range(n_convolutions):
                self.features.append(conv_norm_relu(in_channels, out_channels, 3, padding=1))
                in_channels = out_channels
            window = tuple(2 if side > SMALLEST_MAP else 1 for side in sides)
            self.features.append(nn.MaxPool2d(window))
            sides = [side // k for side, k in zip(sides, window, strict=True)]
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_channels * math.prod(sides), n_classes)
        self.head_name = "classifier"
        self.apply(init_he)

    @classmethod
    def smallest_side(cls, **_: object) -> int:
        """Smallest image side, in pixels: 1, whatever the options."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.features(self.shrink(x))  # (n, channels of the last stage, h, w)
        return self.classifier(self.dropout(x.flatten(1)))
