"""Which part of a network makes the logits, and looking at its layers while they run."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


def find_head(network: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Name of the part of a network that makes the logits.

    Parameters
    ----------
    network : torch.nn.Module
        Its str attribute ``head_name`` is the answer. Without one, it is run on a blank image, in
        evaluation mode, and the answer is the last linear or convolutional layer to run.
    image_shape : tuple of int
        (C, H, W) that the network takes.

    Returns
    -------
    name : str
        For ``network.get_submodule``.

    Raises
    ------
    ValueError
        If the network has no linear or convolutional layer.
    """
    named = getattr(network, "head_name", None)
    if isinstance(named, str):
        return named
    ran: list[str] = []
    observed = observable(network)
    for name, layer in observed.named_modules():
        if is_weighted(layer):
            layer.register_forward_pre_hook(lambda _, __, name=name: ran.append(name))
    example = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    with torch.no_grad():
        observed.eval()(torch.zeros(1, *image_shape, device=example.device))
    if not ran:
        raise ValueError(
            "The network must have at least one linear or convolutional layer; got "
            f"{type(network).__name__} instead."
        )
    return ran[-1]


def observable(network: nn.Module) -> nn.Module:
    """Copy of a network that shares its parameters and buffers.

    Hooks can be set on it while other threads run, copy or pickle the network itself.
    """
    copies: dict[int, nn.Module] = {}

    def copied(module: nn.Module) -> nn.Module:
        if isinstance(module, torch.jit.ScriptModule):  # has no Python layers to look at
            return module
        if id(module) not in copies:
            copy = copies[id(module)] = module.__new__(type(module))
            copy.__dict__ = module.__dict__.copy()
            copy._parameters = module._parameters.copy()
            copy._buffers = module._buffers.copy()
            copy._forward_hooks = OrderedDict(module._forward_hooks)
            copy._forward_pre_hooks = OrderedDict(module._forward_pre_hooks)
            copy._forward_pre_hooks_with_kwargs = OrderedDict(module._forward_pre_hooks_with_kwargs)
            copy._modules = {
                name: None if child is None else copied(child)
                for name, child in module._modules.items()
            }
        return copies[id(module)]

    return copied(network)


def is_weighted(layer: nn.Module) -> bool:
    """Whether this is a linear or convolutional layer: one with a matrix or more of weights.

    Its parts, if there are any, may only be parametrisations of the weights.
    """
    parts = {name for name, _ in layer.named_children()}
    return parts <= {"parametrizations"} and getattr(getattr(layer, "weight", None), "ndim", 0) > 1


def is_within(name: str, parent: str) -> bool:
    """Whether a module or parameter is `parent`, or a part of it, by their dotted names."""
    return name == parent or name.startswith(f"{parent}.")


def parts_of(network: nn.Module) -> str:
    """Names of the parts of a network that have parameters, for messages."""
    return ", ".join(name for name, part in network.named_children() if [*part.parameters()])
