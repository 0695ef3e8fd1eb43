"""MixUp and CutMix: batches in which each image is mixed with another, and its target too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

MIXINGS = {"mixup": "MixUp", "cutmix": "CutMix"}

Mixing = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor | None]]


def make_mixing(mixing: str | None, n_classes: int) -> Mixing | None:
    """Make what mixes a batch (n, C, H, W), its targets (n,) and the weights (n,) of these, if any.

    It gives a batch, its targets as probabilities (n, n_classes), and their weights. A target that
    weighs more has a larger share in the mixed one: with weights v and w, the shares a and b become
    a·v and b·w, which are scaled to probabilities and the sum of which is the weight.

    One share is drawn for the whole batch, from Beta(1, 1), and the partners are neighbours, as
    torchvision does it. "mixup": H. Zhang et al. 2018. "cutmix": S. Yun et al. 2019.
    """
    if mixing is None:
        return None
    from torchvision.transforms import v2

    # Only the call is given on: skorch would take a module for one of its own.
    transform = getattr(v2, MIXINGS[mixing])(num_classes=n_classes).__call__
    return partial(_mixed, transform, n_classes)


def _mixed(
    transform: Callable, n_classes: int, x: Tensor, targets: Tensor, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    if weights is None:
        return *transform(x, targets), None
    x, targets = transform(x, functional.one_hot(targets, n_classes) * weights[:, None])
    weights = targets.sum(dim=1)
    smallest = torch.finfo(weights.dtype).tiny  # they may be zero
    return x, targets / weights.clamp(min=smallest)[:, None], weights
