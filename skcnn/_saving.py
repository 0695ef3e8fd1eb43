"""Fitted classifiers as plain values and tensors, and back."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skcnn._model_file import ModelFile, can_be_kept, write_model
from skcnn._plain_json import encode
from skcnn.exceptions import UnsavedParameterWarning, warn_caller
from skcnn.images import ImageLayout, PixelRange
from skcnn.memory import versions
from skcnn.training.arithmetic import MEMORY_FORMATS, Arithmetic
from skcnn.training.devices import resolve_device
from skcnn.training.preprocessing import Preprocessing
from skcnn.training.reproducibility import seeded_generators
from skcnn.transfer import Frozen, is_path

_HOME = "skcnn.classifiers"  # of the classes that files name
_ARITHMETICS = [(p, m) for p in ("float32", "bfloat16") for m in MEMORY_FORMATS]
_OUTPUTS = ("default", "pandas", "polars")  # of `set_output`
_FITTED = (
    "_arguments",
    "_frozen",
    "_layout",
    "_pixel_range",
    "_settings",
    "_sklearn_output_config",
    "best_epoch_",
    "classes_",
    "feature_names_in_",
    "history_",
    "image_shape_",
    "input_size_",
    "memory_format_",
    "n_epochs_",
    "n_features_in_",
    "net_",
    "precision_",
)
_MOST_THREADS = 1024
# What a constructor may ask of torch, at most: some calls, and some for each tensor of the file.
_MOST_CALLS, _MOST_CALLS_PER_TENSOR = 100_000, 1_000


class SavedClassifier:
    """What a classifier gives to a file, and takes from one."""

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
        self._check_parameters()
        tensors = self._tensors()
        write_model(_checked_path(path), self._description(tensors), tensors)

    # To a file --------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers of the network, also those that no state dict has."""
        module = self.module_
        tensors = {**module.state_dict(), **_transient_buffers(module)}
        for name, tensor in tensors.items():
            if not can_be_kept(tensor):
                got = f"a {type(tensor).__name__}"
                if isinstance(tensor, Tensor):
                    got = f"a tensor of {tensor.dtype} and layout {tensor.layout}"
                raise ValueError(
                    f"The network of {self._name} must have dense tensors of a usual type in its "
                    f"state_dict() to be saved; got {got} under {name!r} instead. Keep that "
                    "outside the state, or pickle the classifier."
                )
        return tensors

    def _description(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
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
        lost += [f"{name!r} in history_" for name in unkept]
        lost += [f"the attribute {name!r}" for name in sorted(set(vars(self)) - self._known())]
        if lost:
            warn_caller(
                f"The file of this {self._name} cannot hold {', '.join(lost)}: parameters come "
                "back as their defaults, and the rest not at all. Its predictions are the same. "
                "Set them again after skcnn.load, or pickle the classifier.",
                UnsavedParameterWarning,
            )
        _, *statistics = self.net_.preprocessing.args
        module = self.module_
        return {
            "class": self._name,
            "versions": versions(),
            "params": params,
            "fitted_params": settings,
            "needs_module": self._needed_module(),
            "network": dict(sorted(self._arguments.items())),
            "classes": _checked_classes(self.classes_),
            "feature_names": getattr(self, "feature_names_in_", None),
            "layout": tuple(self._layout),
            "pixel_range": tuple(self._pixel_range),
            "statistics": tuple(statistics) or None,
            "history": history,
            "best_epoch": self.best_epoch_,
            "arithmetic": (self.precision_, self.memory_format_),
            "frozen": tuple(self._frozen),
            "untrained": [n for n, p in module.named_parameters() if not p.requires_grad],
            "strides": {
                name: tensor.stride()
                for name, tensor in _parameters_and_buffers(module)
                if name in tensors and _is_laid_out(tensor)
            },
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
        given = _checked_module(module, values["needs_module"])
        fitted = cls._with_params({**values["fitted_params"], **given})
        clf = cls._with_params({**values["params"], **given})
        if device is not None:
            clf.device = device
        else:
            device = clf._device_of_this_machine()
        built = _filled(fitted, saved, values, isinstance(module, nn.Module))
        clf._set_fitted(values, fitted._network_settings())
        preprocessing = partial(Preprocessing, clf.input_size_, *(values["statistics"] or ()))
        net = clf._make_net(
            built,
            preprocessing,
            resolve_device(device, clf._name),
            max_epochs=clf.max_epochs,
            train_split=None,
            callbacks=[],
            verbose=0,
        )
        net.arithmetic_ = Arithmetic(*values["arithmetic"])
        net.history[:] = copy.deepcopy(clf.history_)
        net._set_training(False)
        clf.net_ = net
        return clf

    @classmethod
    def _with_params(cls, params: dict[str, Any]) -> Any:
        """Unfitted classifier, its parameters checked as `fit` checks them."""
        unknown = sorted(set(params) - set(cls._get_param_names()))
        if unknown:
            raise ValueError(
                f"it has parameters that {cls.__name__} does not know: {', '.join(unknown)[:200]}"
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
        self._pixel_range = PixelRange(*values["pixel_range"])
        self._frozen = Frozen(*values["frozen"])
        self.classes_ = values["classes"]
        self.image_shape_ = self._layout.shape
        self.n_features_in_ = math.prod(self._layout.row_shape)
        if values["feature_names"] is not None:
            self.feature_names_in_ = values["feature_names"]
        self.input_size_ = self._arguments["input_size"]
        self.history_ = values["history"]
        self.n_epochs_ = len(self.history_)
        self.best_epoch_ = values["best_epoch"]
        self.precision_, self.memory_format_ = values["arithmetic"]
        self.set_output(**values["output"])


# Parameters ----------------------------------------------------------------------------------


def _kept(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Parameters that a file can hold, and the names of those that come back as defaults.

    A module of the user's is neither: `load` asks for it. A path stays out, since a file must not
    say from where others read, or where they write.
    """
    kept, lost = {}, []
    for name, value in params.items():
        if name == "module" and not isinstance(value, str):
            continue
        names_a_path = name in ("memory", "weights") and value is not None and is_path(value)
        try:
            if names_a_path:
                raise TypeError
            encode(value)
            kept[name] = value
        except TypeError:
            lost.append(f"the parameter {name!r}")
    return kept, lost


def _kept_history(history: list[dict]) -> tuple[list[dict], list[str]]:
    """Epochs with all that a file can hold, and the names of the rest."""
    epochs: list[dict] = []
    unkept: dict[str, None] = {}
    for epoch in history:
        epochs.append({})
        for name, value in epoch.items():
            try:
                encode({name: value})
                epochs[-1][name] = value
            except TypeError:
                unkept[name] = None
    return epochs, [*unkept]


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


def _checked_path(path: str | os.PathLike) -> Path:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(f"The 'path' parameter must be the path of a file; got {path!r} instead.")
    return Path(path)


# The network ---------------------------------------------------------------------------------


def _parameters_and_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _transient_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that the state dict leaves out."""
    buffers = dict(module.named_buffers(remove_duplicate=False))
    for name in module.state_dict():
        buffers.pop(name, None)
    return buffers


def _is_laid_out(tensor: Tensor) -> bool:
    """Whether the strides are not those of row after row, and leave no gap."""
    strides = tensor.stride()
    rows = torch.empty(tensor.shape, device="meta").stride()
    return strides != rows and torch.empty_like(tensor, device="meta").stride() == strides


class _CountedCalls(TorchFunctionMode):
    """Ends, by an error, what calls torch more often than it may."""

    def __init__(self, most: int):
        super().__init__()
        self.left = most

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Count a call, and do it."""
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("it makes far more layers than the file has tensors")
        return func(*args, **(kwargs or {}))


def _filled(fitted: Any, saved: ModelFile, values: dict[str, Any], is_instance: bool) -> nn.Module:
    """Network of the file, in the CPU's memory.

    It is first made without any: its tensors must be those of the file, before there is memory for
    them.
    """
    arguments = values["network"]
    most = _MOST_CALLS + _MOST_CALLS_PER_TENSOR * len(saved.entries)
    try:
        with _CountedCalls(most), torch.device("meta"):
            module = fitted._build_network(**arguments)
    except Exception as error:  # whatever a constructor raises for what it is given
        remedy = ""
        if not isinstance(fitted.get_params()["module"] if hasattr(fitted, "module") else "", str):
            remedy = " If it is no fault of the file, give an instance: module=MyNetwork(...)."
        raise ValueError(
            f"its network cannot be built: {type(error).__name__}: {error!s:.300}.{remedy}"
        ) from error
    _check_same_tensors(module, saved)
    tensors = {
        name: _with_strides(tensor, values["strides"].get(name))
        for name, tensor in saved.tensors().items()
    }
    of_skcnn = fitted._network is not None
    if not (of_skcnn or is_instance):
        # A network that is not ours may have more than its tensors, which it computes when made.
        with seeded_generators(0, torch.device("cpu")):
            module = fitted._build_network(**arguments)
    transient = {name: tensors.pop(name) for name in _transient_buffers(module)}
    module.load_state_dict(tensors, assign=of_skcnn)
    for name, tensor in transient.items():
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, tensor)
    for name, target in _parameters_and_buffers(module):
        if name in values["strides"]:
            target.data = _with_strides(target.data, values["strides"][name])
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(name not in values["untrained"])
    return module


def _with_strides(tensor: Tensor, strides: tuple[int, ...] | None) -> Tensor:
    """Tensor, or a copy of it of these strides, which leave no gap."""
    if strides is None:
        return tensor
    sides = sorted((s, n) for s, n in zip(strides, tensor.shape, strict=True) if n > 1)
    expected = 1
    for stride, side in sides:
        if stride != expected:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has strides {strides!s:.80}")
        expected *= side
    if not all(0 <= stride <= tensor.numel() for stride in strides):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has strides {strides!s:.80}")
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


def _check_same_tensors(module: nn.Module, saved: ModelFile) -> None:
    """Check that a network has the tensors of the file: names, types and shapes."""
    expected = {**module.state_dict(), **_transient_buffers(module)}
    name = type(module).__name__
    unlike = sorted(expected.keys() ^ saved.entries.keys())
    if unlike:
        where = "the file" if unlike[0] in saved.entries else f"the network {name}"
        raise ValueError(
            f"its tensors are not those of the network {name}: {unlike[0]!r:.80} is in {where} "
            f"alone, one of {len(unlike)} differences"
        )
    for key, tensor in expected.items():
        if nn.parameter.is_lazy(tensor):  # takes the shape that it is given
            continue
        got = (tensor.dtype, tuple(tensor.shape)) if isinstance(tensor, Tensor) else type(tensor)
        if got != tuple(saved.entries[key]):
            raise ValueError(
                f"its tensors are not those of the network {name}: {key!r:.80} is "
                f"{tuple(saved.entries[key])} in the file, and {got} in the network"
            )


# What a file says ----------------------------------------------------------------------------


def _checked_module(module: Any, needed: str | None) -> dict[str, Any]:
    """Parameters for a network that is the user's."""
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
    n_classes = len(description["classes"])
    if (
        math.prod(row_shape) != math.prod(shape)
        or network["in_channels"] != shape[0]
        or network["n_classes"] != n_classes
        or any(values.shape != shape[:1] for values in statistics)
    ):
        raise ValueError("what it says of its images, classes and network does not go together")
    return description


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


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "class": lambda value: isinstance(value, str),
    "versions": lambda value: (
        isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    ),
    "params": lambda value: isinstance(value, dict),
    "fitted_params": lambda value: isinstance(value, dict),
    "needs_module": lambda value: value is None or isinstance(value, str),
    "network": lambda value: (
        isinstance(value, dict)
        and type(value.get("in_channels")) is int
        and type(value.get("n_classes")) is int
        and _are_sides(value.get("input_size"), (2,))
    ),
    "classes": lambda value: _is_array(value, "biufUOmM") and len(value) > 0,
    "feature_names": lambda value: value is None or _is_array(value, "O"),
    "layout": lambda value: (
        isinstance(value, tuple)
        and len(value) == 3
        and _are_sides(value[0], (1, 2, 3))
        and _are_sides(value[1], (3,))
        and isinstance(value[2], bool)
    ),
    "pixel_range": lambda value: (
        isinstance(value, tuple) and [*map(type, value)] == [float, float, bool]
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
    "frozen": lambda value: (
        isinstance(value, tuple) and len(value) == 2 and all(map(_are_strings, value))
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
