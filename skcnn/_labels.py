"""Checks of labels and of sample weights."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from skcnn._validation import check_sample_weight
from skcnn.images import detached


def check_labels(y: Any, n_images: int, estimator: str, name: str = "y") -> np.ndarray:
    """Labels of `n_images` images as an array of one type.

    Raises
    ------
    ValueError
        If they are missing, continuous, of several types, too many or too few.
    """
    if y is None:
        raise ValueError(
            f"{estimator} requires y to be passed, but the target y is None. Pass the label of "
            "each image, or a Dataset of (image, label) pairs as X."
        )
    if isinstance(y, list | tuple):
        _check_list(y)
    y = _uniform(column_or_1d(detached(y), warn=True))
    assert_all_finite(y, input_name=name)
    check_classification_targets(y)
    if len(y) != n_images:
        raise ValueError(
            f"{name} must have one label for each image; got {len(y)} labels for {n_images} images "
            "instead: inconsistent numbers of samples."
        )
    return y


def encode_labels(
    y: np.ndarray, classes: np.ndarray, estimator: str, name: str = "y"
) -> np.ndarray:
    """Index in `classes` of every label.

    Raises
    ------
    ValueError
        If a label is not among `classes`.
    """
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"{name} must only have labels that {estimator} knows, {classes}; got {unknown} as "
            "well. Leave these images out, or fit anew; partial_fit takes all labels in 'classes' "
            "at its first call."
        )
    encoder = LabelEncoder()
    encoder.classes_ = classes
    return encoder.transform(y)


def check_weights(sample_weight: Any, n_images: int) -> np.ndarray | None:
    """Weights of `n_images` images, or None.

    Raises
    ------
    ValueError
        If there is another number of them, or one is negative, or none positive.
    """
    if sample_weight is None:
        return None
    weights = check_sample_weight(
        detached(sample_weight), np.empty(n_images), dtype=np.float64, ensure_non_negative=True
    )
    if not weights.any():
        raise ValueError(
            "The 'sample_weight' parameter of fit must have at least one positive weight; got "
            "zero for all images instead."
        )
    return weights


def _check_list(labels: list | tuple) -> None:
    """Refuse what an array would make one type of: strings among numbers, booleans among either."""
    is_of = [
        str if isinstance(label, str) else bool if isinstance(label, bool | np.bool_) else None
        for label in labels
    ]
    if len(set(is_of)) > 1:
        raise _several_types({type(label).__name__ for label in labels})


def _uniform(y: np.ndarray) -> np.ndarray:
    """Labels of dtype object as what they are: strings stay, numbers and booleans become such."""
    if y.dtype != object or all(isinstance(label, str) for label in y):
        return y
    kinds = {type(label).__name__ for label in y}
    numbers = np.array(y.tolist()) if all(isinstance(label, Real) for label in y) else None
    if numbers is None or (numbers.dtype.kind != "b" and kinds & {"bool", "bool_"}):
        raise _several_types(kinds)
    return numbers


def _several_types(kinds: set[str]) -> ValueError:
    return ValueError(
        f"y must have labels of one type, strings, numbers or booleans; got {sorted(kinds)} "
        "instead: Unknown label type."
    )
