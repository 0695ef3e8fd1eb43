"""Which part of a network is not trained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from numbers import Integral
from typing import NamedTuple

from torch import nn

from skcnn.transfer.layers import is_weighted, is_within, parts_of


class Frozen(NamedTuple):
    """What a call of :func:`set_frozen` froze, by name."""

    parameters: list[str]  # only those that were not frozen before
    norms: list[str]  # normalisations whose running statistics must not follow the batches


def set_frozen(
    network: nn.Module, freeze: str | int | Sequence[str], head_name: str, owner: str
) -> Frozen:
    """Let the parameters of a part of a network need no gradient.

    Parameters
    ----------
    network : torch.nn.Module
        Network; parameters that need no gradient already stay so.
    freeze : {"features"}, str, int or sequence of str
        "features": all but the head. An int k: the first k linear and convolutional layers, in
        the order in which the network names them, and what comes before the next. Other str:
        patterns, as for file names, of the names of layers or parameters.
    head_name : str
        The part of the network that makes the logits.
    owner : str
        Whose parameter this is, for messages.

    Returns
    -------
    frozen : Frozen
        The normalisations in it are to be held in evaluation mode, or they would be trained after
        all.

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
            + f"The network's parts are {parts_of(network)}."
        )
    if not any(p.requires_grad and name not in matched for name, p in network.named_parameters()):
        raise ValueError(
            f"The 'freeze' parameter of {owner} must leave some part of the network to train; got "
            f"{freeze!r}, which freezes all of it, instead. freeze='features' leaves the head, "
            f"{head_name}."
        )
    newly_frozen = [name for name, parameter in matched.items() if parameter.requires_grad]
    for parameter in matched.values():
        parameter.requires_grad_(False)
    norms = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.modules.batchnorm._NormBase) and chosen(f"{name}.running_mean")
    ]
    return Frozen(newly_frozen, norms)


def _chooser(
    network: nn.Module, freeze: str | int | Sequence[str], head_name: str, owner: str
) -> Callable[[str], bool]:
    """Whether a parameter or buffer is to be frozen, by its name."""
    if freeze == "features":
        return lambda name: not is_within(name, head_name)
    if isinstance(freeze, Integral):
        first = _first_layers(network, freeze, owner)
        return lambda name: name.rpartition(".")[0] in first
    patterns = [freeze] if isinstance(freeze, str) else freeze
    return lambda name: any(
        fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns
    )


def _first_layers(network: nn.Module, n_layers: int, owner: str) -> set[str]:
    """Names of all modules before linear or convolutional layer number `n_layers` + 1."""
    names: set[str] = set()
    n_seen = 0
    for name, layer in network.named_modules():
        n_seen += is_weighted(layer)
        if n_seen > n_layers:
            return names
        names.add(name)
    raise ValueError(
        f"The 'freeze' parameter of {owner} must be less than {n_seen}, the number of linear and "
        f"convolutional layers of the network; got {n_layers} instead."
    )
