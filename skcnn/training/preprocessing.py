"""What happens to a batch on the device, before the network sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Statistics = tuple[Sequence[float], Sequence[float]]

# Mean and standard deviation of each channel (red, green, blue) of the images of ImageNet, scaled
# to 0–1, with which most published networks are trained.
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def for_channels(statistics: Statistics, n_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of red, green and blue, for images of `n_channels`.

    Grey images get the averages of the three; a fourth channel, alpha, stays as it is.

    Raises
    ------
    ValueError
        If `n_channels` is none of 1, 3 and 4.
    """
    mean, std = (np.asarray(values, dtype=float) for values in statistics)
    if n_channels == 1:
        return mean.mean(keepdims=True), std.mean(keepdims=True)
    if n_channels not in (3, 4):
        raise ValueError(
            "The 'normalize' parameter must be True or False for images that are not grey or "
            f"coloured; got the statistics of colour images for {n_channels} channels instead."
        )
    return np.append(mean, [0.0] * (n_channels - 3)), np.append(std, [1.0] * (n_channels - 3))


class Preprocessing(nn.Module):
    """Divide bytes, resize or crop, augment, normalise: whole batches, in this order.

    Parameters
    ----------
    size : tuple of int
        Height and width that the network takes, in pixels.
    mean, std : ndarray of shape (C,), optional
        Subtracted, and divided by, for each channel. None: neither.
    divisor : float, default=255
        Bytes are divided by it; floats come divided.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: np.ndarray | None = None,
        std: np.ndarray | None = None,
        *,
        divisor: float = 255.0,
    ):
        super().__init__()
        self.size = size
        # A tensor on the device: by a Python number, CUDA multiplies with the reciprocal, and bytes
        # would not give the very floats that x / 255 gives.
        self.register_buffer("divisor", torch.tensor(divisor), persistent=False)
        for name, values in (("mean", mean), ("scale", None if std is None else 1 / std)):
            per_channel = None if values is None else torch.tensor(values).float()[:, None, None]
            self.register_buffer(name, per_channel)

    def resize(self, x: Tensor) -> Tensor:
        """First part: float32 images (n, C, *size), bytes divided."""
        x = self._divided(x)
        if x.shape[-2:] != self.size:
            x = _resized(x, self.size)
        return x

    def forward(
        self,
        x: Tensor,
        augment: Callable[[Tensor], Tensor] | None = None,
        crop: Callable[[Tensor, tuple[int, int]], Tensor] | None = None,
    ) -> Tensor:
        """Float32 batch (n, C, *size) for images of shape (n, C, H, W), or resized ones.

        With a `crop`, this makes parts of them images of that size, instead of resizing them whole.
        """
        prepared = self.resize(x) if crop is None else crop(self._divided(x), self.size)
        if augment is not None:
            prepared = _checked(augment, prepared)
        if self.mean is None:
            return prepared
        if prepared is x or augment is not None:
            return (prepared - self.mean).mul_(self.scale)
        return prepared.sub_(self.mean).mul_(self.scale)

    def _divided(self, x: Tensor) -> Tensor:
        return x.float().div_(self.divisor) if x.dtype == torch.uint8 else x.float()


def resizing_matrices(size: tuple[int, int], new_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Matrices A (h, H) and B (W, w) for which A @ x @ B is x (H, W) resized to (h, w).

    Parameters
    ----------
    size, new_size : tuple of int
        (H, W) and (h, w), in pixels.
    """
    rows, columns = (
        _resized(torch.eye(side)[None, None], (new, side))[0, 0]
        for side, new in zip(size, new_size, strict=True)
    )
    return rows, columns.T.contiguous()


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    resize = partial(functional.interpolate, size=size, mode="bilinear", antialias=True)
    try:
        return resize(x)
    except NotImplementedError:  # on MPS, in older versions of torch
        return resize(x.cpu()).to(x.device)


def _checked(augment: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    augmented = augment(x)
    if not isinstance(augmented, Tensor):
        got = type(augmented).__name__
    elif augmented.shape != x.shape or augmented.dtype != x.dtype:
        got = f"{augmented.dtype} of shape {tuple(augmented.shape)}"
    else:
        return augmented
    raise ValueError(
        "The 'augment' parameter must return a batch of the shape and dtype that it is given, "
        f"{x.dtype} of shape {tuple(x.shape)}; got {got} instead."
    )
