"""Labelled images and their mini-batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skcnn.images import ArrayImages, DatasetImages, TensorImages

T = TypeVar("T")


class Batch(tuple):
    """A pair (images, targets), as skorch takes it, that also carries the rows' weights.

    It may be one process's share of a batch, whose number of rows it carries too.
    """

    weights: Tensor | None
    n_rows: int

    def __new__(
        cls,
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        n_rows: int | None = None,
    ) -> Batch:
        """Pair `images` (n, C, H, W) with `targets` (n,) and their `weights` (n,)."""
        batch = super().__new__(cls, (images, targets))
        batch.weights = weights
        batch.n_rows = len(targets) if n_rows is None else n_rows
        return batch

    def to(self, device: torch.device) -> Batch:
        """Batch on `device`, by way of pinned memory, from which a copy does not wait."""
        if self[0].device.type == device.type:
            return self
        pin = device.type == "cuda"
        return Batch(
            *(
                t if t is None else (t.pin_memory() if pin else t).to(device, non_blocking=pin)
                for t in (*self, self.weights)
            ),
            n_rows=self.n_rows,
        )


class LabelledImages(Dataset):
    """Some rows of a source of images, with class indices and loss weights.

    Parameters
    ----------
    images : ArrayImages, DatasetImages or TensorImages
    rows : ndarray of shape (n,)
        Rows of `images` that belong here, in order; a row may be named more than once.
    targets : ndarray of shape (n,)
        Class index of each of `rows`.
    weights : ndarray of shape (n,), optional
        Weight of each in the loss. None: all weigh 1.
    """

    def __init__(
        self,
        images: ArrayImages | DatasetImages | TensorImages,
        rows: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
    ):
        self.images = images
        self.rows = torch.as_tensor(rows)
        self.targets = torch.as_tensor(targets, dtype=torch.long)
        self.weights = None if weights is None else torch.as_tensor(weights, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.images.read(self.rows[i : i + 1])[0], self.targets[i]

    def moved(self, images: TensorImages, rows: Tensor) -> LabelledImages:
        """Return the same as `rows` of other `images`, all on the device of those."""
        device = images.pixels.device
        moved = copy.copy(self)
        moved.images, moved.rows = images, rows.to(device)
        moved.targets = self.targets.to(device)
        moved.weights = None if self.weights is None else self.weights.to(device)
        return moved

    def batch(self, positions: Tensor) -> Batch:
        """Batch of the images at `positions` (k,), in that order."""
        weights = None if self.weights is None else self.weights[positions]
        return Batch(self.images.read(self.rows[positions]), self.targets[positions], weights)


class BatchIterator:
    """Mini-batches of :class:`LabelledImages`: one permutation an epoch, one read a batch.

    The rows are dealt into ``ceil(n / batch_size)`` batches that differ by at most one row, so
    that there is no short last batch: each row weighs the same. Batch normalisation cannot train
    on a single row, so where a batch would have one, as with odd n and `batch_size` 2, it is
    joined to another; only `batch_size` 1 makes batches of one row. Where processes share each
    batch, this holds for their shares.

    Parameters
    ----------
    dataset : LabelledImages
    batch_size : int
        Largest number of images in a batch.
    shuffle : bool
        Draw a new order for every epoch.
    device : torch.device, optional
        Where the batches are wanted. None: where the images are.
    equal : bool, default=False
        Make all batches of an epoch one size, by taking its first rows a second time in the last.
    share : tuple of int, default=(0, 1)
        (k, n): give the k-th of n shares of each batch, which differ by at most one row. There
        must be n rows, and n in a batch.
    generator : torch.Generator, optional
        What the order is drawn from. None: torch's default generator.
    """

    def __init__(
        self,
        dataset: LabelledImages,
        batch_size: int,
        shuffle: bool,
        device: torch.device | None = None,
        equal: bool = False,
        share: tuple[int, int] = (0, 1),
        generator: torch.Generator | None = None,
    ):
        self.dataset = dataset
        _, n_shares = share
        fewest = n_shares * min(2, batch_size // n_shares)
        self.n_batches = max(1, min(math.ceil(len(dataset) / batch_size), len(dataset) // fewest))
        self.shuffle = shuffle
        self.device = device
        self.equal = equal
        self.share = share
        self.generator = generator

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.dataset)
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        if self.equal:
            order = torch.cat([order, order[: -n % self.n_batches]])
        order = order.to(self.dataset.targets.device)
        batches = map(self._read, order.tensor_split(self.n_batches))
        return read_ahead(batches) if self._takes_a_while else batches

    @property
    def _takes_a_while(self) -> bool:
        """Whether batches come from a file, or go to another device than the images are on.

        Not said of a Dataset: what it draws at random must be drawn in the order of training.
        """
        images = self.dataset.images
        elsewhere = self.device is not None and self.device.type != "cpu"
        return isinstance(images, ArrayImages) and (images.is_mapped or elsewhere)

    def _read(self, positions: Tensor) -> Batch:
        k, n_shares = self.share
        batch = self.dataset.batch(positions.tensor_split(n_shares)[k])
        batch.n_rows = len(positions)
        return batch if self.device is None else batch.to(self.device)


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the same items, each made by another thread while the one before it is used."""
    end = object()
    with ThreadPoolExecutor(max_workers=1) as executor:
        following = executor.submit(next, items, end)
        while (item := following.result()) is not end:
            following = executor.submit(next, items, end)
            yield item
