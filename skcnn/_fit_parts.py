"""The parts that tell a fit from another: its class, parameters, data, versions."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from skcnn.memory import FitIdentity, Part, fingerprint, versions
from skcnn.training.devices import has_bfloat16
from skcnn.training.optimizers import is_of_any_length
from skcnn.training.plan import TrainingPlan
from skcnn.training.state import callback_params

# Parameters that change nothing of what is trained, or only whether there is memory for it.
_IRRELEVANT_TO_RESULT = (
    "checkpoint_dir",
    "data_device",
    "data_parallel",  # which neither memory nor checkpoint_dir goes with
    "features_layer",
    "memory",
    "on_oom",
    "tta",
    "verbose",
    "warm_start",
)
# Parameters whose effect is a part of its own: images of a shape, a number of threads, ...
_IDENTIFIED_OTHERWISE = (
    "callbacks",
    "device",
    "image_shape",
    "max_epochs",
    "n_threads",
    "random_state",
    "weights",
)


def identify_fit(
    estimator: BaseEstimator,
    plan: TrainingPlan,
    device: torch.device,
    given: Mapping[str, Any],
    network: Any,
    seeds: tuple[int, int],
    kept_in: str,
) -> FitIdentity:
    """Tell a fit by all that its result depends on.

    Parameters
    ----------
    estimator : BaseEstimator
    plan : TrainingPlan
        What its parameters that are "auto" stand for.
    device : torch.device
        Where it will train.
    given : mapping
        Data, weights and whatever else it is given, or what names them.
    network : object
        What it starts from, with the code of its layers and all weights.
    seeds : tuple of int
        What was drawn for it.
    kept_in : {"memory", "checkpoint_dir"}
        Parameter that wants to know.

    Raises
    ------
    ValueError
        If a parameter has no name of its own.
    """
    params = estimator.get_params(deep=False) | plan._asdict()
    seed = params["random_state"]
    for name in (*_IRRELEVANT_TO_RESULT, *_IDENTIFIED_OTHERWISE, *_unused(estimator, plan, given)):
        del params[name]
    params["callbacks"] = [
        (name, type(callback), callback_params(callback))
        for name, callback in map(named_callback, estimator.callbacks or ())
        if getattr(callback, "changes_fit", True)
    ]
    parts = {}
    for name, value in {"class": type(estimator), **params}.items():
        try:
            parts[name] = Part.of(value)
        except TypeError as error:
            what = "class" if name == "class" else f"{name!r} parameter"
            raise ValueError(
                f"The {what} of {type(estimator).__name__} must be something that {kept_in}= can "
                f"name, to tell fits apart; got {value!r} instead: {error}. Or set {kept_in}=None."
            ) from error
    parts["network"] = Part(fingerprint(network, nameless=True), None)
    # Of a generator, what it gave; without a seed, the first fit stands for all to come.
    if seed is not None:
        seed = int(seed) if isinstance(seed, Integral) else seeds
    parts["random_state"] = Part.of(seed)
    parts |= {what: Part.of(value) for what, value in given.items()}
    parts["device"] = Part.of(device.type)
    parts["bfloat16 on the device"] = Part.of(has_bfloat16(device))  # by which precision is chosen
    if device.type == "cpu":
        parts["number of threads"] = Part.of(torch.get_num_threads())
    parts |= {f"version of {package}": Part.of(v) for package, v in versions().items()}
    return FitIdentity(parts, int(plan.max_epochs), is_of_any_length(estimator.lr_schedule), seeds)


def _unused(estimator: BaseEstimator, plan: TrainingPlan, given: Mapping[str, Any]) -> list[str]:
    """Name the parameters that others switch off."""
    unused = [] if estimator.optimizer == "sgd" else ["momentum"]
    if not plan.early_stopping:
        unused.append("patience")
    if not plan.early_stopping or given["X_val"] is not None:
        unused.append("validation_fraction")
    return unused


def named_callback(callback: Any) -> tuple[str, Callback]:
    """Name and instance of one of `callbacks`, which may be both or the instance alone."""
    return callback if isinstance(callback, tuple) and len(callback) == 2 else ("", callback)
