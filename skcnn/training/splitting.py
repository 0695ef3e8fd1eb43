"""Which rows train, how often, and which are set aside to validate."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from skcnn.exceptions import NoValidationWarning, warn_caller

# Whole-number weights repeat rows as long as an epoch grows by no more than this.
_LONGEST_EPOCH = 10


class Rows(NamedTuple):
    """Rows of a data set, with a target, a weight and a group for each.

    Equal images with equal targets are one group.
    """

    index: np.ndarray  # (n,)
    targets: np.ndarray  # (n,)
    weights: np.ndarray | None  # (n,); None: all weigh the same
    groups: np.ndarray  # (n,), 0, 1, 2, …

    def take(self, positions: np.ndarray) -> Rows:
        """Rows at `positions`, a mask or an index array."""
        weights = None if self.weights is None else self.weights[positions]
        return Rows(self.index[positions], self.targets[positions], weights, self.groups[positions])


def canonical_rows(keys: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> Rows:
    """Put rows into an order of their content, so that a fit depends only on the set of them.

    Rows of weight zero are left out. Where all weights are whole numbers, a row of weight k
    stands k times, as if the user had repeated it (as long as no epoch grows more than tenfold).

    Parameters
    ----------
    keys : ndarray of shape (n,)
        Equal for equal images.
    targets : ndarray of shape (n,)
        Class indices.
    weights : ndarray of shape (n,) or None
        Not negative.
    """
    index = np.arange(len(keys))
    if weights is not None:
        index = index[weights > 0]
    order = (keys[index], targets[index])
    index = index[np.lexsort(order if weights is None else (weights[index], *order))]
    if weights is not None:
        weights = weights[index]
        if (weights == np.floor(weights)).all() and weights.sum() <= _LONGEST_EPOCH * len(index):
            index, weights = np.repeat(index, weights.astype(np.intp)), None
        elif (weights == weights[0]).all():
            weights = None
    differs = (np.diff(keys[index]) != 0) | (np.diff(targets[index]) != 0)
    groups = np.concatenate([[0], np.cumsum(differs)])
    return Rows(index, targets[index], weights, groups)


def hold_out(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows | None]:
    """Split off a stratified share of the groups, at least one of every class.

    Copies of an image stay on one side. A class with a single image trains and is not validated.

    Parameters
    ----------
    rows : Rows
    fraction : float
        Share of the groups to set aside, in (0, 1).
    seed : int

    Returns
    -------
    training, validation : Rows
        `validation` is None if no class has two images.

    Warns
    -----
    NoValidationWarning
        If a class has a single image.
    """
    _, first = np.unique(rows.groups, return_index=True)
    group_targets = rows.targets[first]
    classes, counts = np.unique(group_targets, return_counts=True)
    divisible = classes[counts > 1]
    if len(divisible) < len(classes):
        warn_caller(
            f"{len(classes) - len(divisible)} of {len(classes)} classes have a single image, which "
            "trains and is not validated"
            + (". " if len(divisible) else ": there is no early stopping. ")
            + "Give more images of these classes, validation data of your own (X_val, y_val), or "
            "early_stopping=False.",
            NoValidationWarning,
        )
    if not len(divisible):
        return rows, None
    candidates = np.flatnonzero(np.isin(group_targets, divisible))
    n_held_out = max(math.ceil(fraction * len(candidates)), len(divisible))
    _, held_out = train_test_split(
        candidates,
        test_size=min(n_held_out, len(candidates) - len(divisible)),
        stratify=group_targets[candidates],
        random_state=seed,
    )
    validates = np.isin(rows.groups, held_out)
    return rows.take(~validates), rows.take(validates)
