"""State of a fit between two epochs: everything that the epochs to come depend on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from skcnn.exceptions import UnsavedStateWarning, warn_caller
from skcnn.training.averaging import WeightAverage
from skcnn.training.history import without_batches
from skcnn.training.reproducibility import generator_states, set_generator_states


class Journal(Protocol):
    """Where a fit keeps its state from epoch to epoch."""

    parameter: str  # of the classifiers, that asked for it

    def read(self) -> dict[str, Any] | None:
        """State to go on from; None: start."""

    def write(self, state: dict[str, Any]) -> None:
        """Keep the state after an epoch."""


def get_state(net: NeuralNet, average: WeightAverage | None) -> dict[str, Any]:
    """State of a net after an epoch: tensors, which training goes on to change, and plain values.

    Callbacks count by their ``state_dict()`` where they have one, as torch's schedulers do, and by
    those attributes that hold tensors or plain values otherwise.

    Warns
    -----
    UnsavedStateWarning
        If a callback has another kind of attribute that training changed.
    """
    state = {
        "module": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "average": None if average is None else average.state_dict(),
        "history": list(without_batches(net.history)),
        "generators": generator_states(torch.device(net.device)),
        "arithmetic": tuple(net.arithmetic_),
        "rows_at_once": net.micro_batches and net.micro_batches.n_rows,
        "stopped": net.stop_,
    }
    callbacks = {name: _callback_state(name, callback) for name, callback in net.callbacks_}
    return {**_plain(state), "callbacks": callbacks}


def set_state(net: NeuralNet, average: WeightAverage | None, state: dict[str, Any]) -> None:
    """Put a net that is about to begin its first epoch where `get_state` found another."""
    net.module_.load_state_dict(state["module"])
    net.optimizer_.load_state_dict(state["optimizer"])
    if average is not None:
        average.load_state_dict(state["average"])
    for name, callback in net.callbacks_:
        if name in state["callbacks"]:  # one that only prints may have come since
            _set_callback_state(callback, state["callbacks"][name])
    net.history[:] = state["history"]
    set_generator_states(state["generators"], torch.device(net.device))
    if net.micro_batches is not None:
        net.micro_batches.n_rows = state["rows_at_once"]
    net.stop_ = state["stopped"]


def _callback_state(name: str, callback: Callback) -> dict[str, Any]:
    if hasattr(callback, "state_dict"):
        return _plain(callback.state_dict())
    state = {}
    for attribute, value in _learned(callback).items():
        try:
            state[attribute] = _plain(value.state_dict() if _has_state(value) else value)
        except TypeError:
            if not callable(value):
                warn_caller(
                    f"The callback {name!r} keeps an attribute {attribute!r} of type "
                    f"{type(value).__name__}, which is not saved between epochs: where this fit is "
                    "resumed, the callback starts without it. Give it state_dict() and "
                    "load_state_dict(state).",
                    UnsavedStateWarning,
                )
    return state


def _set_callback_state(callback: Callback, state: dict[str, Any]) -> None:
    if hasattr(callback, "load_state_dict"):
        callback.load_state_dict(state)
        return
    for attribute, value in state.items():
        kept = getattr(callback, attribute, None)
        if _has_state(kept):
            kept.load_state_dict(value)
        else:
            setattr(callback, attribute, value)


def callback_params(callback: Callback) -> dict[str, Any]:
    """Give what a callback was made with; where it does not tell, all that it has."""
    try:
        return callback.get_params(deep=False)
    except AttributeError:  # its arguments are kept under other names
        return vars(callback)


def _learned(callback: Callback) -> dict[str, Any]:
    """Attributes that are no parameters."""
    params = inspect.signature(type(callback)).parameters
    return {name: value for name, value in vars(callback).items() if name not in params}


def _has_state(value: Any) -> bool:
    return hasattr(value, "state_dict") and not isinstance(value, type)


def _plain(value: Any) -> Any:
    """Copy a value as tensors and plain values.

    Raises
    ------
    TypeError
        If it is made of anything else.
    """
    if isinstance(value, np.generic):  # also where it is a float
        return _plain(value.item())
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.Tensor):
        return value
    if isinstance(value, Mapping):
        return {_plain(name): _plain(item) for name, item in value.items()}
    for kind in (list, tuple, Set):
        if isinstance(value, kind):
            make: Callable = set if kind is Set else kind
            return make(map(_plain, value))
    raise TypeError(
        "What is kept of a fit must be tensors, numbers, strings or containers of them; got an "
        f"object of type {type(value).__name__} instead. Set memory and checkpoint_dir to "
        "None."
    )
