"""How long to train, and in which steps: what "auto" stands for, from the number of images alone.

No clock and no trial takes part: the same data give the same plan on every machine.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

# Few images are shown often, and many a few times: 600 / sqrt(n) epochs make some 300 steps on 200
# images and 600 on 1,000, where twice as many were no better. But deep networks need 18 epochs, up
# to so many images that 12 have as many steps (examples/benchmarks/every_network.py).
_EPOCHS_OF_ONE_IMAGE = 600
_MIN_EPOCHS, _ENOUGH_EPOCHS, _MAX_EPOCHS = 12, 18, 60
_ENOUGH_IMAGES = 180_000  # shown in all, from which fewer epochs are enough
_MIN_BATCH, _MAX_BATCH = 32, 256
_STEPS_PER_EPOCH = 200  # at least, before batches grow

_MIN_PATIENCE = 6


class TrainingPlan(NamedTuple):
    """Batch size, epochs and stopping of a fit.

    Attributes
    ----------
    batch_size : int
        Images in a step, at most.
    max_epochs : int
        Passes over the training images, at most.
    early_stopping : bool
        Whether to validate, stop early and restore the best epoch.
    patience : int
        Epochs without improvement before training stops.
    """

    batch_size: int
    max_epochs: int
    early_stopping: bool
    patience: int


def plan_training(
    n_images: int,
    *,
    batch_size: int | Literal["auto"],
    max_epochs: int | Literal["auto"],
    early_stopping: bool | Literal["auto"],
    patience: int | Literal["auto"],
    has_validation_data: bool,
) -> TrainingPlan:
    """Replace each "auto" by a number that suits `n_images`; other values are kept.

    Parameters
    ----------
    n_images : int
        Number of distinct images, those to be held out included.
    batch_size, max_epochs, early_stopping, patience
        As the parameters of a classifier; see :class:`TrainingPlan`.
    has_validation_data : bool
        Whether there are images to validate on beside the `n_images`.

    Examples
    --------
    >>> auto = dict.fromkeys(["batch_size", "max_epochs", "early_stopping", "patience"], "auto")
    >>> plan_training(1000, has_validation_data=False, **auto)
    TrainingPlan(batch_size=32, max_epochs=19, early_stopping=False, patience=6)
    """
    is_given = max_epochs != "auto"
    if not is_given:
        fewest = min(max(_ENOUGH_IMAGES / n_images, _MIN_EPOCHS), _ENOUGH_EPOCHS)
        max_epochs = min(max(_EPOCHS_OF_ONE_IMAGE / math.sqrt(n_images), fewest), _MAX_EPOCHS)
        max_epochs = round(max_epochs)
    if batch_size == "auto":
        rows = max(1, n_images // _STEPS_PER_EPOCH)
        batch_size = min(max(1 << (rows.bit_length() - 1), _MIN_BATCH), _MAX_BATCH)
    if early_stopping == "auto":
        # A length that follows the data needs no watching, and all images are worth more.
        early_stopping = is_given or has_validation_data
    if patience == "auto":
        patience = _MIN_PATIENCE if is_given else max(_MIN_PATIENCE, max_epochs // 5)
    # Plain numbers: torch's schedules refuse those of NumPy.
    return TrainingPlan(int(batch_size), int(max_epochs), bool(early_stopping), int(patience))
