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
    """DataFrame of the layers of a network that have no parts, in the order in which they run."""
    import pandas as pd

    names = {id(part): name for name, part in module.named_modules()}
    rows = [
        {
            "layer": names[layer.layer_id],
            "type": layer.class_name,
            "output_shape": tuple(layer.output_size[1:]),
            "n_parameters": layer.num_params,
            "multiply_adds": layer.macs,
        }
        for layer in summarise(module, image_shape).summary_list
        if layer.is_leaf_layer
    ]
    return pd.DataFrame(rows)
