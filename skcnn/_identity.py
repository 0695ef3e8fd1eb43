"""What a fit depends on: its class, parameters, data, versions; and a name for all of it."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from skcnn.memory import fingerprint, versions
from skcnn.training.state import callback_params

# Parameters that change nothing of the result, and those that the key of a fit has by other names.
_NOT_IN_KEY = (
    "memory",
    "max_epochs",
    "verbose",
    "n_threads",
    "data_parallel",
    "device",
    "data_device",
    "warm_start",
    "weights",
    "random_state",
)


def fit_key(estimator: BaseEstimator, device: torch.device, of_data: list) -> str:
    """Name of a fit: of all that its result depends on, but for its length.

    Parameters
    ----------
    estimator : BaseEstimator
    device : torch.device
        Where it will train.
    of_data : list
        What names the data, and all else that is drawn or read for this fit.

    Raises
    ------
    ValueError
        If a parameter has no name of its own.
    """
    params = estimator.get_params(deep=False)
    for name in _NOT_IN_KEY:
        del params[name]
    params["callbacks"] = [
        (name, type(callback), callback_params(callback))
        for name, callback in map(named_callback, estimator.callbacks or ())
        if getattr(callback, "changes_fit", True)
    ]
    names = {}
    for name, value in params.items():
        try:
            names[name] = fingerprint(value)
        except TypeError as error:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be something that "
                f"memory= can name, to tell fits apart; got {value!r} instead: {error}. Or set "
                "memory=None."
            ) from error
    where = (device.type, torch.get_num_threads() if device.type == "cpu" else None)
    return fingerprint([type(estimator), names, of_data, where, versions()])


def named_callback(callback: Any) -> tuple[str, Callback]:
    """Name and instance of one of `callbacks`, which may be both or the instance alone."""
    return callback if isinstance(callback, tuple) and len(callback) == 2 else ("", callback)
