"""Random changes to whole batches, different for every image."""

from __future__ import annotations

import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Change = Callable[[Tensor], Tensor]

# Packages whose code is known to use no transform of torchvision's.
_LIBRARIES = {"builtins", "numpy", "scipy", "skcnn", "torch", "torchvision"}

_MOST_DEGREES = 15  # of rotation, either way
# Of a resized crop, as GoogLeNet was trained (Szegedy et al. 2015): the share of the image, and
# width by height; and how often is drawn until a crop fits in.
_CROP_AREA = (0.08, 1.0)
_CROP_RATIO = (3 / 4, 4 / 3)
_CROP_DRAWS = 10


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


def random_rotation(x: Tensor) -> Tensor:
    """Turn every image by up to 15 degrees about its centre, zeros moving in; bilinear."""
    n, _, height, width = x.shape
    angle = _uniform(-math.radians(_MOST_DEGREES), math.radians(_MOST_DEGREES), n, device=x.device)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Coordinates run from -1 to 1 along either side, whichever is longer.
    rows = (cos, -sin * height / width, zero), (sin * width / height, cos, zero)
    turn = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (n, 2, 3)
    grid = functional.affine_grid(turn, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def random_resized_crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a part out of every image, 8 to 100 % of it, and resize it to `size`, (H, W).

    Its width is 3/4 to 4/3 of its height. Bilinear, antialiased, as torch's ``interpolate`` is.
    """
    n, _, height, width = x.shape
    area = height * width * _uniform(*_CROP_AREA, n, _CROP_DRAWS, device=x.device)
    ratio = _uniform(*map(math.log, _CROP_RATIO), n, _CROP_DRAWS, device=x.device).exp()
    heights = (area / ratio).sqrt().round().clamp(min=1)
    widths = (area * ratio).sqrt().round().clamp(min=1)
    fits = (heights <= height) & (widths <= width)
    # The first that fits; in long and narrow images, as much as there is of another.
    drawn = (fits * torch.arange(_CROP_DRAWS, 0, -1, device=x.device)).argmax(dim=1, keepdim=True)
    down, across = (
        _resampling(lengths.gather(1, drawn).clamp(max=n_in), n_in, n_out)
        for lengths, n_in, n_out in ((heights, height, size[0]), (widths, width, size[1]))
    )
    # Two matrix products for the whole batch, though every image has another part.
    return down[:, None] @ x @ across[:, None].mT


def _resampling(length: Tensor, n_in: int, n_out: int) -> Tensor:
    """Weights (n, n_out, n_in) of the pixels of a line in a part of it, at random, of `length`.

    (n, 1) lengths. A triangle about each pixel of the output, as wide as two of it, or of the input
    where these are wider.
    """
    first = (torch.rand_like(length) * (n_in - length + 1)).floor().minimum(n_in - length)
    scale = length / n_out
    centre = first + scale * (torch.arange(n_out, device=length.device) + 0.5)  # (n, n_out)
    pixel = torch.arange(n_in, device=length.device) + 0.5
    inside = (first < pixel) & (pixel < first + length)  # (n, n_in)
    distance = (pixel - centre[:, :, None]).abs() / scale.clamp(min=1)[:, :, None]
    weights = (1 - distance).clamp(min=0) * inside[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def _uniform(low: float, high: float, *shape: int, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(shape, device=device)


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
    """Apply a transform to one image at a time.

    On a whole batch, torchvision's draw their random numbers once, and change all images alike.

    Parameters
    ----------
    transform : callable
    of_batch : bool, default=False
        Give it batches of one image, instead of images.
    """

    def __init__(self, transform: Change, of_batch: bool = False):
        self.transform = transform
        self.of_batch = of_batch

    def __call__(self, x: Tensor) -> Tensor:
        """Transform each image of a batch (n, C, H, W)."""
        if self.of_batch:
            return torch.cat([self.transform(image) for image in x.split(1)])
        return torch.stack([self.transform(image) for image in x])


class InTurn:
    """Apply augmentations to a batch, one after the other."""

    def __init__(self, changes: Sequence[Change]):
        self.changes = changes

    def __call__(self, x: Tensor) -> Tensor:
        """Change a batch (n, C, H, W)."""
        for change in self.changes:
            x = change(x)
        return x


AUGMENTATIONS = {
    "standard": standard,
    "strong": strong,
    "mirror": random_mirror,
    "rotation": random_rotation,
    "resized_crop": random_resized_crop,
}


def resolve_augmentation(
    augment: str | Change | Sequence[str | Change] | None,
) -> tuple[Callable[[Tensor, tuple[int, int]], Tensor] | None, Change | None]:
    """Find what becomes of the batches of training: what resizes them at random, and the rest.

    Ours by name, torchvision's, or any callable; a sequence of these is applied in turn, but that
    a resized crop comes first.
    """
    given = augment if isinstance(augment, list | tuple) else [augment]
    changes = [_resolve_one(change) for change in given if change not in ("resized_crop", None)]
    crop = random_resized_crop if "resized_crop" in given else None
    return crop, (InTurn(changes) if len(changes) > 1 else next(iter(changes), None))


def _resolve_one(augment: str | Change) -> Change:
    if isinstance(augment, str):
        return AUGMENTATIONS[augment]
    if _is_torchvision(augment):
        return EachImage(augment)
    # Only the call is given on: skorch would take a module for one of its own.
    call = augment.__call__ if isinstance(augment, nn.Module) else augment
    return EachImage(call, of_batch=True) if _uses_torchvision(augment, set()) else call


def _is_torchvision(value: Any) -> bool:
    kind = value if isinstance(value, type) else type(value)
    return any(base.__module__.startswith("torchvision.transforms") for base in kind.__mro__)


def _uses_torchvision(value: Any, seen: set[int]) -> bool:
    """Whether a transform of torchvision's is in a value, or among what a function refers to."""
    if id(value) in seen:
        return False
    seen.add(id(value))
    return _is_torchvision(value) or any(_uses_torchvision(part, seen) for part in _parts(value))


def _parts(value: Any) -> Iterable[Any]:
    """List what an object holds, and what its code refers to, unless that is a library's."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set):
        return value
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.FunctionType):
        return [] if _is_library(value) else _references(value)
    held = vars(value).values() if hasattr(value, "__dict__") else ()
    kind = value if isinstance(value, type) else type(value)
    if _is_library(kind):
        return [] if isinstance(value, type | types.ModuleType) else held
    return [*held, *(code for base in kind.__mro__ for code in vars(base).values())]


def _references(function: types.FunctionType) -> list[Any]:
    used = inspect.getclosurevars(function)
    values = [*used.nonlocals.values(), *used.globals.values(), function.__defaults__]
    modules = [value for value in values if isinstance(value, types.ModuleType)]
    return values + [getattr(module, name, None) for module in modules for name in used.unbound]


def _is_library(code: type | types.FunctionType) -> bool:
    return (code.__module__ or "").partition(".")[0] in _LIBRARIES
