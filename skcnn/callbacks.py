"""skorch callbacks, for those who drive a skorch net themselves."""

from skcnn.training.callbacks import (
    AccuracyEarlyStopping,
    EpochAccuracy,
    FitProgressBar,
    LearningRateRise,
    training_callbacks,
)

__all__ = [
    "AccuracyEarlyStopping",
    "EpochAccuracy",
    "FitProgressBar",
    "LearningRateRise",
    "training_callbacks",
]
