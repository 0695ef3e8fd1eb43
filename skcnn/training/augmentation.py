"""Random changes to whole batches, different for every image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def random_crop(x: Tensor) -> Tensor:
    """Shift every image by up to an eighth of its sides, zeros moving in."""
    n, _, height, width = x.shape
    dy, dx = max(1, height // 8), max(1, width // 8)
    padded = functional.pad(x, (dx, dx, dy, dy))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (n, C, 2dy+1, 2dx+1, H, W), a view
    top = torch.randint(2 * dy + 1, (n,), device=x.device)
    left = torch.randint(2 * dx + 1, (n,), device=x.device)
    return windows[torch.arange(n, device=x.device), :, top, left]


def random_mirror(x: Tensor) -> Tensor:
    """Mirror half of the images, left to right."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return torch.where(mirrored, x.flip(-1), x)


def standard(x: Tensor) -> Tensor:
    """Pad and crop, then mirror: the usual augmentation for small images."""
    return random_mirror(random_crop(x))


AUGMENTATIONS = {"standard": standard}
