"""The layers of a network: which have weights, what they are called, a way to look at them."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


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
