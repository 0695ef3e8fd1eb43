"""The public classifiers: one thin class per network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from torch import nn

from skcnn._base import ImageClassifier
from skcnn._docstrings import shares_parameters
from skcnn._validation import Interval, Options, StrOptions
from skcnn.networks import AlexNet, LeNet, build_module, probe_input_size


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class LeNetClassifier(ImageClassifier):
    """LeNet (LeCun et al. 1998): two convolutions and three linear layers.

    For small images: 28 × 28 pixels, or any size from 12 × 12.

    Parameters
    ----------
    activation : {"relu", "sigmoid"}, default="relu"
        Nonlinearity after every layer but the last; "sigmoid" is the historic one.
    pooling : {"max", "avg"}, default="max"
        Pooling after each convolution; "avg" is the historic one.
    norm : {None, "batch"}, default=None
        "batch": batch normalisation before every nonlinearity; it bears higher learning rates.
    padding : {2, 0}, default=2
        Pixels added around the image: 2 takes images from 12 × 12 pixels, 0 from 16 × 16.
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    AlexNetClassifier : For larger images.
    CNNClassifier : For a network of your own.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. "Gradient-based learning applied to document
    recognition". Proceedings of the IEEE 86(11), 1998.

    Examples
    --------
    >>> from skcnn import LeNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = LeNetClassifier(max_epochs=2, random_state=0)
    >>> clf.fit(X[:1000], y[:1000]).predict(X[:5]).shape
    (5,)
    """

    activation: Literal["relu", "sigmoid"] = "relu"
    pooling: Literal["max", "avg"] = "max"
    norm: Literal["batch"] | None = None
    padding: Literal[2, 0] = 2

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "activation": [StrOptions({"relu", "sigmoid"})],
        "pooling": [StrOptions({"max", "avg"})],
        "norm": [StrOptions({"batch"}), None],
        "padding": [Options(int, {0, 2})],
    }

    def _smallest_side(self) -> int:
        return LeNet.smallest_side(self.padding)

    def _make_module(
        self, in_channels: int, n_classes: int, input_size: tuple[int, int]
    ) -> nn.Module:
        return LeNet(
            in_channels=in_channels,
            n_classes=n_classes,
            input_size=input_size,
            activation=self.activation,
            pooling=self.pooling,
            norm=self.norm,
            padding=self.padding,
        )


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class AlexNetClassifier(ImageClassifier):
    """AlexNet (Krizhevsky et al. 2012): five convolutions and three linear layers.

    For images of 67 × 67 pixels and more; smaller ones are enlarged unless `image_size` is given.

    Parameters
    ----------
    variant : {"full", "small"}, default="full"
        Width of the two hidden linear layers: 4096, or 128.
    padding : {0, 1}, default=0
        Pixels added around the image before the first convolution.
    norm : {None, "lrn", "batch"}, default=None
        "lrn": the paper's local response normalisation, after the first two convolutions.
        "batch": batch normalisation after every convolution.
    dropout : float, default=0.5
        Share of the hidden units dropped in training, in [0, 1).
    dropout_position : {"after", "before"}, default="after"
        Dropout after each hidden layer, or before it.
    init : {"he", "torch"}, default="he"
        "he": He-normal for convolutions, Xavier-normal for linear layers, zero biases. "torch":
        what torch does by default.
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    LeNetClassifier : For small images.
    CNNClassifier : For a network of your own.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton. "ImageNet classification with deep convolutional
    neural networks". NeurIPS 2012.

    Examples
    --------
    >>> from skcnn import AlexNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = AlexNetClassifier(variant="small", max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).input_size_
    (67, 67)
    """

    variant: Literal["full", "small"] = "full"
    padding: Literal[0, 1] = 0
    norm: Literal["lrn", "batch"] | None = None
    dropout: float = 0.5
    dropout_position: Literal["after", "before"] = "after"
    init: Literal["he", "torch"] = "he"

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "variant": [StrOptions({"full", "small"})],
        "padding": [Options(int, {0, 1})],
        "norm": [StrOptions({"lrn", "batch"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "dropout_position": [StrOptions({"after", "before"})],
        "init": [StrOptions({"he", "torch"})],
    }

    def _smallest_side(self) -> int:
        return AlexNet.smallest_side(self.padding)

    def _make_module(
        self, in_channels: int, n_classes: int, input_size: tuple[int, int]
    ) -> nn.Module:
        return AlexNet(
            in_channels=in_channels,
            n_classes=n_classes,
            input_size=input_size,
            variant=self.variant,
            padding=self.padding,
            norm=self.norm,
            dropout=self.dropout,
            dropout_position=self.dropout_position,
            init=self.init,
        )


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class CNNClassifier(ImageClassifier):
    """Any network: your own ``nn.Module``, or one of torchvision.

    Parameters
    ----------
    module : torch.nn.Module subclass, callable or str
        What makes the network: a class, a function, or the name of a torchvision classification
        model, built with random weights. Those of the arguments `in_channels`, `n_classes` (or
        `num_classes`) and `input_size` (H, W) that it takes by name are filled in. The network
        must turn float32 images (n, C, H, W) into logits (n, n_classes). An instance is copied,
        and trained from the weights that it has.
    module_params : dict, default=None
        More arguments for `module`; they take precedence over those filled in.
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    LeNetClassifier, AlexNetClassifier : Networks with parameters of their own.

    Notes
    -----
    With ``image_size="auto"``, images that are too small for the network are enlarged to the
    smallest side that it takes, which is found by trying.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from torch import nn
    >>> from skcnn import CNNClassifier
    >>> class TinyNet(nn.Sequential):
    ...     def __init__(self, in_channels, n_classes, width=8):
    ...         super().__init__(
    ...             nn.Conv2d(in_channels, width, 3),
    ...             nn.ReLU(),
    ...             nn.AdaptiveAvgPool2d(2),
    ...             nn.Flatten(),
    ...             nn.Linear(4 * width, n_classes),
    ...         )
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = CNNClassifier(module=TinyNet, module_params={"width": 16}, max_epochs=2)
    >>> clf.fit(X, y).image_shape_
    (1, 8, 8)
    """

    module: type[nn.Module] | Callable[..., nn.Module] | str | None = None
    module_params: dict[str, Any] | None = None

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "module": [str, callable],
        "module_params": [dict, None],
    }

    def _choose_input_size(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        def build(input_size: tuple[int, int]) -> nn.Module:
            return self._make_module(image_shape[0], len(self.classes_), input_size)

        size = None if self.image_size == "auto" else (self.image_size, self.image_size)
        return probe_input_size(build, image_shape, len(self.classes_), size)

    def _make_module(
        self, in_channels: int, n_classes: int, input_size: tuple[int, int]
    ) -> nn.Module:
        return build_module(
            self.module,
            self.module_params or {},
            in_channels=in_channels,
            n_classes=n_classes,
            input_size=input_size,
        )
