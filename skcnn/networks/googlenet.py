"""GoogLeNet (Szegedy et al. 2014): Inception blocks of four parallel paths."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window, conv_norm_relu, divided


class Paths(NamedTuple):
    """Output channels of the convolutions on the four paths of an Inception block."""

    one: int  # 1 × 1
    three: tuple[int, int]  # 1 × 1, 3 × 3
    five: tuple[int, int]  # 1 × 1, 5 × 5
    pool: int  # pooling, 1 × 1


# The stages of Inception blocks, by the names that the paper gives them; a pooling between stages.
STAGES = (
    {
        "3a": Paths(64, (96, 128), (16, 32), 32),
        "3b": Paths(128, (128, 192), (32, 96), 64),
    },
    {
        "4a": Paths(192, (96, 208), (16, 48), 64),
        "4b": Paths(160, (112, 224), (24, 64), 64),
        "4c": Paths(128, (128, 256), (24, 64), 64),
        "4d": Paths(112, (144, 288), (32, 64), 64),
        "4e": Paths(256, (160, 320), (32, 128), 128),
    },
    {
        "5a": Paths(256, (160, 320), (32, 128), 128),
        "5b": Paths(384, (192, 384), (48, 128), 128),
    },
)
# The first convolution.
FIRST = {"imagenet": Window(7, 2, 3), "small": Window(3, 1, 1)}
# The four poolings; the small stem has no first one.
POOLS = {
    "paper": (Window(3, 2, 1),) * 4,
    "torchvision": (*(Window(3, 2, 0, ceil=True),) * 3, Window(2, 2, 0, ceil=True)),
}


class InceptionBlock(nn.Module):
    """Four paths side by side, joined along the channels."""

    def __init__(
        self, in_channels: int, paths: Paths, *, width_ratio: float, five: int, norm: bool
    ):
        super().__init__()
        one, three, five_, pool = (
            tuple(divided(n, width_ratio) for n in path)
            if isinstance(path, tuple)
            else divided(path, width_ratio)
            for path in paths
        )
        self.branch1 = conv_norm_relu(in_channels, one, 1, norm=norm)
        self.branch2 = nn.Sequential(
            conv_norm_relu(in_channels, three[0], 1, norm=norm),
            conv_norm_relu(*three, 3, padding=1, norm=norm),
        )
        self.branch3 = nn.Sequential(
            conv_norm_relu(in_channels, five_[0], 1, norm=norm),
            conv_norm_relu(*five_, five, padding=five // 2, norm=norm),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1), conv_norm_relu(in_channels, pool, 1, norm=norm)
        )
        self.out_channels = one + three[1] + five_[1] + pool

    def forward(self, x: Tensor) -> Tensor:
        paths = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([path(x) for path in paths], dim=1)


class GoogLeNet(nn.Module):
    """A stem of three convolutions, nine Inception blocks, and one linear layer.

    Departures from the paper: no auxiliary heads; no local response normalisation.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(224, 224)
        Height and width of the images, in pixels.
    variant : {"paper", "torchvision"}, default="paper"
        "torchvision": layers and names of torchvision's form, for its weights: 3 × 3 windows on
        the path that the paper gives 5 × 5, poolings that are not padded, batch normalisation.
    stem : {"imagenet", "small"}, default="imagenet"
        "imagenet": a 7 × 7 convolution of stride 2, and a pooling. "small": a 3 × 3 convolution
        that keeps the size, and no pooling, for images of few pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    norm : {None, "batch"}, default=None
        "batch": batch normalisation (Ioffe and Szegedy 2015) after every convolution, which then
        has no bias. Only used when ``variant="paper"``.
    dropout : float, default=0.2
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
    C. Szegedy et al. "Going deeper with convolutions". CVPR 2015.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import GoogLeNet
    >>> GoogLeNet(width_ratio=8, input_size=(32, 32))(torch.zeros(2, 1, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (224, 224),
        variant: Literal["paper", "torchvision"] = "paper",
        stem: Literal["imagenet", "small"] = "imagenet",
        width_ratio: float = 1.0,
        norm: Literal["batch"] | None = None,
        dropout: float = 0.2,
    ):
        super().__init__()
        _blocks.feature_map_size("GoogLeNet", input_size, self._windows(variant, stem))
        like_torchvision = variant == "torchvision"
        normalised = like_torchvision or norm == "batch"

        def pool(window: Window) -> nn.MaxPool2d:
            return nn.MaxPool2d(
                window.kernel, window.stride, padding=window.padding, ceil_mode=window.ceil
            )

        pools = POOLS[variant]
        channels, three = divided(64, width_ratio), divided(192, width_ratio)
        kernel, stride, padding, _ = FIRST[stem]
        self.conv1 = conv_norm_relu(
            in_channels, channels, kernel, stride=stride, padding=padding, norm=normalised
        )
        self.maxpool1 = pool(pools[0]) if stem == "imagenet" else nn.Identity()
        self.conv2 = conv_norm_relu(channels, channels, 1, norm=normalised)
        self.conv3 = conv_norm_relu(channels, three, 3, padding=1, norm=normalised)
        channels = three
        for number, (stage, window) in enumerate(zip(STAGES, pools[1:], strict=True), start=2):
            self.add_module(f"maxpool{number}", pool(window))
            for name, paths in stage.items():
                block = InceptionBlock(
                    channels,
                    paths,
                    width_ratio=width_ratio,
                    five=3 if like_torchvision else 5,
                    norm=normalised,
                )
                self.add_module(f"inception{name}", block)
                channels = block.out_channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, n_classes)
        self.head_name = "fc"
        self.apply(_blocks.init_he)

    @staticmethod
    def _windows(variant: str, stem: str) -> tuple[Window, ...]:
        return (FIRST[stem], *POOLS[variant][0 if stem == "imagenet" else 1 :])

    @classmethod
    def smallest_side(cls, *, variant: str = "paper", stem: str = "imagenet", **_: object) -> int:
        """Smallest image side, in pixels: 1, or with ``variant="torchvision"`` 15, 4 if small."""
        return _blocks.smallest_side(cls._windows(variant, stem))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        for layer in self.children():  # in the order of __init__
            if layer is self.dropout:
                x = x.flatten(1)  # (n, 1024)
            x = layer(x)
        return x
