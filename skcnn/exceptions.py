"""Warnings and errors that have a name, so that they can be caught, filtered or turned fatal."""

__all__ = [
    "AmbiguousImageShapeWarning",
    "DivergenceError",
    "NoValidationWarning",
    "ValueRangeWarning",
]


class AmbiguousImageShapeWarning(UserWarning):
    """The channel axis could be the first or the last; the last was taken."""


class ValueRangeWarning(UserWarning):
    """The pixels at ``predict`` are on another scale than those at ``fit``."""


class NoValidationWarning(UserWarning):
    """Some classes have too few images to set one aside for early stopping."""


class DivergenceError(FloatingPointError):
    """The training loss became NaN or infinite."""
