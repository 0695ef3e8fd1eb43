"""Where trained weights come from: a mapping, a file, or torchvision by name."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from torch import Tensor

_WRAPPERS = ("module.", "_orig_mod.")
_SUFFIXES = {".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar"}
# torchvision's own builders turn the mean and spread of ImageNet into these for these models.
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_STATISTICS = {"googlenet": _HALVES, "inception_v3": _HALVES}


class TrainedWeights(NamedTuple):
    """Weights, and what they were trained on."""

    state: dict[str, Tensor]
    # Mean and standard deviation of each channel of the images, where known.
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def read_weights(
    weights: Mapping[str, Tensor] | str | os.PathLike | Enum,
    torchvision_name: str | None,
    owner: str,
) -> TrainedWeights:
    """Read trained weights into memory.

    Parameters
    ----------
    weights : mapping, str, path or torchvision weights enum
        A state dict; a path to one, as safetensors or as a torch file; or torchvision's weights,
        as "DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", the enum itself, or the
        name of the model, which stands for "DEFAULT". Those are downloaded, unless torch's folder
        for downloads has them.
    torchvision_name : str or None
        Name of the torchvision model that has the same network.
    owner : str
        Whose parameter this is, for messages.

    Returns
    -------
    trained : TrainedWeights
        All on the CPU.

    Raises
    ------
    ValueError
        If the name is unknown, the weights are those of another model, or there is anything but
        finite tensors in them.
    OSError
        If the file cannot be read, or not be downloaded.
    """
    entry = None
    if isinstance(weights, Mapping):
        source, state = "a mapping", weights
    else:
        if is_path(weights):
            path = Path(weights).expanduser()
            entry = _entry_of_file(path.name, torchvision_name)
        else:
            entry = _torchvision_weights(weights, torchvision_name, owner)
            path = _downloaded(entry.url, owner)
        source, state = str(path), _read_file(path, owner)
    _check_tensors(state, source, owner)
    statistics = None
    if entry is not None:
        statistics = _STATISTICS.get(torchvision_name) or _statistics(entry)
    return TrainedWeights(_unwrapped(state), statistics)


def layer_shapes_of(
    weights: Mapping[str, Tensor] | str | os.PathLike | Enum,
    torchvision_name: str | None,
    owner: str,
) -> Mapping[str, Tensor]:
    """Trained weights, or tensors of their names and shapes where they would be downloaded.

    Takes, and raises, what :func:`read_weights` does, but never downloads.
    """
    if isinstance(weights, Mapping) or is_path(weights):
        return read_weights(weights, torchvision_name, owner).state
    from torchvision import models

    _torchvision_weights(weights, torchvision_name, owner)
    # Drawing their own weights takes these two long.
    options = {"init_weights": False} if torchvision_name in _STATISTICS else {}
    with torch.device("meta"):
        return models.get_model(torchvision_name, weights=None, **options).state_dict()


def is_path(weights: Mapping[str, Tensor] | str | os.PathLike | Enum) -> bool:
    """Whether these weights are named by a path, not by torchvision."""
    if isinstance(weights, Enum):
        return False
    path = Path(weights)
    return not isinstance(weights, str) or (len(path.parts) > 1 or path.suffix.lower() in _SUFFIXES)


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict without the prefix that DataParallel or torch.compile puts before all names."""
    prefix = next((p for p in _WRAPPERS if all(name.startswith(p) for name in state)), "")
    unwrapped = OrderedDict((name[len(prefix) :], value) for name, value in state.items())
    if not prefix and hasattr(state, "_metadata"):
        unwrapped._metadata = state._metadata  # versions of layers
    return unwrapped


# From torchvision --------------------------------------------------------------------------


