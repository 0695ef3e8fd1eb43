"""Lists of arrays or PIL images, tensors and columns of images → one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

# Pillow's modes whose arrays are already what a network takes; the others are converted.
_PIL_MODES = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA"}
_PIL_KEPT = ("L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B")


def is_dataset(X: Any) -> bool:
    """Whether `X` is a torch ``Dataset`` of (image, label) pairs."""
    return isinstance(X, Dataset)


def detached(values: Any) -> Any:
    """Array of the values of a tensor; anything else as it is."""
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    # NumPy has no bfloat16.
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def as_array(X: Any) -> Any:
    """One array for a tensor, a list, or a sequence or column of images; others as they are.

    Raises
    ------
    ValueError
        If X is empty or holds no pixels, or the images of a sequence differ in shape.
    """
    if X is None or isinstance(X, str | bytes | PurePath | dict | Iterator | DataLoader):
        raise ValueError(
            f"X must be an array, tensor, list or DataFrame of images or of their paths, or a "
            f"Dataset of (image, label); got {X!r:.60} instead. For one file, pass a list of its "
            "path; for a folder, what skcnn.datasets.load_image_folder gives."
        )
    if isinstance(X, torch.Tensor):
        return detached(X)
    images = _image_sequence(X)
    if images is not None:
        return _stack(images)
    return _numbers(X) if isinstance(X, list | tuple) else X


def _numbers(X: Sequence) -> np.ndarray:
    """Array of nested lists."""
    if len(X) == 0:
        raise ValueError("X must hold at least one image; got an empty list: 0 samples.")
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(
            "The images in X must all have the same shape; got nested lists of several lengths "
            "instead. Resize or crop them to one shape before fit."
        ) from error


def image_array(image: Any) -> np.ndarray:
    """One image, an array, a tensor or a PIL image, as an array."""
    if _is_pil(image) and image.mode not in _PIL_KEPT:
        image = image.convert(_PIL_MODES.get(image.mode, "RGB"))
    return np.asarray(detached(image))


def _image_sequence(X: Any) -> list | None:
    """Images of a list, tuple, object array, Series or one-column DataFrame, else None."""
    if getattr(X, "ndim", None) == 2 and hasattr(X, "iloc") and X.shape[1] == 1:
        X = X.iloc[:, 0]
    if isinstance(X, np.ndarray) and not (X.dtype == object and X.ndim == 1):
        return None
    if not (isinstance(X, list | tuple | np.ndarray) or hasattr(X, "iloc")):
        return None
    if getattr(X, "ndim", 1) != 1 or len(X) == 0:
        return None
    images = list(X)
    is_image = _is_pil(images[0]) or (
        isinstance(images[0], np.ndarray | torch.Tensor) and images[0].ndim >= 2
    )
    return images if is_image else None


def _is_pil(image: Any) -> bool:
    return hasattr(image, "getbands") and hasattr(image, "convert")


def _stack(images: list) -> np.ndarray:
    arrays = [image_array(image) for image in images]
    first = arrays[0]
    for i, array in enumerate(arrays):
        if array.shape != first.shape:
            raise ValueError(
                f"The images in X must all have the same shape; got {first.shape} for image 0 "
                f"and {array.shape} for image {i} instead. Resize or crop them to one shape, and "
                "convert them to one mode, before fit."
            )
    return np.stack(arrays)
