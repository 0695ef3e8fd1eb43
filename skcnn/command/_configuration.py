"""The parameters of the classifier that is to be trained: all that can be wrong with them."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any

from skcnn.memory import open_store
from skcnn.training.devices import resolve_device
from skcnn.transfer import find_head, set_frozen


def configured(classifier: Any, args: argparse.Namespace, size: int) -> Any:
    """Set the parameters that were given; a usage error, if one is not allowed."""
    known = classifier.get_params()
    params = {name: value for name, value in vars(args).items() if name in known}
    for name, value in args.settings:
        if name not in known:
            close = difflib.get_close_matches(name, known)
            args.parser.error(
                f"argument --set: {type(classifier).__name__} has no parameter {name!r}. "
                f"{'Close to it' if close else 'It has'}: {', '.join(close or sorted(known))}"
            )
        params[name] = value
    if "validation_fraction" in params:  # without early stopping, nothing would be set aside
        params.setdefault("early_stopping", True)
    # A bar is for who watches; a file gets a line for each epoch.
    params.setdefault("verbose", 1 if sys.stderr.isatty() else 2)
    classifier.set_params(**params)
    try:
        _check(classifier, size)
    except (OSError, ValueError) as error:
        args.parser.error(str(error))
    return classifier


def _check(classifier: Any, size: int) -> None:
    """Meet before any image is read what a fit would meet after all are."""
    name = type(classifier).__name__
    network = classifier.summary((3, size, size), n_classes=2).summary_list[0]
    resolve_device(classifier.device, name)
    if classifier.freeze is not None:
        head = find_head(network.module, tuple(network.input_size[1:]))
        set_frozen(network.module, classifier.freeze, head, name)
    open_store(classifier.memory, name)  # last, as it makes the folder
