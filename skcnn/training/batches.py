"""Labelled images and their mini-batches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skcnn.images import ArrayImages, DatasetImages


class Batch(tuple):
    """A pair (images, targets), as skorch takes it, that also carries the rows' weights."""

    weights: Tensor | None

    def __new__(cls, images: Tensor, targets: Tensor, weights: Tensor | None = None) -> Batch:
        """Pair `images` (n, C, H, W) with `targets` (n,) and their `weights` (n,)."""
        batch = super().__new__(cls, (images, targets))
        batch.weights = weights
        return batch


class LabelledImages(Dataset):
    """Some rows of a source of images, with class indices and loss weights.

    Parameters
    ----------
    images : ArrayImages or DatasetImages
    rows : ndarray of shape (n,)
        Rows of `images` that belong here, in order; a row may be named more than once.
    targets : ndarray of shape (n,)
        Class index of each of `rows`.
    weights : ndarray of shape (n,), optional
        Weight of each in the loss; scaled to mean 1. None: all weigh the same.
    """

    def __init__(
        self,
        images: ArrayImages | DatasetImages,
        rows: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
    ):
        self.images = images
        self.rows = rows
        self.targets = torch.as_tensor(targets, dtype=torch.long)
        if weights is not None:
            weights = weights / weights.max()  # first, since the mean of huge ones may overflow
            weights = torch.as_tensor(weights / weights.mean(), dtype=torch.float32)
        self.weights = weights

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.images.read(self.rows[i : i + 1])[0], self.targets[i]

    def batch(self, positions: Tensor) -> Batch:
        """Batch of the images at `positions` (k,), in that order."""
        weights = None if self.weights is None else self.weights[positions]
        images = self.images.read(self.rows[positions.numpy()])
        return Batch(images, self.targets[positions], weights)


class BatchIterator:
    """Mini-batches of :class:`LabelledImages`: one permutation an epoch, one read a batch.

    The rows are dealt into ``ceil(n / batch_size)`` batches that differ by at most one row, so
    that there is no short last batch: each row weighs the same. Batch normalisation cannot train
    on a single row, so where a batch would have one, as with odd n and `batch_size` 2, it is
    joined to another; only `batch_size` 1 makes batches of one row.

    Parameters
    ----------
    dataset : LabelledImages
    batch_size : int
        Largest number of images in a batch.
    shuffle : bool
        Draw a new order for every epoch, from torch's default generator.
    """

    def __init__(self, dataset: LabelledImages, batch_size: int, shuffle: bool):
        self.dataset = dataset
        self.n_batches = math.ceil(len(dataset) / batch_size)
        if batch_size > 1:
            self.n_batches = max(1, min(self.n_batches, len(dataset) // 2))
        self.shuffle = shuffle

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Batch]:
        n = len(self.dataset)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for positions in order.tensor_split(self.n_batches):
            yield self.dataset.batch(positions)
