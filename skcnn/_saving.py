"""Fitted classifiers as plain values and tensors, and back."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skcnn._files import checked_target, naming_the_file
from skcnn._model_file import ModelFile, write_model
from skcnn._plain_json import encode
from skcnn._saved_network import (
    DifferentNetworkError,
    restore_network,
    strides_of,
    tensors_of,
    untrained_of,
)
from skcnn.exceptions import UnsavedParameterWarning, warn_caller
from skcnn.images import ImageLayout, PixelScale
from skcnn.memory import versions
from skcnn.training.arithmetic import MEMORY_FORMATS, Arithmetic
from skcnn.training.devices import resolve_device
from skcnn.training.history import without_durations
from skcnn.training.pickling import HASHING_PROTOCOL, to_cpu
from skcnn.training.preprocessing import Preprocessing
from skcnn.transfer import Frozen, is_path

_HOME = "skcnn.classifiers"  # of the classes that files name
_ARITHMETICS = [(p, m) for p in ("float32", "bfloat16") for m in MEMORY_FORMATS]
_OUTPUTS = ("default", "pandas", "polars")  # of `set_output`
_FITTED = (
    "_arguments",
    "_frozen",
    "_layout",
    "_pixel_scale",
    "_settings",
    "_sklearn_output_config",
    "_split_seed",
    "_weight_unit",
    "batch_size_",
    "best_epoch_",
    "classes_",
    "feature_names_in_",
    "file_options_",
    "history_",
    "image_shape_",
    "input_size_",
    "lr_",
    "max_epochs_",
    "memory_format_",
    "n_epochs_",
    "n_features_in_",
    "net_",
    "precision_",
)
_MOST_THREADS = 1024


class SavedClassifier:
    """What a classifier gives to a file or a pickle, and takes from a file."""

    def __getstate__(self) -> dict[str, Any]:
        """State with all tensors in the CPU's memory."""
        return to_cpu(super().__getstate__())

    def __reduce_ex__(self, protocol: int) -> tuple:
        """Reduce as any object; for ``joblib.hash``, without what differs between equal fits."""
        make, args, state, *rest = super().__reduce_ex__(protocol)
        if protocol <= HASHING_PROTOCOL and "history_" in state:
            state["history_"] = without_durations(state["history_"])
        return make, args, state, *rest

    def save(self, path: str | os.PathLike) -> None:
        """Save the fitted classifier in one file, for :func:`skcnn.load`.

        The file holds weights and plain values, and nothing that could be executed: parameters,
        classes, preprocessing and history. It is written beside `path` and then renamed, so that
        an existing file stays whole until the new one is.

        Parameters
        ----------
        path : str or path
            File to write; ``.skcnn`` is the usual ending.

        Raises
        ------
        NotFittedError
            If `fit` was not called.
        TypeError
            If the classifier is of a class of your own, or `path` is none.
        ValueError
            If a parameter is not allowed, or the network or the labels hold what the file has no
            place for.
        OSError
            If the file cannot be written.

        Warns
        -----
        UnsavedParameterWarning
            If parameters come back as their defaults, or other attributes not at all.
        """
        check_is_fitted(self, "net_")
        path = checked_target(path, "save")
        self._check_parameters()
        tensors = tensors_of(self.module_, self._name)
        with naming_the_file(path):
            write_model(path, self._description(), tensors)

    # To a file --------------------------------------------------------------------------------

    def _description(self) -> dict[str, Any]:
        """All that is no tensor, as plain values."""
        if type(self).__module__ != _HOME:
            raise TypeError(
                f"Only the classifiers of skcnn can be saved; got a {self._name} of "
                f"{type(self).__module__} instead. Pickle it, or give your network to "
                "CNNClassifier(module=...)."
            )
        params, lost = _kept(self.get_params(deep=False))
        settings, _ = _kept(self._settings)
        history, unkept = _kept_history(self.history_)
        lost += [f"history_[...][{name!r}]" for name in unkept]
        lost += sorted(set(vars(self)) - self._known())
        if lost:
            of_network = ""
            if "module_params" in lost:
                of_network = (
                    " It will be loaded only with an instance of its network, made with the same "
                    "module_params: skcnn.load(path, module=...)."
                )
            warn_caller(
                f"The file of this {self._name} cannot hold {', '.join(lost)}. Parameters come "
                "back as their defaults, other attributes not at all; predictions are the same. "
                f"Set them again after skcnn.load, or pickle the classifier.{of_network}",
                UnsavedParameterWarning,
            )
        _, *statistics = self.net_.preprocessing.args
        return {
            "class": self._name,
            "versions": versions(),
            "params": params,
            "fitted_params": settings,
            "unsaved": lost,
            "needs_module": self._needed_module(),
            "network": dict(sorted(self._arguments.items())),
            "classes": _checked_classes(self.classes_),
            "feature_names": getattr(self, "feature_names_in_", None),
            "n_features": self.n_features_in_,
            # Not the most pixels that a file may have: that limit is the user's own to raise.
            "file_options": {
                name: value for name, value in self.file_options_.items() if name != "max_pixels"
            },
            "layout": tuple(self._layout),
            "pixel_range": tuple(self._pixel_scale),
            "statistics": tuple(statistics) or None,
            "history": history,
            "best_epoch": self.best_epoch_,
            "arithmetic": (self.precision_, self.memory_format_),
            "training": (self.lr_, self.batch_size_, self.max_epochs_),
            "frozen": tuple(self._frozen),
            "split_seed": self._split_seed,
            "weight_unit": self._weight_unit,
            "untrained": untrained_of(self.module_),
            "strides": strides_of(self.module_),
            "output": getattr(self, "_sklearn_output_config", {}),
        }

    def _known(self) -> set[str]:
        """Names of the attributes that a file holds, or that are made of what it holds."""
        return {*self.get_params(deep=False), *_FITTED}

    def _needed_module(self) -> str | None:
        """Name of what `load` must be given to build the network; None: it can do without."""
        module = self._settings.get("module")
        _, lost = _kept({"module_params": self._settings.get("module_params")})
        if module is None or (isinstance(module, str) and not lost):
            return None
        name = module if isinstance(module, str) else getattr(module, "__name__", None)
        return name or type(module).__name__

    # From a file ------------------------------------------------------------------------------

    @classmethod
    def _restored(cls, saved: ModelFile, module: Any, device: torch.device | str | None) -> Any:
        """Classifier as it was saved, on `device`.

        Raises
        ------
        ValueError
            If the file does not describe one, or not with this `module`.
        """
        values = _checked_description(saved.description)
        given = _checked_module(module, values["needs_module"], values["unsaved"])
        fitted = cls._with_params({**values["fitted_params"], **given})
        clf = cls._with_params({**values["params"], **given})
        if values["unsaved"]:
            warn_caller(
                f"This {cls.__name__} was saved without {values['unsaved']!r:.300}, which no file "
                "can hold: parameters have their defaults. Set them if it is to be trained.",
                UnsavedParameterWarning,
            )
        if device is not None:
            clf.device = device
        else:
            device = clf._device_of_this_machine()
        clf._set_fitted(values, fitted._network_settings())
        try:
            network = restore_network(
                partial(fitted._build_network, **values["network"]),
                saved,
                strides=values["strides"],
                untrained=values["untrained"],
                has_more=cls._network is None,
            )
            _check_frozen(clf._frozen, network)
            clf.net_ = clf._make_net(
                network,
                partial(
                    Preprocessing,
                    clf.input_size_,
                    *(values["statistics"] or ()),
                    divisor=clf._pixel_scale.divisor,
                ),
                resolve_device(device, clf._name),
                lr=clf.lr_,
                batch_size=clf.batch_size_,
                max_epochs=clf.max_epochs_,
                train_split=None,
                callbacks=[],
                verbose=0,
            )
        except DifferentNetworkError:
            raise
        except Exception as error:  # whatever constructors raise for what the file gives them
            raise ValueError(
                f"its network cannot be made: {type(error).__name__}: {error!s:.300}"
            ) from error
        clf.net_.arithmetic_ = Arithmetic(*values["arithmetic"])
        clf.net_.history[:] = map(dict, clf.history_)
        clf.net_._set_training(False)
        return clf

    @classmethod
    def _with_params(cls, params: dict[str, Any]) -> Any:
        """Unfitted classifier, its parameters checked as `fit` checks them."""
        unknown = sorted(set(params) - set(cls._get_param_names()))
        if unknown:
            raise ValueError(
                f"it has parameters that {cls.__name__} does not know: {unknown!r:.200}"
            )
        clf = cls(**params)
        clf._check_parameters()
        if clf.n_threads is not None and clf.n_threads > _MOST_THREADS:
            raise ValueError(f"it asks for {clf.n_threads} threads; {_MOST_THREADS} are the most")
        return clf

    def _device_of_this_machine(self) -> str | torch.device:
        """Device to load to: the one of the parameter, or "auto" where this machine has none."""
        try:
            resolve_device(self.device, self._name)
        except ValueError:
            warn_caller(
                f"This {self._name} was trained on the device {str(self.device)!r}, which this "
                "machine does not have: it comes back with device='auto'. Say which is meant, "
                "skcnn.load(path, device=...).",
                UnsavedParameterWarning,
            )
            self.device = "auto"
        return self.device

    def _set_fitted(self, values: dict[str, Any], settings: dict[str, Any]) -> None:
        """Set what a fit sets, but for the net."""
        self._settings = settings
        self._arguments = values["network"]
        self._layout = ImageLayout(*values["layout"])
        self._pixel_scale = _read_pixel_scale(values["pixel_range"])
        self._frozen = Frozen(*values["frozen"])
        self._split_seed = values["split_seed"]
        self._weight_unit = values["weight_unit"]
        self.classes_ = values["classes"]
        self.image_shape_ = self._layout.shape
        self.n_features_in_ = values["n_features"]
        self.file_options_ = values["file_options"]
        if values["feature_names"] is not None:
            self.feature_names_in_ = values["feature_names"]
        self.input_size_ = self._arguments["input_size"]
        self.history_ = values["history"]
        self.n_epochs_ = len(self.history_)
        self.best_epoch_ = values["best_epoch"]
        self.precision_, self.memory_format_ = values["arithmetic"]
        self.lr_, self.batch_size_, self.max_epochs_ = values["training"]
        self.set_output(**values["output"])


