"""Which rows train, with which weights, and which are set aside to validate."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
from sklearn.utils import murmurhash3_32

from skcnn.exceptions import NoValidationWarning, warn_caller


class Rows(NamedTuple):
    """Distinct labelled images of a data set, with a target and a weight for each."""

    index: np.ndarray  # (n,)
    keys: np.ndarray  # (n,) uint64: equal for equal images, whatever their targets
    targets: np.ndarray  # (n,)
    weights: np.ndarray | None  # (n,), the largest of the data set is 1; None: all are 1
    scale: float  # weight, as the user gave it, that 1 stands for

    def take(self, positions: np.ndarray) -> Rows:
        """Rows at `positions`, a mask or an index array."""
        weights = None if self.weights is None else self.weights[positions]
        return self._replace(
            index=self.index[positions],
            keys=self.keys[positions],
            targets=self.targets[positions],
            weights=weights,
        )

    @property
    def mean_weight(self) -> float:
        """Mean of the weights, as the user gave them."""
        mean = 1.0 if self.weights is None else float(self.weights.mean())
        return _finite(self.scale * mean)

    def loss_weights(self, unit: float | None = None) -> np.ndarray | None:
        """Weight of each row in the loss; None: all weigh 1.

        Parameters
        ----------
        unit : float, optional
            Weight, as the user gave it, that becomes 1. None: their mean.
        """
        weights = np.ones(len(self.index)) if self.weights is None else self.weights
        weights = weights * _rounded(1 / weights.mean() if unit is None else self.scale / unit)
        return None if (weights == 1).all() else weights


def canonical_rows(
    keys: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    class_weights: np.ndarray | None = None,
) -> Rows:
    """Merge copies, and put rows into an order of their content.

    A fit then depends only on the set of labelled images and on their total weights: k copies are
    one row of k times the weight. Rows of weight zero are left out.

    Parameters
    ----------
    keys : ndarray of shape (n,)
        Equal for equal images.
    targets : ndarray of shape (n,)
        Class indices.
    weights : ndarray of shape (n,) or None
        Not negative, not all zero. None: all are 1.
    class_weights : ndarray of shape (n_classes,), optional
        Multiply the weights of the rows of each class.
    """
    weights, scale = _relative(np.ones(len(keys)) if weights is None else weights)
    if class_weights is not None:
        of_row, largest = _relative(class_weights[targets])
        weights = _kept_positive(weights * of_row, (weights > 0) & (of_row > 0))
        scale *= largest
    index = np.flatnonzero(weights)
    # By weight as well: sums of the same numbers in another order may differ.
    index = index[np.lexsort((weights[index], keys[index], targets[index]))]
    differs = (np.diff(keys[index]) != 0) | (np.diff(targets[index]) != 0)
    first = np.flatnonzero(np.concatenate([[True], differs]))
    weights, largest = _relative(np.add.reduceat(weights[index], first))
    index = index[first]
    weights = _rounded(weights)
    return Rows(
        index,
        keys[index].astype(np.uint64),
        targets[index],
        None if (weights == 1).all() else weights,
        _finite(scale * largest),
    )


def relative_weights(weights: np.ndarray | None) -> np.ndarray | None:
    """Weights as shares of the largest, free of their scale; None: all are the same."""
    if weights is None:
        return None
    weights = _rounded(_relative(weights)[0])
    return None if (weights == 1).all() else weights


def _relative(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights as shares of the largest, and the largest."""
    largest = weights.max()
    return _kept_positive(weights / largest, weights > 0), float(largest)


def _kept_positive(weights: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Undo underflow: a row of tiny weight is not left out."""
    return np.where(positive, np.maximum(weights, np.finfo(float).tiny), 0.0)


def _finite(scale: float) -> float:
    """Nearest scale that can be divided by."""
    return min(max(scale, sys.float_info.min), sys.float_info.max)


def _rounded(weights: np.ndarray | float) -> np.ndarray:
    """Round to 24 binary digits, as many as float32 has.

    Weights that differ by rounding errors alone, as 3 × 0.1 and 0.3 do, become the same number:
    by the golden ratio, no fraction of small integers lies near a threshold between two results.
    """
    digits, exponent = np.frexp(weights)
    golden = (math.sqrt(5) - 1) / 2
    return np.ldexp(np.floor(np.ldexp(digits, 24) + golden), exponent - 24)


def hold_out(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows | None]:
    """Split off a stratified share of the images, at least one of every class.

    Copies of an image stay on one side, whatever their targets. A class with a single image trains
    and is not validated. No class is left without an image that trains.

    Parameters
    ----------
    rows : Rows
    fraction : float
        Share of the images to set aside, in (0, 1).
    seed : int

    Returns
    -------
    training, validation : Rows
        `validation` is None if no class has two images.

    Warns
    -----
    NoValidationWarning
        If a class has a single image, or shares its images with others so that none can be spared.
    """
    classes, of_row, counts = np.unique(rows.targets, return_inverse=True, return_counts=True)
    wanted = _apportioned(fraction, counts, seed)
    _, image, n_targets = np.unique(rows.keys, return_inverse=True, return_counts=True)
    shared: dict[int, list[int]] = {}  # images with several targets, and their classes
    for row in np.flatnonzero(n_targets[image] > 1):
        shared.setdefault(image[row], []).append(of_row[row])
    order = np.lexsort((rows.keys, _drawn(rows.keys, seed), of_row))
    images = np.split(image[order], np.cumsum(counts)[:-1])
    n_training, n_held_out = counts.tolist(), [0] * len(counts)
    held_out = set()
    # The rarest class first: images that it shares with others may be all that it has.
    for k in np.argsort(counts, kind="stable"):
        for i in images[k]:
            if n_held_out[k] >= wanted[k]:
                break
            concerned = shared.get(i, [k])
            if i not in held_out and all(n_training[c] > 1 for c in concerned):
                held_out.add(i)
                for c in concerned:
                    n_training[c] -= 1
                    n_held_out[c] += 1
    n_without = n_held_out.count(0)
    if n_without:
        warn_caller(
            f"{n_without} of {len(classes)} classes have a single image, or none that other "
            "classes can spare: it trains and is not validated"
            + (". " if held_out else ": there is no early stopping. ")
            + "Give more images of these classes, validation data of your own (X_val, y_val), or "
            "early_stopping=False.",
            NoValidationWarning,
        )
    if not held_out:
        return rows, None
    validates = np.isin(image, list(held_out))
    return rows.take(~validates), rows.take(validates)


def _apportioned(fraction: float, counts: np.ndarray, seed: int) -> np.ndarray:
    """How many of each class are a share of all: one at least, and else by largest remainders."""
    exact = fraction * counts
    shares = np.maximum(np.floor(exact), 1).astype(int)
    missing = max(0, math.ceil(fraction * counts.sum()) - shares.sum())
    by_remainder = np.lexsort((_drawn(np.arange(len(counts)), seed), shares - exact))
    shares[by_remainder[:missing]] += 1
    return shares


def _drawn(keys: np.ndarray, seed: int) -> np.ndarray:
    """Give each key a number that is as good as drawn, but the same in any company.

    A fit that goes on with more images, or without some, so validates on nearly the same.
    """
    low, high = keys.astype(np.uint64).view(np.int32).reshape(-1, 2).T.copy()
    return murmurhash3_32(low, seed=seed) ^ murmurhash3_32(high, seed=seed + 1)
