"""Warnings and errors that have a name, so that they can be caught, filtered or turned fatal."""

import os
import sys
import warnings

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "AdaptedWeightsWarning",
    "AmbiguousImageShapeWarning",
    "AnimatedImageWarning",
    "ChanceLevelWarning",
    "DivergenceError",
    "DuplicateFilesWarning",
    "ImageFileError",
    "LearningRateRangeWarning",
    "MicroBatchWarning",
    "ModelFileError",
    "ModelVersionWarning",
    "NoValidationWarning",
    "PrecisionError",
    "SeveralSchedulesWarning",
    "SlowPrecisionWarning",
    "StillImprovingWarning",
    "UnsavedParameterWarning",
    "UnsavedStateWarning",
    "UnusedEntryWarning",
    "ValueRangeWarning",
]

_NAMED_FILES = 5  # that a message lists


class AdaptedWeightsWarning(UserWarning):
    """Trained weights were changed, or left out in part, to fit the channels and classes."""


class AmbiguousImageShapeWarning(UserWarning):
    """The shape of the images was guessed: of flat rows, or which axis is that of the channels."""


class AnimatedImageWarning(UserWarning):
    """Files have several frames, or pages; the first was taken."""


class ChanceLevelWarning(ConvergenceWarning):
    """The fitted network is no more accurate than always predicting the most frequent class."""


class DuplicateFilesWarning(UserWarning):
    """The same image is in two classes, or in what trains and in what tests."""


class LearningRateRangeWarning(UserWarning):
    """The range test of `find_lr` did not show clearly at which learning rate to train."""


class ValueRangeWarning(UserWarning):
    """Pixels are on another scale than those that ``fit`` saw first."""


class MicroBatchWarning(UserWarning):
    """The device has no memory for a whole batch, which is trained on in parts."""


class NoValidationWarning(UserWarning):
    """Some classes have too few images to set one aside for early stopping."""


class SeveralSchedulesWarning(UserWarning):
    """A callback changes the learning rate by a schedule, and so does `lr_schedule`."""


class SlowPrecisionWarning(UserWarning):
    """The device has no arithmetic of the precision that was asked for, and imitates it."""


class StillImprovingWarning(ConvergenceWarning):
    """Accuracy was still rising when `max_epochs` ended the fit."""


class UnusedEntryWarning(UserWarning):
    """A fit in ``memory`` or ``checkpoint_dir`` is damaged, of another version, or no beginning."""


class UnsavedStateWarning(UserWarning):
    """What a callback keeps between epochs is no plain data: a fit that resumes starts without."""


class UnsavedParameterWarning(UserWarning):
    """The file of a saved classifier has no place for a parameter: it comes back as its default."""


class ModelVersionWarning(UserWarning):
    """A classifier was saved with other versions of packages than those that load it."""


class DivergenceError(FloatingPointError):
    """A loss, or the weights, became NaN or infinite.

    Attributes
    ----------
    epoch, batch : int
        Where it was first seen, from 1; the batch is that of training or of validation.
    lr : float
        Learning rate there.
    n_good_epochs : int
        Epochs of this fit before it, after the last of which the classifier is left. 0: it is as it
        was before the fit.
    """

    def __init__(self, what: str, epoch: int, batch: int, lr: float, n_good_epochs: int = 0):
        super().__init__(what, epoch, batch, lr, n_good_epochs)
        self.what = what
        self.epoch = epoch
        self.batch = batch
        self.lr = lr
        self.n_good_epochs = n_good_epochs

    def __str__(self) -> str:
        left = "is as it was before the fit"
        if self.n_good_epochs:
            left = f"has the weights of the last good epoch, number {self.epoch - 1}"
        return (
            f"The {self.what} in epoch {self.epoch}, batch {self.batch}, at lr={self.lr:g}. The "
            f"classifier {left}. Lower lr, limit the gradients with max_grad_norm=1.0, or choose "
            "lr_schedule='one_cycle', which starts below lr."
        )


class PrecisionError(ValueError):
    """With ``precision="bfloat16"``, a layer has other gradients, or outputs, than in float32.

    Attributes
    ----------
    name : str or None
        Of the parameter or the layer, as the network names it. None: it has no name.
    distance : float
        Between the tensor and that of float32, as a share of the norm. Infinite where the gradient
        is known not to be computed at all.
    """

    def __init__(self, name: str | None, distance: float):
        super().__init__(name, distance)
        self.name = name
        self.distance = distance

    def __str__(self) -> str:
        return (
            "The 'precision' parameter must be 'auto' or 'float32' for this network and size of "
            "images; got 'bfloat16' instead, in which torch computes gradients wrongly, those of "
            f"{self.name!r} by {self.distance:.2g} times their norm. Set precision='auto', or use "
            "larger images (image_size)."
        )


class ImageFileError(OSError):
    """Image files are missing, damaged, no images, or changed before they were read.

    Attributes
    ----------
    reasons : dict
        Path → why it cannot be used, for every such file.
    """

    def __init__(self, reasons: dict[str, str]):
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        lines = [f"{path!r}: {reason}" for path, reason in self.reasons.items()]
        more = len(lines) - _NAMED_FILES
        return (
            f"{len(lines)} image file{'s' * (len(lines) > 1)} cannot be used: "
            + "; ".join(lines[:_NAMED_FILES])
            + (f"; and {more} more" if more > 0 else "")
            + ". Repair or leave out what the attribute 'reasons' of this error lists; "
            "load_image_folder and load_image_table do so with on_error='skip'."
        )


class ModelFileError(ValueError):
    """A file is no saved classifier, is damaged, or cannot be loaded as asked.

    Attributes
    ----------
    path : str
        Of the file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: str | os.PathLike, reason: str):
        self.path = os.fspath(path)
        # What a file says may be meant for the terminal.
        self.reason = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason)
        super().__init__(self.path, self.reason)

    def __str__(self) -> str:
        return f"{self.path!r} cannot be loaded: {self.reason.rstrip('.')}."


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside skcnn that led here, however deep in skcnn the cause was found."""
    frame, stacklevel = sys._getframe(1), 2
    while frame.f_back is not None and _is_plumbing(frame.f_globals.get("__name__", "")):
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)


def _is_plumbing(module: str) -> bool:
    return module.partition(".")[0] in ("skcnn", "sklearn", "contextlib", "torch")
