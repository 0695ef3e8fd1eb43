"""Losses and weights that must stay finite, and the way back where they did not."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from skcnn.exceptions import DivergenceError

# Losses stay on the device until there are this many: long epochs need not run on in vain, and
# waiting for the device this seldom costs nothing.
_LOSSES_AT_ONCE = 100


class EpochLosses:
    """Losses of the batches of an epoch, brought to the host many at a time.

    Parameters
    ----------
    kind : {"train", "valid"}
    n_batches : int
    epoch : int
        Number of the epoch, from 1.
    gather : callable
        Makes of the losses that this process has seen those of the whole batches.
    """

    def __init__(self, kind: str, n_batches: int, epoch: int, gather: Callable[[Tensor], Tensor]):
        self.kind = kind
        self.n_batches = n_batches
        self.epoch = epoch
        self.gather = gather
        self.records: list[tuple[dict[str, Any], float]] = []
        self.total = 0.0
        self._n_settled = 0
        self._losses: Tensor | None = None

    def add(self, loss: Tensor, record: dict[str, Any], lr: float) -> None:
        """Note the loss of the next batch, trained at `lr`, in its row of the history."""
        if self._losses is None:
            self._losses = loss.new_empty(self.n_batches)
        n = len(self.records)
        self._losses[n] = loss
        record[f"{self.kind}_loss"] = self._losses[n]
        self.records.append((record, lr))
        if len(self.records) - self._n_settled == _LOSSES_AT_ONCE:
            self._settle()

    def mean(self) -> float:
        """Mean over the rows of all batches."""
        self._settle()
        return self.total / sum(record[f"{self.kind}_batch_size"] for record, _ in self.records)

    def _settle(self) -> None:
        """Bring the new losses to the host.

        Raises
        ------
        DivergenceError
            If one is not finite.
        """
        first, end = self._n_settled, len(self.records)
        if first == end:
            return
        self._n_settled = end
        losses = self.gather(self._losses[first:end]).tolist()
        for batch, loss in enumerate(losses, first + 1):
            record, lr = self.records[batch - 1]
            record[f"{self.kind}_loss"] = loss
            self.total += loss * record[f"{self.kind}_batch_size"]
            if not math.isfinite(loss):
                name = "training" if self.kind == "train" else "validation"
                raise DivergenceError(f"{name} loss became {loss}", self.epoch, batch, lr)


def check_finite_weights(net: NeuralNet) -> None:
    """Check that an epoch left the weights finite, and the statistics of batch normalisation.

    The last step of an epoch can spoil them without a loss that shows it.

    Raises
    ------
    DivergenceError
        If one is not finite.
    """
    values = [p.detach() for p in net.module_.parameters() if p.requires_grad]
    for layer in net.module_.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            values += [layer.running_mean, layer.running_var]
    # A sum has all that is not finite in it, and costs a tenth of looking for it. Huge values may
    # have such a sum, too, each of them finite.
    total = torch.stack([value.sum() for value in values]).sum()
    if not (math.isfinite(total) or all(value.isfinite().all() for value in values)):
        lr = net.optimizer_.param_groups[0]["lr"]
        n_batches = net.history[-1, "train_batch_count"]
        raise DivergenceError("weights became NaN or infinite", len(net.history), n_batches, lr)


class LastGoodEpoch:
    """Copy of a network after the last epoch in which all was finite, in the host's memory."""

    def __init__(self):
        self.n_epochs = 0
        self._state: dict[str, Any] = {}

    def keep(self, net: NeuralNet) -> None:
        """Copy the network as it is now."""
        self.n_epochs = len(net.history)
        for name, value in net.module_.state_dict().items():
            if not isinstance(value, Tensor):
                self._state[name] = copy.deepcopy(value)
            elif name in self._state:
                self._state[name].copy_(value)
            else:
                self._state[name] = value.detach().to("cpu", copy=True)

    def put_back(self, net: NeuralNet) -> None:
        """Let the network be as it was, with a new optimizer, and no later epochs on record."""
        del net.history[self.n_epochs :]
        net.module_.load_state_dict(self._state)
        net.initialize_optimizer()
