"""Which part of a network is not trained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from numbers import Integral

from torch import nn

from skcnn.transfer.head import is_weighted, is_within


def set_frozen(
    network: nn.Module, freeze: str | int | Sequence[str], head_name: str, owner: str
) -> list[str]:
    """Let the parameters of a part of a network need no gradient.

    Parameters
    ----------
    network : torch.nn.Module
        Network; parameters that need no gradient already stay so.
    freeze : {"features"}, str, int or sequence of str
        "features": all but the head. An int k: the first k linear and convolutional layers, in
        the order in which the network names them, and the normalisation after each. Other str:
        patterns, as for file names, of the names of layers or parameters.
    head_name : str
        The part of the network that makes the logits.
    owner : str
        Whose parameter this is, for messages.

    Returns
    -------
    frozen : list of str
        Names of the parameters that are frozen now, and were not before.

    Raises
    ------
    ValueError
        If nothing is frozen, or nothing is left to train.
    """
    chosen = _chooser(network, freeze, head_name, owner)
    matched = {name: p for name, p in network.named_parameters() if chosen(name)}
    if not matched:
        parts = [name for name, part in network.named_modules() if name and [*part.parameters()]]
        close = [
            part
            for pattern in ([freeze] if isinstance(freeze, str) else freeze)
            for part in difflib.get_close_matches(pattern, parts, cutoff=0.4)
        ]
        raise ValueError(
            f"The 'freeze' parameter of {owner} must match some part of the network; got "
            f"{freeze!r}, which matches none, instead. "
            + (f"Close to it: {', '.join(close)}. " if close else "")
            + f"The network's largest parts are {', '.join(_children(network))}."
        )
    frozen = [name for name, parameter in matched.items() if parameter.requires_grad]
    if not any(p.requires_grad and name not in matched for name, p in network.named_parameters()):
        raise ValueError(
            f"The 'freeze' parameter of {owner} must leave some part of the network to train; got "
            f"{freeze!r}, which freezes all of it, instead. freeze='features' leaves the head, "
            f"{head_name}."
        )
    for name in frozen:
        matched[name].requires_grad_(False)
    return frozen


def frozen_norms(network: nn.Module) -> list[str]:
    """Names of the normalisations with running statistics whose parameters are all frozen.

    Their statistics must not follow the batches, or they would be trained after all. One without
    parameters goes with the layer before it.
    """
    names, frozen = [], False
    for name, layer in network.named_modules():
        parameters = [*layer.parameters(recurse=False)]
        if parameters:
            frozen = not any(parameter.requires_grad for parameter in parameters)
        if frozen and isinstance(layer, nn.modules.batchnorm._NormBase):
            names.append(name)
    return names


def _chooser(
    network: nn.Module, freeze: str | int | Sequence[str], head_name: str, owner: str
) -> Callable[[str], bool]:
    """Whether a parameter is to be frozen, by its name."""
    if freeze == "features":
        return lambda name: not is_within(name, head_name)
    if isinstance(freeze, Integral):
        return set(_first_parameters(network, freeze, owner)).__contains__
    patterns = [freeze] if isinstance(freeze, str) else freeze
    return lambda name: any(
        fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns
    )


def _first_parameters(network: nn.Module, n_layers: int, owner: str) -> list[str]:
    names: list[str] = []
    n_seen = 0
    for layer_name, layer in network.named_modules():
        n_seen += is_weighted(layer)
        if n_seen > n_layers:
            return names
        names += [
            f"{layer_name}.{name}" if layer_name else name
            for name, _ in layer.named_parameters(recurse=False)
        ]
    raise ValueError(
        f"The 'freeze' parameter of {owner} must be less than {n_seen}, the number of linear and "
        f"convolutional layers of the network; got {n_layers} instead."
    )


def _children(network: nn.Module) -> list[str]:
    return [name for name, part in network.named_children() if [*part.parameters()]]
