"""Load saved classifiers: weights and plain values, and nothing that is executed."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

import skcnn.classifiers as classifiers
from skcnn._base import ImageClassifier
from skcnn._model_file import open_model
from skcnn.exceptions import ModelVersionWarning, warn_caller
from skcnn.memory import versions
from skcnn.training.devices import resolve_device

_CLASSES = {
    name: value
    for name, value in vars(classifiers).items()
    if isinstance(value, type)
    and issubclass(value, ImageClassifier)
    and value.__module__ == classifiers.__name__
}
# Packages whose other versions may predict otherwise, or know other parameters.
_NAMED_VERSIONS = ("skcnn", "torch", "scikit-learn")


def load(
    path: str | os.PathLike,
    *,
    module: type[nn.Module] | Callable[..., nn.Module] | nn.Module | None = None,
    device: str | torch.device | None = None,
) -> ImageClassifier:
    """Load a classifier that its method ``save`` wrote.

    Safe for files of strangers: every byte is checked against a SHA-256 sum, nothing in the file
    is executed, and no name in it is imported.

    Parameters
    ----------
    path : str or path
        File to read.
    module : torch.nn.Module subclass, callable or instance, default=None
        What makes the network of a :class:`~skcnn.CNNClassifier` that was given one; other files
        need none. An instance is copied.
    device : str or torch.device, default=None
        Where to compute; None: as the classifier's own parameter says, or, where this machine has
        no such device, "auto".

    Returns
    -------
    classifier : estimator instance
        As it was saved: it predicts the same bytes, on the same machine and versions, and can be
        fitted on. The state of the optimizer is not kept: with ``warm_start`` and `partial_fit`,
        it starts anew.

    Raises
    ------
    TypeError
        If `path` is none.
    OSError
        If the file cannot be read.
    ModelFileError
        If it is no saved classifier, of a newer format, damaged in any byte, or not to be loaded
        with this `module`. The message says what is wrong.
    ValueError
        If `device` is none of this machine.

    Warns
    -----
    ModelVersionWarning
        If it was saved with other versions of skcnn, torch or scikit-learn.
    UnsavedParameterWarning
        If this machine does not have the device of the classifier.

    Examples
    --------
    >>> import tempfile, skcnn
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = skcnn.LeNetClassifier(max_epochs=1, random_state=0).fit(X[:200], y[:200])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(f"{folder}/clothes.skcnn")
    ...     loaded = skcnn.load(f"{folder}/clothes.skcnn")
    >>> bool((loaded.predict_proba(X[:5]) == clf.predict_proba(X[:5])).all())
    True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"The 'path' parameter of load must be a path; got {path!r} instead.")
    if device is not None:
        resolve_device(device, "skcnn.load")
    with open_model(path) as saved:
        name = saved.description.get("class")
        if not isinstance(name, str) or name not in _CLASSES:
            raise ValueError(
                f"it is of a class {name!r:.80}, and skcnn has only {', '.join(_CLASSES)}"
            )
        classifier = _CLASSES[name]._restored(saved, module, device)
        saved_with = saved.description["versions"]
    here = versions()
    others = [
        f"{package} {saved_with.get(package, 'unknown')!r:.40}, here {here[package]!r}"
        for package in _NAMED_VERSIONS
        if saved_with.get(package) != here[package]
    ]
    if others:
        warn_caller(
            f"{os.fspath(path)!r} was saved with other versions ({'; '.join(others)}): predictions "
            "may differ in their last digits.",
            ModelVersionWarning,
        )
    return classifier
