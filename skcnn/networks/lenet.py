"""LeNet (LeCun, Bottou, Bengio and Haffner 1998), in the form taught today."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from skcnn.networks import _blocks
from skcnn.networks._blocks import Window

CHANNELS = (6, 16)
HIDDEN_UNITS = (120, 84)


class LeNet(nn.Module):
    """Two convolutions, two poolings, three linear layers.

    Departures from the paper, as usual today: every map of the second convolution sees every map
    of the first, the output layer is linear instead of radial basis functions, and ReLU with max
    pooling is the default; ``activation="sigmoid", pooling="avg"`` is the historic choice.

    Parameters
    ----------
    in_channels : int, default=1
        Channels of the images.
    n_classes : int, default=10
        Number of logits.
    input_size : tuple of int, default=(28, 28)
        Height and width of the images, in pixels.
    activation : {"relu", "sigmoid"}, default="relu"
        Nonlinearity after every layer but the last.
    pooling : {"max", "avg"}, default="max"
        Pooling over windows of 2 × 2.
    norm : {None, "batch"}, default=None
        Batch normalisation (Ioffe and Szegedy 2015) before every nonlinearity.
    padding : {2, 0}, default=2
        Zero pixels added around the image: with 2, 28 × 28 images give 400 features, with 0, 256.

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
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. "Gradient-based learning applied to document
    recognition". Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    >>> import torch
    >>> from skcnn.networks import LeNet
    >>> LeNet(input_size=(28, 28))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 10,
        input_size: tuple[int, int] = (28, 28),
        activation: Literal["relu", "sigmoid"] = "relu",
        pooling: Literal["max", "avg"] = "max",
        norm: Literal["batch"] | None = None,
        padding: Literal[2, 0] = 2,
    ):
        super().__init__()
        height, width = _blocks.feature_map_size("LeNet", input_size, self._windows(padding))
        act, pool = _blocks.ACTIVATIONS[activation], _blocks.POOLINGS[pooling]

        def stage(layer: nn.Module, normalisation: type[nn.Module], width: int) -> list[nn.Module]:
            return [layer, *([normalisation(width)] if norm == "batch" else []), act()]

        (c1, c2), (h1, h2) = CHANNELS, HIDDEN_UNITS
        self.features = nn.Sequential(
            *stage(nn.Conv2d(in_channels, c1, 5, padding=padding), nn.BatchNorm2d, c1),
            pool(2),
            *stage(nn.Conv2d(c1, c2, 5), nn.BatchNorm2d, c2),
            pool(2),
        )
        self.classifier = nn.Sequential(
            *stage(nn.Linear(c2 * height * width, h1), nn.BatchNorm1d, h1),
            *stage(nn.Linear(h1, h2), nn.BatchNorm1d, h2),
            nn.Linear(h2, n_classes),
        )
        self.head_name = f"classifier.{len(self.classifier) - 1}"

    @staticmethod
    def _windows(padding: int) -> tuple[Window, ...]:
        return Window(5, padding=padding), Window(2, 2), Window(5), Window(2, 2)

    @classmethod
    def smallest_side(cls, *, padding: int = 2, **_: object) -> int:
        """Smallest image side, in pixels: 12 with `padding` 2, 16 with 0; the rest is ignored."""
        return _blocks.smallest_side(cls._windows(padding))

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (n, n_classes) of images ``(n, in_channels, *input_size)``."""
        x = self.features(x)  # (n, 16, h, w)
        return self.classifier(x.flatten(1))
