"""Learning-rate range test: the loss while the rate rises, batch by batch."""

import contextlib

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.base import clone

from skcnn.exceptions import LearningRateRangeWarning, warn_caller

SMOOTHING = 5  # steps: standard deviation of the window in which losses are averaged
# Chosen, and tried on other networks and optimizers, in examples/benchmarks/find_lr.py. Not the
# rate of the lowest loss: a network that knows its images by heart has a low one at any rate.
FALLEN = 0.95  # share of the fall
SAFETY = 3
MIN_STEPS = 2 * SMOOTHING
MIN_FALL = 0.1  # of the loss, as a share of the first, for a rate that is not uncertain
MIN_FALL_OVER_NOISE = 3


class LearningRateDisplay:
    """Loss over the learning rate, and the rate to train at: a third of that where it has fallen.

    Made by :func:`find_lr`. All parameters are stored as attributes.

    Parameters
    ----------
    lrs : array-like of shape (n_steps,)
        Learning rate of each training step, rising.

    losses : array-like of shape (n_steps,)
        Loss of each step, finite.

    Attributes
    ----------
    smoothed_losses : ndarray of shape (n_steps,)
        Averages of each loss and its neighbours, with normal weights of 5 steps standard deviation.

    lr : float
        Recommended rate: a third of `fallen_lr`, to one significant digit.

    fallen_lr : float
        Lowest rate at which the smoothed loss has made 95 % of its fall from the first value to
        the lowest one.

    ax_ : matplotlib Axes
        Where the curve is drawn.

    figure_ : matplotlib Figure
        The figure that holds it.

    Raises
    ------
    ValueError
        If the losses are too few, or fall at no rate by more than their noise.

    Warns
    -----
    LearningRateRangeWarning
        If the loss still falls at the highest rate, or the recommended rate is below the lowest.

    See Also
    --------
    find_lr : Run the test.

    Examples
    --------
    >>> import numpy as np
    >>> from skcnn.inspection import LearningRateDisplay
    >>> lrs = np.geomspace(1e-5, 1, 50)
    >>> losses = np.abs(np.log10(lrs / 4e-2))  # lowest at 0.04
    >>> LearningRateDisplay(lrs, losses).plot().lr
    0.005
    """

    def __init__(self, lrs, losses):
        self.lrs = np.asarray(lrs, dtype=float)
        self.losses = np.asarray(losses, dtype=float)
        if len(self.losses) < MIN_STEPS:
            raise ValueError(
                "The 'losses' parameter of LearningRateDisplay must have at least "
                f"{MIN_STEPS} values; got {len(self.losses)} instead."
            )
        self.smoothed_losses = gaussian_filter1d(self.losses, SMOOTHING)
        self.lr = self._recommend()

    def _recommend(self):
        """Find the rate at which the loss has fallen, and return the one to train at."""
        lowest = int(np.argmin(self.smoothed_losses))
        start, end = self.smoothed_losses[[0, lowest]]
        # A median, which the first spikes of a loss that is about to explode leave alone.
        noise = np.median(np.abs(self.losses - self.smoothed_losses)[: lowest + 1])
        if start - end <= MIN_FALL_OVER_NOISE * noise:
            raise ValueError(
                "The 'losses' parameter of LearningRateDisplay must fall at some learning rate; "
                f"got losses that do not, from {start:.3g} to {end:.3g} at best, between "
                f"{self.lrs[0]:g} and {self.lrs[-1]:g} instead. If the loss rises from the start, "
                "lower min_lr of find_lr; otherwise raise n_steps, or max_lr."
            )
        has_fallen = self.smoothed_losses <= start - FALLEN * (start - end)
        self.fallen_lr = float(self.lrs[np.argmax(has_fallen)])
        lr = float(f"{self.fallen_lr / SAFETY:.0e}")
        if has_fallen[-1] and self.fallen_lr * SAFETY > self.lrs[-1]:
            what, remedy = "is still falling at the highest rate", "Raise max_lr."
        elif lr < self.lrs[0]:
            what, remedy = "falls near the lowest rate already", "Lower min_lr."
        elif start - end < MIN_FALL * start:
            what, remedy = f"falls from {start:.3g} to {end:.3g} only", "Raise n_steps."
        else:
            return lr
        warn_caller(
            f"lr = {lr:g} is uncertain: in the range test, the loss {what}. {remedy}",
            LearningRateRangeWarning,
        )
        return lr

    def plot(self, *, ax=None):
        """Draw the losses and the rate that was found.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: in a new figure.

        Returns
        -------
        display : LearningRateDisplay
            The display itself.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        ax.plot(self.lrs, self.losses, color="C0", alpha=0.3, label="loss of the batch")
        ax.plot(self.lrs, self.smoothed_losses, color="C0", label="smoothed")
        loss = self.smoothed_losses[np.searchsorted(self.lrs, self.fallen_lr)]
        label = f"{FALLEN:.0%} of the fall: lr = {self.fallen_lr:.2g}"
        ax.plot(self.fallen_lr, loss, "o", color="C1", label=label)
        label = f"recommended, a third of it: lr = {self.lr:g}"
        ax.axvline(self.lr, color="C1", linestyle="--", label=label)
        ax.set(xscale="log", xlabel="learning rate", ylabel="training loss")
        # The explosion at the end would press the rest flat.
        bottom, top = self.losses.min(), self.smoothed_losses[0]
        margin = 0.1 + 0.2 * (top - bottom)
        ax.set_ylim(bottom - margin, top + margin)
        ax.grid(alpha=0.3)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def find_lr(estimator, X, y=None, *, min_lr=1e-5, max_lr=10.0, n_steps=300, ax=None):
    """Find a learning rate by raising it at every training step, and draw the losses.

    A clone is trained; the estimator itself is not changed. The test ends early when the loss
    explodes. The recommended rate is a third of the one at which the loss, averaged over
    neighbouring steps, has made 95 % of its fall.

    Parameters
    ----------
    estimator : estimator instance
        A classifier of skcnn, fitted or not. Its optimizer, batch size, augmentation and seed are
        used; its schedule and early stopping are not.

    X : array-like of shape (n, H, W), (n, H, W, C), (n, C, H, W) or (n, d)
        Images to train on, as for `fit`. A few thousand will do.

    y : array-like of shape (n,), default=None
        Labels. None where X is a torch ``Dataset`` of (image, label).

    min_lr, max_lr : float, default=1e-5, 10.0
        Rates of the first and the last step.

    n_steps : int, default=300
        Number of steps, at least 10; between them, the rate grows by the same factor. With fewer
        than 50 for each factor of 10, the rate may be too high before anything is learned.

    ax : matplotlib Axes, default=None
        Where to draw. None: in a new figure.

    Returns
    -------
    display : LearningRateDisplay
        Drawn; its ``lr`` is the recommended rate.

    Raises
    ------
    ValueError
        If the rates or the number of steps are not allowed, or the loss explodes at once or falls
        at no rate.

    TypeError
        If the estimator is not a classifier of skcnn.

    Warns
    -----
    LearningRateRangeWarning
        If the rate is uncertain: the loss hardly falls, or still falls at `max_lr`, or the
        recommended rate is below `min_lr`. The message has the remedy.

    References
    ----------
    L. Smith. "Cyclical learning rates for training neural networks". WACV 2017.

    Examples
    --------
    >>> from skcnn import LeNetClassifier
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> from skcnn.inspection import find_lr
    >>> X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> clf = LeNetClassifier(batch_size=32, random_state=0)
    >>> display = find_lr(clf, X[:1000], y[:1000])
    >>> grid = {"lr": [display.lr / 3, display.lr, display.lr * 3]}
    """
    from skcnn.callbacks import LearningRateRise

    if not hasattr(estimator, "lr_schedule") or not hasattr(estimator, "callbacks"):
        raise TypeError(
            "The 'estimator' parameter of find_lr must be a classifier of skcnn; got "
            f"{type(estimator).__name__} instead. Take the last step of a pipeline, and what the "
            "steps before it make of X."
        )
    if not 0 < min_lr < max_lr:
        raise ValueError(
            "The 'min_lr' and 'max_lr' parameters of find_lr must be positive, the second the "
            f"larger one; got {min_lr!r} and {max_lr!r} instead."
        )
    if n_steps < MIN_STEPS:
        raise ValueError(
            f"The 'n_steps' parameter of find_lr must be at least {MIN_STEPS}; got {n_steps!r} "
            "instead."
        )
    rise = LearningRateRise(np.geomspace(min_lr, max_lr, n_steps))
    trained = clone(estimator)
    trained.set_params(
        lr=min_lr,
        early_stopping=False,
        lr_schedule=None,
        max_epochs=n_steps,  # more than enough: an epoch has a step at least
        warm_start=False,
        data_parallel=False,  # each process finds the same for itself
        memory=None,  # nothing to resume: the losses are those of one run
        checkpoint_dir=None,
        callbacks=[*(trained.callbacks or ()), ("learning_rate_rise", rise)],
        verbose=0,
    )
    with contextlib.suppress(rise.Finished):
        trained.fit(X, y)
    if len(rise.losses_) < MIN_STEPS:
        raise ValueError(
            "The 'min_lr' parameter of find_lr must be a rate at which the network trains stably; "
            f"got {min_lr!r} instead: the loss exploded after {len(rise.losses_)} steps. Lower it."
        )
    lrs = rise.lrs[: len(rise.losses_)]
    return LearningRateDisplay(lrs, rise.losses_).plot(ax=ax)
