"""What the network of a classifier looks like: its layers, shapes and costs, by torchinfo."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skcnn.training.reproducibility import seeded_generators
from skcnn.transfer import layer_shapes_of


class SummarisedNetwork:
    """Tables of the network of a classifier, fitted or not."""

    def summary(self, input_size: Sequence[int] | None = None, n_classes: int | None = None) -> Any:
        """Summarise the network: layers, output shapes, parameters, multiply-adds.

        Parameters
        ----------
        input_size : sequence of int, default=None
            (C, H, W) or (H, W) of images, which need not exist: a network is made for them, and
            where they are too small, for enlarged ones. None: the fitted network.
        n_classes : int, default=None
            Only used with `input_size`. None: those of the fit, or 10 before any.

        Returns
        -------
        statistics : torchinfo.ModelStatistics
            For one image; prints as a table.

        Raises
        ------
        NotFittedError
            If there is neither a fit nor `input_size`.
        ValueError
            If `input_size` is none.
        """
        return _summarise(*self._network_for(input_size, n_classes))

    def layer_shapes(
        self, input_size: Sequence[int] | None = None, n_classes: int | None = None
    ) -> Any:
        """Tabulate the layers of the network, one row each, in the order in which they run.

        Parameters
        ----------
        input_size : sequence of int, default=None
            (C, H, W) or (H, W) of images, which need not exist: a network is made for them, and
            where they are too small, for enlarged ones. None: the fitted network.
        n_classes : int, default=None
            Only used with `input_size`. None: those of the fit, or 10 before any.

        Returns
        -------
        table : pandas.DataFrame
            Columns ``layer`` (name), ``type``, ``output_shape`` (without the batch),
            ``n_parameters`` and ``multiply_adds``.

        Raises
        ------
        NotFittedError
            If there is neither a fit nor `input_size`.
        ValueError
            If `input_size` is none.
        """
        return _layer_table(*self._network_for(input_size, n_classes))

    def _network_for(
        self, input_size: Sequence[int] | None, n_classes: int | None
    ) -> tuple[nn.Module, tuple[int, int, int]]:
        """Fitted network, or one made for images of `input_size`, and the shape that it takes."""
        if input_size is None:
            check_is_fitted(self, "net_")
            return self.module_, (self.image_shape_[0], *self.input_size_)
        self._check_parameters()
        shape = tuple(input_size) if isinstance(input_size, Sequence) else ()
        if len(shape) not in (2, 3) or not all(_is_number(n) and n > 0 for n in shape):
            raise ValueError(
                f"The 'input_size' parameter must be (C, H, W) or (H, W), all positive; got "
                f"{input_size!r} instead."
            )
        if len(shape) == 2:
            shape = (self.image_shape_[0] if hasattr(self, "net_") else 1, *shape)
        if n_classes is not None and not (_is_number(n_classes) and n_classes >= 2):
            raise ValueError(
                f"The 'n_classes' parameter must be a whole number from 2, or None; got "
                f"{n_classes!r} instead."
            )
        if n_classes is None:
            n_classes = len(self.classes_) if hasattr(self, "net_") else 10
        weights = None
        if self.weights is not None:
            weights = layer_shapes_of(self.weights, self._torchvision_name(), self._name)
        # Our networks need no memory to be looked at; those of others may do what needs some.
        where = torch.device("cpu" if self._network is None else "meta")
        with seeded_generators(0, torch.device("cpu")), where:
            module, size = self._make_module(shape, n_classes, weights)
        return module, (shape[0], *size)


def _summarise(module: nn.Module, image_shape: tuple[int, int, int]) -> Any:
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


def _layer_table(module: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """DataFrame of the layers of a network, in the order in which they run.

    A layer is what has no parts, or has parameters beside those of its parts. One that runs again
    has its parameters counted once, and those of a part that does not run as a module of its own
    are counted with what holds it.
    """
    import pandas as pd

    ran = _summarise(module, image_shape).summary_list
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


def _is_number(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
