"""``train``: a folder of images in, a saved model out."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skcnn.command._configuration import configured
from skcnn.command._folders import check_known, describe, labels_of, load_labelled, subsets_of
from skcnn.command._messages import PlainProgress, printable, say, warn
from skcnn.command._networks import find_network, make_classifier
from skcnn.command._outputs import check_outputs, save_figure
from skcnn.inspection import plot_history


def run(args: argparse.Namespace) -> int:
    """Train, save, and measure on the test images if there are some."""
    inputs = {"DIR": [args.folder], "--weights": [w for w in [vars(args).get("weights")] if w]}
    check_outputs(args, "out", "plot", inputs=inputs)
    network = find_network(args.network)
    size = args.side or network.image_size
    classifier = configured(make_classifier(network), args, size)

    subsets = subsets_of(args.folder)
    options = {"image_size": size, "resize": args.resize, "crop_pct": args.crop_pct}
    train = _load(args, "train" if subsets else None, options | {"mode": args.mode})
    options["mode"] = train.data.mode  # which the other subsets are to have, whatever they hold
    others = {name: _load(args, name, options) for name in ("val", "test") if name in subsets}
    _check_classes(args, train, others)

    height, width = train.data.shape[1:3]
    say(f"{args.network}, on {height} × {width} pixels, {train.data.mode}")
    val, test = others.get("val"), others.get("test")
    validation = {} if val is None else {"X_val": val.data, "y_val": labels_of(val)}
    with contextlib.redirect_stdout(PlainProgress()):  # on standard error, where it belongs
        classifier.fit(train.data, labels_of(train), **validation)
    _report(classifier)
    _save(classifier, args)
    if args.plot:
        save_figure(plot_history(classifier), args.plot)
    if test is not None:
        accuracy = classifier.score(test.data, labels_of(test))
        say(f"test accuracy: {accuracy:.4f} ({len(test.target):,} images)")
    return 0


def _load(args: argparse.Namespace, subset: str | None, options: dict[str, Any]) -> Bunch:
    images = load_labelled(
        args.folder,
        subset,
        options,
        skip_bad=args.skip_bad,
        follow_links=args.follow_links,
        verbose=sys.stderr.isatty(),
        max_per_class=args.max_per_class if subset in (None, "train") else None,
    )
    say(describe(args.folder, subset, images))
    return images


def _check_classes(args: argparse.Namespace, train: Bunch, others: dict[str, Bunch]) -> None:
    """Check that no other subset has classes that are not trained on; val should have them all."""
    trained_on = np.unique(labels_of(train)).tolist()
    for name, images in others.items():
        folder = printable(args.folder / name)
        check_known(labels_of(images), trained_on, f"The folder '{folder}'")
        missing = sorted(set(trained_on) - set(labels_of(images)))
        if missing and name == "val":
            warn(
                f"The folder '{folder}' has no images of {', '.join(map(printable, missing))}: "
                "when training is best is decided without these classes."
            )


def _report(classifier: Any) -> None:
    kept = classifier.history_[classifier.best_epoch_ - 1]
    text = f"epoch {kept['epoch']} of {classifier.n_epochs_} is kept"
    if "valid_acc" in kept:
        say(f"{text}: validation accuracy {kept['valid_acc']:.4f}")
    else:
        say(f"{text}: training accuracy {kept['train_acc']:.4f}, none set aside to validate")


def _save(classifier: Any, args: argparse.Namespace) -> None:
    is_kept = classifier.memory is not None
    # What the model is from now on: it need not know where it was trained, nor speak up.
    classifier.set_params(verbose=0, memory=None)
    try:
        classifier.save(args.out)
    except OSError:
        if is_kept:
            warn("The training is kept in --memory: with another --out, the same line saves it.")
        raise
    say(f"wrote {printable(args.out)} ({args.out.stat().st_size / 1e6:.1f} MB)")
