"""AlexNet (Krizhevsky, Sutskever and Hinton 2012), with a small form and torchvision's."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window


class Variant(NamedTuple):
    """What distinguishes the forms of AlexNet."""

    channels: tuple[int, int, int, int, int]
    hidden_units: int
    pooled_side: int | None = None  # to which the last feature maps are averaged


VARIANTS = {
    "full": Variant((96, 256, 384, 384, 256), 4096),
    "small": Variant((96, 256, 384, 384, 256), 128),
    "torchvision": Variant((64, 192, 384, 256, 256), 4096, pooled_side=6),
}


class AlexNet(nn.Module):
    """Five convolutions, three overlapping poolings, three linear layers.

    Departure from the paper: one column of convolutions instead of two halves on two GPUs.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(224, 224)
        Height and width of the images, in pixels.
    variant : {"full", "small", "torchvision"}, default="full"
        "full" and "small": 4096 units, as in the paper, or 128 in the two hidden linear layers.
        "torchvision": layers and names of torchvision's form (Krizhevsky 2014), for its weights:
        fewer channels, `padding` 2, dropout before the hidden layers, and feature maps averaged to
        6 × 6 pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions and the units of the hidden linear layers are divided by
        it.
    padding : {0, 1, 2}, default=0
        Zero pixels around the image before the first convolution. Not used by "torchvision".
    norm : {None, "lrn", "batch"}, default=None
        "lrn": the paper's local response normalisation (n=5, k=2, α=1e-4, β=0.75) after the
        first two convolutions' ReLU. "batch": batch normalisation after every convolution.
    dropout : float, default=0.5
        Share of the hidden units dropped in training.
    dropout_position : {"after", "before"}, default="after"
        Dropout after each of the two hidden layers, or before each. Not used by "torchvision".
    init : {"he", "torch"}, default="he"
        "he": He-normal for convolutions, Xavier-normal for linear layers, zero biases.
        "torch": what torch does by default.

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
    A. Krizhevsky, I. Sutskever, G. Hinton. "ImageNet classification with deep convolutional
    neural networks". NeurIPS 2012.

    A. Krizhevsky. "One weird trick for parallelizing convolutional neural networks". 2014.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import AlexNet
    >>> AlexNet(variant="small", input_size=(67, 67))(torch.zeros(2, 1, 67, 67)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (224, 224),
        variant: Literal["full", "small", "torchvision"] = "full",
        width_ratio: float = 1.0,
        padding: Literal[0, 1, 2] = 0,
        norm: Literal["lrn", "batch"] | None = None,
        dropout: float = 0.5,
        dropout_position: Literal["after", "before"] = "after",
        init: Literal["he", "torch"] = "he",
    ):
        super().__init__()
        channels, units, pooled_side = VARIANTS[variant]
        c1, c2, c3, c4, c5 = (_blocks.divided(n, width_ratio) for n in channels)
        units = _blocks.divided(units, width_ratio)
        if variant == "torchvision":
            padding, dropout_position = 2, "before"
        height, width = _blocks.feature_map_size("AlexNet", input_size, self._windows(padding))

        def stage(conv: nn.Conv2d, *, lrn: bool = False) -> list[nn.Module]:
            batch_norm = [nn.BatchNorm2d(conv.out_channels)] if norm == "batch" else []
            response_norm = (
                [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2)]
                if lrn and norm == "lrn"
                else []
            )
            return [conv, *batch_norm, nn.ReLU(inplace=True), *response_norm]

        def hidden(in_features: int, out_features: int) -> list[nn.Module]:
            layers = [nn.Linear(in_features, out_features), nn.ReLU(inplace=True)]
            drop = nn.Dropout(dropout)
            return [drop, *layers] if dropout_position == "before" else [*layers, drop]

        self.features = nn.Sequential(
            *stage(nn.Conv2d(in_channels, c1, 11, stride=4, padding=padding), lrn=True),
            nn.MaxPool2d(3, 2),
            *stage(nn.Conv2d(c1, c2, 5, padding=2), lrn=True),
            nn.MaxPool2d(3, 2),
            *stage(nn.Conv2d(c2, c3, 3, padding=1)),
            *stage(nn.Conv2d(c3, c4, 3, padding=1)),
            *stage(nn.Conv2d(c4, c5, 3, padding=1)),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.Identity()
        if pooled_side is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(pooled_side)
            height = width = pooled_side
        self.classifier = nn.Sequential(
            *hidden(c5 * height * width, units),
            *hidden(units, units),
            nn.Linear(units, n_classes),
        )
        self.head_name = f"classifier.{len(self.classifier) - 1}"
        if init == "he":
            self.apply(_blocks.init_he)

    @staticmethod
    def _windows(padding: int) -> tuple[Window, ...]:
        pool, same = Window(3, 2), Window(3, 1, 1)
        return (Window(11, 4, padding), pool, Window(5, 1, 2), pool, same, same, same, pool)

    @classmethod
    def smallest_side(cls, *, padding: int = 0, variant: str = "full", **_: object) -> int:
        """Smallest image side, in pixels: 67, 65 and 63 with `padding` 0, 1 and 2 (torchvision)."""
        return _blocks.smallest_side(cls._windows(2 if variant == "torchvision" else padding))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.features(x)  # (n, c5, h, w)
        x = self.avgpool(x)
        return self.classifier(x.flatten(1))
