"""Read NumPy arrays out of the containers that users hold their data in."""

import numpy as np


def as_numpy(data):
    """Return `data` (array-like, or a tensor on any device) as an ndarray."""
    if isinstance(data, tuple):  # (image, label), an item of a torch Dataset
        data = data[0]
    if hasattr(data, "detach"):  # a torch tensor, which may carry a gradient or live on a GPU
        data = data.detach().cpu()
    return np.asarray(data)


def count_samples(X):
    """Return the number of samples in any container of them."""
    return X.shape[0] if hasattr(X, "shape") else len(X)
