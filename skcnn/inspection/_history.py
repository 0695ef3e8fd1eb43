"""Learning curves: loss and accuracy of every epoch."""

import numpy as np

from skcnn.inspection._classifier import find_classifier

REQUIRED_KEYS = ("epoch", "train_loss", "train_acc")
MOST_MARKERS = 30  # epochs beyond which markers would merge into a thick line


class HistoryDisplay:
    """Loss and accuracy over the epochs of a fit.

    It is recommended to use :meth:`from_estimator` or :meth:`from_history` to create a
    `HistoryDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    history : list of dict
        One dict per epoch, with `epoch` (int, counted from 1), `train_loss`, `train_acc` and,
        where a validation was made, `valid_loss` and `valid_acc`. Other keys are not looked at.

    best_epoch : int, default=None
        The epoch to mark. None: no mark.

    Attributes
    ----------
    axes_ : ndarray of shape (2,)
        The matplotlib Axes of the loss and of the accuracy.

    figure_ : matplotlib Figure
        The figure that holds them.

    lines_ : dict of matplotlib Line2D
        The curves: `train_loss`, `train_acc` and, where drawn, `valid_loss`, `valid_acc`.

    best_epoch_lines_ : list of matplotlib Line2D
        The vertical lines at the best epoch, one per panel; empty without `best_epoch`.

    See Also
    --------
    plot_history : The same in one call.
    sklearn.model_selection.LearningCurveDisplay : Scores over the number of samples.

    Examples
    --------
    >>> from skcnn.inspection import HistoryDisplay
    >>> history = [
    ...     {"epoch": 1, "train_loss": 0.9, "train_acc": 0.7, "valid_loss": 0.8, "valid_acc": 0.7},
    ...     {"epoch": 2, "train_loss": 0.4, "train_acc": 0.9, "valid_loss": 0.5, "valid_acc": 0.8},
    ... ]
    >>> display = HistoryDisplay.from_history(history, best_epoch=2)
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['cross-entropy loss', 'accuracy']
    >>> sorted(display.lines_)
    ['train_acc', 'train_loss', 'valid_acc', 'valid_loss']
    """

    def __init__(self, history, *, best_epoch=None):
        self.history = history
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the learning curves of a fitted classifier.

        Parameters
        ----------
        estimator : estimator instance
            A fitted classifier of skcnn, a :class:`~sklearn.pipeline.Pipeline` that ends in one,
            or a fitted search over either, such as
            :class:`~sklearn.model_selection.GridSearchCV`, whose best estimator is drawn.

        ax : sequence of two matplotlib Axes, default=None
            Where to draw loss and accuracy. None: in a new figure.

        Returns
        -------
        display : HistoryDisplay
            The display, drawn. The best epoch is marked if a validation was made.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        TypeError
            If the estimator does not end in a classifier that keeps a `history_`.

        See Also
        --------
        HistoryDisplay.from_history : Draw a history that you have at hand.
        """
        owner = f"{cls.__name__}.from_estimator"
        classifier = find_classifier(estimator, owner)
        if not hasattr(classifier, "history_"):
            raise TypeError(
                f"The 'estimator' parameter of {owner} must end in a classifier that keeps a "
                f"'history_' of its epochs; got {type(classifier).__name__}, which has none, "
                "instead. Pass a classifier of skcnn."
            )
        history = classifier.history_
        # Without validation the last epoch is kept, not the best one: there is nothing to mark.
        validated = any("valid_acc" in epoch for epoch in history)
        best_epoch = getattr(classifier, "best_epoch_", None) if validated else None
        return cls.from_history(history, best_epoch=best_epoch, ax=ax)

    @classmethod
    def from_history(cls, history, best_epoch=None, *, ax=None):
        """Draw the learning curves of a history.

        Parameters
        ----------
        history : list of dict
            One dict per epoch, as `history_` of the classifiers holds them: `epoch`,
            `train_loss`, `train_acc` and, where a validation was made, `valid_loss` and
            `valid_acc`.

        best_epoch : int, default=None
            The epoch to mark, one of those in `history`. None: no mark.

        ax : sequence of two matplotlib Axes, default=None
            Where to draw loss and accuracy. None: in a new figure.

        Returns
        -------
        display : HistoryDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the history is empty or lacks a key, or `best_epoch` is not in it.

        See Also
        --------
        HistoryDisplay.from_estimator : Draw the history of a fitted classifier.
        """
        owner = f"{cls.__name__}.from_history"
        history = list(history)
        if not history:
            raise ValueError(
                f"The 'history' parameter of {owner} must hold at least one epoch; got none "
                "instead. Fit with max_epochs=1 or more."
            )
        missing = [key for key in REQUIRED_KEYS if any(key not in epoch for epoch in history)]
        if missing:
            raise ValueError(
                f"The 'history' parameter of {owner} must hold {', '.join(REQUIRED_KEYS)} for "
                f"every epoch; got epochs without {', '.join(missing)} instead. "
                "Pass the 'history_' of a classifier of skcnn."
            )
        epochs = [epoch["epoch"] for epoch in history]
        if best_epoch is not None and best_epoch not in epochs:
            raise ValueError(
                f"The 'best_epoch' parameter of {owner} must be None or an epoch from "
                f"{min(epochs)} to {max(epochs)}; got {best_epoch!r} instead. "
                "Epochs are counted from 1."
            )
        return cls(history, best_epoch=best_epoch).plot(ax=ax)

    def plot(self, *, ax=None):
        """Draw loss and accuracy side by side.

        Parameters
        ----------
        ax : sequence of two matplotlib Axes, default=None
            Where to draw loss and accuracy. None: in a new figure.

        Returns
        -------
        display : HistoryDisplay
            The display itself, with `axes_`, `figure_`, `lines_` and `best_epoch_lines_`.

        Raises
        ------
        ValueError
            If `ax` is not a pair of Axes.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
        axes = np.array(ax, dtype=object)
        if axes.shape != (2,):
            raise ValueError(
                "The 'ax' parameter of HistoryDisplay.plot must be None or a sequence of two "
                f"Axes, for loss and accuracy; got {ax!r} instead. "
                "Make a pair with plt.subplots(1, 2)."
            )
        self.axes_ = axes
        self.figure_ = axes[0].figure
        self.lines_ = {}
        self.best_epoch_lines_ = []
        self._plot_panel(axes[0], "loss", "cross-entropy loss")
        self._plot_panel(axes[1], "acc", "accuracy")
        return self

    def _plot_panel(self, ax, quantity, ylabel):
        from matplotlib.ticker import MaxNLocator

        epochs = [epoch["epoch"] for epoch in self.history]
        marker = "o" if len(epochs) <= MOST_MARKERS else None
        for part, name, color in (("train", "training", "C0"), ("valid", "validation", "C1")):
            key = f"{part}_{quantity}"
            if not any(key in epoch for epoch in self.history):
                continue
            values = [epoch.get(key, np.nan) for epoch in self.history]
            (self.lines_[key],) = ax.plot(
                epochs, values, color=color, marker=marker, markersize=4, label=name
            )
        if self.best_epoch is not None:
            line = ax.axvline(
                self.best_epoch,
                color="0.4",
                linestyle="--",
                linewidth=1,
                zorder=1,
                label=f"best epoch: {self.best_epoch}",
            )
            self.best_epoch_lines_.append(line)
        # Half an epoch of room on both sides shows a single epoch, and its number, in the middle.
        ax.set(xlabel="epoch", ylabel=ylabel, xlim=(min(epochs) - 0.5, max(epochs) + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(alpha=0.3)
        ax.legend()


def plot_history(estimator, *, ax=None):
    """Draw loss and accuracy of training and validation over the epochs of a fit.

    The best epoch, whose weights the classifier kept, is marked if a validation was made.

    Parameters
    ----------
    estimator : estimator instance
        A fitted classifier of skcnn, a :class:`~sklearn.pipeline.Pipeline` that ends in one, or a
        fitted search over either, whose best estimator is drawn.

    ax : sequence of two matplotlib Axes, default=None
        Where to draw loss and accuracy. None: in a new figure.

    Returns
    -------
    display : HistoryDisplay
        The display, drawn, with `axes_` and `figure_`.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If the estimator does not end in a classifier that keeps a `history_`.

    See Also
    --------
    HistoryDisplay : The object behind, which also draws histories without an estimator.
    plot_confusion_matrix : Which classes are taken for which.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from skcnn.inspection import plot_history
    >>> clf = DummyClassifier().fit([[0], [1]], ["cat", "dog"])
    >>> clf.history_ = [{"epoch": 1, "train_loss": 0.7, "train_acc": 0.5}]  # as skcnn keeps it
    >>> display = plot_history(clf)
    >>> display.axes_[0].get_xlabel()
    'epoch'
    """
    return HistoryDisplay.from_estimator(estimator, ax=ax)
