"""Displays and reports, on small scikit-learn classifiers that look like those of skcnn."""

import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.figures import are_apart, are_legible, is_inside
from helpers.images import write_pngs
from helpers.messages import mentions, names
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.linear_model import LinearRegression
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    confusion_matrix,
    precision_recall_fscore_support,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from skorch.callbacks import EpochTimer

from skcnn import ImageFiles, LeNetClassifier
from skcnn.exceptions import LearningRateRangeWarning
from skcnn.inspection import (
    ConfusionMatrixDisplay,
    EvaluationReport,
    HistoryDisplay,
    LearningRateDisplay,
    MistakesDisplay,
    evaluate,
    find_lr,
    plot_confusion_matrix,
    plot_history,
    plot_mistakes,
)

mpl.use("Agg")
import matplotlib.pyplot as plt

PLAIN = {"annotate": False, "colorbar": False}  # drawn fast, where only numbers are looked at
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def make_history(n_epochs, validated=True):
    history = []
    for epoch in range(1, n_epochs + 1):
        row = {"epoch": epoch, "train_loss": 2 / epoch, "train_acc": 1 - 0.5 / epoch}
        if validated:
            row |= {"valid_loss": 2.5 / epoch, "valid_acc": 0.9 - 0.5 / epoch}
        history.append(row | {"lr": 1e-3, "dur": 0.1})
    return history


class FakeCNN(ClassifierMixin, BaseEstimator):
    """Naive Bayes on pixels, with the public face of a classifier of skcnn."""

    def __init__(self, max_epochs=3, early_stopping=True, image_shape=None):
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.image_shape = image_shape

    def fit(self, X, y):
        X = np.asarray(X)
        self.net_ = GaussianNB(var_smoothing=0.1).fit(self._rows(X), y)
        self.classes_ = self.net_.classes_
        if self.image_shape is not None:
            shape = tuple(self.image_shape)
        elif X.ndim == 2:
            shape = (round(X.shape[1] ** 0.5),) * 2
        else:
            shape = X.shape[1:]
        if len(shape) == 2:
            shape = (1, *shape)
        elif shape[2] in (1, 3, 4):
            shape = (shape[2], *shape[:2])
        self.image_shape_ = shape
        self.history_ = make_history(self.max_epochs, validated=self.early_stopping)
        self.n_epochs_ = self.max_epochs
        self.best_epoch_ = max(1, self.max_epochs - 1) if self.early_stopping else self.max_epochs
        self.n_calls_ = 0
        return self

    def predict_proba(self, X):
        self.n_calls_ += 1
        return self.net_.predict_proba(self._rows(X))

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    @staticmethod
    def _rows(X):
        return np.stack([np.asarray(image, dtype=float).ravel() for image in X])


class FixedProba(ClassifierMixin, BaseEstimator):
    """Predicts the probabilities that it was given."""

    def __init__(self, y_proba=None):
        self.y_proba = y_proba

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.asarray(self.y_proba)[: len(X)]


def flatten(X):
    return np.reshape(X, (len(X), -1))


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits().images.astype(np.uint8), load_digits().target
    return X[:800], X[800:1300], y[:800], y[800:1300]


@pytest.fixture(scope="module")
def clf(digits):
    X_train, _, y_train, _ = digits
    return FakeCNN().fit(X_train, y_train)


def wrap(kind, X, y):
    """Fit a FakeCNN inside pipelines and searches."""
    flat = FunctionTransformer(flatten)
    estimator = {
        "bare": FakeCNN(),
        "pipeline": make_pipeline(flat, StandardScaler(), FakeCNN()),
        "search": GridSearchCV(FakeCNN(), {"max_epochs": [3]}, cv=2),
        "search over pipeline": GridSearchCV(
            make_pipeline(flat, FakeCNN()), {"fakecnn__max_epochs": [3]}, cv=2
        ),
        "random search": RandomizedSearchCV(FakeCNN(), {"max_epochs": [3]}, n_iter=1, cv=2),
        "pipeline of search of pipeline": make_pipeline(
            flat,
            GridSearchCV(
                make_pipeline(StandardScaler(), FakeCNN()), {"fakecnn__max_epochs": [3]}, cv=2
            ),
        ),
    }[kind]
    return estimator.fit(X, y)


KINDS = [
    "bare",
    "pipeline",
    "search",
    "search over pipeline",
    "random search",
    "pipeline of search of pipeline",
]


def ticks(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


# --- the package ----------------------------------------------------------------------------------


def test_import_loads_no_plotting_library():
    code = (
        "import sys, skcnn.inspection; "
        "print([m for m in ('matplotlib', 'seaborn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
def test_every_function_finds_the_classifier(kind, digits):
    X_train, X_test, y_train, y_test = digits
    estimator = wrap(kind, X_train[:300], y_train[:300])
    y_pred = estimator.predict(X_test)

    assert len(plot_history(estimator).lines_["valid_acc"].get_xdata()) == 3
    matrix = plot_confusion_matrix(estimator, X_test, y_test, **PLAIN).confusion_matrix
    assert_array_equal(matrix, confusion_matrix(y_test, y_pred))
    gallery = plot_mistakes(estimator, X_test, y_test, n_images=1)
    assert gallery.n_mistakes == (y_pred != y_test).sum() > 0
    assert_array_equal(gallery.images[0], X_test[gallery.indices[0]])
    report = evaluate(estimator, X_test, y_test)
    assert report.accuracy == pytest.approx(accuracy_score(y_test, y_pred))
    first = report.mistakes[0]
    assert_array_equal(first.image, X_test[first.index])


CALLS = {
    "plot_history": lambda est, X, y: plot_history(est),
    "plot_confusion_matrix": plot_confusion_matrix,
    "plot_mistakes": plot_mistakes,
    "evaluate": evaluate,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "estimator",
    [
        FakeCNN(),
        make_pipeline(StandardScaler(), FakeCNN()),
        GridSearchCV(FakeCNN(), {"max_epochs": [1]}),
        GridSearchCV(make_pipeline(StandardScaler(), FakeCNN()), {"fakecnn__max_epochs": [1]}),
    ],
    ids=["bare", "pipeline", "search", "search over pipeline"],
)
def test_not_fitted(call, estimator, digits):
    with pytest.raises(NotFittedError):
        call(estimator, digits[1], digits[3])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_search_that_was_not_refitted(call, digits):
    search = GridSearchCV(FakeCNN(), {"max_epochs": [1]}, cv=2, refit=False)
    search.fit(digits[0], digits[2])
    with pytest.raises(ValueError, match=mentions("'estimator'", "GridSearchCV", "refit=True")):
        call(search, digits[1], digits[3])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (LinearRegression().fit([[0], [1]], [0, 1]), "LinearRegression"),
        (make_pipeline(StandardScaler(), "passthrough"), "str"),
        (3, "int"),
    ],
    ids=["regressor", "passthrough", "number"],
)
def test_not_a_classifier(call, estimator, kind, digits):
    with pytest.raises(TypeError, match=mentions("'estimator'", kind)):
        call(estimator, digits[1], digits[3])


