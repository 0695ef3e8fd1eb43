"""Figures of merit of a classifier, and every mistake it makes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from skcnn.inspection._arrays import count_samples
from skcnn.inspection._classifier import check_probabilities, find_classifier, predict_proba
from skcnn.inspection._images import as_image, fitted_image_shapes, paths_of, sample_readers
from skcnn.inspection._labels import check_labels, check_sample_weight, encode, name_labels
from skcnn.inspection._mistakes import find_mistakes

SCORES = ("precision", "recall", "f1")


@dataclass(frozen=True, eq=False)
class Mistake:
    """One mistaken image.

    Attributes
    ----------
    index : int
        Where the image stands in `X`.

    true_label, predicted_label : object
        The labels, of the type that `y` and `classes_` have.

    probability : float
        Probability of the predicted label.

    probabilities : ndarray of shape (n_classes,)
        Probabilities of all classes, in the order of `classes_`.

    path : str or None
        The file of the image, where `X` is :class:`~skcnn.ImageFiles`, or paths.

    image : ndarray of shape (H, W), (H, W, 3), (H, W, 4) or as in `X`
        A copy of the image, channels last; read only now where `X` is of files, for a report on
        many to stay small. Flat rows come in the image shape of the classifier if they have that
        length; samples that are no images come as they are.

    See Also
    --------
    EvaluationReport : Holds the mistakes.
    """

    index: int
    true_label: object
    predicted_label: object
    probability: float
    probabilities: np.ndarray = field(repr=False)
    path: str | None
    _read_image: Callable[[], np.ndarray] = field(repr=False)

    @property
    def image(self):
        """A copy of the image, or what its file holds now."""
        return self._read_image()


class EvaluationReport:
    """What :func:`evaluate` found out about a classifier.

    Printed, it is a table like that of :func:`sklearn.metrics.classification_report`.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_labels, n_labels)
        Counts, or sums of weights; rows are true and columns predicted labels.

    accuracy : float
        Share of images that are classified correctly.

    precision, recall, f1, support : ndarray of shape (n_labels,)
        Figures of each class; `support` is its number of images, or the sum of their weights.

    classes : ndarray of shape (n_labels,)
        The labels that rows and columns stand for: `classes_` of the classifier and, behind them,
        the labels of `y` that it never saw.

    target_names : list of str of length n_labels
        Their names.

    mistakes : list of Mistake
        Every mistake, most confident first.

    n_samples : int
        Number of images.

    See Also
    --------
    evaluate : Makes the report.
    """

    def __init__(
        self,
        *,
        confusion_matrix,
        accuracy,
        precision,
        recall,
        f1,
        support,
        classes,
        target_names,
        mistakes,
        n_samples,
    ):
        self.confusion_matrix = confusion_matrix
        self.accuracy = accuracy
        self.precision = precision
        self.recall = recall
        self.f1 = f1
        self.support = support
        self.classes = classes
        self.target_names = target_names
        self.mistakes = mistakes
        self.n_samples = n_samples

    def to_frame(self):
        """Return the figures of each class as a table.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_labels, 4)
            Columns `precision`, `recall`, `f1` and `support`; one row per class, by its name.

        Raises
        ------
        ImportError
            If pandas is not installed.

        See Also
        --------
        EvaluationReport.mistakes_to_frame : One row per mistake.
        """
        pd = _import_pandas("EvaluationReport.to_frame")
        columns = {name: getattr(self, name) for name in (*SCORES, "support")}
        return pd.DataFrame(columns, index=pd.Index(self.target_names, name="class"))

    def mistakes_to_frame(self):
        """Return every mistake as a row of a table, without its image.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_mistakes, 3 + n_classes), or one column more
            Columns `path` (only where `X` is of files), `true_label`, `predicted_label`,
            `probability` (of the predicted label) and `probability_<name>` for each class that the
            classifier knows, by its name; most confident first, indexed by the position in `X`.

        Raises
        ------
        ImportError
            If pandas is not installed.

        See Also
        --------
        EvaluationReport.to_frame : One row per class.
        """
        pd = _import_pandas("EvaluationReport.mistakes_to_frame")
        index = pd.Index([mistake.index for mistake in self.mistakes], dtype=int, name="index")
        labels = pd.DataFrame(
            {
                "true_label": [mistake.true_label for mistake in self.mistakes],
                "predicted_label": [mistake.predicted_label for mistake in self.mistakes],
                "probability": np.array([m.probability for m in self.mistakes], dtype=float),
            },
            index=index,
        )
        if any(mistake.path for mistake in self.mistakes):
            labels.insert(0, "path", [mistake.path for mistake in self.mistakes])
        n_classes = len(self.mistakes[0].probabilities) if self.mistakes else len(self.classes)
        probabilities = pd.DataFrame(
            np.reshape([mistake.probabilities for mistake in self.mistakes], (-1, n_classes)),
            index=index,
            columns=[f"probability_{name}" for name in self.target_names[:n_classes]],
        )
        return pd.concat([labels, probabilities], axis=1)

    def __repr__(self):
        return (
            f"{type(self).__name__}(accuracy={self.accuracy:.4f}, n_samples={self.n_samples}, "
            f"n_mistakes={len(self.mistakes)}, n_classes={len(self.classes)})"
        )

    def __str__(self):
        rows = [("", *SCORES, "support"), *self._rows()]
        width = max(len(name) for name, *_ in rows)
        lines = [f"{name:>{width}} " + " ".join(f"{c:>9}" for c in cells) for name, *cells in rows]
        lines.insert(-3, "")  # sets the averages apart from the classes
        lines.insert(1, "")
        return "\n".join([*lines, "", self._summary()])

    def _repr_html_(self):
        head = "".join(f"<th>{name}</th>" for name in ("", *SCORES, "support"))
        body = "".join(
            f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
            for name, *cells in self._rows()
        )
        return (
            f"<table><caption>{self._summary()}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def _rows(self):
        """Return the rows of the printed table: a name and four cells each, all str."""
        scores = np.column_stack([getattr(self, name) for name in SCORES])
        total = self.support.sum()
        rows = list(zip(self.target_names, scores, self.support, strict=True))
        rows.append(("macro avg", scores.mean(axis=0), total))
        rows.append(("weighted avg", self.support @ scores / total, total))
        cells = [
            (name, *(f"{score:.2f}" for score in of_row), _format_support(support))
            for name, of_row, support in rows
        ]
        accuracy = ("accuracy", "", "", f"{self.accuracy:.2f}", _format_support(total))
        return [*cells[:-2], accuracy, *cells[-2:]]

    def _summary(self):
        n_mistakes = len(self.mistakes)
        return (
            f"{n_mistakes:,} mistake{'s' if n_mistakes != 1 else ''} in {self.n_samples:,} "
            f"image{'s' if self.n_samples != 1 else ''}, accuracy {self.accuracy:.4f}"
        )


def evaluate(estimator, X, y, *, sample_weight=None, target_names=None):
    """Predict the classes of images and report how well that went, mistake by mistake.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier with `predict_proba`, a :class:`~sklearn.pipeline.Pipeline` that ends
        in one, or a fitted search over either, such as
        :class:`~sklearn.model_selection.GridSearchCV`.

    X : array-like of n_samples images
        In any form that the estimator takes.

    y : array-like of shape (n_samples,)
        True labels. Labels that the classifier never saw are mistakes, and a warning names them.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples in all figures. None: all alike.

    target_names : sequence of str of length n_classes, default=None
        Names of the classes, in the order of `classes_`. None: the labels themselves.

    Returns
    -------
    report : EvaluationReport
        Accuracy, figures of each class, confusion matrix and every mistake; print it for a table.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator does not end in a classifier with `predict_proba`.

    ValueError
        If `X` and `y` differ in length, or a parameter has a value that is not allowed.

    Warns
    -----
    UndefinedMetricWarning
        If a class has no images or is never predicted, as in scikit-learn: its recall or
        precision is then given as 0.

    See Also
    --------
    plot_confusion_matrix : The confusion matrix as a picture.
    plot_mistakes : The mistakes as pictures.
    sklearn.metrics.classification_report : The table alone, from predicted labels.

    Notes
    -----
    `predict_proba` runs once, and the predicted label is the most probable one. This is what the
    classifiers of skcnn predict; a few of scikit-learn's decide by something else, such as
    :class:`~sklearn.svm.SVC`, and may `predict` another label than is reported here.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcnn.inspection import evaluate
    >>> clf = GaussianNB().fit([[1], [2], [8], [9]], ["cat", "cat", "dog", "dog"])
    >>> report = evaluate(clf, [[1], [2], [9], [8]], ["cat", "cat", "dog", "cat"])
    >>> report
    EvaluationReport(accuracy=0.7500, n_samples=4, n_mistakes=1, n_classes=2)
    >>> report.confusion_matrix
    array([[2, 1],
           [0, 1]])
    >>> print(report)
                 precision    recall        f1   support
    <BLANKLINE>
             cat      1.00      0.67      0.80         3
             dog      0.50      1.00      0.67         1
    <BLANKLINE>
        accuracy                          0.75         4
       macro avg      0.75      0.83      0.73         4
    weighted avg      0.88      0.75      0.77         4
    <BLANKLINE>
    1 mistake in 4 images, accuracy 0.7500
    >>> report.mistakes[0].index
    3
    """
    owner = "evaluate"
    classifier = find_classifier(estimator, owner)
    classes = np.asarray(classifier.classes_)
    y = check_labels(y, owner, n_samples=count_samples(X))
    sample_weight = check_sample_weight(sample_weight, len(y), owner)
    true_positions, labels = encode(y, classes, warn_in=owner)
    names = name_labels(labels, len(classes), target_names, owner, parameter="target_names")
    y_proba = predict_proba(estimator, X, owner)
    y_proba = check_probabilities(y_proba, len(y), len(classes), owner)

    indices, pred_positions = find_mistakes(true_positions, y_proba, order="confident")
    positions = np.arange(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        true_positions, pred_positions, labels=positions, sample_weight=sample_weight
    )
    matrix = confusion_matrix(
        true_positions, pred_positions, labels=positions, sample_weight=sample_weight
    )
    shapes, paths = fitted_image_shapes(classifier), paths_of(X)
    mistakes = [
        Mistake(
            index=int(index),
            true_label=labels[true_positions[index]],
            predicted_label=labels[pred_positions[index]],
            probability=float(y_proba[index, pred_positions[index]]),
            probabilities=y_proba[index].copy(),
            path=None if paths is None else paths[index],
            _read_image=partial(_read_image, read_sample, shapes),
        )
        for index, read_sample in zip(indices, sample_readers(X, indices), strict=True)
    ]
    return EvaluationReport(
        confusion_matrix=matrix,
        accuracy=float(np.average(pred_positions == true_positions, weights=sample_weight)),
        precision=precision,
        recall=recall,
        f1=f1,
        support=support,
        classes=labels,
        target_names=names,
        mistakes=mistakes,
        n_samples=len(y),
    )


def _read_image(read_sample, shapes):
    sample = read_sample()
    try:
        return as_image(sample, shapes, "evaluate").copy()
    except ValueError:  # rows of a table, or images of many channels, are evaluated all the same
        return np.array(sample)


def _format_support(support):
    return f"{support:.0f}" if float(support).is_integer() else f"{support:.2f}"


def _import_pandas(owner):
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{owner} requires pandas, which is not installed. Remedy: pip install pandas"
        ) from error
    return pandas
