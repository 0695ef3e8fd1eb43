"""Gallery of the images that a classifier gets wrong."""

import math
import numbers
import os

import numpy as np

from skcnn.inspection._arrays import count_samples
from skcnn.inspection._classifier import check_probabilities, find_classifier, predict_proba
from skcnn.inspection._images import (
    as_image,
    as_rgb,
    check_image_shape,
    colour_values,
    fitted_image_shapes,
    grey_limits,
    paths_of,
    square_shapes,
    take_samples,
)
from skcnn.inspection._labels import check_labels, encode, name_labels, shorten

ORDERS = ("confident", "dataset")
FONT_SIZE = 8  # points, of the titles
MOST_COLUMNS = 10


def find_mistakes(true_positions, y_proba, order):
    """Return where the most probable class is not the true one.

    Parameters
    ----------
    true_positions : ndarray of shape (n_samples,), dtype=int
        Column of `y_proba` that each sample belongs to; higher for labels it has no column for.

    y_proba : ndarray of shape (n_samples, n_classes)
        Class probabilities.

    order : {"confident", "dataset"}
        "confident": by falling probability of the predicted class; equals as in the data.

    Returns
    -------
    indices : ndarray of shape (n_mistakes,), dtype=int
        The mistaken samples, in that order.

    pred_positions : ndarray of shape (n_samples,), dtype=int
        The most probable class of every sample.
    """
    pred_positions = y_proba.argmax(axis=1)
    indices = np.flatnonzero(pred_positions != true_positions)
    if order == "confident":
        confidence = y_proba[indices, pred_positions[indices]]
        indices = indices[np.argsort(-confidence, kind="stable")]
    return indices, pred_positions