@pytest.mark.parametrize("call", [plot_confusion_matrix, plot_mistakes, evaluate])
@pytest.mark.parametrize("n", [499, 501])
def test_other_length_of_y(call, n, clf, digits):
    with pytest.raises(ValueError, match=mentions("'y'", 500, n)):
        call(clf, digits[1], np.resize(digits[3], n))


@pytest.mark.parametrize("call", [plot_confusion_matrix, plot_mistakes, evaluate])
def test_one_hot_and_missing_labels_are_refused(call, clf, digits):
    with pytest.raises(ValueError, match=mentions("'y'", (500, 10))):
        call(clf, digits[1], np.eye(10)[digits[3]])
    y = digits[3].astype(float)
    y[7] = np.nan
    with pytest.raises(ValueError, match=mentions(None, "NaN")):
        call(clf, digits[1], y)
    with pytest.raises(ValueError, match=mentions("'y'")):
        call(clf, digits[1][:0], digits[3][:0])


def test_estimator_without_probabilities(digits):
    X_train, X_test, y_train, y_test = digits
    svc = SVC().fit(flatten(X_train), y_train)
    for call in (plot_mistakes, evaluate):
        with pytest.raises(TypeError, match=mentions("'estimator'", "'predict_proba'", "SVC")):
            call(svc, flatten(X_test), y_test)
    # The confusion matrix needs none.
    display = plot_confusion_matrix(svc, flatten(X_test), y_test, **PLAIN)
    matrix = display.confusion_matrix
    assert_array_equal(matrix, confusion_matrix(y_test, svc.predict(flatten(X_test))))


@pytest.mark.parametrize("call", [plot_mistakes, evaluate])
@pytest.mark.parametrize(
    ("y_proba", "named"),
    [
        ([[0.5, np.nan]] * 4, ["NaN"]),
        ([[0.2, 0.3, 0.5]] * 4, [(4, 2), (4, 3)]),
        ([[0.5, 0.5]] * 3, [(4, 2), (3, 2)]),
    ],
)
def test_wrong_probabilities(call, y_proba, named):
    clf = FixedProba(y_proba).fit(None, [0, 1])
    with pytest.raises(ValueError, match=mentions(*named)):
        call(clf, np.zeros((4, 2, 2)), [0, 1, 0, 1])


# --- history --------------------------------------------------------------------------------------


def test_history_panels(clf):
    display = plot_history(clf)
    assert [ax.get_ylabel() for ax in display.axes_] == ["cross-entropy loss", "accuracy"]
    assert [ax.get_xlabel() for ax in display.axes_] == ["epoch", "epoch"]
    assert display.figure_ is display.axes_[0].figure
    for key, line in display.lines_.items():
        assert_array_equal(line.get_xdata(), [1, 2, 3])
        assert_allclose(line.get_ydata(), [epoch[key] for epoch in clf.history_])
        assert line.axes is display.axes_[1 if key.endswith("acc") else 0]
    assert set(display.lines_) == {"train_loss", "train_acc", "valid_loss", "valid_acc"}
    assert display.lines_["train_loss"].get_color() == display.lines_["train_acc"].get_color()
    assert display.lines_["train_loss"].get_color() != display.lines_["valid_loss"].get_color()


def test_history_marks_the_best_epoch(clf):
    display = plot_history(clf)
    assert [list(line.get_xdata()) for line in display.best_epoch_lines_] == [[2, 2], [2, 2]]
    for ax in display.axes_:
        texts = [text.get_text() for text in ax.get_legend().get_texts()]
        assert texts == ["training", "validation", "best epoch: 2"]


def test_history_without_validation(digits):
    clf = FakeCNN(early_stopping=False).fit(digits[0], digits[2])
    display = plot_history(clf)
    assert set(display.lines_) == {"train_loss", "train_acc"}
    assert display.best_epoch_lines_ == []


def test_history_where_some_epochs_were_not_validated():
    history = make_history(3)
    del history[1]["valid_loss"], history[1]["valid_acc"]
    line = HistoryDisplay.from_history(history).lines_["valid_acc"]
    assert_array_equal(np.isnan(line.get_ydata()), [False, True, False])


@pytest.mark.parametrize("n_epochs", [1, 2, 3, 20, 300])
def test_history_ticks_are_epochs(n_epochs):
    display = HistoryDisplay.from_history(make_history(n_epochs), best_epoch=n_epochs)
    for ax in display.axes_:
        low, high = ax.get_xlim()
        shown = [tick for tick in ax.get_xticks() if low <= tick <= high]
        assert shown
        assert all(float(tick).is_integer() for tick in shown)


def test_history_of_one_epoch_is_visible():
    display = HistoryDisplay.from_history(make_history(1))
    assert {line.get_marker() for line in display.lines_.values()} == {"o"}


def test_history_in_given_axes():
    figure, axes = plt.subplots(2)
    display = HistoryDisplay.from_history(make_history(3), ax=axes)
    assert list(display.axes_) == list(axes)
    assert display.figure_ is figure
    with pytest.raises(ValueError, match=mentions("'ax'", "Axes")):
        display.plot(ax=axes[0])


def test_history_errors(digits):
    svc = SVC().fit([[0], [1]], [0, 1])
    with pytest.raises(TypeError, match=mentions("'estimator'", "'history_'", "SVC")):
        plot_history(make_pipeline(StandardScaler(), svc))
    with pytest.raises(ValueError, match=mentions("'history'", "max_epochs=1")):
        HistoryDisplay.from_history([])
    with pytest.raises(ValueError, match=mentions("'history'", "train_acc")):
        HistoryDisplay.from_history([{"epoch": 1, "train_loss": 1.0}])
    for best_epoch in (0, 4):
        with pytest.raises(ValueError, match=mentions("'best_epoch'", 3, best_epoch)):
            HistoryDisplay.from_history(make_history(3), best_epoch=best_epoch)


