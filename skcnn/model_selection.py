"""Beside scikit-learn's searches: files of their results, epochs, a fixed validation set."""

import importlib.metadata
import json
import math
import platform
import re
from pathlib import Path

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import Pipeline

from skcnn._files import write_whole
from skcnn._paths import paths_in
from skcnn._version import __version__

__all__ = ["load_search_results", "save_search_results", "score_and_epochs", "with_validation_set"]

FORMAT = "skcnn search results"
FORMAT_VERSION = 1


def save_search_results(search, path):
    """Write the results of a search into a JSON file.

    The file holds every candidate with its parameters, its scores (of each split, their mean,
    standard deviation and rank) and its times; for a search by halving, its iteration and its
    resources; the class of the search and of its estimator, the best candidate, and the versions
    of Python, skcnn, scikit-learn and torch. At any time it is the old file or the new one.

    Parameters
    ----------
    search : estimator instance
        A fitted :class:`~sklearn.model_selection.GridSearchCV`,
        :class:`~sklearn.model_selection.RandomizedSearchCV`,
        :class:`~sklearn.model_selection.HalvingGridSearchCV` or
        :class:`~sklearn.model_selection.HalvingRandomSearchCV`, refitted or not.

    path : str or path-like
        The file, in a folder that exists. A file that is there is replaced.

    Returns
    -------
    path : Path
        The file.

    Raises
    ------
    NotFittedError
        If the search is not fitted.

    TypeError
        If `search` is no search.

    FileNotFoundError
        If the folder does not exist.

    See Also
    --------
    load_search_results : Read the file.
    score_and_epochs : Have the epochs of each fit among the results.
    skcnn.inspection.plot_search_results : Draw them.

    Notes
    -----
    Parameters that are numbers, strings, booleans, None, and lists, tuples and dicts of these are
    written as they are, though tuples become lists and the keys of dicts strings. Others, such as
    classes, functions and estimators, are written as a name to read, and so are NaN and infinity,
    which JSON does not know. A score of NaN, of a fit that failed, is null.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcnn.model_selection import load_search_results, save_search_results
    >>> X, y = load_digits(return_X_y=True)
    >>> search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-3, 1e-1]}, cv=3).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_search_results(search, f"{folder}/results.json")
    ...     results = load_search_results(path)
    >>> results["param_var_smoothing"].tolist()
    [0.001, 0.1]
    >>> bool(results["mean_test_score"].max() == search.best_score_)
    True
    """
    path = Path(path)
    record = _record(search, "save_search_results")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            "The 'path' parameter of save_search_results must be a file in a folder that exists; "
            f"got {str(path)!r} instead. Make the folder first: {str(path.parent)!r}."
        )
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n".encode())
    return path


def load_search_results(path):
    """Read the results of a search from a file of :func:`save_search_results`.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    results : pandas.DataFrame
        One row per candidate, with the columns of `cv_results_`: `params`, `param_<name>`,
        `mean_test_score`, `split0_test_score`, `rank_test_score`, …. What a search holds beside
        is in `results.attrs`: `search` and `estimator` (the names of their classes),
        `refit_metric`, `resource`, `best_index`, `best_params` and `versions`.

    Raises
    ------
    OSError
        If the file cannot be read.

    ValueError
        If it is damaged, no file of :func:`save_search_results`, or one of a later version.

    See Also
    --------
    save_search_results : Write the file; how it holds parameters of every type.
    skcnn.inspection.SearchResultsDisplay.from_results : Draw the results.

    Examples
    --------
    See :func:`save_search_results`.
    """
    refusal = (
        "The 'path' parameter of load_search_results must be a file that save_search_results "
        f"wrote; got {str(path)!r} instead"
    )
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise ValueError(
            f"{refusal}, which is damaged or no JSON: {error}. Save the results again."
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{refusal}, whose format is another. Look for the right file.")
    version = record.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ValueError(
            f"{refusal}, whose format is version {version}, and skcnn {__version__} reads version "
            f"{FORMAT_VERSION}. Install a newer skcnn."
        )
    try:
        return _table(record)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{refusal}, which lacks a part. Save the results again.") from error


def search_table(search, owner):
    """Table of a fitted search: as `load_search_results` reads it from the file of the search."""
    return _table(_record(search, owner))


def _record(search, owner):
    """All that is kept of a search, in what JSON knows."""
    if not (hasattr(search, "estimator") and hasattr(search, "refit")):
        raise TypeError(
            f"The 'search' parameter of {owner} must be a fitted search of scikit-learn; got "
            f"{type(search).__name__} instead. Pass a GridSearchCV, or another of its searches."
        )
    if not hasattr(search, "cv_results_"):
        raise NotFittedError(
            f"This {type(search).__name__} instance is not fitted yet. Call 'fit' before {owner}."
        )
    results = search.cv_results_
    # `params` holds what the columns of the single parameters do.
    names = [name for name in results if not name.startswith("param_")]
    candidates = [
        {name: _null_for_nan(results[name][i]) for name in names}
        for i in range(len(results["params"]))
    ]
    refit_metric = search.refit if search.multimetric_ else "score"
    best_index = getattr(search, "best_index_", None)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "search": type(search).__name__,
        "estimator": type(search.estimator).__name__,
        "refit_metric": refit_metric if isinstance(refit_metric, str) else None,
        "resource": getattr(search, "resource", None),
        "best_index": None if best_index is None else int(best_index),
        "best_params": _plain(getattr(search, "best_params_", None)),
        "versions": {
            "python": platform.python_version(),
            "skcnn": __version__,
            "scikit-learn": importlib.metadata.version("scikit-learn"),
            "torch": importlib.metadata.version("torch"),
        },
        "candidates": candidates,
    }


