"""skorch callbacks for training an image classifier."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler

from skcnn.exceptions import SeveralSchedulesWarning, warn_caller
from skcnn.training.history import record_with_best
from skcnn.training.optimizers import is_of_any_length, schedule_settings

# Share of an annealed schedule before epochs without improvement count: until the rate has come
# down, accuracy may stand still and rise later (examples/benchmarks/early_stopping.py).
_ANNEALED = 2 / 3

# What callbacks of skorch keep of a fit for the fit alone: an optimizer, a second copy of the
# weights, a time.
_ONLY_WHILE_TRAINING = ("lr_scheduler_", "best_model_weights_", "epoch_start_time_")


class EpochAccuracy(Callback):
    """Record ``train_acc`` and ``valid_acc`` in the history, from the passes that training makes.

    The training accuracy is that of the batches as they were trained on: augmented, with dropout,
    while the network changes. Where rows have weights, they count with them. Sums stay on the
    device until the epoch ends.
    """

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Start counting."""
        self.sums_ = {"train_acc": [0, 0], "valid_acc": [0, 0]}

    def on_batch_end(
        self, net: NeuralNet, batch: tuple, training: bool, y_pred: torch.Tensor, **kwargs: Any
    ) -> None:
        """Add the weights of the correct predictions of a batch, and of all."""
        targets = torch.as_tensor(batch[1], device=y_pred.device)
        correct = y_pred.detach().argmax(1) == targets
        weights = getattr(batch, "weights", None)
        sums = self.sums_["train_acc" if training else "valid_acc"]
        if weights is None:
            sums[0] = sums[0] + correct.sum()
            sums[1] += len(targets)
        else:
            weights = weights.to(y_pred.device)
            sums[0] = sums[0] + (correct * weights).sum()
            sums[1] = sums[1] + weights.sum()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Record the accuracies."""
        for name, (correct, total) in self.sums_.items():
            if total:
                accuracy = float(correct) / float(total)
                record_with_best(net.history, name, accuracy, lower_is_better=False)
        del self.sums_


class AccuracyEarlyStopping(EarlyStopping):
    """Stop when the validation accuracy no longer improves, and restore the best epoch's weights.

    Of two epochs with the same accuracy, which few validation images make frequent, the one with
    the lower loss is better. The weights are kept in memory.

    Parameters
    ----------
    patience : int, default=6
        Epochs without improvement before training stops.
    first_epoch : int, default=1
        Epoch, from 1, from which those without improvement count.
    **kwargs
        Other parameters of :class:`skorch.callbacks.EarlyStopping`, for cloning.
    """

    def __init__(self, patience: int = 6, first_epoch: int = 1, **kwargs: Any):
        # skorch's callbacks name all their attributes as parameters, and clone() passes them.
        fixed = {"monitor": "valid_acc", "lower_is_better": False, "load_best": True}
        super().__init__(patience=patience, **{**kwargs, **fixed})
        self.first_epoch = first_epoch

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget earlier fits."""
        super().on_train_begin(net, **kwargs)
        self.best_score_ = (-math.inf, -math.inf)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Keep the weights of a better epoch; interrupt, as skorch does, when there is none."""
        if "valid_acc" not in net.history[-1]:
            raise ValueError(
                "The 'early_stopping' parameter needs a validation split; got a net without one "
                "instead. Give the net a train_split, or early_stopping=False."
            )
        score = (net.history[-1, "valid_acc"], -net.history[-1, "valid_loss"])
        if score > self.best_score_:
            self.best_score_, self.misses_ = score, 0
            self.best_epoch_ = net.history[-1, "epoch"]
            self.best_model_weights_ = copy.deepcopy(net.module_.state_dict())
            return
        self.misses_ += len(net.history) >= self.first_epoch
        if self.misses_ == self.patience:
            raise KeyboardInterrupt


class FitProgressBar(Callback):
    """One progress bar for the whole fit: batches done, epoch, losses and accuracies so far."""

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Wait for the first epoch, which tells how many batches there are."""
        self.bar_ = None

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any) -> None:
        """Open the bar, or show the new epoch on it."""
        if self.bar_ is None:
            from tqdm.auto import tqdm

            n_batches = len(net.get_iterator(dataset_train, training=True))
            self.bar_ = tqdm(
                total=net.max_epochs * n_batches,
                initial=(len(net.history) - 1) * n_batches,  # of a fit that is resumed
                unit="batch",
                dynamic_ncols=True,
            )
        self.bar_.set_description(f"epoch {len(net.history)}/{net.max_epochs}")

    def on_batch_end(self, net: NeuralNet, training: bool, **kwargs: Any) -> None:
        """Move on by a training batch."""
        if training:
            self.bar_.update()

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Show the epoch's results."""
        names = ("train_loss", "train_acc", "valid_loss", "valid_acc")
        epoch = net.history[-1]
        self.bar_.set_postfix({name: f"{epoch[name]:.3f}" for name in names if name in epoch})

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar_ is not None:  # a fit that was kept has no epoch left
            self.bar_.close()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a fit that is resumed opens a bar of its own."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing over."""

    def __getstate__(self) -> dict[str, Any]:
        """State without the bar, which holds an open stream."""
        return {**self.__dict__, "bar_": None}