# --- confusion matrix -----------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
@pytest.mark.parametrize("weighted", [False, True])
def test_confusion_matrix_is_that_of_sklearn(normalize, weighted, clf, digits):
    _, X_test, _, y_test = digits
    weight = np.linspace(0.5, 2, len(y_test)) if weighted else None
    kwargs = {"normalize": normalize, "sample_weight": weight, **PLAIN}
    display = plot_confusion_matrix(clf, X_test, y_test, **kwargs)
    expected = confusion_matrix(
        y_test, clf.predict(X_test), normalize=normalize, sample_weight=weight
    )
    assert_allclose(display.confusion_matrix, expected)
    again = ConfusionMatrixDisplay.from_predictions(y_test, clf.predict(X_test), **kwargs)
    assert_allclose(again.confusion_matrix, expected)


def test_confusion_matrix_cells_hold_their_numbers(clf, digits):
    display = plot_confusion_matrix(clf, digits[1], digits[3])
    display.figure_.draw_without_rendering()
    for row in range(10):
        for column in range(10):
            text = display.text_[row, column]
            assert text.get_text() == str(display.confusion_matrix[row, column])
            assert text.get_position() == (column + 0.5, row + 0.5)
    assert display.ax_.get_xlabel() == "predicted label"
    assert display.ax_.get_ylabel() == "true label"
    bottom, top = display.ax_.get_ylim()
    assert bottom > top  # the first class is in the first row


def test_confusion_matrix_names(clf, digits):
    display = plot_confusion_matrix(clf, digits[1], digits[3], **PLAIN)
    assert ticks(display.ax_) == [str(digit) for digit in range(10)]
    display = plot_confusion_matrix(clf, digits[1], digits[3], display_labels=NAMES, **PLAIN)
    assert ticks(display.ax_) == NAMES
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == NAMES


@pytest.mark.parametrize("names", [NAMES[:9], [*NAMES, "ten"], "zero to ni", 10, {"a", "b"}])
def test_wrong_names(names, clf, digits):
    for call, parameter in (
        (plot_confusion_matrix, "display_labels"),
        (plot_mistakes, "display_labels"),
        (evaluate, "target_names"),
    ):
        with pytest.raises(ValueError, match=mentions(repr(parameter), repr(names))):
            call(clf, digits[1], digits[3], **{parameter: names})


def test_a_single_mistake_among_thousands_is_visible():
    y_true = np.repeat([0, 1, 2], 5000)
    y_pred = y_true.copy()
    y_pred[0] = 1
    display = ConfusionMatrixDisplay.from_predictions(y_true, y_pred)
    display.figure_.draw_without_rendering()
    colors = display.mistakes_mesh_.get_facecolors().reshape(3, 3, 4)
    assert colors[0, 1, :3].sum() < 2  # dark
    assert_allclose(colors[1, 0, :3], 1)  # none: white
    assert colors[0, 0, 3] == 0  # the diagonal belongs to the other colour
    correct = display.correct_mesh_.get_facecolors().reshape(3, 3, 4)
    assert correct[2, 2, 2] > correct[2, 2, 0]  # blue
    assert colors[0, 1, 0] > colors[0, 1, 2]  # red


def test_mistakes_of_a_perfect_classifier_are_white():
    display = ConfusionMatrixDisplay.from_predictions([0, 1], [0, 1])
    display.figure_.draw_without_rendering()
    assert_allclose(display.mistakes_mesh_.get_facecolors()[1, :3], 1)


@pytest.mark.parametrize(
    ("n_classes", "length"), [(2, 1), (2, 60), (10, 1), (10, 60), (30, 12), (90, 12)]
)
def test_confusion_matrix_is_readable(n_classes, length):
    y_true = np.arange(n_classes).repeat(2)
    y_pred = np.roll(y_true, 1)
    names = [str(label).ljust(length, "w") for label in range(n_classes)]
    display = ConfusionMatrixDisplay.from_predictions(
        y_true, y_pred, labels=np.arange(n_classes), display_labels=names
    )
    figure, ax = display.figure_, display.ax_
    figure.draw_without_rendering()
    assert is_inside(figure)
    assert max(figure.get_size_inches()) < 14
    # Numbers are written where they can be read, and fit into their cells.
    assert (display.text_ is not None) == (n_classes <= 30)
    if display.text_ is not None:
        cell = ax.get_window_extent().width / n_classes
        for text in display.text_.flat:
            assert text.get_fontsize() >= 5
            assert text.get_window_extent().width <= cell
    # Each class has a name that tells it from the others, and its line does not touch another's.
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert are_legible(labels)


def test_annotate_overrules():
    y = np.arange(10)
    _, ax = plt.subplots(figsize=(0.8, 0.8))
    assert ConfusionMatrixDisplay.from_predictions(y, y, ax=ax).text_ is None
    display = ConfusionMatrixDisplay.from_predictions(y, y, ax=ax, annotate=True)
    assert display.text_.shape == (10, 10)
    assert ConfusionMatrixDisplay.from_predictions([0, 1], [0, 1], annotate=False).text_ is None
    with pytest.raises(ValueError, match=names("annotate", "yes")):
        ConfusionMatrixDisplay.from_predictions([0, 1], [0, 1], annotate="yes")


