"""``evaluate``: how good a saved model is on images that it has not seen."""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from skcnn.command._folders import check_known, describe, labels_of, load_labelled, subsets_of
from skcnn.command._messages import naming, printable, say
from skcnn.command._outputs import check_outputs, save_figure, written_whole
from skcnn.inspection import ConfusionMatrixDisplay, EvaluationReport, Mistake, evaluate
from skcnn.persistence import load

_MEASURED = ("test", "val", "train")  # the first of these that there is
_LISTED = 10  # mistakes that are printed
_COLUMNS = ("file", "true_label", "predicted_label", "probability")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the report, and write what else was asked for."""
    inputs = {"MODEL": [args.model], "DIR": [args.folder]}
    check_outputs(args, "confusion_matrix", "mistakes", inputs=inputs)
    classifier = load(args.model)
    found = subsets_of(args.folder)
    subset = next((name for name in _MEASURED if name in found), None)
    images = load_labelled(
        args.folder,
        subset,
        classifier.file_options_,  # as the images that it learned from were read
        skip_bad=args.skip_bad,
        follow_links=args.follow_links,
        verbose=sys.stderr.isatty(),
    )
    y = _as_known(labels_of(images), classifier.classes_)
    with warnings.catch_warnings():
        # Classes without images, which the table shows.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        report = evaluate(classifier, images.data, y)

    mistakes = [_cells(mistake, args.folder) for mistake in report.mistakes]
    if args.json:
        say(json.dumps(_as_json(report, mistakes)))
    else:
        say(describe(args.folder, subset, images), "", _shown(report), "", _listed(mistakes))
    if args.confusion_matrix:
        names = _shown(report).target_names
        display = ConfusionMatrixDisplay(report.confusion_matrix, display_labels=names)
        save_figure(display.plot(), args.confusion_matrix)
    if args.mistakes:
        _write_csv(mistakes, args.mistakes)
    return 0


def _as_known(names: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels of the model that the names of folders stand for."""
    known = {str(label): label for label in classes}
    check_known(names, known, "The folder")
    return np.array([known[name] for name in names])


def _cells(mistake: Mistake, folder: Path) -> tuple[str, str, str, float]:
    """Say of a mistake what `_COLUMNS` name, its file by way of the folder as it was given."""
    path = os.path.join(folder, os.path.relpath(mistake.path, folder))
    labels = str(mistake.true_label), str(mistake.predicted_label)
    return (path, *labels, round(mistake.probability, 6))


def _shown(report: EvaluationReport) -> EvaluationReport:
    """Give classes names that fit into a table, and into a picture."""
    shown = copy.copy(report)
    shown.target_names = [*map(printable, report.target_names)]
    return shown


def _listed(mistakes: list[tuple]) -> str:
    if not mistakes:
        return "No mistakes."
    lines = [
        f"  {path}: {true_label}, taken for {predicted_label} ({probability:.0%})"
        for *names, probability in mistakes[:_LISTED]
        for path, true_label, predicted_label in [map(printable, names)]
    ]
    return "\n".join(["The most confident mistakes:", *lines])


def _as_json(report: EvaluationReport, mistakes: list[tuple]) -> dict[str, Any]:
    figures = zip(
        report.target_names, report.precision, report.recall, report.f1, report.support, strict=True
    )
    return {
        "accuracy": report.accuracy,
        "n_images": report.n_samples,
        "classes": {
            name: {"precision": p, "recall": r, "f1": f1, "support": int(support)}
            for name, p, r, f1, support in figures
        },
        "confusion_matrix": report.confusion_matrix.tolist(),
        "mistakes": [dict(zip(_COLUMNS, cells, strict=True)) for cells in mistakes],
    }


def _write_csv(mistakes: list[tuple], path: Path) -> None:
    # Names of files are bytes, and come out as the bytes that they were.
    options = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with naming(path), written_whole(path, **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(mistakes)
