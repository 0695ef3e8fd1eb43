"""The public classifiers: one thin class per network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from torch import Tensor, nn

from skcnn._base import ImageClassifier
from skcnn._docstrings import shares_parameters
from skcnn._validation import Interval, Options, StrOptions
from skcnn.networks import (
    VGG,
    AlexNet,
    ConvNet,
    GoogLeNet,
    InceptionV3,
    LeNet,
    NiN,
    ResNet,
    build_module,
    probe_input_size,
)
from skcnn.networks._blocks import LARGEST_SMALL_SIDE, divided
from skcnn.networks._custom import SMALLEST_TORCHVISION_SIDE, check_torchvision_name
from skcnn.networks.alexnet import VARIANTS
from skcnn.networks.resnet import STAGES as RESNET_STAGES
from skcnn.networks.vgg import BLOCKS as VGG_BLOCKS


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
    norm : {"auto", "batch", None}, default="auto"
        "batch": batch normalisation before every nonlinearity. None: without, as in the paper.
        "auto": what `weights` have; without any, "batch".
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

    _network = LeNet

    activation: Literal["relu", "sigmoid"] = "relu"
    pooling: Literal["max", "avg"] = "max"
    norm: Literal["auto", "batch"] | None = "auto"
    padding: Literal[2, 0] = 2

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "activation": [StrOptions({"relu", "sigmoid"})],
        "pooling": [StrOptions({"max", "avg"})],
        "norm": [StrOptions({"auto", "batch"}), None],
        "padding": [Options(Integral, {0, 2})],
    }


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class AlexNetClassifier(ImageClassifier):
    """AlexNet (Krizhevsky et al. 2012): five convolutions and three linear layers.

    For images of 67 × 67 pixels and more; smaller ones are enlarged unless `image_size` is given.

    Parameters
    ----------
    variant : {"auto", "full", "small", "torchvision"}, default="auto"
        "full" and "small": 4096, or 128, units in the two hidden linear layers. "torchvision": the
        form of torchvision (Krizhevsky 2014), for its trained weights; it takes images from
        63 × 63 pixels. "auto": "torchvision" if `weights` are of that form, else "full".
    width_ratio : float, default=1.0
        The channels of all convolutions and the units of the hidden linear layers are divided by
        it; 4 makes about 16 times less work.
    padding : {0, 1}, default=0
        Pixels added around the image before the first convolution. Not used by "torchvision".
    norm : {"auto", "batch", "lrn", None}, default="auto"
        "batch": batch normalisation after every convolution. "lrn": the paper's local response
        normalisation, after the first two convolutions. None: neither. "auto": what `weights` have;
        without any, "batch".
    dropout : float, default=0.5
        Share of the hidden units dropped in training, in [0, 1).
    dropout_position : {"after", "before"}, default="after"
        Dropout after each hidden layer, or before it. Not used by "torchvision", which has it
        before.
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

    A. Krizhevsky. "One weird trick for parallelizing convolutional neural networks". 2014.

    Examples
    --------
    >>> from skcnn import AlexNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = AlexNetClassifier(variant="small", max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).input_size_
    (67, 67)
    """

    _network = AlexNet

    variant: Literal["auto", "full", "small", "torchvision"] = "auto"
    width_ratio: float = 1.0
    padding: Literal[0, 1] = 0
    norm: Literal["auto", "batch", "lrn"] | None = "auto"
    dropout: float = 0.5
    dropout_position: Literal["after", "before"] = "after"
    init: Literal["he", "torch"] = "he"

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "variant": [StrOptions({"auto", *VARIANTS})],
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
        "padding": [Options(Integral, {0, 1})],
        "norm": [StrOptions({"auto", "batch", "lrn"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "dropout_position": [StrOptions({"after", "before"})],
        "init": [StrOptions({"he", "torch"})],
    }

    def _torchvision_name(self) -> str | None:
        return "alexnet" if self.variant in ("auto", "torchvision") else None

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        options = super()._network_options(size, weights)
        if self.variant == "auto":
            stem = () if weights is None else weights.get("features.0.weight", ())
            stem_of_torchvision = divided(VARIANTS["torchvision"].channels[0], self.width_ratio)
            of_torchvision = len(stem) == stem_of_torchvision
            options["variant"] = "torchvision" if of_torchvision else "full"
        return options


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class VGGClassifier(ImageClassifier):
    """VGG (Simonyan and Zisserman 2014): blocks of 3 × 3 convolutions, three linear layers.

    For images of 32 × 32 pixels and more; smaller ones are enlarged unless `image_size` is given.

    Parameters
    ----------
    depth : {11, 13, 16, 19}, default=11
        Number of layers with weights. Only used when `blocks` is None.
    blocks : sequence of (int, int), default=None
        For each block its number of convolutions, and their channels, as
        ``((1, 16), (2, 32))``. Each block halves the image, so that n blocks take images from
        2ⁿ × 2ⁿ pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it; 4 makes about 16 times less work.
    hidden_units : int, default=4096
        Width of the two hidden linear layers; for small images, a few hundred will do.
    norm : {"auto", "batch", None}, default="auto"
        "batch": batch normalisation after every convolution. None: without, as in the paper.
        "auto": what `weights` have, of which those of torchvision by name are without; without any
        weights, "batch".
    dropout : float, default=0.5
        Share of the units of the two hidden linear layers dropped in training, in [0, 1).
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    ResNetClassifier : Deeper, and quicker to train.
    CNNClassifier : For a network of your own.

    References
    ----------
    K. Simonyan, A. Zisserman. "Very deep convolutional networks for large-scale image
    recognition". ICLR 2015.

    Examples
    --------
    >>> from skcnn import VGGClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = VGGClassifier(width_ratio=8, hidden_units=128, max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).input_size_
    (32, 32)
    """

    _network = VGG

    depth: Literal[11, 13, 16, 19] = 11
    blocks: Sequence[tuple[int, int]] | None = None
    width_ratio: float = 1.0
    hidden_units: int = 4096
    norm: Literal["auto", "batch"] | None = "auto"
    dropout: float = 0.5

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "depth": [Options(Integral, set(VGG_BLOCKS))],
        "blocks": [list, tuple, None],
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "norm": [StrOptions({"auto", "batch"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def _torchvision_name(self) -> str | None:
        if self.blocks is not None:
            return None
        return f"vgg{self.depth}" + ("_bn" if self.norm == "batch" else "")

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        options = super()._network_options(size, weights)
        # torchvision's takes images of all sizes, by averaging the last feature maps to 7 × 7.
        linear = (weights or {}).get("classifier.0.weight")
        convolutions = {
            int(name.split(".")[1]): len(value)
            for name, value in (weights or {}).items()
            if re.fullmatch(r"features\.\d+\.weight", name) and value.ndim == 4
        }
        if convolutions and linear is not None and linear.ndim == 2:
            pooled = linear.shape[1] == 7 * 7 * convolutions[max(convolutions)]
            options["pooled_side"] = 7 if pooled else None
        return options


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class NiNClassifier(ImageClassifier):
    """NiN, network in network (Lin et al. 2013): 1 × 1 convolutions, and no linear layer.

    For images of 67 × 67 pixels and more; smaller ones are enlarged unless `image_size` is given.

    Parameters
    ----------
    width_ratio : float, default=1.0
        The channels of all convolutions but the last three are divided by it.
    dropout : float, default=0.5
        Share of the values before the last block dropped in training, in [0, 1).
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    AlexNetClassifier : The network that NiN changed.
    CNNClassifier : For a network of your own.

    References
    ----------
    M. Lin, Q. Chen, S. Yan. "Network in network". ICLR 2014.

    Examples
    --------
    >>> from skcnn import NiNClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = NiNClassifier(width_ratio=8, max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).input_size_
    (67, 67)
    """

    _network = NiN

    width_ratio: float = 1.0
    dropout: float = 0.5

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class GoogLeNetClassifier(ImageClassifier):
    """GoogLeNet (Szegedy et al. 2014): nine Inception blocks of four parallel paths.

    For images of any size.

    Parameters
    ----------
    variant : {"auto", "paper", "torchvision"}, default="auto"
        "paper": without auxiliary heads. "torchvision": the form of torchvision, for its trained
        weights; with the ImageNet stem, it takes images from 15 × 15 pixels. "auto":
        "torchvision" if `weights` are of that form, else "paper".
    stem : {"auto", "imagenet", "small"}, default="auto"
        "imagenet": a 7 × 7 convolution of stride 2, and a pooling, for images of 96 pixels and
        more. "small": a 3 × 3 convolution that keeps the size, and no pooling. "auto": what
        `weights` have; without any, "small" for images of up to 40 × 40 pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    norm : {"batch", None}, default="batch"
        "batch": batch normalisation after every convolution; the paper is older than it. Not used
        by "torchvision", which has it.
    dropout : float, default=0.2
        Share of the features dropped in training, in [0, 1).
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    InceptionV3Classifier : Its successor.
    CNNClassifier : For a network of your own.

    References
    ----------
    C. Szegedy et al. "Going deeper with convolutions". CVPR 2015.

    Examples
    --------
    >>> from skcnn import GoogLeNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = GoogLeNetClassifier(width_ratio=8, image_size=32, max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).transform(X[:5]).shape
    (5, 128)
    """

    _network = GoogLeNet

    variant: Literal["auto", "paper", "torchvision"] = "auto"
    stem: Literal["auto", "imagenet", "small"] = "auto"
    width_ratio: float = 1.0
    norm: Literal["batch"] | None = "batch"
    dropout: float = 0.2

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "variant": [StrOptions({"auto", "paper", "torchvision"})],
        "stem": [StrOptions({"auto", "imagenet", "small"})],
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
        "norm": [StrOptions({"batch"}), None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def _torchvision_name(self) -> str | None:
        return None if self.variant == "paper" or self.stem == "small" else "googlenet"

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        options = super()._network_options(size, weights)
        if self.variant == "auto":
            # The path that has 5 × 5 windows in the paper has 3 × 3 in torchvision.
            five = (weights or {}).get("inception3a.branch3.1.conv.weight")
            of_torchvision = five is not None and five.shape[-1] == 3
            options["variant"] = "torchvision" if of_torchvision else "paper"
        if self.stem == "auto":
            first = (weights or {}).get("conv1.conv.weight")
            options["stem"] = _stem(size, None if first is None else first.shape[-1] == 3)
        return options


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class InceptionV3Classifier(ImageClassifier):
    """Inception v3 (Szegedy et al. 2015): factored convolutions on parallel paths.

    For images of any size from 15 × 15 pixels.

    Parameters
    ----------
    stem : {"auto", "imagenet", "small"}, default="auto"
        "imagenet": the first layers of the paper, which divide the sides by 8, for images of
        75 × 75 pixels and more. "small": layers that halve them. "auto": what `weights` have;
        without any, "small" for images of up to 40 × 40 pixels.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    dropout : float, default=0.5
        Share of the features dropped in training, in [0, 1).
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    GoogLeNetClassifier : Its predecessor.
    CNNClassifier : For a network of your own.

    References
    ----------
    C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna. "Rethinking the Inception
    architecture for computer vision". CVPR 2016.

    Examples
    --------
    >>> from skcnn import InceptionV3Classifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = InceptionV3Classifier(width_ratio=8, max_epochs=1, random_state=0)
    >>> clf.fit(X[:100], y[:100]).input_size_
    (28, 28)
    """

    _network = InceptionV3

    stem: Literal["auto", "imagenet", "small"] = "auto"
    width_ratio: float = 1.0
    dropout: float = 0.5

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "stem": [StrOptions({"auto", "imagenet", "small"})],
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def _torchvision_name(self) -> str | None:
        return None if self.stem == "small" else "inception_v3"

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        options = super()._network_options(size, weights)
        if self.stem == "auto":
            known = "Conv2d_1a_3x3.conv.weight" in (weights or {})
            is_small = "Conv2d_2a_3x3.conv.weight" not in (weights or {}) if known else None
            options["stem"] = _stem(size, is_small)
        return options


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class ResNetClassifier(ImageClassifier):
    """ResNet (He et al. 2015): residual blocks.

    For images of any size.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}, default=18
        Number of layers with weights; from 50 on, the blocks are bottlenecks.
    stem : {"auto", "imagenet", "small"}, default="auto"
        "imagenet": a 7 × 7 convolution of stride 2, and a pooling. "small": a 3 × 3 convolution
        that keeps the size. "auto": what `weights` have; without any, "small" for images of up to
        40 × 40 pixels.
    conv_bias : bool, default=False
        True is the form often taught: convolutions have biases, and those that change the shape of
        a block's input have no batch normalisation.
    width_ratio : float, default=1.0
        The channels of all convolutions are divided by it.
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    See Also
    --------
    VGGClassifier : The same idea of stacked 3 × 3 convolutions, without residuals.
    CNNClassifier : For a network of your own.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun. "Deep residual learning for image recognition". CVPR 2016.

    Examples
    --------
    >>> from skcnn import ResNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = ResNetClassifier(width_ratio=8, max_epochs=1, random_state=0)
    >>> clf.fit(X[:200], y[:200]).transform(X[:5]).shape
    (5, 64)
    """

    _network = ResNet

    depth: Literal[18, 34, 50, 101, 152] = 18
    stem: Literal["auto", "imagenet", "small"] = "auto"
    conv_bias: bool = False
    width_ratio: float = 1.0

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "depth": [Options(Integral, set(RESNET_STAGES))],
        "stem": [StrOptions({"auto", "imagenet", "small"})],
        "conv_bias": ["boolean"],
        "width_ratio": [Interval(Real, 0, None, closed="neither")],
    }

    def _torchvision_name(self) -> str | None:
        return None if self.conv_bias or self.stem == "small" else f"resnet{self.depth}"

    def _network_options(
        self, size: tuple[int, int], weights: Mapping[str, Tensor] | None
    ) -> dict[str, Any]:
        options = super()._network_options(size, weights)
        if self.stem == "auto":
            first = (weights or {}).get("conv1.weight")
            options["stem"] = _stem(size, None if first is None else first.shape[-1] == 3)
        return options


@shares_parameters
@dataclass(kw_only=True, eq=False, repr=False)
class CNNClassifier(ImageClassifier):
    """The classifier to start with, and any network: your ``nn.Module``, or one of torchvision.

    Without a `module`, it trains :class:`~skcnn.networks.ConvNet`, for images of any size.

    Parameters
    ----------
    module : torch.nn.Module subclass, callable or str, default=None
        What makes the network. None: :class:`~skcnn.networks.ConvNet`, whose `width_ratio` and
        `dropout` go into `module_params`. Otherwise a class, a function, or the name of a
        torchvision classification model, built with random weights. Those of the arguments
        `in_channels`, `n_classes` (or `num_classes`) and `input_size` (H, W) that it takes by name
        are filled in. The network must turn float32 images (n, C, H, W) into logits
        (n, n_classes). An instance is copied, and trained from the weights that it has.
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
    smallest side that it takes, which is found by trying, and those for a torchvision model to 64
    pixels a side or more.

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
    >>> clf = CNNClassifier(max_epochs=2, random_state=0).fit(X[:400], y[:400])
    >>> clf.predict(X[:5]).shape
    (5,)
    >>> clf = CNNClassifier(module=TinyNet, module_params={"width": 16}, max_epochs=2)
    >>> clf.fit(X, y).image_shape_
    (1, 8, 8)
    """

    module: type[nn.Module] | Callable[..., nn.Module] | str | None = None
    module_params: dict[str, Any] | None = None

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        **ImageClassifier._parameter_constraints,
        "module": [str, callable, None],
        "module_params": [dict, None],
    }

    def _torchvision_name(self) -> str | None:
        if not isinstance(self.module, str):
            return None
        check_torchvision_name(self.module)
        return self.module

    def _network_arguments(
        self,
        image_shape: tuple[int, int, int],
        n_classes: int,
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Any]:
        known = {"in_channels": image_shape[0], "n_classes": n_classes}

        def build(input_size: tuple[int, int]) -> nn.Module:
            return self._build_network(**known, input_size=input_size)

        size = None if self.image_size == "auto" else (self.image_size, self.image_size)
        if isinstance(self.module, str):
            channels, *sides = image_shape
            image_shape = (channels, *(max(side, SMALLEST_TORCHVISION_SIDE) for side in sides))
        return {**known, "input_size": probe_input_size(build, image_shape, n_classes, size)}

    def _build_network(self, **arguments: Any) -> nn.Module:
        module = ConvNet if self.module is None else self.module
        return build_module(module, self.module_params or {}, **arguments)


def _stem(size: tuple[int, int], is_small: bool | None) -> str:
    """Name the stem that trained weights have; where they do not say, the one that suits `size`."""
    if is_small is None:
        is_small = max(size) <= LARGEST_SMALL_SIDE
    return "small" if is_small else "imagenet"