def test_confusion_matrix_in_given_axes():
    figure, (ax, other) = plt.subplots(1, 2)
    ax.text(0, 0, "mine")
    display = ConfusionMatrixDisplay.from_predictions([0, 1, 1], [0, 1, 0], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert_array_equal(figure.get_size_inches(), plt.rcParams["figure.figsize"])
    assert [[text.get_text() for text in row] for row in display.text_] == [["1", "0"], ["1", "1"]]
    assert not other.collections


def test_shares_that_round_to_zero_are_told_from_none():
    y_true = np.zeros(1000, dtype=int)
    y_true[-1] = 1
    y_pred = y_true.copy()
    y_pred[0] = 1
    display = ConfusionMatrixDisplay.from_predictions(y_true, y_pred, normalize="true")
    texts = [[text.get_text() for text in row] for row in display.text_]
    assert texts == [["1.00", "<.01"], ["0", "1.00"]]


def captions(display):
    # The scales are insets of the axes.
    return [ax.get_ylabel() for ax in display.ax_.child_axes]


def test_scales_say_what_they_show():
    draw = ConfusionMatrixDisplay.from_predictions
    assert captions(draw([0, 1], [0, 1])) == ["correct\n(images)", "mistakes\n(images)"]
    assert captions(draw([0, 1], [0, 1], normalize="true"))[1] == "mistakes\n(share of true class)"
    weighted = draw([0, 1], [0, 1], sample_weight=[0.5, 1.5])
    assert captions(weighted)[0] == "correct\n(sum of weights)"
    assert captions(draw([0, 1], [0, 1], colorbar=False)) == []


@pytest.mark.parametrize("normalize", ["rows", True, ["true"]])
def test_wrong_normalize(normalize, clf, digits):
    with pytest.raises(ValueError, match=names("normalize", normalize)):
        plot_confusion_matrix(clf, digits[1], digits[3], normalize=normalize)
    with pytest.raises(ValueError, match=names("normalize", normalize)):
        ConfusionMatrixDisplay.from_predictions([0], [0], normalize=normalize)


def test_classes_without_images_keep_their_rows(clf, digits):
    _, X_test, _, y_test = digits
    few = y_test < 3
    display = plot_confusion_matrix(clf, X_test[few], y_test[few], **PLAIN)
    assert display.confusion_matrix.shape == (10, 10)


def test_labels_of_from_predictions_order_and_never_drop():
    display = ConfusionMatrixDisplay.from_predictions(
        ["b", "a", "c"], ["b", "b", "d"], labels=["b", "a"], display_labels=["Bee", "Ay"]
    )
    assert ticks(display.ax_) == ["Bee", "Ay", "c", "d"]
    assert display.confusion_matrix.sum() == 3
    assert display.confusion_matrix[2, 3] == 1


def test_dollars_in_names_are_dollars():
    names = ["$5", "$x_2$"]
    display = ConfusionMatrixDisplay.from_predictions([0, 1], [0, 1], display_labels=names)
    assert ticks(display.ax_) == names
    assert not any(label.get_parse_math() for label in display.ax_.get_xticklabels())
    display = MistakesDisplay.from_predictions(
        np.ones((1, 2, 2)), [0], [[0, 1]], [0, 1], display_labels=names
    )
    assert not display.axes_[0].title.get_parse_math()


@pytest.mark.parametrize(
    ("y", "y_pred"),
    [
        (["a", "b", "b"], ["a", "a", "b"]),
        ([True, False, False], [True, True, False]),
        (np.array(["a", "b", "b"], dtype=object), ["a", "a", "b"]),
        (pd.Series(["a", "b", "b"], dtype="category"), pd.Series(["a", "a", "b"])),
        (torch.tensor([1, 0, 0]), torch.tensor([1, 1, 0])),
        ([[1], [0], [0]], [1, 1, 0]),
    ],
    ids=["str", "bool", "object", "pandas", "torch", "column"],
)
def test_labels_of_any_type(y, y_pred):
    matrix = ConfusionMatrixDisplay.from_predictions(y, y_pred).confusion_matrix
    assert matrix.sum() == 3
    assert matrix.trace() == 2


# --- labels that fit never saw --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unseen", "expected"),
    [(["ten"] * 3, ["ten"]), ([10, 11, 10], ["10", "11"]), (["ten", 10, 10], ["ten", "10"])],
)
def test_unseen_labels_are_mistakes(unseen, expected, clf, digits):
    X_test = digits[1]
    y = np.array(digits[3].tolist(), dtype=object)
    y[:3] = unseen
    with pytest.warns(
        UserWarning, match=mentions("ConfusionMatrixDisplay.from_estimator", *expected)
    ):
        display = plot_confusion_matrix(clf, X_test, y, **PLAIN)
    assert ticks(display.ax_) == [str(digit) for digit in range(10)] + expected
    assert display.confusion_matrix[10:].sum() == 3
    assert display.confusion_matrix[:, 10:].sum() == 0

    with pytest.warns(UserWarning, match=mentions("MistakesDisplay.from_estimator", *expected)):
        gallery = plot_mistakes(clf, X_test, y, n_images=3, order="dataset", display_labels=NAMES)
    assert_array_equal(gallery.indices, [0, 1, 2])
    assert gallery.true_labels == [str(label) for label in unseen]

    message = mentions("evaluate", *expected)
    with pytest.warns(UserWarning, match=message), pytest.warns(UndefinedMetricWarning):
        report = evaluate(clf, X_test, y, target_names=NAMES)
    assert report.accuracy == np.mean([a == b for a, b in zip(y, clf.predict(X_test), strict=True)])
    assert [str(label) for label in report.classes[10:]] == expected
    assert report.target_names == NAMES + expected
    assert report.recall[10] == 0
    (mistake,) = (mistake for mistake in report.mistakes if mistake.index == 0)
    assert mistake.true_label == unseen[0]
    assert report.mistakes_to_frame().shape == (len(report.mistakes), 3 + 10)
    assert len(report.to_frame()) == 10 + len(expected)


# --- gallery of mistakes --------------------------------------------------------------------------


def test_gallery_titles_and_order(clf, digits):
    _, X_test, _, y_test = digits
    y_proba = clf.predict_proba(X_test)
    y_pred, confidence = y_proba.argmax(axis=1), y_proba.max(axis=1)
    wrong = np.flatnonzero(y_pred != y_test)
    assert len(wrong) > 25

    display = plot_mistakes(clf, X_test, y_test, display_labels=NAMES)
    assert len(display.axes_) == 25
    assert display.n_mistakes == len(wrong)
    assert set(display.indices) <= set(wrong)
    assert (np.diff(display.probabilities) <= 0).all()
    assert display.probabilities[-1] >= np.sort(confidence[wrong])[-25]
    for ax, index in zip(display.axes_, display.indices, strict=True):
        true, predicted = NAMES[y_test[index]], NAMES[y_pred[index]]
        assert ax.get_title() == f"true: {true}\npredicted: {predicted}, {confidence[index]:.0%}"
        assert_array_equal(ax.images[0].get_array(), X_test[index])
        assert ax.images[0].get_clim() == (0, 255)  # uint8 is shown as it is
    assert re.search(mentions(25, len(wrong), 500), display.figure_.get_suptitle())

    display = plot_mistakes(clf, X_test, y_test, order="dataset", n_images=7)
    assert_array_equal(display.indices, wrong[:7])
    assert re.search(mentions(7, len(wrong), 500), display.figure_.get_suptitle())