def _table(record):
    """DataFrame of a record, with the columns of `cv_results_` in their order."""
    import pandas as pd

    candidates = record["candidates"]
    params = [candidate["params"] for candidate in candidates]
    columns = {}
    for name in candidates[0]:
        if name != "params":
            columns[name] = [_nan_for_null(candidate[name]) for candidate in candidates]
            continue
        for parameter in dict.fromkeys(key for values in params for key in values):
            values = [values.get(parameter, math.nan) for values in params]
            # pandas would take None for a missing string, and it is a value.
            is_numeric = all(isinstance(value, int | float) for value in values)
            columns[f"param_{parameter}"] = (
                values if is_numeric else pd.Series(values, dtype=object)
            )
        columns["params"] = params
    table = pd.DataFrame(columns)
    table.attrs = {
        key: record[key]
        for key in (
            "search",
            "estimator",
            "refit_metric",
            "resource",
            "best_index",
            "best_params",
            "versions",
        )
    }
    return table


def _null_for_nan(value):
    value = _plain(value)
    return None if value == "nan" else value


def _nan_for_null(value):
    return math.nan if value is None else float(value) if value in ("inf", "-inf") else value


def _plain(value):
    """Return what JSON can hold of a value: itself, or a name to read."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    name = getattr(value, "__qualname__", None) or repr(value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(name.split()))  # addresses say nothing


def score_and_epochs(estimator, X, y):
    """Score a fitted classifier, and tell how many epochs it was trained: for ``scoring=``.

    A search takes it as ``GridSearchCV(..., scoring=score_and_epochs, refit="score")``. Its
    `cv_results_` then have, beside `mean_test_score`, `mean_test_n_epochs`,
    `mean_test_best_epoch`, and both for each split.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier of skcnn, or a :class:`~sklearn.pipeline.Pipeline` that ends in one.

    X : array-like of n_samples images
        In any form that the estimator takes.

    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    scores : dict
        `score`, the accuracy; `n_epochs`, the number of epochs run; `best_epoch`, the one whose
        weights were kept.

    Raises
    ------
    TypeError
        If the estimator does not end in a fitted classifier of skcnn.

    See Also
    --------
    save_search_results : Keep them in a file.

    Notes
    -----
    scikit-learn's searches by halving take a single score only. There, with
    ``resource="max_epochs"``, the number of epochs is the column `n_resources`.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skcnn import LeNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> from skcnn.model_selection import score_and_epochs
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = LeNetClassifier(max_epochs=2, random_state=0)
    >>> grid = {"batch_size": [32, 64]}
    >>> search = GridSearchCV(clf, grid, cv=2, scoring=score_and_epochs, refit="score")
    >>> search = search.fit(X[:200], y[:200])
    >>> search.cv_results_["mean_test_n_epochs"].tolist()
    [2.0, 2.0]
    """
    classifier = estimator
    while isinstance(classifier, Pipeline):
        classifier = classifier[-1]
    if not hasattr(classifier, "best_epoch_"):
        raise TypeError(
            "The 'estimator' parameter of score_and_epochs must be a fitted classifier of skcnn, "
            f"or a Pipeline that ends in one; got {type(classifier).__name__} instead. Leave out "
            "scoring= for other estimators."
        )
    return {
        "score": estimator.score(X, y),
        "n_epochs": classifier.n_epochs_,
        "best_epoch": classifier.best_epoch_,
    }


def with_validation_set(X, y, X_val, y_val):
    """Join a training and a validation set, for a search that trains on one and tests on the other.

    Parameters
    ----------
    X : array-like of n_samples images
        To train on: an array, a tensor, a list of images or a DataFrame. It is copied, and a
        memory-mapped array read whole.

    y : array-like of shape (n_samples,)
        Their labels.

    X_val : array-like of n_val images
        To test on, in the shape of `X`, and on its scale.

    y_val : array-like of shape (n_val,)
        Their labels.

    Returns
    -------
    X_all : ndarray of n_samples + n_val images
        Both sets.

    y_all : ndarray of shape (n_samples + n_val,)
        Their labels.

    cv : PredefinedSplit
        Its only split trains on `X` and tests on `X_val`.

    Raises
    ------
    ValueError
        If images and labels differ in number, or the sets in shape, in the scale of the images
        or in the type of the labels; or if there is no validation image.

    Notes
    -----
    Nothing of `X_val` is seen in training. With ``early_stopping=True``, the classifier sets part
    of `X` aside for that; with ``early_stopping=False`` it trains on all of it. What is refitted
    at the end is trained on both sets: with ``refit=False`` nothing is, and `best_params_` tells
    what to fit.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skcnn import LeNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> from skcnn.model_selection import with_validation_set
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> X_all, y_all, cv = with_validation_set(X[:200], y[:200], X[200:300], y[200:300])
    >>> clf = LeNetClassifier(max_epochs=1, early_stopping=False, random_state=0)
    >>> search = GridSearchCV(clf, {"batch_size": [32, 64]}, cv=cv, refit=False)
    >>> search = search.fit(X_all, y_all)
    >>> best = clf.set_params(**search.best_params_).fit(X[:200], y[:200])
    """
    from skcnn._labels import label_array
    from skcnn.images import is_dataset, pixel_divisor

    for name, images in (("X", X), ("X_val", X_val)):
        if is_dataset(images):
            raise ValueError(
                f"The '{name}' parameter of with_validation_set must be an array of images; got a "
                f"{type(images).__name__} instead. Put its images into an array, its labels into "
                "another."
            )
    X, X_val = (_as_rows(images, name) for name, images in (("X", X), ("X_val", X_val)))
    y, y_val = (label_array(labels) for labels in (y, y_val))
    for suffix, images, labels in (("", X, y), ("_val", X_val, y_val)):
        if len(images) == 0 or labels.shape != (len(images),):
            raise ValueError(
                f"The 'X{suffix}' and 'y{suffix}' parameters of with_validation_set must be one "
                f"or more images and a label for each; got {len(images)} images and labels of "
                f"shape {labels.shape} instead. Pass the labels of these images."
            )
    if X.shape[1:] != X_val.shape[1:]:
        raise ValueError(
            "The 'X_val' parameter of with_validation_set must hold images of the shape of X, "
            f"{X.shape[1:]}; got {X_val.shape[1:]} instead. Resize or crop them to one shape."
        )
    if X.dtype.kind in "buif" and (
        pixel_divisor(X.min(), X.max()) != pixel_divisor(X_val.min(), X_val.max())
    ):
        raise ValueError(
            "The 'X_val' parameter of with_validation_set must have pixels on the scale of X, "
            f"{X.min():g} to {X.max():g}; got {X_val.min():g} to {X_val.max():g} instead. Bring "
            "both to one scale."
        )
    # Strings may be objects.
    kinds = {labels.dtype.kind.replace("u", "i").replace("O", "U") for labels in (y, y_val)}
    if len(kinds) > 1:
        raise ValueError(
            "The 'y_val' parameter of with_validation_set must hold labels of the type of y, "
            f"{y.dtype}; got {y_val.dtype} instead. Convert both to one type."
        )
    test_fold = np.repeat([-1, 0], [len(X), len(X_val)])
    return (
        np.concatenate([X, X_val]),
        # NumPy makes floats of signed and unsigned integers.
        np.concatenate([y, y_val])
        if y.dtype.kind == y_val.dtype.kind
        else label_array([*y, *y_val]),
        PredefinedSplit(test_fold),
    )


def _as_rows(X, name):
    """Images, or their paths, as one array."""
    from skcnn.images import as_array

    paths = paths_in(X, name)
    return np.asarray(as_array(X)) if paths is None else np.array(paths, dtype=object)
