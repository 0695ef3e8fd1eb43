"""ResNet (He, Zhang, Ren and Sun 2015): residual blocks."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window, divided

# Depth → blocks in each of the four stages, and whether they are bottlenecks.
STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
CHANNELS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4


class ResidualBlock(nn.Module):
    """Convolutions with batch normalisation, plus the input, then ReLU.

    Two 3 × 3 convolutions; or, as a bottleneck, 1 × 1, 3 × 3 and 1 × 1 with four times the
    channels. The first 3 × 3 convolution has the stride (in bottlenecks, the paper gives it to
    the 1 × 1 before). Where the shape changes, the input passes a 1 × 1 convolution.
    """

    def __init__(
        self, in_channels: int, channels: int, *, stride: int, bottleneck: bool, conv_bias: bool
    ):
        super().__init__()

        def conv(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
            return nn.Conv2d(
                n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=conv_bias
            )

        self.out_channels = channels * (BOTTLENECK_EXPANSION if bottleneck else 1)
        if bottleneck:
            self.conv1 = conv(in_channels, channels, 1)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = conv(channels, channels, 3, stride)
            self.bn2 = nn.BatchNorm2d(channels)
            self.conv3 = conv(channels, self.out_channels, 1)
            self.bn3 = nn.BatchNorm2d(self.out_channels)
        else:
            self.conv1 = conv(in_channels, channels, 3, stride)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = conv(channels, channels, 3)
            self.bn2 = nn.BatchNorm2d(channels)
        self.bottleneck = bottleneck
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != self.out_channels:
            self.downsample = nn.Sequential(conv(in_channels, self.out_channels, 1, stride))
            if not conv_bias:
                self.downsample.append(nn.BatchNorm2d(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(self.relu(y)))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, and one linear layer.

    With the defaults, the layers and their names are those of torchvision's ResNets.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(224, 224)
        Height and width of the images, in pixels.
    depth : {18, 34, 50, 101, 152}, default=18
        Number of layers with weights; from 50 on, the blocks are bottlenecks.
    stem : {"imagenet", "small"}, default="imagenet"
        "imagenet": a 7 × 7 convolution of stride 2, and a pooling. "small": a 3 × 3 convolution
        that keeps the size, and no pooling, for images of few pixels.
    conv_bias : bool, default=False
        True is the form often taught: convolutions have biases, and those that change the shape of
        a block's input have no batch normalisation.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.

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
    K. He, X. Zhang, S. Ren, J. Sun. "Deep residual learning for image recognition". CVPR 2016.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import ResNet
    >>> ResNet(width_ratio=8, stem="small", input_size=(28, 28))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (224, 224),
        depth: Literal[18, 34, 50, 101, 152] = 18,
        stem: Literal["imagenet", "small"] = "imagenet",
        conv_bias: bool = False,
        width_ratio: float = 1.0,
    ):
        super().__init__()
        _blocks.feature_map_size("ResNet", input_size, self._windows(stem))
        n_blocks, bottleneck = STAGES[depth]
        width = divided(CHANNELS[0], width_ratio)
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=conv_bias)
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=conv_bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        for stage, (n, channels) in enumerate(zip(n_blocks, CHANNELS, strict=True)):
            blocks = nn.Sequential()
            for i in range(n):
                block = ResidualBlock(
                    width,
                    divided(channels, width_ratio),
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=bottleneck,
                    conv_bias=conv_bias,
                )
                blocks.append(block)
                width = block.out_channels
            self.add_module(f"layer{stage + 1}", blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, n_classes)
        self.head_name = "fc"
        self.apply(_blocks.init_he)

    @staticmethod
    def _windows(stem: str) -> tuple[Window, ...]:
        halving = Window(3, 2, 1)
        first = (Window(7, 2, 3), halving) if stem == "imagenet" else (Window(3, 1, 1),)
        return (*first, halving, halving, halving)

    @classmethod
    def smallest_side(cls, *, stem: str = "imagenet", **_: object) -> int:
        """Smallest image side, in pixels: 1 with all options, since every window is padded."""
        return _blocks.smallest_side(cls._windows(stem))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer1(x)  # (n, 64, h, w), in bottlenecks four times the channels
        x = self.layer2(x)  # (n, 128, h / 2, w / 2)
        x = self.layer3(x)  # (n, 256, h / 4, w / 4)
        x = self.layer4(x)  # (n, 512, h / 8, w / 8)
        return self.fc(self.avgpool(x).flatten(1))
