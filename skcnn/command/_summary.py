"""``summary``: what a saved model, or a network that is not trained yet, is made of."""

from __future__ import annotations

import argparse
import os
from typing import Any

from skcnn.command._messages import printable, say
from skcnn.command._networks import find_network, make_classifier
from skcnn.persistence import load

_NAMED = 10  # classes that are printed by name


def run(args: argparse.Namespace) -> int:
    """Print a table of the layers, and, of a model, what it learned."""
    if os.path.exists(args.subject):
        classifier = load(args.subject)
        say(_describe(classifier))
        channels, size = classifier.image_shape_[0], args.image_size
        if size is None and args.classes is None:
            say(classifier.summary())
            return 0
        size = size or classifier.image_shape_[1]
    else:
        if os.path.basename(args.subject) != args.subject or args.subject.endswith(".skcnn"):
            args.parser.error(
                f"argument MODEL|NETWORK: must be a file, or the name of a network; got "
                f"{args.subject!r}: there is no such file"
            )
        network = find_network(args.subject)
        classifier = make_classifier(network)
        channels, size = 3, args.image_size or network.image_size
    try:
        table = classifier.summary((channels, size, size), args.classes)
    except ValueError as error:
        args.parser.error(str(error))
    say(table)
    return 0


def _describe(classifier: Any) -> str:
    labels = [printable(label) for label in classifier.classes_]
    shown = ", ".join(labels[:_NAMED]) + (", …" if len(labels) > _NAMED else "")
    channels, height, width = classifier.image_shape_
    epoch = classifier.history_[classifier.best_epoch_ - 1]
    accuracies = {"validation": epoch.get("valid_acc"), "training": epoch["train_acc"]}
    accuracy = ", ".join(f"{k} accuracy {v:.4f}" for k, v in accuracies.items() if v is not None)
    return (
        f"{classifier!r}\n"
        f"{len(labels):,} classes: {shown}\n"
        f"images of {height} × {width} pixels and {channels} channel{'s' * (channels > 1)}\n"
        f"epoch {epoch['epoch']} of {classifier.n_epochs_}: {accuracy}"
    )
