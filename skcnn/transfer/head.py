"""Which part of a network makes the logits."""

from __future__ import annotations

import threading

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
    thread = threading.get_ident()

    def note(name: str) -> None:
        if threading.get_ident() == thread:  # other threads may be predicting
            ran.append(name)

    hooks = [
        layer.register_forward_pre_hook(lambda _, __, name=name: note(name))
        for name, layer in network.named_modules()
        if is_weighted(layer)
    ]
    example = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    was_training = network.training
    try:
        network.eval()
        with torch.inference_mode():
            network(torch.zeros(1, *image_shape, device=example.device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ValueError(
            "The network must have at least one linear or convolutional layer; got "
            f"{type(network).__name__} instead."
        )
    return ran[-1]


def is_weighted(layer: nn.Module) -> bool:
    """Whether this is a linear or convolutional layer: a leaf with a matrix or more of weights."""
    return getattr(getattr(layer, "weight", None), "ndim", 0) > 1 and not any(layer.children())


def is_within(name: str, parent: str) -> bool:
    """Whether a module or parameter is `parent`, or a part of it, by their dotted names."""
    return name == parent or name.startswith(f"{parent}.")
