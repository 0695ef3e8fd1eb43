"""skorch callbacks, for those who drive a skorch net themselves."""

from skcnn.training.callbacks import (
    AccuracyEarlyStopping,
    EpochAccuracy,
    FitProgressBar,
    training_callbacks,
)

__all__ = ["AccuracyEarlyStopping", "EpochAccuracy", "FitProgressBar", "training_callbacks"]
