"""``train``: a folder of images in, a saved model out."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import sys
from typing import Any

from sklearn.utils import Bunch

from skcnn.command._folders import describe, load_labelled, subsets_of
from skcnn.command._networks import find_network, make_classifier
from skcnn.command._outputs import check_outputs, save_figure
from skcnn.inspection import plot_history


def run(args: argparse.Namespace) -> int:
    """Train, save, and measure on the test images if there are some."""
    check_outputs(args, "out", "plot")
    network = find_network(args.network)
    size = args.side or network.image_size
    classifier = _configured(make_classifier(network), args, size)

    subsets = subsets_of(args.folder)
    options = {"image_size": size, "resize": args.resize, "crop_pct": args.crop_pct}
    train = _load(args, "train" if subsets else None, options | {"mode": args.mode})
    options["mode"] = train.data.mode  # which the other subsets are to have, whatever they hold
    val = _load(args, "val", options) if "val" in subsets else None
    test = _load(args, "test", options) if "test" in subsets else None

    height, width = train.data.shape[1:3]
    print(f"{args.network}, on {height} × {width} pixels, {train.data.mode}", flush=True)
    validation = {} if val is None else {"X_val": val.data, "y_val": _labels(val)}
    with contextlib.redirect_stdout(sys.stderr):  # where progress belongs
        classifier.fit(train.data, _labels(train), **validation)
    _report(classifier)
    # What the model is from now on: it need not know where it was trained, nor speak up.
    classifier.set_params(verbose=0, memory=None)
    classifier.save(args.out)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)")
    if args.plot:
        save_figure(plot_history(classifier), args.plot)
    if test is not None:
        accuracy = classifier.score(test.data, _labels(test))
        print(f"test accuracy: {accuracy:.4f} ({len(test.target):,} images)")
    return 0


def _configured(classifier: Any, args: argparse.Namespace, size: int) -> Any:
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
    # A bar is for who watches; a file gets a line for each epoch.
    params.setdefault("verbose", 1 if sys.stderr.isatty() else 2)
    classifier.set_params(**params)
    try:
        classifier.summary((3, size, size), n_classes=2)
    except (OSError, ValueError) as error:
        args.parser.error(str(error))
    return classifier


def _load(args: argparse.Namespace, subset: str | None, options: dict[str, Any]) -> Bunch:
    images = load_labelled(
        args.folder,
        subset,
        options,
        skip_bad=args.skip_bad,
        verbose=sys.stderr.isatty(),
        max_per_class=args.max_per_class if subset in (None, "train") else None,
    )
    print(describe(args.folder, subset, images), flush=True)
    return images


def _labels(images: Bunch) -> Any:
    return images.target_names[images.target]


def _report(classifier: Any) -> None:
    kept = classifier.history_[classifier.best_epoch_ - 1]
    text = f"epoch {kept['epoch']} of {classifier.n_epochs_} is kept"
    if "valid_acc" in kept:
        print(f"{text}: validation accuracy {kept['valid_acc']:.4f}")
    else:
        print(f"{text}: training accuracy {kept['train_acc']:.4f}, none set aside to validate")
