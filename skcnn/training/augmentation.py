"""Random changes to whole batches, different for every image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
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


def random_light(x: Tensor) -> Tensor:
    """Scale brightness, contrast and, of colour images, saturation by up to 0.4, in this order.

    Contrast is about the mean of the image, saturation about the grey of the pixel. Nothing is
    clipped, since the scale of the pixels is not known. A fourth channel, alpha, stays.
    """
    n_colours = 3 if x.shape[1] in (3, 4) else x.shape[1]
    colours, rest = x[:, :n_colours], x[:, n_colours:]
    colours = colours * _random_factor(x)
    mean = colours.mean(dim=(1, 2, 3), keepdim=True)
    colours = mean + (colours - mean) * _random_factor(x)
    if n_colours == 3:
        grey = colours.mean(dim=1, keepdim=True)
        colours = grey + (colours - grey) * _random_factor(x)
    return torch.cat([colours, rest], dim=1)


def _random_factor(x: Tensor) -> Tensor:
    return 0.6 + 0.8 * torch.rand(len(x), 1, 1, 1, device=x.device)


def random_cutout(x: Tensor) -> Tensor:
    """Fill a square of half the shorter side of each image with the image's mean.

    Its centre is anywhere, so that it may reach over the edge (DeVries and Taylor 2017).
    """
    n, _, height, width = x.shape
    side = min(height, width) // 2

    def covered(length: int) -> Tensor:  # (n, length)
        first = torch.randint(length, (n, 1), device=x.device) - side // 2
        position = torch.arange(length, device=x.device)
        return (first <= position) & (position < first + side)

    inside = covered(height)[:, None, :, None] & covered(width)[:, None, None, :]
    return torch.where(inside, x.mean(dim=(1, 2, 3), keepdim=True), x)


def strong(x: Tensor) -> Tensor:
    """Augment as `standard` does, then by light and cutout: for long fits of large networks."""
    return random_cutout(random_light(standard(x)))


class EachImage:
    """Apply a transform of torchvision to one image at a time.

    On a whole batch, it would draw its random numbers once and change all images alike.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor]):
        self.transform = transform

    def __call__(self, x: Tensor) -> Tensor:
        """Transform each image of a batch (n, C, H, W)."""
        return torch.stack([self.transform(image) for image in x])


AUGMENTATIONS = {"standard": standard, "strong": strong}


def resolve_augmentation(
    augment: str | Callable[[Tensor], Tensor] | None,
) -> Callable[[Tensor], Tensor] | None:
    """Find what is applied to the batches of training: ours by name, torchvision's, or any."""
    if isinstance(augment, str):
        return AUGMENTATIONS[augment]
    of_torchvision = any(
        base.__module__.startswith("torchvision.transforms") for base in type(augment).__mro__
    )
    if of_torchvision:
        return EachImage(augment)
    # Only the call is given on: skorch would take a module for one of its own.
    return augment.__call__ if isinstance(augment, nn.Module) else augment