class LearningRateRise(Callback):
    """Set the learning rate of every training step, and end the fit after the last of them.

    The fit ends by `LearningRateRise.Finished`, also when the loss explodes: is not finite, or is
    `explosion` times that of the first step, which is then recorded in its place.

    Parameters
    ----------
    lrs : array-like of shape (n_steps,)
        Rate of each step.
    explosion : float, default=4
        How many times the first loss ends the fit.

    Attributes
    ----------
    losses_ : list of float
        Loss of each step so far.
    """

    class Finished(Exception):
        """There is nothing left to measure."""

    def __init__(self, lrs: Sequence[float], explosion: float = 4):
        self.lrs = lrs
        self.explosion = explosion

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget earlier losses."""
        self.losses_: list[float] = []

    def on_batch_begin(self, net: NeuralNet, training: bool, **kwargs: Any) -> None:
        """Set the rate of the step."""
        if training:
            for group in net.optimizer_.param_groups:
                group["lr"] = float(self.lrs[len(self.losses_)])

    def on_batch_end(
        self, net: NeuralNet, training: bool, loss: torch.Tensor, **kwargs: Any
    ) -> None:
        """Record the loss; end when it explodes, and after the last rate."""
        if not training:
            return
        value = float(loss)
        highest = self.explosion * self.losses_[0] if self.losses_ else math.inf
        is_exploded = not value < highest  # NaN is not
        self.losses_.append(highest if is_exploded else value)
        if is_exploded or len(self.losses_) == len(self.lrs):
            raise self.Finished


def check_single_schedule(net: NeuralNet) -> None:
    """Look for schedulers of other callbacks beside that of `lr_schedule`.

    Warns
    -----
    SeveralSchedulesWarning
        If there is one: the rates are multiplied.
    """
    ours = getattr(dict(net.callbacks_).get("lr_schedule"), "lr_scheduler_", None)
    for name, callback in net.callbacks_ if ours is not None else ():
        for value in vars(callback).values():
            if isinstance(value, TorchScheduler) and value is not ours:
                warn_caller(
                    f"The callback {name!r} has a schedule of its own, {type(value).__name__}, by "
                    f"which the rates of lr_schedule, {type(ours).__name__}, are multiplied. Set "
                    "lr_schedule=None for the callback's alone.",
                    SeveralSchedulesWarning,
                )


def training_callbacks(
    *,
    max_epochs: int,
    early_stopping: bool = True,
    patience: int = 6,
    lr_schedule: str | Callable | None = "cosine",
    lr: float | None = None,
    steps_per_epoch: int | None = None,
    progress_bar: bool = False,
) -> list[tuple[str, Callback]]:
    """Callbacks with which the estimators of skcnn train, for any skorch net.

    Parameters
    ----------
    max_epochs : int
        Length of the learning-rate schedule, in epochs. Give the net the same.
    early_stopping : bool, default=True
        Stop when the validation accuracy, or the loss at the same accuracy, has not improved for
        `patience` epochs, and restore the weights of the best epoch. Under a schedule that depends
        on `max_epochs`, as "cosine" and "one_cycle" do, only the epochs of its last third count,
        when the rate has come down. The net needs a validation split.
    patience : int, default=6
        Only used when `early_stopping` is True.
    lr_schedule : {"cosine", "one_cycle"}, torch scheduler class or None, default="cosine"
        "cosine": annealed to 0, once an epoch (Loshchilov and Hutter 2017). "one_cycle": up to
        `lr` and down again, once a batch (Smith and Topin 2019). Anything that makes a scheduler
        from an optimizer is stepped once an epoch. None: constant.
    lr : float, optional
        Peak learning rate; only used when `lr_schedule` is "one_cycle".
    steps_per_epoch : int, optional
        Batches an epoch; only used when `lr_schedule` is "one_cycle".
    progress_bar : bool, default=False
        Show one bar for the whole fit.

    Returns
    -------
    callbacks : list of (str, skorch.callbacks.Callback)
        For the `callbacks` parameter of a net.

    Raises
    ------
    ValueError
        If "one_cycle" is asked for without `lr` or `steps_per_epoch`.

    References
    ----------
    I. Loshchilov, F. Hutter. "SGDR: Stochastic gradient descent with warm restarts". ICLR 2017.

    L. Smith, N. Topin. "Super-convergence: Very fast training of neural networks using large
    learning rates". 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from skcnn.callbacks import training_callbacks
    >>> net = NeuralNetClassifier(
    ...     nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
    ...     criterion=nn.CrossEntropyLoss,
    ...     max_epochs=3,
    ...     verbose=0,
    ...     callbacks=training_callbacks(max_epochs=3),
    ... )
    >>> X = np.zeros((20, 8, 8), dtype=np.float32)
    >>> net = net.fit(X, np.arange(20) % 2)
    >>> net.history[-1, "train_acc"]
    0.5
    """
    callbacks: list[tuple[str, Callback]] = [("accuracy", EpochAccuracy())]
    if lr_schedule is not None:
        settings = schedule_settings(
            lr_schedule, lr=lr, max_epochs=max_epochs, steps_per_epoch=steps_per_epoch
        )
        monitor = "valid_loss" if early_stopping else "train_loss"
        schedule = LRScheduler(monitor=monitor, event_name=None, **settings)
        callbacks.append(("lr_schedule", schedule))
    if early_stopping:
        n_before = 0 if is_of_any_length(lr_schedule) else math.floor(_ANNEALED * max_epochs)
        callbacks.append(("early_stopping", AccuracyEarlyStopping(patience, 1 + n_before)))
    if progress_bar:
        callbacks.append(("progress_bar", FitProgressBar()))
    return callbacks


def release_training_state(net: NeuralNet) -> None:
    """Let the callbacks of a net, after training, go of what nothing but training needs."""
    for _, callback in net.callbacks_:
        for name in _ONLY_WHILE_TRAINING:
            vars(callback).pop(name, None)
