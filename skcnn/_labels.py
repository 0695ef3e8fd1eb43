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
        If there is another number of them, or one is negative, NaN or infinite, or none positive.
    """
    if sample_weight is None:
        return None
    try:
        weights = check_sample_weight(
            detached(sample_weight), np.empty(n_images), dtype=np.float64, ensure_non_negative=True
        )
        assert_all_finite(weights)  # one for all is not looked at
        problem = None if weights.any() else "all are zero"
    except (TypeError, ValueError, OverflowError) as error:
        problem = error
    if problem is not None:
        raise ValueError(
            "The 'sample_weight' parameter of fit must have a finite weight for each of the "
            f"{n_images} images, none negative, and at least one positive weight; got "
            f"{type(sample_weight).__name__} instead: {problem!s:.200}"
        )
    return weights


def check_class_weights(
    class_weight: dict | str | None,
    classes: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    estimator: str,
) -> np.ndarray | None:
    """Weight of each of `classes`, or None where all weigh the same.

    "balanced" gives all classes the same total weight: the total weight of all images, divided by
    the number of classes and by the weight of the images of the class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
    classes : ndarray of shape (n_classes,)
    targets : ndarray of shape (n,)
        Index in `classes` of each label.
    weights : ndarray of shape (n,) or None
        Sample weights.
    estimator : str
        Its name, for errors.

    Raises
    ------
    ValueError
        If one is negative, NaN or infinite, or none is positive for an image of positive weight,
        or a key names no class while a class has no weight.
    """
    if class_weight is None:
        return None
    counted = np.ones(len(targets)) if weights is None else weights / weights.max()
    given = targets if weights is None else targets[weights > 0]
    if isinstance(class_weight, str):
        order = np.argsort(counted)  # sums of the same numbers in another order may differ
        totals = np.bincount(targets[order], counted[order], minlength=len(classes))
        present = totals > 0
        of_class = np.ones(len(classes))  # of a class that only X_val has
        of_class[present] = totals.sum() / (present.sum() * totals[present])
        return of_class
    must_be = f"The 'class_weight' parameter of {estimator} must"
    known = [label in class_weight for label in classes]
    if not all(known) and sum(known) < len(class_weight):
        unknown = [label for label in class_weight if label not in {*classes.tolist()}]
        raise ValueError(
            f"{must_be} name classes among {classes}; got {unknown} as well. Leave these out."
        )
    try:
        of_class = np.array([class_weight.get(label, 1.0) for label in classes], dtype=float)
    except (TypeError, ValueError):
        of_class = np.full(len(classes), np.nan)
    if not (np.isfinite(of_class).all() and (of_class >= 0).all() and of_class[given].any()):
        raise ValueError(
            f"{must_be} have finite weights, none negative, and a positive one for some image of "
            f"positive sample weight; got {class_weight!r} instead."
        )
    return of_class


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
