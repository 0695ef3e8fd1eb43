"""Lists of arrays or PIL images, tensors and columns of images → one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

# Pillow's modes whose arrays are already what a network takes; the others are converted.
_PIL_MODES = {"1": "L", "LA": "RGBA", "La": "RGBA", "PA": "RGBA"}
_PIL_KEPT = ("L", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B")


def is_dataset(X: Any) -> bool:
    """Whether `X` is a torch ``Dataset`` of (image, label) pairs."""
    return isinstance(X, Dataset)


def as_array(X: Any) -> Any:
    """One array for a tensor, or for a sequence or column of images; anything else as it is.

    Raises
    ------
    ValueError
        If the images of a sequence differ in shape.
    """
    if isinstance(X, torch.Tensor):
        return X.detach().cpu().numpy()
    images = _image_sequence(X)
    return X if images is None else _stack(images)


def image_array(image: Any) -> np.ndarray:
    """One image, an array, a tensor or a PIL image, as an array."""
    if isinstance(image, torch.Tensor):
        return image.detach().cpu().numpy()
    if _is_pil(image) and image.mode not in _PIL_KEPT:
        image = image.convert(_PIL_MODES.get(image.mode, "RGB"))
    return np.asarray(image)


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