# Parameters ----------------------------------------------------------------------------------


def _kept(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Parameters that a file can hold, and the names of those that come back as defaults.

    A module of the user's is neither: `load` asks for it.
    """
    kept, lost = {}, []
    for name, value in params.items():
        if name == "module" and not isinstance(value, str):
            continue
        if _can_be_encoded(value) and not _is_place(name, value):
            kept[name] = value
        else:
            lost.append(name)
    return kept, lost


def _is_place(name: str, value: Any) -> bool:
    """Whether a parameter says where to read or write, which no file of a stranger must do."""
    if name == "weights":
        return isinstance(value, str) and is_path(value)
    return name in ("checkpoint_dir", "memory") and value is not None


def _can_be_encoded(value: Any) -> bool:
    try:
        encode(value)
    except (TypeError, RecursionError):
        return False
    return True


def _kept_history(history: list[dict]) -> tuple[list[dict], list[str]]:
    """Epochs with all that a file can hold, and the names of the rest."""
    unkept = dict.fromkeys(
        name for epoch in history for name in epoch if not _can_be_encoded({name: epoch[name]})
    )
    kept = [{n: value for n, value in epoch.items() if n not in unkept} for epoch in history]
    return kept, [*unkept]


def _checked_classes(classes: np.ndarray) -> np.ndarray:
    try:
        encode(classes)
    except TypeError as error:
        raise ValueError(
            f"The labels must be strings, numbers, booleans or dates to be saved; got labels of "
            f"type {classes.dtype} instead: {error}. Fit on labels of such a type, or pickle the "
            "classifier."
        ) from error
    return classes


# What a file says ----------------------------------------------------------------------------


def _checked_module(module: Any, needed: str | None, unsaved: list[str]) -> dict[str, Any]:
    """Parameters for a network that is the user's."""
    if "module_params" in unsaved and not isinstance(module, nn.Module):
        raise ValueError(
            "its network was made with 'module_params' that no file can hold, and others may make "
            "another network of the same tensors. Give an instance made with the same: "
            "skcnn.load(path, module=Network(...))"
        )
    if module is None and needed is not None:
        raise ValueError(
            f"its network is made by {needed!r:.80}, which is not in the file, as no code is. Give "
            "the class, function or instance: skcnn.load(path, module=...)"
        )
    if module is not None and needed is None:
        raise ValueError(
            "its network is one of skcnn's or torchvision's, which needs no 'module'; got "
            f"{module!r:.80}. Leave it None"
        )
    return {} if module is None else {"module": module}


def _checked_description(description: dict[str, Any]) -> dict[str, Any]:
    """Check what a file says of a classifier, as far as networks and parameters do not."""
    description = {**_MISSING_BEFORE, **description}
    if "training" not in description:
        description["training"] = _training_in(description.get("params"))
    if description.keys() != _CHECKS.keys():
        unlike = sorted(description.keys() ^ _CHECKS.keys())
        raise ValueError(
            f"what it says of its classifier is incomplete, or more: {unlike[0]!r:.80}"
        )
    for name, is_right in _CHECKS.items():
        if not is_right(description[name]):
            raise ValueError(f"what it says of {name!r} is wrong: {description[name]!r:.80}")
    network, (row_shape, shape, _) = description["network"], description["layout"]
    statistics = description["statistics"] or ()
    if statistics and not (np.isfinite(statistics).all() and statistics[1].min() > 0):
        raise ValueError("what it says of 'statistics' is no finite mean and positive spread")
    for of in ("params", "fitted_params"):
        for name, value in description[of].items():
            if _is_place(name, value):
                raise ValueError(f"its {name!r} names a place, {value!r:.80}, as no file may")
    n_classes = len(description["classes"])
    if (
        math.prod(row_shape) != math.prod(shape)
        or description["n_features"] not in (1, math.prod(row_shape))
        or description["file_options"].get("image_size") not in (None, shape[1:])
        or network["in_channels"] != shape[0]
        or network["n_classes"] != n_classes
        or any(values.shape != shape[:1] for values in statistics)
    ):
        raise ValueError("what it says of its images, classes and network does not go together")
    return description


def _training_in(params: Any) -> tuple[float, int, int] | None:
    """Learning rate, batch size and epochs among the parameters of skcnn 0.1, all numbers."""
    try:
        return float(params["lr"]), int(params["batch_size"]), int(params["max_epochs"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return None


def _read_pixel_scale(values: tuple) -> PixelScale:
    if len(values) > 3:
        return PixelScale(*values)
    low, high, is_uint8 = values  # of skcnn 0.1, which divided bytes, and them only
    return PixelScale(255.0 if is_uint8 else 1.0, is_uint8, low, high, high, high, math.inf)


def _check_frozen(frozen: Frozen, module: nn.Module) -> None:
    if not (
        {*frozen.parameters} <= {name for name, _ in module.named_parameters()}
        and {*frozen.norms} <= {name for name, _ in module.named_modules()}
    ):
        raise ValueError("what it says of 'frozen' names no part of its network")


def _are_sides(value: Any, lengths: tuple[int, ...]) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) in lengths
        and all(type(side) is int and 0 < side < 1 << 31 for side in value)
    )


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_array(value: Any, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in kinds


# What the first files did not hold, and what a fit that goes on from one of them supposes.
_MISSING_BEFORE = {"split_seed": None, "weight_unit": 1.0}
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "class": lambda value: isinstance(value, str),
    "versions": lambda value: (
        isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    ),
    "params": lambda value: isinstance(value, dict),
    "fitted_params": lambda value: isinstance(value, dict),
    "unsaved": _are_strings,
    "needs_module": lambda value: value is None or isinstance(value, str),
    "network": lambda value: (
        isinstance(value, dict)
        and type(value.get("in_channels")) is int
        and type(value.get("n_classes")) is int
        and _are_sides(value.get("input_size"), (2,))
    ),
    "classes": lambda value: _is_array(value, "biufUOmM") and len(value) > 0,
    "feature_names": lambda value: value is None or _is_array(value, "O"),
    "n_features": lambda value: type(value) is int,
    "file_options": lambda value: (
        value == {}
        or (
            isinstance(value, dict)
            and value.keys() == {"image_size", "mode", "resize", "crop_pct"}
            and value["mode"] in ("L", "RGB", "RGBA")
            and value["resize"] in ("squash", "crop")
            and isinstance(value["crop_pct"], Real)
            and 0 < value["crop_pct"] <= 1
        )
    ),
    "layout": lambda value: (
        isinstance(value, tuple)
        and len(value) == 3
        and _are_sides(value[0], (1, 2, 3))
        and _are_sides(value[1], (3,))
        and isinstance(value[2], bool)
    ),
    "pixel_range": lambda value: (
        isinstance(value, tuple)
        and (
            [*map(type, value)] == [float, float, bool]
            or ([*map(type, value)] == [float, bool, *[float] * 5] and 0 < value[0] < math.inf)
        )
    ),
    "statistics": lambda value: (
        value is None
        or (isinstance(value, tuple) and len(value) == 2 and all(_is_array(v, "f") for v in value))
    ),
    "history": lambda value: (
        isinstance(value, list) and all(isinstance(epoch, dict) for epoch in value)
    ),
    "best_epoch": lambda value: type(value) is int,
    "arithmetic": lambda value: value in _ARITHMETICS,
    "training": lambda value: (
        isinstance(value, tuple)
        and [*map(type, value)] == [float, int, int]
        and all(0 < v < math.inf for v in value)
    ),
    "frozen": lambda value: (
        isinstance(value, tuple) and len(value) == 2 and all(map(_are_strings, value))
    ),
    "split_seed": lambda value: value is None or (type(value) is int and 0 <= value < 1 << 31),
    "weight_unit": lambda value: (
        type(value) is float and sys.float_info.min <= value <= sys.float_info.max
    ),
    "untrained": _are_strings,
    "strides": lambda value: (
        isinstance(value, dict)
        and all(
            isinstance(v, tuple) and all(type(stride) is int for stride in v)
            for v in value.values()
        )
    ),
    "output": lambda value: value in ({}, *({"transform": t} for t in _OUTPUTS)),
}
