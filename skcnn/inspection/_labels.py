"""Labels of any type: checked, turned into positions, and named."""

import warnings

import numpy as np

from skcnn.inspection._arrays import as_numpy

LONGEST_NAME = 24  # characters of a class name that a tick or a title shows


def check_labels(y, owner, *, parameter="y", n_samples=None):
    """Return `y` as an ndarray of shape (n_samples,)."""
    from skcnn._labels import label_array  # which loads torch

    y = label_array(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"The '{parameter}' parameter of {owner} must be one label per sample; got an array "
            f"of shape {y.shape} instead. Pass labels of shape (n_samples,), not one-hot rows."
        )
    if len(y) == 0:
        raise ValueError(
            f"The '{parameter}' parameter of {owner} must hold at least one label; got none "
            "instead. Pass at least one sample."
        )
    if n_samples is not None and len(y) != n_samples:
        raise ValueError(
            f"The '{parameter}' parameter of {owner} must have one label for each of the "
            f"{n_samples} samples; got {len(y)} labels instead. "
            "Pass the labels of these samples, in their order."
        )
    return y


def check_sample_weight(sample_weight, n_samples, owner):
    """Return `sample_weight` as an ndarray of shape (n_samples,), or None as it came."""
    if sample_weight is None:
        return None
    sample_weight = as_numpy(sample_weight)
    if sample_weight.shape != (n_samples,):
        raise ValueError(
            f"The 'sample_weight' parameter of {owner} must be None or of shape ({n_samples},); "
            f"got an array of shape {sample_weight.shape} instead. Pass one weight per sample."
        )
    if not (sample_weight >= 0).all():
        raise ValueError(
            f"The 'sample_weight' parameter of {owner} must have no negative weight; got "
            f"{sample_weight.min()} among them instead. Give images that should not count 0."
        )
    return sample_weight


def encode(y, classes, *, warn_in=None):
    """Turn labels into positions, with room for labels that are not among the classes.

    scikit-learn's `LabelEncoder` would refuse the latter, and labels of mixed types.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels of any type.

    classes : ndarray of shape (n_classes,)
        The known labels.

    warn_in : str, default=None
        Name of the caller that wants a warning about unknown labels; None: no warning.

    Returns
    -------
    positions : ndarray of shape (n_samples,), dtype=int
        Where each label stands in `labels`.

    labels : ndarray of shape (n_classes + n_unknown,)
        `classes`, and behind them the other labels of `y`, sorted if they can be.
    """
    from skcnn._labels import is_missing  # which loads torch

    try:
        values, inverse = np.unique(y, return_inverse=True)
        values = values.tolist()
    except TypeError:  # labels of mixed types have no order: first come, first served
        found = {}
        inverse = np.array([found.setdefault(label, len(found)) for label in y.tolist()])
        values = list(found)

    if any(map(is_missing, values)):
        raise ValueError(
            "The labels must all be known; got None or NaN among them instead. "
            "Drop the samples without a label."
        )
    position_of = {label: position for position, label in enumerate(classes.tolist())}
    unknown = [value for value in values if value not in position_of]
    if unknown and warn_in is not None:
        shown = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
        warnings.warn(
            f"{warn_in}: y holds labels that the classifier never saw in fit ({shown}); "
            "each of their samples counts as a mistake.",
            UserWarning,
            stacklevel=3,
        )
    for label in unknown:
        position_of[label] = len(position_of)
    positions = np.array([position_of[value] for value in values])[inverse]
    return positions, _append(classes, unknown)


def _append(classes, more):
    if not more:
        return classes
    if {np.asarray(label).dtype.kind for label in more} == {classes.dtype.kind}:
        return np.concatenate([classes, more])
    # Labels of several types stay as they are: a common one would make "3" or 3.0 of 3.
    return np.array([*classes.tolist(), *more], dtype=object)


def name_labels(labels, n_named, names, owner, *, parameter="display_labels"):
    """Return a name for each label, as a list of str.

    The first `n_named` labels are called by `names`, where given; the others by themselves.
    """
    own_names = [str(label) for label in labels]
    if names is None:
        return own_names
    if isinstance(names, (str, bytes)) or np.ndim(names) != 1 or len(names) != n_named:
        raise ValueError(
            f"The '{parameter}' parameter of {owner} must be None or a sequence of {n_named} "
            f"names, one for each class; got {names!r} instead. "
            "Give the names in the order of the classifier's 'classes_'."
        )
    return [str(name) for name in names] + own_names[n_named:]


def shorten(name):
    """Cut a name that is too long for a tick label or a title."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1].rstrip() + "…"
