"""Confusion matrix as a heat map that makes the mistakes stand out."""

import numpy as np
from sklearn.metrics import confusion_matrix

from skcnn.inspection._arrays import count_samples
from skcnn.inspection._classifier import find_classifier
from skcnn.inspection._labels import check_labels, check_sample_weight, encode, name_labels, shorten

NORMALIZATIONS = (None, "true", "pred", "all")
UNITS = {
    "true": "share of true class",
    "pred": "share of prediction",
    "all": "share of all images",
}
CORRECT_COLORS = ["white", "#9ecae1", "#3182bd", "#08306b"]
MISTAKE_COLORS = ["white", "#fdbb84", "#ef6548", "#990000"]
POINTS_PER_INCH = 72
CHARACTER_WIDTH = 0.6  # of the font size, for digits in matplotlib's default font
DARK_TEXT, LIGHT_TEXT, ZERO_TEXT = "0.15", "white", "0.7"
MARGIN = 0.08  # inches around the figure's content
ROOM_FOR_TITLE = 0.35  # inches above it, for a title of the user's
SMALLEST_FONT = 5  # points; smaller numbers cannot be read


class ConfusionMatrixDisplay:
    """Confusion matrix drawn with seaborn: true classes in rows, predicted classes in columns.

    The diagonal, where classifier and truth agree, and the mistakes beside it have colours of
    their own, each with its own scale. With one common scale, the few mistakes of a good
    classifier would all be as pale as none.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to create a
    `ConfusionMatrixDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    confusion_matrix : ndarray of shape (n_labels, n_labels)
        Counts, sums of weights or shares; rows are true and columns predicted labels.

    display_labels : sequence of str of length n_labels, default=None
        Names of the labels. None: their positions, from 0.

    normalize : {None, "true", "pred", "all"}, default=None
        How the matrix was normalized, for the caption of the colours.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that hold the heat map.

    figure_ : matplotlib Figure
        The figure that holds them.

    correct_mesh_, mistakes_mesh_ : matplotlib QuadMesh
        The coloured cells on the diagonal and beside it.

    text_ : ndarray of shape (n_labels, n_labels), dtype=object, or None
        The matplotlib Text of each cell; None if numbers are not drawn.

    See Also
    --------
    plot_confusion_matrix : The same in one call.
    MistakesDisplay : The images behind the numbers.
    sklearn.metrics.ConfusionMatrixDisplay : One colour scale for all cells.

    Examples
    --------
    >>> from skcnn.inspection import ConfusionMatrixDisplay
    >>> y_true = ["cat", "cat", "dog", "dog"]
    >>> y_pred = ["cat", "dog", "dog", "dog"]
    >>> display = ConfusionMatrixDisplay.from_predictions(y_true, y_pred)
    >>> display.confusion_matrix
    array([[1, 1],
           [0, 2]])
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['cat', 'dog']
    """

    def __init__(self, confusion_matrix, *, display_labels=None, normalize=None):
        self.confusion_matrix = confusion_matrix
        self.display_labels = display_labels
        self.normalize = normalize

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        normalize=None,
        display_labels=None,
        sample_weight=None,
        ax=None,
        annotate="auto",
        colorbar=True,
    ):
        """Predict the classes of images and draw the confusion matrix.

        Parameters
        ----------
        estimator : estimator instance
            A fitted classifier, a :class:`~sklearn.pipeline.Pipeline` that ends in one, or a
            fitted search over either, such as :class:`~sklearn.model_selection.GridSearchCV`.

        X : array-like of n_samples images
            In any form that the estimator takes.

        y : array-like of shape (n_samples,)
            True labels. Labels that the classifier never saw get rows behind its classes, and a
            warning names them.

        normalize : {None, "true", "pred", "all"}, default=None
            None: counts. "true", "pred": shares of each row, of each column. "all": shares of all
            images.

        display_labels : sequence of str of length n_classes, default=None
            Names of the classes, in the order of `classes_`. None: the labels themselves.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights that are summed in place of counts.

        ax : matplotlib Axes, default=None
            Where to draw. None: in a new figure.

        annotate : bool or "auto", default="auto"
            Whether to write the number into each cell. "auto": if it can be read there.

        colorbar : bool, default=True
            Whether to draw the scales of the two colours.

        Returns
        -------
        display : ConfusionMatrixDisplay
            The display, drawn, with a row and a column for each of `classes_`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        TypeError
            If the estimator does not end in a classifier.

        ValueError
            If `X` and `y` differ in length, or a parameter has a value that is not allowed.

        See Also
        --------
        ConfusionMatrixDisplay.from_predictions : Draw predictions that you have at hand.
        """
        owner = f"{cls.__name__}.from_estimator"
        check_normalize(normalize, owner)
        classes = np.asarray(find_classifier(estimator, owner).classes_)
        y = check_labels(y, owner, n_samples=count_samples(X))
        _, labels = encode(y, classes, warn_in=owner)
        names = name_labels(labels, len(classes), display_labels, owner)
        sample_weight = check_sample_weight(sample_weight, len(y), owner)
        y_pred = estimator.predict(X)
        return cls.from_predictions(
            y,
            y_pred,
            labels=labels,
            normalize=normalize,
            display_labels=names,
            sample_weight=sample_weight,
            ax=ax,
            annotate=annotate,
            colorbar=colorbar,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        *,
        labels=None,
        normalize=None,
        display_labels=None,
        sample_weight=None,
        ax=None,
        annotate="auto",
        colorbar=True,
    ):
        """Draw the confusion matrix of predicted labels.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels.

        y_pred : array-like of shape (n_samples,)
            Predicted labels.

        labels : array-like of shape (n_labels,), default=None
            The order of rows and columns, for which the `classes_` of a classifier serve. Labels
            of `y_true` and `y_pred` that are not among them follow behind: none is left out.
            None: all labels, sorted.

        normalize : {None, "true", "pred", "all"}, default=None
            None: counts. "true", "pred": shares of each row, of each column. "all": shares of all
            images.

        display_labels : sequence of str of length n_labels, default=None
            Names of `labels`, in their order. None: the labels themselves.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights that are summed in place of counts.

        ax : matplotlib Axes, default=None
            Where to draw. None: in a new figure.

        annotate : bool or "auto", default="auto"
            Whether to write the number into each cell. "auto": if it can be read there.

        colorbar : bool, default=True
            Whether to draw the scales of the two colours.

        Returns
        -------
        display : ConfusionMatrixDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `y_true` and `y_pred` differ in length, or a parameter has a value that is not
            allowed.

        See Also
        --------
        ConfusionMatrixDisplay.from_estimator : Let a fitted classifier predict.
        """
        owner = f"{cls.__name__}.from_predictions"
        check_normalize(normalize, owner)
        y_true = check_labels(y_true, owner, parameter="y_true")
        y_pred = check_labels(y_pred, owner, parameter="y_pred", n_samples=len(y_true))
        sample_weight = check_sample_weight(sample_weight, len(y_true), owner)
        if labels is None:
            # Without known classes all labels are behind them, and are sorted together.
            both = np.concatenate([y_true, y_pred])
            _, labels = encode(both, both[:0])
        labels = np.asarray(labels)
        n_named = len(labels)
        true_positions, labels = encode(y_true, labels)
        pred_positions, labels = encode(y_pred, labels)
        names = name_labels(labels, n_named, display_labels, owner)
        matrix = confusion_matrix(
            true_positions,
            pred_positions,
            labels=np.arange(len(labels)),
            sample_weight=sample_weight,
            normalize=normalize,
        )
        display = cls(matrix, display_labels=names, normalize=normalize)
        return display.plot(ax=ax, annotate=annotate, colorbar=colorbar)

    def plot(self, *, ax=None, annotate="auto", colorbar=True):
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: in a new figure, which grows with the number of classes.

        annotate : bool or "auto", default="auto"
            Whether to write the number into each cell. "auto": if it can be read there.

        colorbar : bool, default=True
            Whether to draw the scales of the two colours.

        Returns
        -------
        display : ConfusionMatrixDisplay
            The display itself, with `ax_`, `figure_`, the two meshes and `text_`.

        Raises
        ------
        ValueError
            If `annotate` has a value that is not allowed.
        """
        import matplotlib.pyplot as plt
        import seaborn as sns
        from matplotlib.colors import LinearSegmentedColormap

        if not isinstance(annotate, (bool, np.bool_)) and annotate != "auto":
            raise ValueError(
                "The 'annotate' parameter of ConfusionMatrixDisplay.plot must be True, False or "
                f"'auto'; got {annotate!r} instead. Use 'auto' to write numbers where they fit."
            )
        matrix = np.asarray(self.confusion_matrix)
        n_labels = len(matrix)
        names = range(n_labels) if self.display_labels is None else self.display_labels
        names = [shorten(str(name)) for name in names]

        own_figure = ax is None
        if own_figure:
            side = n_labels * _cell_in_inches(n_labels)
            ax = plt.figure(figsize=(side, side)).add_axes([0, 0, 1, 1])
        else:
            extent = ax.get_window_extent()
            side = min(extent.width, extent.height) / ax.figure.dpi
        cell = side / n_labels * POINTS_PER_INCH

        values = [[_format(value) for value in row] for row in matrix]
        longest = max(len(value) for row in values for value in row)
        font_size = min(11, 0.5 * cell, 0.9 * cell / (CHARACTER_WIDTH * longest))
        if annotate == "auto":
            annotate = font_size >= SMALLEST_FONT

        n_texts_before = len(ax.texts)
        on_diagonal = np.eye(n_labels, dtype=bool)
        meshes = []
        text_colors = np.full(matrix.shape, ZERO_TEXT, dtype=object)
        for cells, colors in ((on_diagonal, CORRECT_COLORS), (~on_diagonal, MISTAKE_COLORS)):
            highest = matrix[cells].max(initial=0) or 1
            text_colors[cells & (matrix > 0)] = DARK_TEXT
            text_colors[cells & (matrix > 0.65 * highest)] = LIGHT_TEXT
            sns.heatmap(
                matrix,
                mask=~cells,
                cmap=LinearSegmentedColormap.from_list("from white", colors),
                vmin=0,
                vmax=highest,
                annot=np.array(values) if annotate else None,
                fmt="",
                annot_kws={"fontsize": font_size},
                linewidths=0.5 if cell >= 8 else 0,  # a grid finer than that would be a grey veil
                linecolor="0.9",
                square=True,
                cbar=False,
                xticklabels=False,
                yticklabels=False,
                ax=ax,
            )
            meshes.append(ax.collections[-1])
        self.correct_mesh_, self.mistakes_mesh_ = meshes
        self.ax_ = ax
        self.figure_ = ax.figure
        self.text_ = None
        if annotate:
            # seaborn writes the cells of each heat map row by row.
            texts = ax.texts[n_texts_before:]
            self.text_ = np.empty(matrix.shape, dtype=object)
            self.text_[on_diagonal] = texts[:n_labels]
            self.text_[~on_diagonal] = texts[n_labels:]
            # seaborn would write white on light orange.
            for text, color in zip(self.text_.flat, text_colors.flat, strict=True):
                text.set_color(color)
                text.set_in_layout(False)  # it is inside its cell: measuring it would take long

        self._label_axes(names, cell)
        if colorbar:
            self._draw_colorbars()
        if own_figure:
            _grow_around(ax, side)
        return self

    def _label_axes(self, names, cell):
        font_size = float(np.clip(0.7 * cell, 6, 10))
        step = int(np.ceil(1.2 * font_size / cell))  # of 200 classes, name as many as find room
        positions = np.arange(0, len(names), step) + 0.5
        names = names[::step]
        width = CHARACTER_WIDTH * font_size * max(map(len, names))
        if width <= 0.95 * cell * step:
            turned = {"rotation": 0}
        elif 2 * font_size <= cell * step:
            turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        else:
            turned = {"rotation": 90}
        kwargs = {"fontsize": font_size, "parse_math": False}  # a "$" in a name is a dollar
        self.ax_.set_xticks(positions, names, **turned, **kwargs)
        self.ax_.set_yticks(positions, names, rotation=0, **kwargs)
        self.ax_.tick_params(length=2)
        self.ax_.set(xlabel="predicted label", ylabel="true label")

    def _draw_colorbars(self):
        from matplotlib.ticker import MaxNLocator

        is_count = np.asarray(self.confusion_matrix).dtype.kind in "iu"
        unit = UNITS.get(self.normalize, "images" if is_count else "sum of weights")
        for mesh, name, bottom in (
            (self.correct_mesh_, "correct", 0.54),
            (self.mistakes_mesh_, "mistakes", 0.0),
        ):
            # Insets keep the scales as tall as the square matrix, whatever the figure's shape.
            scale = self.ax_.inset_axes([1.03, bottom, 0.03, 0.46])
            colorbar = self.figure_.colorbar(mesh, cax=scale)
            colorbar.outline.set_visible(False)
            colorbar.set_label(f"{name}\n({unit})", fontsize=8)
            colorbar.locator = MaxNLocator(nbins=4, integer=is_count, min_n_ticks=1)
            colorbar.ax.tick_params(labelsize=8, length=2)


def check_normalize(normalize, owner):
    """Raise a ValueError unless `normalize` is one of those that scikit-learn knows."""
    if not (normalize is None or (isinstance(normalize, str) and normalize in NORMALIZATIONS)):
        raise ValueError(
            f"The 'normalize' parameter of {owner} must be None, 'true', 'pred' or 'all'; got "
            f"{normalize!r} instead. Use 'true' for shares of each true class."
        )


def _cell_in_inches(n_labels):
    """Return the side of a cell: generous for few labels, in a figure that fits a page."""
    return min(1.1, max(5.5 / n_labels, 0.28), 9 / n_labels)


def _grow_around(ax, side):
    """Make room in the figure for the names around square axes of `side` inches.

    Names may be short or long: the layout engines of matplotlib would shrink the cells, and lose
    count of scales that are inset beside axes of fixed aspect.
    """
    figure = ax.figure
    box = figure.get_tightbbox()
    left, bottom = MARGIN - box.x0, MARGIN - box.y0
    width, height = box.width + 2 * MARGIN, box.height + MARGIN + ROOM_FOR_TITLE
    figure.set_size_inches(width, height)
    ax.set_position([left / width, bottom / height, side / width, side / height])


def _format(value):
    if isinstance(value, np.integer) or value == 0:
        return str(int(value))
    if value < 0.005:
        return "<.01"  # "0.00" would deny that there is something
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def plot_confusion_matrix(
    estimator,
    X,
    y,
    *,
    normalize=None,
    display_labels=None,
    sample_weight=None,
    ax=None,
    annotate="auto",
    colorbar=True,
):
    """Predict the classes of images and draw which are taken for which.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier, a :class:`~sklearn.pipeline.Pipeline` that ends in one, or a fitted
        search over either.

    X : array-like of n_samples images
        In any form that the estimator takes.

    y : array-like of shape (n_samples,)
        True labels. Labels that the classifier never saw get rows behind its classes, and a
        warning names them.

    normalize : {None, "true", "pred", "all"}, default=None
        None: counts. "true", "pred": shares of each row, of each column. "all": shares of all
        images.

    display_labels : sequence of str of length n_classes, default=None
        Names of the classes, in the order of `classes_`. None: the labels themselves.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights that are summed in place of counts.

    ax : matplotlib Axes, default=None
        Where to draw. None: in a new figure.

    annotate : bool or "auto", default="auto"
        Whether to write the number into each cell. "auto": if it can be read there.

    colorbar : bool, default=True
        Whether to draw the scales of the two colours.

    Returns
    -------
    display : ConfusionMatrixDisplay
        The display, drawn, with `ax_` and `figure_`.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator does not end in a classifier.

    ValueError
        If `X` and `y` differ in length, or a parameter has a value that is not allowed.

    See Also
    --------
    ConfusionMatrixDisplay : The object behind, which also draws predictions at hand.
    evaluate : The numbers, class by class.
    plot_mistakes : The images behind the mistakes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcnn.inspection import plot_confusion_matrix
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = GaussianNB().fit(X[:1000], y[:1000])
    >>> display = plot_confusion_matrix(clf, X[1000:], y[1000:])
    >>> display.confusion_matrix.shape
    (10, 10)
    """
    return ConfusionMatrixDisplay.from_estimator(
        estimator,
        X,
        y,
        normalize=normalize,
        display_labels=display_labels,
        sample_weight=sample_weight,
        ax=ax,
        annotate=annotate,
        colorbar=colorbar,
    )
