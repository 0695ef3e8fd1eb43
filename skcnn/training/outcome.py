"""Fits that ended without an error and still went wrong, as their history tells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skcnn.exceptions import ChanceLevelWarning, StillImprovingWarning

# Standard errors by which one accuracy must exceed another to count as higher.
_N_STANDARD_ERRORS = 2
# Share of the errors by which accuracy must rise for more epochs to be worth their time.
_WORTHWHILE = 0.1
# With fewer steps, a fit at chance has probably not begun to learn.
_FEW_STEPS = 100
# Share of the most frequent class from which it may hide what was learned of the others.
_IMBALANCED = 2 / 3


class ChanceLevel(NamedTuple):
    """Accuracy of always predicting the most frequent class."""

    accuracy: float
    n_images: float  # of equal weight, with which an accuracy has the same standard error

    @classmethod
    def of(cls, targets: ArrayLike, weights: ArrayLike | None = None) -> ChanceLevel:
        """Compute it from class indices (n,) with `weights` (n,), not all of which are zero."""
        targets = np.asarray(targets)
        weights = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=float)
        weights = weights / weights.max()  # squares of tiny ones would vanish
        total = weights.sum()
        of_class = np.bincount(targets, weights)
        return cls(float(of_class.max() / total), float(total**2 / (weights**2).sum()))

    def is_exceeded_by(self, accuracy: float) -> bool:
        """Whether an accuracy is higher by more than luck explains.

        It exceeds the chance level by two standard errors; where there are so few images that this
        is hardly possible, half of the errors less are enough.
        """
        luck = _N_STANDARD_ERRORS * _standard_error(self.accuracy, self.n_images)
        return accuracy > self.accuracy + min(luck, (1 - self.accuracy) / 2)


def is_at_chance(
    epoch: Mapping[str, float],
    training: ChanceLevel,
    validation: ChanceLevel | None = None,
    *,
    mixing: bool = False,
) -> bool:
    """Whether neither accuracy of an epoch exceeds that of predicting the most frequent class.

    Parameters
    ----------
    epoch : mapping
        Its ``train_acc``, and with `validation` its ``valid_acc``.
    training, validation : ChanceLevel
        That of the images trained on, and of those validated on.
    mixing : bool, default=False
        Whether images were mixed in training: ``train_acc`` then tells nothing.
    """
    exceeded = [] if mixing else [training.is_exceeded_by(epoch["train_acc"])]
    if validation is not None:
        exceeded.append(validation.is_exceeded_by(epoch["valid_acc"]))
    return exceeded != [] and not any(exceeded)


def is_still_improving(
    history: Sequence[Mapping[str, float]],
    n_images: float,
    n_validation: float,
    *,
    best_epoch: int,
    max_epochs: int,
) -> bool:
    """Whether accuracy was still rising when `max_epochs` ended a fit that did not overfit.

    The last epoch is the best by its validation accuracy. Whether accuracy still rose is judged by
    training accuracy, as few images are set aside to validate, whose luck would hide it: that of
    the last epoch exceeds that of every epoch in the first two thirds by two standard errors, and
    by a tenth of the errors that are left. Annealing alone makes accuracy rise in the last third;
    more epochs helped where the training accuracy was not above the validation accuracy yet.
    Where that is perfect but for luck, no more can be seen to help.

    Parameters
    ----------
    history : sequence of mapping
        ``train_acc`` and ``valid_acc`` of each epoch.
    n_images, n_validation : float
        Number of images trained on, and of those validated on, if all have the same weight.
    best_epoch : int
        Number of the epoch whose weights are kept, from 1.
    max_epochs : int
    """
    if not 2 <= max_epochs == len(history) == best_epoch:
        return False
    last, validation = history[-1]["train_acc"], history[-1]["valid_acc"]
    n_earlier = math.ceil((max_epochs - 1) * 2 / 3)
    earlier = max(epoch["train_acc"] for epoch in history[:n_earlier])
    luck = _N_STANDARD_ERRORS * math.hypot(
        _standard_error(earlier, n_images), _standard_error(last, n_images)
    )
    rises = last - earlier > max(luck, _WORTHWHILE * (1 - last))
    is_perfect = validation + _N_STANDARD_ERRORS * _standard_error(validation, n_validation) >= 1
    return rises and last <= validation and not is_perfect


def outcome_warnings(
    history: Sequence[Mapping[str, float]],
    training: ChanceLevel,
    validation: ChanceLevel | None,
    *,
    best_epoch: int,
    max_epochs: int,
    early_stopping: bool,
    mixing: bool,
    lr: float,
    batch_size: int,
    n_steps: int,
    lacks_norm: bool,
    is_frozen: bool,
) -> Iterator[tuple[str, type[Warning]]]:
    """Messages and categories of the warnings that a fit deserves.

    Parameters
    ----------
    history : sequence of mapping
        Accuracies of each epoch of the fit.
    training, validation : ChanceLevel
        That of the images trained on, and of those validated on, if any.
    best_epoch : int
        Number of the epoch whose weights are kept, from 1.
    max_epochs, early_stopping, mixing, lr, batch_size
        What the fit was to do.
    n_steps : int
        Number of batches trained on.
    lacks_norm : bool
        Whether the network has no normalisation layers, and could have some.
    is_frozen : bool
        Whether a part of the network was not trained.
    """
    kept = history[best_epoch - 1]
    if is_at_chance(kept, training, validation, mixing=mixing):
        judged = [] if mixing else [("training", kept["train_acc"], training)]
        if validation is not None:
            judged.append(("validation", kept["valid_acc"], validation))
        accuracies = " and ".join(f"{accuracy:.3f} in {part}" for part, accuracy, _ in judged)
        trivial = " and ".join(f"{level.accuracy:.3f}" for _, _, level in judged)
        remedies = {
            f"more steps than {n_steps} (max_epochs={max_epochs}, batch_size={batch_size})": (
                n_steps < _FEW_STEPS
            ),
            f"another learning rate than lr={lr:g} (find_lr shows which ones learn)": True,
            "norm='batch'": lacks_norm,
            "to freeze less": is_frozen,
            "class_weight='balanced'": training.accuracy >= _IMBALANCED,
        }
        fitting = ", ".join(remedy for remedy, fits in remedies.items() if fits)
        yield (
            f"The network predicts no better than chance: its accuracy is {accuracies}; always "
            f"predicting the most frequent class has {trivial}. Try {fitting}. Check that X and y "
            "are in the same order.",
            ChanceLevelWarning,
        )
    elif (
        early_stopping
        and validation is not None
        and not mixing
        and is_still_improving(
            history,
            training.n_images,
            validation.n_images,
            best_epoch=best_epoch,
            max_epochs=max_epochs,
        )
    ):
        yield (
            f"Accuracy was still rising when max_epochs={max_epochs} ended the fit: the last epoch "
            f"is the best, with {kept['valid_acc']:.3f} in validation. Raise max_epochs, or lr, "
            f"which is {lr:g}.",
            StillImprovingWarning,
        )


def _standard_error(accuracy: float, n_images: float) -> float:
    return math.sqrt(accuracy * (1 - accuracy) / n_images)
