"""What happens to a batch on the device, before the network sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Preprocessing(nn.Module):
    """Scale bytes to 0–1, resize, augment, normalise: whole batches, in this order.

    Parameters
    ----------
    size : tuple of int
        Height and width that the network takes, in pixels.
    mean, std : ndarray of shape (C,), optional
        Subtracted, and divided by, for each channel. None: neither.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: np.ndarray | None = None,
        std: np.ndarray | None = None,
    ):
        super().__init__()
        self.size = size
        per_channel = None if mean is None else torch.tensor(np.stack([mean, 1 / std]))
        per_channel = None if per_channel is None else per_channel.float()[:, :, None, None]
        self.register_buffer("mean_and_scale", per_channel)

    def forward(self, x: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Float32 batch of shape (n, C, *size) for images of shape (n, C, H, W)."""
        # Divided, not multiplied by 1/255: bytes then give the very floats that x / 255 gives.
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        if x.shape[-2:] != self.size:
            x = functional.interpolate(x, self.size, mode="bilinear", antialias=True)
        if augment is not None:
            x = _checked(augment, x)
        if self.mean_and_scale is not None:
            mean, scale = self.mean_and_scale
            x = (x - mean) * scale
        return x


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
