"""Put trained weights into a network for other channels and other classes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from skcnn.transfer.layers import is_within

# Heads that help only while the original is trained: what their names begin with in torchvision.
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
_MOST_LISTED = 3


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], head_name: str, owner: str
) -> list[str]:
    """Load trained weights; nothing is loaded unless everything fits.

    Three things may differ: the channels of the images, where the first convolution is adapted so
    that grey images, as one channel or as three equal ones, give the same features; the number of
    classes, where the head keeps its random weights; and auxiliary heads, which are left out.

    Parameters
    ----------
    network : torch.nn.Module
        Network with random weights.
    state : mapping of str to Tensor
        Trained weights.
    head_name : str
        The part of the network that makes the logits.
    owner : str
        Whose parameter 'weights' is, for messages.

    Returns
    -------
    adapted : list of str
        What was adapted, in words.

    Raises
    ------
    ValueError
        If anything else differs; the message lists the first differences.
    """
    expected = network.state_dict()
    metadata = getattr(state, "_metadata", expected._metadata)
    state = OrderedDict(state)
    adapted = []

    auxiliary = {
        name.split(".")[0]
        for name in state
        if name not in expected and name.split(".")[0] in _AUXILIARY
    }
    if auxiliary:
        for name in [name for name in state if name.split(".")[0] in auxiliary]:
            del state[name]
        adapted.append(f"{' and '.join(sorted(auxiliary))}: left out")

    stem = next((n for n, layer in network.named_modules() if isinstance(layer, nn.Conv2d)), None)
    if stem is not None and (weight := state.get(f"{stem}.weight")) is not None:
        n_channels = expected[f"{stem}.weight"].shape[1]
        converted = _with_channels(weight, n_channels) if weight.ndim == 4 else weight
        if converted is not weight:
            state[f"{stem}.weight"] = converted
            adapted.append(f"{stem}: from {weight.shape[1]} to {n_channels} channels")

    in_head = [name for name in expected if is_within(name, head_name)]
    if in_head and (last := state.get(in_head[-1])) is not None:
        n_then, n_now = (len(entry) if entry.ndim else 0 for entry in (last, expected[in_head[-1]]))
        if n_then != n_now:
            for name in in_head:
                state[name] = expected[name]
            adapted.append(f"{head_name}: new, at random, from {n_then} to {n_now} classes")

    for name in expected:  # counts of batches, which old files do not have and nothing needs
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, expected[name])

    differences = _differences(state, expected)
    if differences:
        more = len(differences) - _MOST_LISTED
        raise ValueError(
            f"The 'weights' parameter of {owner} must fit its network; got weights that differ in "
            f"{len(differences)} entries instead. "
            + "; ".join(differences[:_MOST_LISTED])
            + (f"; and {more} more" if more > 0 else "")
            + ". Give the network the options with which they were trained, and images of the "
            "size that its linear layers were trained on."
        )
    state._metadata = metadata
    network.load_state_dict(state)
    return adapted


def _with_channels(weight: Tensor, n_channels: int) -> Tensor:
    """Weights (out, C, h, w) of a first convolution, for `n_channels` if that is possible."""
    n_then = weight.shape[1]
    if n_then == n_channels:
        return weight
    if n_channels == 1 and n_then == 3:
        return weight.sum(dim=1, keepdim=True)
    if n_then == 1 and n_channels == 3:
        return weight.expand(-1, 3, -1, -1) / 3
    if n_channels == 4 and n_then in (1, 3):  # the fourth, alpha, counts for nothing at first
        colours = _with_channels(weight, 3)
        return torch.cat([colours, torch.zeros_like(colours[:, :1])], dim=1)
    if n_then == 4 and n_channels in (1, 3):
        return _with_channels(weight[:, :3], n_channels)
    return weight


def _differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Entries that do not fit, in words: the first of each kind, then the others."""
    kinds: dict[str, list[str]] = {"shape": [], "missing": [], "unknown": []}
    for name, entry in expected.items():
        if name not in state:
            kinds["missing"].append(f"{name!r} is missing")
        elif state[name].shape != entry.shape:
            got, wanted = tuple(state[name].shape), tuple(entry.shape)
            kinds["shape"].append(f"{name!r} has shape {got}, where {wanted} is needed")
        elif entry.is_floating_point() and not state[name].is_floating_point():
            kinds["shape"].append(f"{name!r} is of {state[name].dtype}, where floats are needed")
    kinds["unknown"] = [f"{name!r} is unknown" for name in state if name not in expected]
    firsts = [differences[0] for differences in kinds.values() if differences]
    others = [difference for differences in kinds.values() for difference in differences[1:]]
    return firsts + others
