"""Sources of canonical batches: an array, files, or a torch ``Dataset``."""

from __future__ import annotations

import copy
import mmap

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skcnn.images._conversion import image_array
from skcnn.images._files import ImageFiles
from skcnn.images._layout import ImageLayout

# Rows of a file that are read before their pages are let go: a row anywhere may bring 2 MB with it.
_MAPPED_ROWS = 32
# Decoded files of this many bytes are read as an array in memory is, which they soon are.
_SMALL_CACHE = 1 << 26


class Images:
    """Images that are read batch by batch.

    Parameters
    ----------
    layout : ImageLayout
    divisor : float, default=1.0
        Batches of floats come divided by it; those of bytes do not, which devices divide faster.
    """

    def __init__(self, layout: ImageLayout, divisor: float = 1.0):
        self.layout = layout
        self.divisor = divisor

    def divided_by(self, divisor: float) -> Images:
        """Return the same images, divided by `divisor` and by nothing else."""
        divided = copy.copy(self)
        divided.divisor = divisor
        return divided

    def _batch(self, pixels: np.ndarray) -> Tensor:
        """Batch of shape (n, C, H, W) of rows of uint8 or float32, which it may overwrite."""
        if pixels.dtype != np.uint8 and self.divisor != 1:
            pixels /= np.float32(self.divisor)
        images = torch.from_numpy(pixels).reshape(-1, *self.layout.unfolded)
        if not self.layout.channels_last:
            return images
        # Cloned, since contiguous() may keep strides that let torch take another algorithm.
        return images.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)


class ArrayImages(Images):
    """Images in an array of any layout, memory-mapped and read-only ones too.

    Parameters
    ----------
    array : ndarray of shape (n, *layout.row_shape)
    layout : ImageLayout
    divisor : float, default=1.0
    """

    def __init__(self, array: np.ndarray, layout: ImageLayout, divisor: float = 1.0):
        super().__init__(layout, divisor)
        self.array = array
        self._file = _file_behind(array)

    def __len__(self) -> int:
        return len(self.array)

    @property
    def is_mapped(self) -> bool:
        """Whether the pixels are read from a file, as they are needed."""
        return self._file is not None

    @property
    def is_uint8(self) -> bool:
        """Whether the pixels are bytes."""
        return self.array.dtype == np.uint8

    def read(self, rows: slice | Tensor) -> Tensor:
        """Batch of shape (n, C, H, W), uint8 or float32, in memory of its own.

        Copied always: a batch must survive operations in place, and an array may be read-only.
        """
        dtype = np.uint8 if self.is_uint8 else np.float32
        # A value too large for float32 becomes infinite here; check_finite speaks of it.
        with np.errstate(over="ignore"):
            if isinstance(rows, slice):
                batch = np.array(self.array[rows], dtype=dtype, order="C")
                self._release()
            else:
                batch = np.empty((len(rows), *self.array.shape[1:]), dtype=dtype)
                step = len(rows) if self._file is None else _MAPPED_ROWS
                for start in range(0, len(rows), step):
                    some = slice(start, start + step)
                    batch[some] = self.array[rows[some].numpy()]
                    self._release()
        return self._batch(batch)

    def _release(self) -> None:
        """Let go of the pages of a file that were read: the system keeps them, as its own."""
        # In mode "c" they may hold changes that are nowhere else.
        if self._file is None or self._file.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
            return
        base: object = self._file
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            base.madvise(mmap.MADV_DONTNEED)


class FileImages(ArrayImages):
    """Images in files, which are decoded here, all of them: batches come from their cache.

    Parameters
    ----------
    files : ImageFiles
    layout : ImageLayout
    divisor : float, default=1.0
    verbose : bool, default=False
        Show the progress of decoding.

    Raises
    ------
    ImageFileError
        If a file cannot be decoded.
    """

    def __init__(
        self, files: ImageFiles, layout: ImageLayout, divisor: float = 1.0, verbose: bool = False
    ):
        pixels, rows = files.decode(verbose=verbose).cached()
        super().__init__(pixels, layout, divisor)
        self.rows = torch.from_numpy(np.array(rows))  # a view of them may run backwards
        if files.nbytes <= _SMALL_CACHE:
            self._file = None

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: slice | Tensor) -> Tensor:
        """Batch of shape (n, C, H, W), uint8, in memory of its own."""
        return super().read(self.rows[rows])


class DatasetImages(Images):
    """Images of a torch ``Dataset`` of (image, label), fetched one by one when needed.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
    layout : ImageLayout
    divisor : float, default=1.0
    """

    def __init__(self, dataset: Dataset, layout: ImageLayout, divisor: float = 1.0):
        super().__init__(layout, divisor)
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, rows: slice | Tensor) -> Tensor:
        """Batch of shape (n, C, H, W), uint8 or float32."""
        rows = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows.tolist()
        images = [image_array(_image_of(self.dataset[i])) for i in rows]
        for i, image in zip(rows, images, strict=True):
            if image.shape != self.layout.row_shape:
                raise ValueError(
                    f"The images in X must all have the shape {self.layout.row_shape}; got "
                    f"{image.shape} for image {i} instead. Resize or crop them in the Dataset."
                )
        batch = np.stack(images)
        if batch.dtype != np.uint8:
            with np.errstate(over="ignore"):
                batch = batch.astype(np.float32, copy=False)
        return self._batch(batch)


class TensorImages:
    """Images in a tensor on any device, as the other sources' batches are.

    Parameters
    ----------
    pixels : Tensor of shape (n, C, H, W), uint8, or float32 and divided
    """

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: Tensor) -> Tensor:
        """Batch of shape (n, C, H, W), in memory of its own, on the device of the pixels."""
        return self.pixels.index_select(0, rows)


def first_image(dataset: Dataset) -> np.ndarray:
    """First image of a Dataset, as an array.

    Raises
    ------
    ValueError
        If the Dataset has no length, or is empty.
    """
    if not hasattr(dataset, "__len__") or len(dataset) == 0:
        raise ValueError(
            f"X must be a Dataset with a length and at least one (image, label) pair; got "
            f"{type(dataset).__name__} instead."
        )
    return image_array(_image_of(dataset[0]))


def dataset_labels(dataset: Dataset) -> list:
    """Labels of a Dataset of (image, label).

    Raises
    ------
    ValueError
        If its items are not pairs.
    """
    labels = []
    for i in range(len(dataset)):
        item = dataset[i]
        if not (isinstance(item, tuple | list) and len(item) == 2):
            raise ValueError(
                "X must be a Dataset of (image, label) pairs when y is None; got "
                f"{type(item).__name__} for item {i} instead."
            )
        label = item[1]
        labels.append(label.item() if isinstance(label, Tensor) else label)
    return labels


def _image_of(item: object) -> object:
    return item[0] if isinstance(item, tuple | list) else item


def _file_behind(array: np.ndarray) -> np.memmap | None:
    """Find the memory map that an array is, or is a view of."""
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return base if isinstance(base, np.memmap) else None
