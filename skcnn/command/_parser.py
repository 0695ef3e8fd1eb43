"""The arguments of each command, and the help that explains them."""

from __future__ import annotations

import argparse
import ast
import os
import stat
import sys
import textwrap
from pathlib import Path
from typing import Any

from skcnn._version import __version__
from skcnn.command._networks import NETWORKS

_EPILOG = """\
A folder of photographs in, labels of new ones out:

  %(prog)s train photos --out pets.skcnn       photos/cat/*.jpg, photos/dog/*.jpg
  %(prog)s predict pets.skcnn new/*.jpg        file,label,probability
  %(prog)s evaluate pets.skcnn other-photos    accuracy, and every mistake

'%(prog)s COMMAND --help' explains a command. Results go to standard output; progress,
warnings and errors to standard error.

Exit status: 0 if all went well; 1 if something could not be read, trained or written, be it
one file of many; 2 if the arguments are wrong; 130 after Ctrl-C.
"""

_TRAIN = """\
Train a network on a folder of images, and save it.

The folder holds a folder of images for each class:

  photos/cat/1.jpg  photos/cat/2.jpg  photos/dog/1.jpg  ...

or the same in 'train', beside 'test', 'val' or both. Then val decides when to stop, and test,
which the network never learns from, tells in the end how good it is. Without val, a tenth of the
images is set aside where --epochs is given; otherwise the number of epochs follows the number of
images. Of whatever else lies there, nothing is guessed: it is listed.
"""

_TRAIN_EPILOG = f"""\
networks:
{textwrap.fill(", ".join(NETWORKS), 90, initial_indent="  ", subsequent_indent="  ")}
  and every classification model of torchvision, such as mobilenet_v3_small

examples:
  a first try, on few images and for few epochs:
    %(prog)s photos --out try.skcnn --max-per-class 100 --epochs 3
  from weights that torchvision has for the network, training the last layer alone:
    %(prog)s photos --out pets.skcnn --network resnet50 --weights DEFAULT --freeze features
  images of 28 pixels, another network, narrower than usual:
    %(prog)s clothes --out clothes.skcnn --network resnet18 --image-size 28 --set width_ratio=4
  a long training that a crash does not undo: the same line goes on where it was
    %(prog)s photos --out pets.skcnn --seed 0 --memory fits
"""

_EVALUATE = """\
Measure a model on a folder of images that it has not seen.

The folder holds a folder of images for each class, as for 'train'; if it is divided into 'train',
'test' and 'val', test is what is measured, or else val. Prints the figures of each class, and the
most confident mistakes with the names of their files.
"""

_EVALUATE_EPILOG = """\
examples:
  %(prog)s pets.skcnn photos --confusion-matrix matrix.png --mistakes mistakes.csv
  %(prog)s pets.skcnn photos --json | jq .accuracy
"""

_PREDICT = """\
Tell the classes of images. They are prepared as those were that the model learned from.

Writes a line for each file, in the order given. A file that cannot be used is told of on standard
error and has no line; the others have theirs, and the exit status is 1.
"""

_PREDICT_EPILOG = """\
examples:
  %(prog)s pets.skcnn new/*.jpg > labels.csv
  %(prog)s pets.skcnn new --format jsonl --top-k 3
  find . -name '*.jpg' -print0 | %(prog)s pets.skcnn -0 -
"""

_SUMMARY = """\
Show a model, or a network before it is trained: its layers, parameters and multiply-adds.
"""

