"""Networks that are not ours: a user's class or function, or a torchvision model by name."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

LARGEST_PROBED_SIDE = 512
USUAL_SIDE = 224
# torchvision's models, made for 224 pixels, divide sides by 16 or 32: of fewer they see little.
SMALLEST_TORCHVISION_SIDE = 64

# torchvision's models with auxiliary heads, which plain cross-entropy does not train.
_TORCHVISION_DEFAULTS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class ModuleChoiceError(ValueError):
    """No size of image can mend what was given as 'module'."""


def build_module(
    module: type[nn.Module] | Callable[..., nn.Module] | nn.Module | str,
    params: dict[str, Any],
    *,
    in_channels: int,
    n_classes: int,
    input_size: tuple[int, int],
) -> nn.Module:
    """Make a network.

    Parameters
    ----------
    module : torch.nn.Module subclass, callable, instance or str
        A str is the name of a torchvision classification model; an instance is copied.
    params : dict
        Arguments for `module`.
    in_channels, n_classes, input_size
        Filled in where `module` takes them by name and `params` does not have them.

    Returns
    -------
    network : torch.nn.Module
        With random weights, or those of the instance.

    Raises
    ------
    ValueError
        If the name is unknown, or there are `params` for an instance.
    TypeError
        If `module` does not make an ``nn.Module``.
    """
    if isinstance(module, str):
        return _build_torchvision(module, params, in_channels, n_classes)
    if isinstance(module, nn.Module):
        if params:
            raise ModuleChoiceError(
                "The 'module_params' parameter must be None when 'module' is an instance, which "
                f"is built already; got {params!r} instead. Give the class as 'module'."
            )
        return copy.deepcopy(module)
    known = {
        "in_channels": in_channels,
        "n_classes": n_classes,
        "num_classes": n_classes,
        "input_size": input_size,
    }
    try:
        takes = inspect.signature(module).parameters
    except ValueError:  # a builtin
        takes = {}
    built = module(**{**{name: known[name] for name in known if name in takes}, **params})
    if not isinstance(built, nn.Module):
        raise TypeError(
            "The 'module' parameter must be an nn.Module class, a function that returns an "
            f"nn.Module, or the name of a torchvision model; got {module!r}, which returns a "
            f"{type(built).__name__}, instead."
        )
    parameters = list(built.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        raise ModuleChoiceError(
            "The 'module' parameter must make a network with at least one trainable parameter; "
            "got one with all frozen instead. Set requires_grad of some."
        )
    return built


def check_torchvision_name(name: str) -> None:
    """Check that torchvision has a classification model of this name.

    Raises
    ------
    ValueError
        If not; the message has the names that are close.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        raise ModuleChoiceError(
            f"The 'module' parameter must be the name of a torchvision classification model; got "
            f"{name!r} instead."
            + (f" Close to it: {', '.join(close)}." if close else "")
            + " torchvision.models.list_models() has all names."
        )


def _build_torchvision(
    name: str, params: dict[str, Any], in_channels: int, n_classes: int
) -> nn.Module:
    from torchvision import models

    check_torchvision_name(name)
    settings = {"num_classes": n_classes, **_TORCHVISION_DEFAULTS.get(name, {}), **params}
    network = models.get_model(name, weights=None, **settings)
    return network if in_channels == 3 else _with_input_channels(network, in_channels)


def _with_input_channels(network: nn.Module, in_channels: int) -> nn.Module:
    """Replace the first convolution by one for images of `in_channels`."""
    name, conv = next(
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)
    )
    settings = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    new = nn.Conv2d(
        in_channels,
        conv.out_channels,
        bias=conv.bias is not None,
        **{setting: getattr(conv, setting) for setting in settings},
    )
    network.set_submodule(name, new)
    return network


def probe_input_size(
    build: Callable[[tuple[int, int]], nn.Module],
    image_shape: tuple[int, int, int],
    n_classes: int,
    size: tuple[int, int] | None,
) -> tuple[int, int]:
    """Find the height and width at which a network takes images, by trying.

    Parameters
    ----------
    build : callable
        Makes the network for an input size.
    image_shape : tuple of int
        (C, H, W) of the images.
    n_classes : int
        How many logits there must be.
    size : tuple of int or None
        The only size to try. None: that of the images, else the smallest that works with no side
        below the images'.

    Returns
    -------
    size : tuple of int
        (H, W) at which the network gives (n, n_classes) logits.

    Raises
    ------
    ValueError
        If no size works, or the network does not give (n, n_classes) logits.
    """
    channels, *own_size = image_shape

    def attempt(size: tuple[int, int]) -> Exception | None:
        try:
            network = build(size).eval()
            with torch.inference_mode():
                y = network(torch.zeros(2, channels, *size))
        except ModuleChoiceError:
            raise
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            return error
        y = y[0] if isinstance(y, tuple | list) else y
        shape = getattr(y, "shape", None)
        if shape != (2, n_classes):
            got = type(y).__name__ if shape is None else f"an output of shape {tuple(shape)}"
            raise ValueError(
                f"The 'module' parameter must make a network with one logit for each of the "
                f"{n_classes} classes; got {got} for 2 images instead. Let it take "
                "n_classes or num_classes, or name the number in 'module_params'."
            )
        return None

    def enlarged(side: int) -> tuple[int, int]:
        return max(own_size[0], side), max(own_size[1], side)

    first = size or tuple(own_size)
    error = attempt(first)
    if error is None:
        return first
    if size is None:
        low = high = max(1, min(own_size))
        works = False
        while not works and high < LARGEST_PROBED_SIDE:
            low, high = high, min(2 * high, LARGEST_PROBED_SIDE)
            if low < USUAL_SIDE < high:  # which some networks take alone
                high = USUAL_SIDE
            works = attempt(enlarged(high)) is None
        while works and high - low > 1:  # low fails, high works
            middle = (low + high) // 2
            if attempt(enlarged(middle)) is None:
                high = middle
            else:
                low = middle
        if works:
            return enlarged(high)
    tried = "" if size else f", nor enlarged up to {LARGEST_PROBED_SIDE}"
    raise ValueError(
        f"The network does not take images of {channels} channels and {first[0]} × {first[1]} "
        f"pixels{tried}. It says: {error} Choose another 'image_size', or let the network take "
        "in_channels and input_size."
    ) from error
