"""Batches that are trained on in parts, where the device has no memory for them as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from skcnn.exceptions import MicroBatchWarning, warn_caller
from skcnn.training.devices import is_out_of_memory
from skcnn.training.reproducibility import generator_states, set_generator_states

T = TypeVar("T")


class MicroBatches:
    """Parts of a batch, each of as many images as there is memory for.

    Parameters
    ----------
    network : torch.nn.Module
    device : torch.device
        Where it trains.
    """

    def __init__(self, network: nn.Module, device: torch.device):
        self.network = network
        self.device = device
        self.n_rows: int | None = None  # of a part, at most; None: of a batch
        layers = network.modules()
        # Batch normalisation cannot train on a single image.
        self._fewest = (
            2 if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in layers) else 1
        )

    def parts(self, n: int) -> list[slice]:
        """Slices of a batch of `n` rows, which differ by at most one row."""
        n_parts = 1 if self.n_rows is None else math.ceil(n / self.n_rows)
        n_parts = max(1, min(n_parts, n // self._fewest))
        ends = [n * k // n_parts for k in range(n_parts + 1)]
        return list(map(slice, ends[:-1], ends[1:]))

    def train(self, step: Callable[[], T], n: int) -> T:
        """Compute the gradients of a batch of `n` rows; halve its parts until it can be done.

        What a failed attempt drew, and what it left in running statistics, is taken back.

        Parameters
        ----------
        step : callable
            Goes through `parts` forward and backward.
        n : int

        Warns
        -----
        MicroBatchWarning
            If the parts became smaller.
        """
        n_rows = self.n_rows
        while True:
            before = self._state()
            try:
                result = step()
                break
            except RuntimeError as error:
                if not (is_out_of_memory(error) and self._halve(n)):
                    raise
            # Here, where the error no longer holds what the step had allocated.
            self._put_back(before)
        if self.n_rows != n_rows:
            warn_caller(
                f"There is no memory for a batch of {n} images: the fit goes on with batches of "
                f"that size, each trained on in parts of {self._largest(n)} images, whose "
                "gradients are added up (on_oom='split'). Batch normalisation sees the parts.",
                MicroBatchWarning,
            )
        return result

    def _largest(self, n: int) -> int:
        return max(part.stop - part.start for part in self.parts(n))

    def _halve(self, n: int) -> bool:
        """Make parts smaller, if they can be."""
        largest = self._largest(n)
        self.n_rows = math.ceil(largest / 2)
        return self._largest(n) < largest

    def _state(self) -> tuple[dict[str, Any], list[torch.Tensor]]:
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        return generator_states(self.device), buffers

    @torch.no_grad()
    def _put_back(self, state: tuple[dict[str, Any], list[torch.Tensor]]) -> None:
        generators, buffers = state
        set_generator_states(generators, self.device)
        for buffer, before in zip(self.network.buffers(), buffers, strict=True):
            buffer.copy_(before)
        self.network.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # pieces too small for anything