class MistakesDisplay:
    """Gallery of mistakes: images with true label, predicted label and its probability.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to create a
    `MistakesDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    images : sequence of n_images ndarrays of shape (H, W), (H, W, 3) or (H, W, 4)
        The mistaken images to draw; their sizes may differ.

    true_labels : sequence of str of length n_images
        Names of the true classes.

    predicted_labels : sequence of str of length n_images
        Names of the predicted classes.

    probabilities : ndarray of shape (n_images,)
        Probabilities of the predicted classes.

    indices : ndarray of shape (n_images,), dtype=int
        Where the images stand in the data.

    n_mistakes : int
        Number of mistakes in the data, drawn or not.

    n_samples : int
        Number of images in the data.

    order : {"confident", "dataset"}, default="confident"
        The order that the images are in, for the heading.

    paths : sequence of str of length n_images, default=None
        The files of the images, whose names are drawn. None: they have none.

    Attributes
    ----------
    axes_ : ndarray of shape (n_images,)
        The matplotlib Axes, one per image; a single one if there are no mistakes.

    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    plot_mistakes : The same in one call.
    evaluate : All mistakes as data.
    ConfusionMatrixDisplay : Which classes are taken for which, in numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.inspection import MistakesDisplay
    >>> X = np.zeros((3, 8, 8), dtype=np.uint8)
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]
    >>> display = MistakesDisplay.from_predictions(
    ...     X, ["cat", "cat", "cat"], y_proba, classes=["cat", "dog"]
    ... )
    >>> display.indices
    array([1, 2])
    >>> print(display.axes_[0].get_title())
    true: cat
    predicted: dog, 80%
    """

    def __init__(
        self,
        images,
        *,
        true_labels,
        predicted_labels,
        probabilities,
        indices,
        n_mistakes,
        n_samples,
        order="confident",
        paths=None,
    ):
        self.images = images
        self.true_labels = true_labels
        self.predicted_labels = predicted_labels
        self.probabilities = probabilities
        self.indices = indices
        self.n_mistakes = n_mistakes
        self.n_samples = n_samples
        self.order = order
        self.paths = paths

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        n_images=25,
        order="confident",
        display_labels=None,
        image_shape=None,
        figure=None,
    ):
        """Predict the classes of images and draw those that are mistaken.

        Parameters
        ----------
        estimator : estimator instance
            A fitted classifier with `predict_proba`, a :class:`~sklearn.pipeline.Pipeline` that
            ends in one, or a fitted search over either, such as
            :class:`~sklearn.model_selection.GridSearchCV`. The predicted label is the most
            probable one.

        X : array-like of n_samples images
            In any form that the estimator takes. Images are drawn as they are here, whatever the
            steps of a pipeline make of them.

        y : array-like of shape (n_samples,)
            True labels. Labels that the classifier never saw are mistakes, and a warning names
            them.

        n_images : int, default=25
            The most images to draw.

        order : {"confident", "dataset"}, default="confident"
            "confident": the most probable mistakes first. "dataset": in the order of `X`.

        display_labels : sequence of str of length n_classes, default=None
            Names of the classes, in the order of `classes_`. None: the labels themselves.

        image_shape : tuple of int, default=None
            (H, W), (H, W, C) or (C, H, W) of the images behind flat rows; only used when `X` is
            flat. None: as the classifier was told or found out (`image_shape_`) if rows have that
            length, else square images, grey or RGB.

        figure : matplotlib Figure or SubFigure, default=None
            Where to draw. None: in a new figure.

        Returns
        -------
        display : MistakesDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        TypeError
            If the estimator does not end in a classifier with `predict_proba`.

        ValueError
            If `X` holds no images or differs from `y` in length, or a parameter has a value that
            is not allowed.

        See Also
        --------
        MistakesDisplay.from_predictions : Draw predictions that you have at hand.
        """
        owner = f"{cls.__name__}.from_estimator"
        _check_gallery(n_images, order, owner)
        check_image_shape(image_shape, owner)
        classifier = find_classifier(estimator, owner)
        classes = np.asarray(classifier.classes_)
        y = check_labels(y, owner, n_samples=count_samples(X))
        true_positions, labels = encode(y, classes, warn_in=owner)
        names = name_labels(labels, len(classes), display_labels, owner)
        shapes = _row_shapes(X, image_shape, fitted_image_shapes(classifier), owner)
        y_proba = predict_proba(estimator, X, owner)
        y_proba = check_probabilities(y_proba, len(y), len(classes), owner)
        display = cls._gather(X, true_positions, y_proba, names, shapes, n_images, order, owner)
        return display.plot(figure=figure)

    @classmethod
    def from_predictions(
        cls,
        X,
        y_true,
        y_proba,
        classes,
        *,
        n_images=25,
        order="confident",
        display_labels=None,
        image_shape=None,
        figure=None,
    ):
        """Draw the images whose most probable class is not the true one.

        Parameters
        ----------
        X : array-like of n_samples images
            (n, H, W), (n, H, W, C), (n, C, H, W) or flat rows (n, d), of any numeric type; or a
            list of arrays or Pillow images. Where both axes could hold the channels, the last
            does.

        y_true : array-like of shape (n_samples,)
            True labels. Labels that are not in `classes` are mistakes.

        y_proba : array-like of shape (n_samples, n_classes)
            Class probabilities, as `predict_proba` returns them.

        classes : array-like of shape (n_classes,)
            The labels that the columns of `y_proba` stand for, as in `classes_`.

        n_images : int, default=25
            The most images to draw.

        order : {"confident", "dataset"}, default="confident"
            "confident": the most probable mistakes first. "dataset": in the order of `X`.

        display_labels : sequence of str of length n_classes, default=None
            Names of `classes`, in their order. None: the labels themselves.

        image_shape : tuple of int, default=None
            (H, W), (H, W, C) or (C, H, W) of the images behind flat rows; only used when `X` is
            flat. None: square images, grey or RGB.

        figure : matplotlib Figure or SubFigure, default=None
            Where to draw. None: in a new figure.

        Returns
        -------
        display : MistakesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `X` holds no images, the inputs differ in length, or a parameter has a value that
            is not allowed.

        See Also
        --------
        MistakesDisplay.from_estimator : Let a fitted classifier predict.
        """
        owner = f"{cls.__name__}.from_predictions"
        _check_gallery(n_images, order, owner)
        check_image_shape(image_shape, owner)
        classes = check_labels(classes, owner, parameter="classes")
        y_true = check_labels(y_true, owner, parameter="y_true", n_samples=count_samples(X))
        y_proba = check_probabilities(y_proba, len(y_true), len(classes), owner)
        true_positions, labels = encode(y_true, classes)
        names = name_labels(labels, len(classes), display_labels, owner)
        shapes = _row_shapes(X, image_shape, [], owner)
        display = cls._gather(X, true_positions, y_proba, names, shapes, n_images, order, owner)
        return display.plot(figure=figure)

    @classmethod
    def _gather(cls, X, true_positions, y_proba, names, shapes, n_images, order, owner):
        mistakes, pred_positions = find_mistakes(true_positions, y_proba, order)
        indices = mistakes[:n_images]
        paths = paths_of(X)
        return cls(
            [as_image(sample, shapes, owner) for sample in take_samples(X, indices)],
            true_labels=[names[position] for position in true_positions[indices]],
            predicted_labels=[names[position] for position in pred_positions[indices]],
            probabilities=y_proba[indices, pred_positions[indices]],
            indices=indices,
            n_mistakes=len(mistakes),
            n_samples=len(y_proba),
            order=order,
            paths=None if paths is None else [paths[index] for index in indices],
        )

    def plot(self, *, n_columns=None, figure=None):
        """Draw the gallery.

        Parameters
        ----------
        n_columns : int, default=None
            Images per row. None: as many as rows, and no more than 10.

        figure : matplotlib Figure or SubFigure, default=None
            Where to draw. None: in a new figure.

        Returns
        -------
        display : MistakesDisplay
            The display itself, with `axes_` and `figure_`.

        Raises
        ------
        ValueError
            If `n_columns` is not positive.
        """
        import matplotlib.pyplot as plt

        n_images = len(self.images)
        if n_columns is None:
            n_columns = min(MOST_COLUMNS, math.ceil(math.sqrt(n_images)))
        elif not isinstance(n_columns, numbers.Integral) or n_columns < 1:
            raise ValueError(
                "The 'n_columns' parameter of MistakesDisplay.plot must be None or an int of at "
                f"least 1; got {n_columns!r} instead. Leave it out for a square gallery."
            )
        if n_images == 0:
            return self._say_that_there_are_none(figure)

        titles = self._titles()
        n_columns = min(n_columns, n_images)
        n_rows = math.ceil(n_images / n_columns)
        if figure is None:
            longest = max(len(line) for title in titles for line in title.split("\n"))
            column = max(1.5, (longest + 2) * 0.6 * FONT_SIZE / 72)
            width = max(n_columns * column, 4.5)  # room for the heading
            row = 1.8 if self.paths is None else 1.95
            figure = plt.figure(figsize=(width, n_rows * row + 0.4), layout="constrained")
            figure.get_layout_engine().set(h_pad=0.08)  # a title is closer to its own image

        limits = grey_limits([colour_values(image) for image in self.images])
        self.figure_ = figure
        self.axes_ = np.empty(n_images, dtype=object)
        for position, (image, title) in enumerate(zip(self.images, titles, strict=True)):
            ax = self.axes_[position] = figure.add_subplot(n_rows, n_columns, position + 1)
            if image.ndim == 2:
                ax.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1])
            else:
                ax.imshow(as_rgb(image, limits))
            ax.set_title(title, fontsize=FONT_SIZE, parse_math=False)
            ax.set(xticks=[], yticks=[])
        figure.suptitle(self._heading(), fontsize=11)
        return self

    def _titles(self):
        names = [""] * len(self.images)
        if self.paths is not None:
            # Bytes that are no UTF-8 would not be drawn.
            names = [os.fsencode(os.path.basename(path)) for path in self.paths]
            names = [f"{shorten(name.decode(errors='replace'))}\n" for name in names]
        labels = zip(self.true_labels, self.predicted_labels, self.probabilities, strict=True)
        return [
            f"{name}true: {shorten(true)}\npredicted: {shorten(predicted)}, {probability:.0%}"
            for name, (true, predicted, probability) in zip(names, labels, strict=True)
        ]

    def _heading(self):
        shown, total = len(self.images), self.n_mistakes
        of_images = f"in {self.n_samples:,} image{'s' if self.n_samples != 1 else ''}"
        if shown < total:
            kind = "most confident" if self.order == "confident" else "first"
            which = f"The {shown:,} {kind}" if shown > 1 else f"The {kind}"
            return f"{which} of {total:,} mistakes {of_images}"
        if total == 1:
            return f"The one mistake {of_images}"
        ending = ", most confident first" if self.order == "confident" else ""
        return f"All {total:,} mistakes {of_images}{ending}"

    def _say_that_there_are_none(self, figure):
        import matplotlib.pyplot as plt

        if figure is None:
            figure = plt.figure(figsize=(4.5, 1.5), layout="constrained")
        ax = figure.add_subplot()
        ax.set_axis_off()
        images = "the one image" if self.n_samples == 1 else f"all {self.n_samples:,} images"
        text = f"No mistakes: {images} classified correctly"
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
        self.figure_ = figure
        self.axes_ = np.array([ax], dtype=object)
        return self


