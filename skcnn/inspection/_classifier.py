"""Find the classifier inside pipelines and searches, and ask it for probabilities."""

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skcnn.inspection._arrays import as_numpy


def find_classifier(estimator, owner):
    """Return the fitted classifier that `estimator` is, or that it ends in.

    Pipelines are followed to their last step and searches to `best_estimator_`, however deep.

    Parameters
    ----------
    estimator : object
        A fitted classifier, a pipeline that ends in one or a search over either.

    owner : str
        Name of the caller, for the error messages.

    Returns
    -------
    classifier : estimator instance
        The innermost classifier, with `classes_`.

    Raises
    ------
    NotFittedError
        If `estimator`, or what it ends in, is not fitted.

    TypeError
        If what `estimator` ends in is not a classifier.

    ValueError
        If a search was fitted with `refit=False` and so keeps no classifier.
    """
    classifier = estimator
    while True:
        if isinstance(classifier, Pipeline):
            classifier = classifier.steps[-1][1]
        elif hasattr(classifier, "best_estimator_"):
            classifier = classifier.best_estimator_
        elif _is_search(classifier):
            raise _search_without_classifier(classifier, owner)
        else:
            break

    if not hasattr(classifier, "fit"):
        raise _not_a_classifier(classifier, owner)
    check_is_fitted(classifier)
    if not hasattr(classifier, "classes_"):
        raise _not_a_classifier(classifier, owner)
    return classifier


def _is_search(estimator):
    # The common base class of scikit-learn's searches is private; these parameters mark them.
    return hasattr(estimator, "estimator") and hasattr(estimator, "refit")


def _search_without_classifier(search, owner):
    name = type(search).__name__
    if hasattr(search, "cv_results_"):
        return ValueError(
            f"The 'estimator' parameter of {owner} must hold a fitted classifier; got a {name} "
            "fitted with refit=False instead, which keeps none. Fit it with refit=True."
        )
    return NotFittedError(f"This {name} instance is not fitted yet. Call 'fit' before {owner}.")


def _not_a_classifier(found, owner):
    return TypeError(
        f"The 'estimator' parameter of {owner} must be a fitted classifier, a Pipeline that ends "
        f"in one, or a search over either; got {type(found).__name__} instead. "
        "Pass an estimator that has 'classes_' once it is fitted."
    )


def predict_proba(estimator, X, owner):
    """Return `estimator.predict_proba(X)`, or a TypeError that says what is missing."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"The 'estimator' parameter of {owner} must have a 'predict_proba' method; got "
            f"{type(estimator).__name__}, which has none, instead. "
            "Pass a classifier that predicts probabilities, such as those of skcnn."
        )
    return estimator.predict_proba(X)


def check_probabilities(y_proba, n_samples, n_classes, owner):
    """Return `y_proba` as a finite ndarray of shape (n_samples, n_classes)."""
    y_proba = as_numpy(y_proba)
    if y_proba.shape != (n_samples, n_classes):
        raise ValueError(
            f"The class probabilities in {owner} must be of shape (n_samples, n_classes) = "
            f"({n_samples}, {n_classes}); got {y_proba.shape} instead. "
            "Pass what predict_proba returned for the same X, and the classes in its order."
        )
    if not np.isfinite(y_proba).all():
        raise ValueError(
            f"The class probabilities in {owner} must be finite; got NaN or infinity instead. "
            "Look for a diverged fit or for NaN in X."
        )
    return y_proba