def test_gallery_positions():
    X = np.arange(5)[:, None, None] * np.ones((5, 2, 2))
    y_proba = np.tile([0.2, 0.8], (5, 1))
    display = MistakesDisplay.from_predictions(X, [0] * 5, y_proba, [0, 1])
    assert_array_equal(display.indices, range(5))  # equals stay in the order of the data
    display.figure_.draw_without_rendering()
    rows = {round(ax.get_position().y0, 3) for ax in display.axes_}
    assert len(rows) == 2  # three and two
    assert re.findall(r"\d+", display.figure_.get_suptitle()) == ["5", "5"]
    display.plot(n_columns=5)
    display.figure_.draw_without_rendering()
    assert len({round(ax.get_position().y0, 3) for ax in display.axes_}) == 1


@pytest.mark.parametrize(
    ("n_images", "name"),
    [
        (1, ""),
        (16, ""),
        (1, " Ankle boot"),
        (9, " Ankle boot"),
        (9, " and a name that goes on and on"),
    ],
)
def test_gallery_is_readable(n_images, name, clf, digits):
    labels = [f"{digit}{name}" for digit in range(10)]
    predictions = clf.predict(digits[1])
    display = plot_mistakes(clf, *digits[1::2], n_images=n_images, display_labels=labels)
    display.figure_.draw_without_rendering()
    assert is_inside(display.figure_)
    titles = [ax.title for ax in display.axes_]
    assert are_apart(titles)
    for ax, other in permutations(display.axes_, 2):
        assert not ax.title.get_window_extent().overlaps(other.get_window_extent())
    # The true class and the predicted one, which differ, have names that do.
    for index, title in zip(display.indices, titles, strict=True):
        true, predicted = (labels[label] for label in (digits[3][index], predictions[index]))
        for line, label in zip(title.get_text().splitlines(), (true, predicted), strict=True):
            assert label[:12] in line


def test_gallery_reads_only_the_images_it_draws(clf, digits):
    _, X_test, _, y_test = digits

    class Recorder:
        def __init__(self):
            self.read = []

        def __len__(self):
            return len(X_test)

        def __getitem__(self, index):
            self.read.append(index)
            return X_test[index]

    X = Recorder()
    y_proba = clf.predict_proba(X_test)
    display = MistakesDisplay.from_predictions(X, y_test, y_proba, clf.classes_, n_images=4)
    assert set(X.read) == {0, *display.indices}  # the first one tells what X holds


@pytest.mark.parametrize("figure_in", ["figure", "subfigure"])
def test_gallery_in_given_figure(figure_in, clf, digits):
    figure = plt.figure()
    if figure_in == "subfigure":
        figure = figure.subfigures(1, 2)[1]
    display = plot_mistakes(clf, digits[1], digits[3], n_images=3, figure=figure)
    assert display.figure_ is figure
    assert all(ax in figure.axes for ax in display.axes_)


def test_no_mistakes(clf, digits):
    X_test = digits[1]
    display = plot_mistakes(clf, X_test, clf.predict(X_test))
    assert display.n_mistakes == 0
    (text,) = display.axes_[0].texts
    assert re.search(mentions(500), text.get_text())
    assert is_inside(display.figure_)


