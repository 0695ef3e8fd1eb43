"""The parts that tell a fit from another: its class, parameters, data, versions."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from skcnn.memory import FitIdentity, Part, versions
from skcnn.training.optimizers import is_of_any_length
from skcnn.training.state import callback_params

# Parameters that change nothing of the result, or but let it come about, and those that are told by
# other names.
_NOT_TOLD = (
    "memory",
    "checkpoint_dir",
    "max_epochs",
    "on_oom",
    "verbose",
    "n_threads",
    "data_parallel",
    "device",
    "data_device",
    "warm_start",
    "weights",
    "random_state",
)


def identify_fit(
    estimator: BaseEstimator,
    device: torch.device,
    given: Mapping[str, Any],
    seeds: tuple[int, int],
    kept_in: str,
) -> FitIdentity:
    """Tell a fit by all that its result depends on.

    Parameters
    ----------
    estimator : BaseEstimator
    device : torch.device
        Where it will train.
    given : mapping
        Data, weights and whatever else it is given, or what names them.
    seeds : tuple of int
        What was drawn for it.
    kept_in : {"memory", "checkpoint_dir"}
        Parameter that wants to know.

    Raises
    ------
    ValueError
        If a parameter has no name of its own.
    """
    params = estimator.get_params(deep=False)
    seed = params["random_state"]
    for name in _NOT_TOLD:
        del params[name]
    params["callbacks"] = [
        (name, type(callback), callback_params(callback))
        for name, callback in map(named_callback, estimator.callbacks or ())
        if getattr(callback, "changes_fit", True)
    ]
    parts = {"class": Part.of(type(estimator))}
    for name, value in params.items():
        try:
            parts[name] = Part.of(value)
        except TypeError as error:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be something that "
                f"{kept_in}= can name, to tell fits apart; got {value!r} instead: {error}. Or set "
                f"{kept_in}=None."
            ) from error
    # Of a generator, what it gave; without a seed, the first fit stands for all to come.
    if seed is not None:
        seed = int(seed) if isinstance(seed, Integral) else seeds
    parts["random_state"] = Part.of(seed)
    parts |= {what: Part.of(value) for what, value in given.items()}
    parts["device"] = Part.of(device.type)
    if device.type == "cpu":
        parts["number of threads"] = Part.of(torch.get_num_threads())
    parts |= {f"version of {package}": Part.of(v) for package, v in versions().items()}
    return FitIdentity(parts, estimator.max_epochs, is_of_any_length(estimator.lr_schedule), seeds)


def named_callback(callback: Any) -> tuple[str, Callback]:
    """Name and instance of one of `callbacks`, which may be both or the instance alone."""
    return callback if isinstance(callback, tuple) and len(callback) == 2 else ("", callback)