def _check_gallery(n_images, order, owner):
    if not isinstance(n_images, numbers.Integral) or isinstance(n_images, bool) or n_images < 1:
        raise ValueError(
            f"The 'n_images' parameter of {owner} must be an int of at least 1; got {n_images!r} "
            "instead. Give the most images to draw, such as 25."
        )
    if order not in ORDERS:
        raise ValueError(
            f"The 'order' parameter of {owner} must be 'confident' or 'dataset'; got {order!r} "
            "instead. Use 'confident' to see the worst mistakes first."
        )


def _row_shapes(X, image_shape, fitted_shapes, owner):
    """Return the shapes that flat rows of `X` may have, the first that fits to be taken.

    If `X` holds no images, this says so: before the network predicts, and mistakes or not.
    """
    (first,) = take_samples(X, [0])
    if image_shape is not None:
        shapes = [tuple(image_shape)]
    else:
        shapes = fitted_shapes + square_shapes(first.size)
    as_image(first, shapes, owner)
    return shapes


def plot_mistakes(
    estimator,
    X,
    y,
    *,
    n_images=25,
    order="confident",
    display_labels=None,
    image_shape=None,
    figure=None,
):
    """Predict the classes of images and draw those that are mistaken.

    Each image is titled with its true label, the predicted label and the probability of the
    latter; above them stands the name of its file, if `X` is of files.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier with `predict_proba`, a :class:`~sklearn.pipeline.Pipeline` that ends
        in one, or a fitted search over either. The predicted label is the most probable one.

    X : array-like of n_samples images
        In any form that the estimator takes. Images are drawn as they are here, whatever the
        steps of a pipeline make of them.

    y : array-like of shape (n_samples,)
        True labels. Labels that the classifier never saw are mistakes, and a warning names them.

    n_images : int, default=25
        The most images to draw.

    order : {"confident", "dataset"}, default="confident"
        "confident": the most probable mistakes first. "dataset": in the order of `X`.

    display_labels : sequence of str of length n_classes, default=None
        Names of the classes, in the order of `classes_`. None: the labels themselves.

    image_shape : tuple of int, default=None
        (H, W), (H, W, C) or (C, H, W) of the images behind flat rows; only used when `X` is flat.
        None: as the classifier was told or found out (`image_shape_`) if rows have that length,
        else square images, grey or RGB.

    figure : matplotlib Figure or SubFigure, default=None
        Where to draw. None: in a new figure.

    Returns
    -------
    display : MistakesDisplay
        The display, drawn, with `axes_` and `figure_`. Without mistakes, the figure says so.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator does not end in a classifier with `predict_proba`.

    ValueError
        If `X` holds no images or differs from `y` in length, or a parameter has a value that is
        not allowed.

    See Also
    --------
    MistakesDisplay : The object behind, which also draws predictions at hand.
    evaluate : All mistakes as data.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skcnn.inspection import plot_mistakes
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = GaussianNB().fit(X[:1000], y[:1000])
    >>> display = plot_mistakes(clf, X[1000:], y[1000:], n_images=4)
    >>> display.images[0].shape
    (8, 8)
    """
    return MistakesDisplay.from_estimator(
        estimator,
        X,
        y,
        n_images=n_images,
        order=order,
        display_labels=display_labels,
        image_shape=image_shape,
        figure=figure,
    )
