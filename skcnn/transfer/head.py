"""Which part of a network makes the logits."""

from __future__ import annotations

import torch
from torch import nn

from skcnn.transfer.layers import is_weighted, observable


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