def _torchvision_weights(weights: str | Enum, name: str | None, owner: str) -> Any:
    """Entry of torchvision's enum of weights for the model `name`."""
    if name is None:
        raise ValueError(
            f"The 'weights' parameter of {owner} must be a state dict or a path to one: "
            f"torchvision has none for its network with these options; got {weights!r} instead."
        )
    from torchvision import models

    entries = models.get_model_weights(name)
    if isinstance(weights, Enum):
        found = weights if isinstance(weights, entries) else None
    elif weights == name:
        found = entries.__members__.get("DEFAULT")
    else:
        enum_name, _, entry_name = weights.rpartition(".")
        found = entries.__members__.get(entry_name) if enum_name in ("", entries.__name__) else None
    if found is None:
        known = [*entries.__members__]
        got = weights if isinstance(weights, str) else str(weights)
        close = difflib.get_close_matches(got.rpartition(".")[2], known, cutoff=0.5)
        hint = ""
        if got.rpartition(".")[0] not in ("", entries.__name__) or got in models.list_models():
            hint = f" Those are the weights of another network than this one, {name}."
        elif close:
            hint = f" Close to it: {', '.join(close)}."
        raise ValueError(
            f"The 'weights' parameter of {owner} must be a state dict, a path to one, or one of "
            f"torchvision's weights for {name}: {', '.join(known)}; got {got!r} instead.{hint} A "
            f"path ends in one of {', '.join(sorted(_SUFFIXES))}, or has a folder in it."
        )
    return found


def _entry_of_file(file_name: str, name: str | None) -> Any:
    """Entry of torchvision's weights for the model `name` that has this file, by its name."""
    if name is None:
        return None
    from torchvision import models

    entries = models.get_model_weights(name)
    return next((e for e in entries if Path(urlparse(e.url).path).name == file_name), None)


def _statistics(entry: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    transforms = entry.transforms()
    mean, std = getattr(transforms, "mean", None), getattr(transforms, "std", None)
    return None if mean is None or std is None else (tuple(mean), tuple(std))


def _downloaded(url: str, owner: str) -> Path:
    """Path to the file behind `url`, in torch's folder for downloads, whole by its hash."""
    name = Path(urlparse(url).path).name
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    stated = re.search(r"-([0-9a-f]{8,})\.", name)  # first digits of its SHA-256
    digits = stated.group(1) if stated else None
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"The 'weights' parameter of {owner} asks for weights that could not be downloaded "
                f"from {url}: {error}. Download that file where there is a network, and put it at "
                f"{path}, or give the path to it as 'weights'."
            ) from error
    elif digits and not _sha256(path).startswith(digits):
        raise OSError(
            f"The 'weights' parameter of {owner} asks for {path}, which is damaged: its SHA-256 "
            f"does not begin with {digits}. Delete it, and it is downloaded again from {url}."
        )
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# From a file -------------------------------------------------------------------------------


def _read_file(path: Path, owner: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"The 'weights' parameter of {owner} must be a path to a file; got {str(path)!r}, "
            "where there is no file, instead. Files on the web must be downloaded first."
        )
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise _unreadable(path, owner, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch's unpickler raises what any byte may lead to
        raise _unreadable(path, owner, error) from error


def _unreadable(path: Path, owner: str, error: Exception) -> ValueError:
    # Not torch's advice that follows: to load a stranger's file, whatever is in it.
    reason = str(error).splitlines()[0].split(". ")[0] if str(error) else "no more"
    return ValueError(
        f"The 'weights' parameter of {owner} must be a file of tensors alone, as safetensors or as "
        f"torch.save(module.state_dict(), path) writes it; got {str(path)!r} instead, which is "
        f"damaged, or holds other objects, and was not loaded ({type(error).__name__}: {reason})."
    )


def _check_tensors(state: Any, source: str, owner: str) -> None:
    got = None
    if not isinstance(state, Mapping):
        got = type(state).__name__
    elif not state:
        got = "no tensor at all"
    else:
        for name, value in state.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                got = f"{type(value).__name__} under {name!r}"
                if isinstance(value, Mapping):
                    got += f" (give the part of it, state[{name!r}], if those are the weights)"
                break
            if value.is_meta or value.is_quantized or value.layout != torch.strided:
                got = f"{name!r}, which is quantized, sparse, or has no values"
                break
            if value.is_floating_point() and not value.isfinite().all():
                got = f"{name!r} with NaN or infinity"
                break
    if got is not None:
        raise ValueError(
            f"The 'weights' parameter of {owner} must hold finite tensors by name, as "
            f"module.state_dict() does; got {got}, from {source}, instead."
        )
