"""What a network looks like: its layers, shapes, parameters and multiply-adds, by torchinfo."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def summarise(module: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """``torchinfo.ModelStatistics`` of a network for one image of shape (C, H, W)."""
    import torchinfo

    parameter = next(module.parameters(), None)
    device = "cpu" if parameter is None else parameter.device
    return torchinfo.summary(
        module,
        input_data=torch.zeros(1, *image_shape, device=device),
        col_names=("output_size", "num_params", "mult_adds"),
        device=device,
        mode="eval",
        verbose=0,
    )


def layer_table(module: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """DataFrame of the layers of a network, in the order in which they run.

    A layer is what has no parts, or has parameters beside those of its parts. One that runs again
    has its parameters counted once, and those of a part that does not run as a module of its own
    are counted with what holds it.
    """
    import pandas as pd

    ran = summarise(module, image_shape).summary_list
    names = {id(part): name for name, part in module.named_modules()}
    n_parameters = dict.fromkeys((names[layer.layer_id] for layer in ran), 0)
    for name, parameter in module.named_parameters():
        holder = name.rpartition(".")[0]
        while holder not in n_parameters:
            holder = holder.rpartition(".")[0]
        n_parameters[holder] += parameter.numel()
    rows = []
    for layer in ran:
        name = names[layer.layer_id]
        own = n_parameters.pop(name, 0)
        if layer.is_leaf_layer or own:
            rows.append(
                {
                    "layer": name,
                    "type": layer.class_name,
                    "output_shape": tuple(layer.output_size[1:]),
                    "n_parameters": own,
                    "multiply_adds": layer.macs if layer.is_leaf_layer else 0,
                }
            )
    return pd.DataFrame(rows)
