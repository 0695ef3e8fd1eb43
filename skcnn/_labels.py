"""Labels as arrays of their own values, checked and encoded; checks of sample weights."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from skcnn._validation import check_sample_weight
from skcnn.images import detached


def label_array(y: Any) -> np.ndarray:
    """Labels in an array, none changed: not even ids beyond 2**53, or those beside a missing one.

    Labels of several types, and those that are missing, leave it an array of objects.

    Parameters
    ----------
    y : array-like
        A list, a tuple, an array, a tensor, or a column of pandas, polars or Arrow, whose nullable
        types would become floats in NumPy.
    """
    y = detached(y)
    if isinstance(y, list | tuple):
        return _typed(_objects(y))
    if (hasattr(y, "iloc") or hasattr(y, "to_series")) and y.shape[1:] == (1,):  # a table
        column = y.iloc[:, 0] if hasattr(y, "iloc") else y.to_series()
        return label_array(column)[:, None]
    if hasattr(y, "to_pylist"):  # of Arrow
        return _typed(_objects(y.to_pylist()))
    if not isinstance(getattr(y, "dtype", np.dtype(object)), np.dtype):
        return _typed(_objects(y.to_list() if hasattr(y, "to_list") else y.tolist()))
    return _typed(np.asarray(y))


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, NaT, or pandas' NA, of which nothing can be said."""
    try:
        return label is None or bool(label != label)
    except (TypeError, ValueError):
        return type(label).__name__ == "NAType"


def refuse_missing(y: np.ndarray, name: str = "y") -> np.ndarray:
    """Return labels as they are.

    Raises
    ------
    ValueError
        If one is missing; names the first such image.
    """
    if y.dtype == object:
        missing = np.array([is_missing(label) for label in y.flat], dtype=bool)
    else:
        missing = y.ravel() != y.ravel()  # of numbers and dates, those that are none
    if missing.any():
        row = int(np.argmax(missing))
        what = "NaN" if y.dtype.kind == "f" else y.flat[row]
        raise ValueError(
            f"Input {name} contains {what}, a missing label, first for image {row}. Leave out the "
            "images without a label, or give them one."
        )
    return y


def check_labels(y: Any, n_images: int | None, estimator: str, name: str = "y") -> np.ndarray:
    """Labels of `n_images` images as an array of one type; None: of any number.

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
    y = refuse_missing(column_or_1d(label_array(y), warn=True), name)
    if y.dtype.kind in "OS" and not all(isinstance(label, str) for label in y):
        kinds = sorted({type(label).__name__ for label in y})
        raise ValueError(
            f"{name} must have labels of one type, strings, booleans, dates of NumPy or numbers of "
            f"at most 64 bits; got {kinds} instead: Unknown label type. Convert them, as to str."
        )
    assert_all_finite(y, input_name=name)
    check_classification_targets(y)
    if n_images is not None and len(y) != n_images:
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
    values, inverse = np.unique(y, return_inverse=True)
    if y.dtype.kind == classes.dtype.kind == "M":
        common = np.result_type(y, classes)
        values, classes_in_common = values.astype(common), classes.astype(common)
    else:
        classes_in_common = classes
    # By Python's equality, which is exact where NumPy would compare integers as floats.
    index_of = {label: i for i, label in enumerate(classes_in_common.tolist())}
    indices = np.array([index_of.get(label, -1) for label in values.tolist()], dtype=np.intp)
    if (indices < 0).any():
        raise ValueError(
            f"{name} must only have labels that {estimator} knows, {classes}; got "
            f"{values[indices < 0]} as well. Leave these images out, or fit again; partial_fit "
            "takes all labels in 'classes' at its first call."
        )
    return indices[inverse]


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


def _objects(labels: list | tuple) -> np.ndarray:
    """Array of the labels as they are; of nested lists, what NumPy makes of them."""
    if any(isinstance(label, list) for label in labels):
        return np.asarray(labels, dtype=object)
    objects = np.empty(len(labels), dtype=object)
    for i, label in enumerate(map(detached, labels)):
        objects[i] = label[()] if isinstance(label, np.ndarray) and label.ndim == 0 else label
    return objects


def _typed(y: np.ndarray) -> np.ndarray:
    """Objects of one type as an array of it, if that changes none; strings stay objects."""
    if y.dtype.kind == "T":
        return y.astype(object)
    if y.dtype != object or y.size == 0:
        return y
    labels = y.ravel().tolist()
    types = set(map(type, labels))
    if all(issubclass(t, bool | np.bool_ | np.datetime64 | np.timedelta64) for t in types):
        is_one = len({t in (bool, np.bool_) for t in types}) == 1
        return np.array(labels).reshape(y.shape) if is_one else y
    if not all(issubclass(t, Real) and t is not bool for t in types):
        return y
    dtype = None if len(types) == 1 and issubclass(*types, np.generic) else np.float64
    if dtype and all(issubclass(t, Integral) for t in types):
        labels = [int(label) for label in labels]
        dtype = np.uint64 if max(labels) > np.iinfo(np.int64).max else np.int64
    try:
        typed = np.array(labels, dtype=dtype)
    except OverflowError:  # of integers
        return y
    # Python's numbers compare exactly, those of NumPy as floats.
    as_given = (label.item() if isinstance(label, np.generic) else label for label in labels)
    is_exact = all(a == b or b != b for a, b in zip(typed.tolist(), as_given, strict=True))
    return typed.reshape(y.shape) if is_exact else y
