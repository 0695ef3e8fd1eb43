"""MixUp and CutMix: batches in which each image is mixed with another, and its target too."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

MIXINGS = {"mixup": "MixUp", "cutmix": "CutMix"}


def make_mixing(
    mixing: str | None, n_classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """Make what mixes a batch (n, C, H, W) and its targets (n,), giving (n, n_classes) of those.

    One share is drawn for the whole batch, from Beta(1, 1), and the partners are neighbours, as
    torchvision does it. "mixup": H. Zhang et al. 2018. "cutmix": S. Yun et al. 2019.
    """
    if mixing is None:
        return None
    from torchvision.transforms import v2

    # Only the call is given on: skorch would take a module for one of its own.
    return getattr(v2, MIXINGS[mixing])(num_classes=n_classes).__call__
