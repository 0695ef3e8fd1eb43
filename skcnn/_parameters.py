"""Parameters that every classifier has: their defaults, what they may be, how they are shown."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from numbers import Integral, Real
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from joblib import Memory
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import Tensor, nn

from skcnn._fit_parts import named_callback
from skcnn._validation import Interval, StrOptions, validate_parameter_constraints
from skcnn.training.augmentation import AUGMENTATIONS
from skcnn.training.mixing import MIXINGS
from skcnn.training.optimizers import LR_SCHEDULES, OPTIMIZERS

# What parameters are called elsewhere, where the names are unlike.
_OTHER_NAMES = {
    "alpha": "weight_decay",
    "class_weights": "class_weight",
    "criterion": "label_smoothing",
    "epochs": "max_epochs",
    "eta": "lr",
    "iterator_train": "batch_size",
    "l2": "weight_decay",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "lr_scheduler": "lr_schedule",
    "max_iter": "max_epochs",
    "n_iter_no_change": "patience",
    "n_jobs": "n_threads",
    "policy": "lr_schedule",
    "scheduler": "lr_schedule",
    "seed": "random_state",
    "solver": "optimizer",
    "train_split": "validation_fraction",
    "transforms": "augment",
    "weight": "class_weight",
}


@dataclass(kw_only=True, eq=False, repr=False)
class SharedParameters(BaseEstimator):
    """Parameters of every classifier, beside those of its network."""

    lr: float | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    max_epochs: int | Literal["auto"] = "auto"
    optimizer: str | type[torch.optim.Optimizer] = "adamw"
    momentum: float = 0.9
    weight_decay: float | None = None
    lr_schedule: str | Callable | None = "one_cycle"
    early_stopping: bool | Literal["auto"] = "auto"
    patience: int | Literal["auto"] = "auto"
    validation_fraction: float = 0.1
    image_shape: tuple[int, ...] | None = None
    image_size: int | Literal["auto"] = "auto"
    normalize: bool | Literal["imagenet"] = True
    augment: str | Callable | Sequence[str | Callable] | None = None
    mixing: Literal["mixup", "cutmix"] | None = None
    label_smoothing: float = 0.1
    max_grad_norm: float | None = None
    class_weight: dict | str | None = None
    ema: float | None = None
    tta: bool = False
    precision: str = "auto"
    compile: bool = False
    on_oom: Literal["raise", "split"] = "raise"
    data_parallel: bool = False
    device: str | torch.device = "auto"
    data_device: Literal["auto", "cpu"] = "auto"
    callbacks: Sequence | None = None
    memory: str | PathLike | Memory | None = None
    checkpoint_dir: str | PathLike | None = None
    n_threads: int | None = None
    weights: Mapping[str, Tensor] | str | PathLike | Enum | None = None
    freeze: str | int | Sequence[str] | None = None
    features_layer: str | None = None
    warm_start: bool = False
    deterministic: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    # No annotation: a parameter it must not become.
    _parameter_constraints = {  # noqa: RUF012
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES)), callable, None],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "patience": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "image_shape": [tuple, list, None],
        "image_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "normalize": ["boolean", StrOptions({"imagenet"})],
        "augment": [StrOptions(set(AUGMENTATIONS)), callable, list, tuple, None],
        "mixing": [StrOptions(set(MIXINGS)), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "ema": [Interval(Real, 0, 1, closed="left"), None],
        "tta": ["boolean"],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "compile": ["boolean"],
        "on_oom": [StrOptions({"raise", "split"})],
        "data_parallel": ["boolean"],
        "device": [str, torch.device],
        "data_device": [StrOptions({"auto", "cpu"})],
        "callbacks": [list, tuple, None],
        "memory": [str, PathLike, Memory, None],
        "checkpoint_dir": [str, PathLike, None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "weights": "no_validation",  # see _check_parameters
        "freeze": [str, Interval(Integral, 1, None, closed="left"), list, tuple, None],
        "features_layer": [str, None],
        "warm_start": ["boolean"],
        "deterministic": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def set_params(self, **params: Any) -> SharedParameters:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Names of parameters, which are all plain, and their values.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If there is no parameter of such a name. The message has the one that may be meant.
        """
        names = self._get_param_names()
        for name in params:
            first, nested, _ = name.partition("__")
            # A value may be an estimator of scikit-learn's, with parameters of its own.
            is_known = first in names and (
                not nested or hasattr(self._value_of(first), "set_params")
            )
            if not is_known:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}, whose "
                    f"parameters have plain names.{_hint(name, names)} get_params() lists all."
                )
        return super().set_params(**params)

    def _value_of(self, name: str) -> Any:
        """Value of a parameter, None where it is a class."""
        value = getattr(self, name)
        return None if isinstance(value, type) else value

    def _check_parameters(self) -> None:
        """Check each parameter, and those that exclude each other.

        Raises
        ------
        ValueError
            If one is not allowed.
        """
        # Not left to the table of constraints: a repr of tensors fills pages.
        if not isinstance(self.weights, Mapping | str | PathLike | Enum | None):
            remedy = " Give its state_dict()." if isinstance(self.weights, nn.Module) else ""
            raise ValueError(
                f"The 'weights' parameter of {self._name} must be a state dict, a path, a name of "
                f"torchvision's weights or their enum, or None; got an object of type "
                f"{type(self.weights).__name__} instead.{remedy}"
            )
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), self._name
        )
        if not isinstance(self.optimizer, str) and not (
            isinstance(self.optimizer, type) and issubclass(self.optimizer, torch.optim.Optimizer)
        ):
            raise ValueError(
                f"The 'optimizer' parameter of {self._name} must be one of {sorted(OPTIMIZERS)} "
                f"or a subclass of torch.optim.Optimizer; got {self.optimizer!r} instead."
            )
        patterns = self.freeze if isinstance(self.freeze, list | tuple) else ()
        if isinstance(self.freeze, bool) or not all(isinstance(p, str) for p in patterns):
            raise ValueError(
                f"The 'freeze' parameter of {self._name} must be 'features', a number of layers, "
                f"patterns of names, or None; got {self.freeze!r} instead."
            )
        for change in self.augment if isinstance(self.augment, list | tuple) else ():
            if not (callable(change) or (isinstance(change, str) and change in AUGMENTATIONS)):
                raise ValueError(
                    f"The 'augment' parameter of {self._name} must be a sequence of callables and "
                    f"of names among {sorted(AUGMENTATIONS)}, where it is one; got {change!r} in "
                    "it instead."
                )
        for name in ("memory", "checkpoint_dir"):
            if self.data_parallel and getattr(self, name) is not None:
                raise ValueError(
                    f"The {name!r} parameter of {self._name} must be None with data_parallel=True, "
                    f"where several processes would write to it; got {getattr(self, name)!r} "
                    "instead. Set one of the two."
                )
        if self.memory is not None and self.checkpoint_dir is not None:
            raise ValueError(
                f"The 'checkpoint_dir' parameter of {self._name} must be None where memory is set, "
                f"which keeps the same for any number of fits; got {self.checkpoint_dir!r} "
                "instead. Set one of the two."
            )
        if self.data_parallel and self.on_oom != "raise":
            raise ValueError(
                f"The 'on_oom' parameter of {self._name} must be 'raise' with data_parallel=True, "
                "where a process that takes longer over its share would hold up the others; got "
                f"{self.on_oom!r} instead. Start more processes, or lower batch_size."
            )
        for callback in self.callbacks or ():
            name, instance = named_callback(callback)
            if not (isinstance(name, str) and isinstance(instance, Callback)):
                raise ValueError(
                    f"The 'callbacks' parameter of {self._name} must be a list of skorch callbacks "
                    f"or of (name, callback) pairs; got {callback!r} in it instead."
                )

    def _network_settings(self) -> dict[str, Any]:
        """Parameters that shape the network, and what it is given."""
        of_training = {field.name for field in fields(SharedParameters)}
        of_training -= {"image_shape", "image_size", "normalize", "weights"}
        params = self.get_params(deep=False)
        return {name: params[name] for name in params if name not in of_training}

    def _check_same_network(self, earlier: Mapping[str, Any]) -> None:
        """Check that training may go on with a network of these `_network_settings`.

        Raises
        ------
        ValueError
            If one of them is another now.
        """
        for name, value in self._network_settings().items():
            fitted = earlier[name]
            if name == "weights" and value is None:  # they have served
                continue
            if value is not fitted and _differ(value, fitted):
                fitted, value = (
                    _Entries.of(v) if isinstance(v, Mapping) else v for v in (fitted, value)
                )
                raise ValueError(
                    f"The {name!r} parameter of {self._name} must stay what it was, {fitted!r}, "
                    f"where training goes on; got {value!r} instead. Train a new network, with "
                    "fit and warm_start=False."
                )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this estimator.

        Parameters
        ----------
        deep : bool, default=True
            Without effect: no parameter is an estimator.

        Returns
        -------
        params : dict
            Parameter names mapped to their values; a mapping of `weights` is shown by its length.
        """
        params = super().get_params(deep)
        if isinstance(params.get("weights"), Mapping):
            params["weights"] = _Entries.of(params["weights"])
        return params


class _Entries(Mapping):
    """State dict that says how many tensors it has: to format them all takes seconds.

    Pipelines and searches, too, show the values that `get_params` gives.
    """

    def __init__(self, values: Mapping[str, Tensor]):
        self._values = values

    @classmethod
    def of(cls, values: Mapping[str, Tensor]) -> _Entries:
        """Entries of a mapping, which may be such already: ``clone`` demands the very same."""
        return values if isinstance(values, cls) else cls(values)

    def __getitem__(self, name: str) -> Tensor:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<mapping of {len(self)} entries>"


def _hint(name: str, names: Sequence[str]) -> str:
    """Say which of the plain `names` may be meant by another one, nested as skorch's or not."""
    *parents, last = name.split("__")
    if last in names:
        return f" Did you mean {last!r}?"
    if parents and parents[0] == "lr_schedule":
        return f" Set lr_schedule=functools.partial(..., {last}=...)."
    if parents and parents[0] in ("module", "module_params") and "module_params" in names:
        return f" Set module_params={{{last!r}: ...}}."
    if parents and parents[0] == "callbacks":
        return f" Set callbacks=[...] to callbacks that were made with {last}=..."
    for part in (last, *parents):
        known = _OTHER_NAMES.get(part)
        close = [known] if known else difflib.get_close_matches(part, names, n=3, cutoff=0.6)
        if close:
            return f" Did you mean {' or '.join(map(repr, close))}?"
    return ""


def _differ(a: Any, b: Any) -> bool:
    """Whether two values of a parameter differ, or cannot be compared."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() != b.keys() or any(_differ(a[name], b[name]) for name in a)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return not torch.equal(a, b)
    try:
        return bool(a != b)
    except (RuntimeError, ValueError):  # arrays
        return True