_SUMMARY_EPILOG = """\
examples:
  %(prog)s pets.skcnn
  %(prog)s resnet18 --image-size 96 --classes 2
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    by_script = Path(sys.argv[0]).stem == "skcnn"
    parser = argparse.ArgumentParser(
        prog="skcnn" if by_script else "python -m skcnn",
        description="Train networks on folders of images, and use them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"skcnn {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_summary(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = _add(commands, "train", "learn from a folder of images", _TRAIN, _TRAIN_EPILOG)
    parser.add_argument("folder", metavar="DIR", type=_folder, help="the folder")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="where the model is saved"
    )
    parser.add_argument(
        "--network", metavar="NAME", default="convnet", help="see below; default: %(default)s"
    )

    images = parser.add_argument_group("images")
    images.add_argument(
        "--image-size",
        dest="side",  # the classifiers have a parameter image_size, which this is not
        metavar="N",
        type=_positive,
        help="side of the squares that all images become; default: what is customary for the "
        "network, 64 for convnet, 224 for most",
    )
    images.add_argument(
        "--resize",
        choices=["crop", "squash"],
        default="crop",
        help="cut the square out of the middle, or squash the whole image; default: %(default)s",
    )
    images.add_argument(
        "--crop-pct",
        metavar="SHARE",
        type=_share,
        default=1.0,
        help="share of the shorter side that --resize crop keeps; default: all of it",
    )
    images.add_argument(
        "--mode", choices=["L", "RGB", "RGBA"], help="L is grey; default: L if all images are"
    )
    images.add_argument(
        "--max-per-class",
        metavar="N",
        type=_positive,
        help="images of each class to learn from at most; the first by name",
    )
    _add_reading(images)

    training = parser.add_argument_group("training (the defaults are those of the classifiers)")
    # Each has the name of a parameter of the classifiers, and is passed on if it is given.
    for option, name, metavar, kind, text in (
        ("--epochs", "max_epochs", "N", int, "passes over the images, at most"),
        ("--lr", "lr", "RATE", float, "learning rate"),
        ("--batch-size", "batch_size", "N", int, "images in a step"),
        ("--weights", "weights", "W", str, "a file of weights to start from, or DEFAULT: those of "
         "torchvision"),
        ("--freeze", "freeze", "WHAT", _number_or_text, "what keeps its weights: 'features' is all "
         "but the last layer, 3 the first three layers"),
        ("--augment", "augment", "HOW", _several, "change the images at random: standard, strong, "
         "or some of mirror,rotation,resized_crop"),
        ("--val-fraction", "validation_fraction", "SHARE", float, "share of the images that is set "
         "aside where there is no val; default: 0.1 with --epochs, none without"),
        ("--device", "device", "NAME", str, "cpu, cuda, mps; default: the fastest there is"),
        ("--seed", "random_state", "N", int, "repeat a training; default: another one each time"),
        ("--memory", "memory", "DIR", str, "keep what is learned after each epoch in this folder, "
         "where the same command goes on"),
    ):  # fmt: skip
        training.add_argument(
            option, dest=name, metavar=metavar, type=kind, default=argparse.SUPPRESS, help=text
        )
    training.add_argument(
        "--set",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        dest="settings",
        help="any other parameter of the classifier, as in Python; may be repeated",
    )

    output = parser.add_argument_group("output")
    output.add_argument("--plot", metavar="PNG", type=Path, help="draw the learning curves")
    _add_common(output)


def _add_evaluate(commands: Any) -> None:
    parser = _add(
        commands, "evaluate", "measure a model on labelled images", _EVALUATE, _EVALUATE_EPILOG
    )
    _add_model(parser)
    parser.add_argument("folder", metavar="DIR", type=_folder, help="the folder")
    _add_reading(parser)
    parser.add_argument(
        "--confusion-matrix", metavar="PNG", type=Path, help="draw what is taken for what"
    )
    parser.add_argument(
        "--mistakes", metavar="CSV", type=Path, help="write all mistakes, most confident first"
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON instead")
    _add_common(parser)


def _add_predict(commands: Any) -> None:
    parser = _add(commands, "predict", "tell the classes of images", _PREDICT, _PREDICT_EPILOG)
    _add_model(parser)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=_name,
        help="an image, a folder of images, or -: their names are on standard input, a line each",
    )
    parser.add_argument(
        "-0", "--null", action="store_true", help="the names on standard input end in NUL"
    )
    _add_follow_links(parser)
    parser.add_argument(
        "--format",
        choices=["csv", "jsonl"],
        default="csv",
        help="comma-separated values with a header, or an object of JSON in each line; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--top-k",
        metavar="K",
        type=_positive,
        default=1,
        help="the K most probable classes; default: %(default)s",
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="where to write; default: standard output"
    )
    _add_common(parser)


def _add_summary(commands: Any) -> None:
    parser = _add(commands, "summary", "show what a network is made of", _SUMMARY, _SUMMARY_EPILOG)
    parser.add_argument(
        "subject", metavar="MODEL|NETWORK", help="a model that was saved, or the name of a network"
    )
    parser.add_argument(
        "--image-size",
        metavar="N",
        type=_positive,
        help="side of the images; default: that of the model, or what is customary",
    )
    parser.add_argument(
        "--classes",
        metavar="N",
        type=_positive,
        help="number of classes; default: the model's, or 10",
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")


# Arguments that several commands have ------------------------------------------------------------


def _add(
    commands: Any, name: str, text: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(parser=parser)  # for errors that are found later
    return parser


def _add_model(parser: Any) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help="what 'train' saved")


def _add_reading(parser: Any) -> None:
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out files that cannot be read, and list them, instead of stopping",
    )
    _add_follow_links(parser)


def _add_follow_links(parser: Any) -> None:
    parser.add_argument(
        "--follow-links", action="store_true", help="read what links lead to, out of the folder too"
    )


def _add_common(parser: Any) -> None:
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")


# What arguments may be ---------------------------------------------------------------------------


def _folder(text: str) -> Path:
    try:
        reason = "" if stat.S_ISDIR(os.stat(text).st_mode) else "that is a file"
    except FileNotFoundError:
        reason = "there is nothing of that name"
    except OSError as error:
        reason = error.strerror
    if reason:
        raise argparse.ArgumentTypeError(f"must be a folder; got {text!r}: {reason}")
    return Path(text)


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must be the name of a file or folder; got ''")
    return text


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0, and at most 1; got {text!r}")
    return share


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text!r}")
    return int(text)


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _several(text: str) -> str | list[str]:
    names = text.split(",")
    return names if len(names) > 1 else text


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE; got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word, such as sgd