LAYOUTS = {
    "grey": (lambda X: X, (8, 8)),
    "one channel last": (lambda X: X[..., None], (8, 8)),
    "one channel first": (lambda X: X[:, None], (8, 8)),
    "RGB last": (lambda X: np.stack([X, X, X // 2], axis=-1), (8, 8, 3)),
    "RGB first": (lambda X: np.stack([X, X, X // 2], axis=1), (8, 8, 3)),
    "RGBA last": (lambda X: np.stack([X, X, X // 2, X + 239], axis=-1), (8, 8, 4)),
    "RGBA first": (lambda X: np.stack([X, X, X // 2, X + 239], axis=1), (8, 8, 4)),
    "flat": (flatten, (8, 8)),
    "flat in pandas": (lambda X: pd.DataFrame(flatten(X)), (8, 8)),
    "torch": (torch.as_tensor, (8, 8)),
    "torch RGB first": (lambda X: torch.as_tensor(np.stack([X, X, X], axis=1)), (8, 8, 3)),
    "list of arrays": (list, (8, 8)),
    "list of Pillow": (lambda X: [Image.fromarray(x) for x in X], (8, 8)),
    "Pillow RGB": (lambda X: [Image.fromarray(x).convert("RGB") for x in X], (8, 8, 3)),
    "Pillow palette": (lambda X: [Image.fromarray(x).convert("P") for x in X], (8, 8, 3)),
    "bool": (lambda X: X > 8, (8, 8)),
    "floats around 0": (lambda X: (X - 8.0) / 5, (8, 8)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gallery_of_any_images(layout, digits):
    convert, shape = LAYOUTS[layout]
    _, images, _, y_test = digits
    X = convert(images)
    y_proba = np.eye(10)[(y_test + 1) % 10]
    display = MistakesDisplay.from_predictions(X, y_test, y_proba, range(10), n_images=2)
    expected = images[1] // 2 if "RGB" in layout and "Pillow" not in layout else images[1]
    for ax, image in zip(display.axes_, display.images, strict=True):
        assert image.shape == shape
        shown = ax.images[0].get_array()
        assert shown.shape == shape
        low, high = ax.images[0].get_clim()
        assert low <= shown.min()
        assert shown.max() <= high
    if layout == "torch RGB first":
        expected = images[1]
    first_channel = display.images[1] if len(shape) == 2 else display.images[1][:, :, 0]
    if layout not in ("bool", "floats around 0"):
        assert_array_equal(first_channel, images[1])
    if len(shape) == 3:
        assert_array_equal(display.images[1][:, :, 2], expected)


@pytest.mark.parametrize("scale", [1.0, 255.0, 1000.0, -3.0])
@pytest.mark.parametrize("n_channels", [3, 4])
def test_colour_floats_of_any_range_are_shown_unclipped(scale, n_channels):
    rng = np.random.default_rng(0)
    X = rng.random((4, 6, 6, n_channels)) * scale
    display = MistakesDisplay.from_predictions(X, [0] * 4, [[0.0, 1.0]] * 4, [0, 1])
    shown = np.stack([ax.images[0].get_array() for ax in display.axes_])
    rgb = X[..., :3]
    assert shown.min() >= 0
    assert shown.max() <= 1
    low, high = min(0, rgb.min()), rgb.max()
    assert_allclose(shown[..., :3], (rgb - low) / (high - low))
    if n_channels == 4:
        alpha = {1.0: X[..., 3], 255.0: X[..., 3] / 255}.get(scale, np.ones(X.shape[:3]))
        assert_allclose(shown[..., 3], alpha)


def test_grey_floats_share_one_scale():
    X = np.stack([np.full((2, 2), 3.0), np.full((2, 2), 16.0)])
    display = MistakesDisplay.from_predictions(X, [0, 0], [[0, 1], [0, 1]], [0, 1])
    assert [ax.images[0].get_clim() for ax in display.axes_] == [(0, 16), (0, 16)]


def test_flat_rows_take_the_shape_of_the_classifier():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = rng.integers(0, 256, (40, 4, 9, 3))  # 108 values: a 6 x 6 RGB square as well
    last, first = flatten(images), flatten(np.moveaxis(images, 3, 1))
    cases = [
        (FakeCNN(image_shape=(4, 9, 3)), last),
        (FakeCNN(image_shape=(3, 4, 9)), first),
        (make_pipeline(StandardScaler(), FakeCNN(image_shape=(3, 4, 9))), first),
    ]
    for estimator, X in cases:
        estimator.fit(X, y)
        gallery = plot_mistakes(estimator, X, 1 - estimator.predict(X), n_images=3)
        for index, image in zip(gallery.indices, gallery.images, strict=True):
            assert_array_equal(image, images[index])
        report = evaluate(estimator, X, 1 - estimator.predict(X))
        assert_array_equal(report.mistakes[5].image, images[report.mistakes[5].index])

    clf = FakeCNN().fit(images, y)
    assert clf.image_shape_ == (3, 4, 9)  # from images: rows are channels-last
    gallery = plot_mistakes(clf, last, 1 - clf.predict(last), n_images=1)
    assert_array_equal(gallery.images[0], images[gallery.indices[0]])
    gallery = plot_mistakes(clf, last, 1 - clf.predict(last), n_images=1, image_shape=(12, 9))
    assert gallery.images[0].shape == (12, 9)


def test_rows_that_are_no_images(clf, digits):
    rows = np.zeros((6, 7))
    y_proba = np.eye(10)[:6]
    with pytest.raises(ValueError, match=mentions("'X'", 7, "image_shape")):
        MistakesDisplay.from_predictions(rows, np.arange(6), y_proba, range(10))
    with pytest.raises(ValueError, match=mentions("'X'", (2, 2), 7)):
        MistakesDisplay.from_predictions(rows, np.arange(6), y_proba, range(10), image_shape=(2, 2))
    with pytest.raises(ValueError, match=mentions("'X'", 1, 3, 4, (5, 5, 2))):
        MistakesDisplay.from_predictions(np.zeros((6, 5, 5, 2)), np.arange(6), y_proba, range(10))
    # A report needs no images.
    model = DummyClassifier().fit(rows, [0, 0, 0, 0, 1, 1])
    with pytest.warns(UndefinedMetricWarning):
        report = evaluate(model, rows, [0, 0, 0, 0, 1, 1])
    assert report.mistakes[0].image.shape == (7,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_images", 0),
        ("n_images", 2.5),
        ("order", "random"),
        ("image_shape", 8),
        ("image_shape", (8,)),
        ("image_shape", (8, -8)),
    ],
)
def test_wrong_gallery_parameters(name, value, clf, digits):
    kwargs = {name: value}
    with pytest.raises(ValueError, match=names(name, value)):
        plot_mistakes(clf, digits[1], digits[3], **kwargs)
    y_proba = np.full((500, 10), 0.1)
    with pytest.raises(ValueError, match=names(name, value)):
        MistakesDisplay.from_predictions(digits[1], digits[3], y_proba, range(10), **kwargs)


def test_wrong_n_columns(clf, digits):
    display = plot_mistakes(clf, digits[1], digits[3], n_images=2)
    with pytest.raises(ValueError, match=names("n_columns", 0)):
        display.plot(n_columns=0)


# --- report ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", ["int", "str"])
def test_report_is_that_of_sklearn(weighted, labels, digits):
    X_train, X_test, y_train, y_test = digits
    if labels == "str":
        y_train, y_test = np.array(NAMES)[y_train], np.array(NAMES)[y_test]
    clf = FakeCNN().fit(X_train, y_train)
    y_pred = clf.predict(X_test)
    weight = np.linspace(0.5, 2, len(y_test)) if weighted else None
    report = evaluate(clf, X_test, y_test, sample_weight=weight)

    assert report.accuracy == pytest.approx(accuracy_score(y_test, y_pred, sample_weight=weight))
    expected = precision_recall_fscore_support(y_test, y_pred, sample_weight=weight)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert_allclose(getattr(report, name), values)
    assert_allclose(report.confusion_matrix, confusion_matrix(y_test, y_pred, sample_weight=weight))
    assert_array_equal(report.classes, clf.classes_)
    assert report.target_names == [str(label) for label in clf.classes_]


def test_report_holds_every_mistake(clf, digits):
    _, X_test, _, y_test = digits
    y_proba = clf.predict_proba(X_test)
    y_pred = y_proba.argmax(axis=1)
    report = evaluate(clf, X_test, y_test)
    assert {mistake.index for mistake in report.mistakes} == set(np.flatnonzero(y_pred != y_test))
    probabilities = [mistake.probability for mistake in report.mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    for mistake in report.mistakes:
        assert mistake.true_label == y_test[mistake.index]
        assert mistake.predicted_label == y_pred[mistake.index]
        assert_array_equal(mistake.probabilities, y_proba[mistake.index])
        assert mistake.probability == y_proba[mistake.index].max()
        assert_array_equal(mistake.image, X_test[mistake.index])
        assert not np.shares_memory(mistake.image, X_test)


def test_report_predicts_once(digits):
    clf = FakeCNN().fit(digits[0], digits[2])
    evaluate(clf, digits[1], digits[3])
    assert clf.n_calls_ == 1
    plot_mistakes(clf, digits[1], digits[3], n_images=1)
    assert clf.n_calls_ == 2


def test_report_as_frames(clf, digits):
    report = evaluate(clf, digits[1], digits[3], target_names=NAMES)
    frame = report.to_frame()
    assert list(frame.columns) == ["precision", "recall", "f1", "support"]
    assert list(frame.index) == NAMES
    assert_array_equal(frame["recall"], report.recall)

    frame = report.mistakes_to_frame()
    first = report.mistakes[0]
    assert frame.index[0] == first.index
    assert list(frame.columns[:3]) == ["true_label", "predicted_label", "probability"]
    assert list(frame.columns[3:]) == [f"probability_{name}" for name in NAMES]
    assert frame.iloc[0, 0] == first.true_label
    assert_array_equal(frame.iloc[0, 3:], first.probabilities)


def test_report_without_mistakes(clf, digits):
    report = evaluate(clf, digits[1], clf.predict(digits[1]))
    assert report.accuracy == 1
    assert report.mistakes == []
    assert report.mistakes_to_frame().shape == (0, 13)
    assert re.search(mentions(0, 500, "1.0000"), str(report).splitlines()[-1])


def test_mistakes_in_files_are_told_by_their_paths(clf, digits, tmp_path):
    paths = [str(path) for path in write_pngs(tmp_path, digits[1][:40].astype(np.uint8))]
    wrong = np.roll(clf.classes_, 1)[np.searchsorted(clf.classes_, clf.predict(digits[1][:40]))]
    X = ImageFiles(paths)[::-1]
    report = evaluate(clf, X, wrong[::-1])
    assert [mistake.path for mistake in report.mistakes] == [
        paths[::-1][mistake.index] for mistake in report.mistakes
    ]
    frame = report.mistakes_to_frame()
    assert list(frame.columns[:2]) == ["path", "true_label"]
    assert frame["path"].iloc[0] == report.mistakes[0].path

    gallery = plot_mistakes(clf, X, wrong[::-1], n_images=3)
    assert gallery.paths == [mistake.path for mistake in report.mistakes[:3]]
    for ax, path in zip(gallery.axes_, gallery.paths, strict=True):
        assert ax.get_title().split("\n")[0] == Path(path).name


def test_names_of_files_that_are_no_text_can_be_drawn():
    names = [b"caf\xe9.png".decode("utf-8", "surrogateescape"), "a" * 60 + ".png"]
    display = MistakesDisplay(
        [np.zeros((4, 4), dtype=np.uint8)] * 2,
        true_labels=["cat"] * 2,
        predicted_labels=["dog"] * 2,
        probabilities=np.ones(2),
        indices=np.arange(2),
        n_mistakes=2,
        n_samples=2,
        paths=names,
    ).plot()
    display.figure_.draw_without_rendering()
    first, second = (ax.get_title().split("\n")[0] for ax in display.axes_)
    assert first == "caf\N{REPLACEMENT CHARACTER}.png"
    assert len(second) < 60


def test_report_names_pandas_where_it_is_missing(monkeypatch, clf, digits):
    report = evaluate(clf, digits[1], digits[3])
    monkeypatch.setitem(sys.modules, "pandas", None)
    for method in (report.to_frame, report.mistakes_to_frame):
        with pytest.raises(ImportError, match=mentions(method.__name__, "pandas")):
            method()


def test_printed_report_has_the_numbers_of_sklearn(clf, digits):
    report = evaluate(clf, digits[1], digits[3], target_names=NAMES)
    expected = classification_report(digits[3], clf.predict(digits[1]), target_names=NAMES)
    words = [line.split() for line in str(report).splitlines()]
    assert words[:-2] == [line.replace("f1-score", "f1").split() for line in expected.splitlines()]
    n_mistakes = len(report.mistakes)
    assert repr(report) == (
        f"EvaluationReport(accuracy={report.accuracy:.4f}, n_samples=500, "
        f"n_mistakes={n_mistakes}, n_classes=10)"
    )


def test_html_report(clf, digits):
    names = ["<b>&zero", *NAMES[1:]]
    html = evaluate(clf, digits[1], digits[3], target_names=names)._repr_html_()
    assert "<th>&lt;b&gt;&amp;zero</th>" in html
    assert html.count("<tr>") == 1 + 10 + 3


def test_wrong_sample_weight(clf, digits):
    for call in (evaluate, plot_confusion_matrix):
        with pytest.raises(ValueError, match=mentions("'sample_weight'", (500,), (499,))):
            call(clf, digits[1], digits[3], sample_weight=np.ones(499))


def test_report_is_built_by_keyword():
    report = EvaluationReport(
        confusion_matrix=np.array([[1, 0], [1, 2]]),
        accuracy=0.75,
        precision=np.array([0.5, 1.0]),
        recall=np.array([1.0, 2 / 3]),
        f1=np.array([2 / 3, 0.8]),
        support=np.array([1, 3]),
        classes=np.array(["a", "b"]),
        target_names=["a", "b"],
        mistakes=[],
        n_samples=4,
    )
    assert " ".join(str(report).splitlines()[-3].split()) == "weighted avg 0.88 0.75 0.77 4"


# Learning-rate range test -----------------------------------------------------------------------


QUICK = {"min_lr": 1e-4, "max_lr": 1.0, "n_steps": 120}  # a range test of LeNet


def range_test(fallen_at=0.03, fall=1.5, noise=0.0, seed=0):
    """Rates and losses: ln 10, a straight fall over two decades, a low of one, and a rise."""
    lrs = np.geomspace(1e-5, 10, 300)
    decades = np.log10(lrs / fallen_at)
    start, end = np.log(10), np.log(10) - fall
    losses = np.interp(decades, [-1.9, 0.1, 1.1, 2.1], [start, end, end, start + fall])
    return lrs, losses + noise * np.random.default_rng(seed).normal(size=len(lrs))


def test_a_third_of_the_rate_at_which_the_loss_has_fallen_is_recommended():
    lrs, losses = range_test(fallen_at=0.03)
    display = LearningRateDisplay(lrs, losses)
    assert_allclose(display.fallen_lr, 0.03, rtol=0.2)
    assert display.lr == float(f"{display.fallen_lr / 3:.0e}")
    moved = LearningRateDisplay(lrs / 100, losses)
    assert_allclose(moved.lr, display.lr / 100)
    curves = {
        "in another unit": (lrs, 7 * losses),
        "exploding": (lrs, np.where(lrs > 0.3, 9.0, losses)),
        "ending early": (lrs[lrs < 0.3], losses[lrs < 0.3]),
        "low up to the end": (lrs, np.minimum.accumulate(losses)),
    }
    for name, curve in curves.items():
        assert_allclose(LearningRateDisplay(*curve).lr, display.lr, rtol=0.15, err_msg=name)


def test_noise_leaves_the_recommended_rate_well_below_those_at_which_the_loss_rises():
    for seed in range(20):
        lr = LearningRateDisplay(*range_test(fallen_at=0.03, noise=0.2, seed=seed)).lr
        assert 0.004 <= lr <= 0.13  # a third of the last rate of the low


@pytest.mark.parametrize("noise", [0, 0.01, 0.3])
def test_no_rate_is_recommended_where_the_loss_does_not_fall(noise):
    for seed in range(10):
        with pytest.raises(ValueError, match=mentions("'losses'", "min_lr", "n_steps", "max_lr")):
            LearningRateDisplay(*range_test(fall=0, noise=noise, seed=seed))
    lrs = np.geomspace(1e-5, 10, 300)
    with pytest.raises(ValueError, match=mentions("'losses'", "min_lr")):
        LearningRateDisplay(lrs, 2 + lrs)
    with pytest.raises(ValueError, match=names("losses", 9)):
        LearningRateDisplay(lrs[:9], lrs[:9])


@pytest.mark.parametrize(
    ("params", "remedy"),
    [
        ({"fallen_at": 20}, "Raise max_lr."),
        ({"fallen_at": 1.3e-5}, "Lower min_lr."),
        ({"fall": 0.1}, "Raise n_steps."),
    ],
)
def test_an_uncertain_rate_is_told_with_the_remedy(params, remedy):
    with pytest.warns(LearningRateRangeWarning, match=remedy) as caught:
        display = LearningRateDisplay(*range_test(**params))
    assert f"lr = {display.lr:g} " in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.learning
@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "adam", "batch_size": 32},
        {"optimizer": "adamw", "batch_size": 128, "norm": "batch"},  # learns them by heart
        {"optimizer": "sgd", "batch_size": 32, "norm": "batch"},
    ],
    ids=lambda params: "-".join(map(str, params.values())),
)
def test_find_lr_finds_a_rate_that_trains(params, clothes, seed, check_learned):
    X, y = clothes
    clf = LeNetClassifier(**params, lr=1.0, max_epochs=10, random_state=seed)
    before = repr(clf.get_params())
    display = find_lr(clf, X, y, **QUICK)
    assert repr(clf.get_params()) == before
    assert not hasattr(clf, "net_")
    clf.set_params(early_stopping=False)
    found = clone(clf).set_params(lr=display.lr).fit(X, y).score(X, y)
    timid = clone(clf).set_params(lr=display.lr / 100).fit(X, y).score(X, y)
    check_learned(found, max(0.5, timid + 0.1))


def test_find_lr_draws_what_it_found(clothes):
    X, y = clothes
    display = find_lr(LeNetClassifier(batch_size=32, random_state=0), X, y, **QUICK)
    assert len(display.lrs) == len(display.losses) == len(display.smoothed_losses) <= 120
    assert_allclose(np.diff(np.log(display.lrs)), np.log(1e4) / 119)
    assert display.ax_.get_xscale() == "log"
    *_, fallen, recommended = display.ax_.get_legend().get_texts()
    assert f"lr = {display.fallen_lr:.2g}" in fallen.get_text()
    assert f"lr = {display.lr:g}" in recommended.get_text()


def test_find_lr_is_repeatable_and_ends_where_the_loss_explodes(clothes):
    X, y = clothes
    clf = LeNetClassifier(norm="batch", batch_size=32, random_state=0)
    a, b = (find_lr(clf, X, y, **{**QUICK, "max_lr": 1e6}) for _ in range(2))
    assert_array_equal(a.losses, b.losses)
    assert len(a.losses) < 120
    assert a.losses[-1] == 4 * a.losses[0]


@pytest.mark.parametrize("name", ["memory", "checkpoint_dir"])
def test_find_lr_does_not_resume_an_earlier_test(name, clothes, tmp_path):
    clf = LeNetClassifier(batch_size=32, random_state=0).set_params(**{name: tmp_path})
    a, b = (find_lr(clf, *clothes, **QUICK) for _ in range(2))
    assert_array_equal(a.losses, b.losses)
    assert not list(tmp_path.iterdir())


def test_find_lr_leaves_a_fitted_estimator_and_its_callbacks_alone(clothes):
    X, y = clothes
    callback = EpochTimer()
    clf = LeNetClassifier(batch_size=32, max_epochs=1, callbacks=[callback], random_state=0).fit(
        X, y
    )
    proba, seen = clf.predict_proba(X).tobytes(), dict(vars(callback))
    find_lr(clf, X, y, **QUICK, ax=plt.figure().add_subplot())
    assert clf.predict_proba(X).tobytes() == proba
    assert vars(callback) == seen


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_lr": 0}, mentions("'min_lr'", "'max_lr'", 0, 10.0)),
        ({"min_lr": 1, "max_lr": 1}, mentions("'min_lr'", "'max_lr'", 1)),
        ({"n_steps": 9}, names("n_steps", 9)),
        ({"min_lr": 1e9, "max_lr": 1e12}, names("min_lr", 1e9)),
        ({"max_lr": 1e-4, "n_steps": 20}, mentions("max_lr", "n_steps")),  # nothing is learned
    ],
)
def test_find_lr_refuses_what_makes_no_sense(params, message, clothes):
    with pytest.raises(ValueError, match=message):
        find_lr(LeNetClassifier(optimizer="sgd", batch_size=32), *clothes, **params)


def test_find_lr_needs_a_classifier_of_skcnn(clothes):
    with pytest.raises(TypeError, match=mentions("'estimator'", "find_lr", "SVC")):
        find_lr(SVC(), *clothes)
