"""Images that are quickly drawn, or easily told apart."""

import numpy as np
from PIL import Image


def dim_and_bright(n=160, side=28, seed=0):
    """Images and labels of two classes that any network tells apart: (n, side, side) uint8.

    Noise everywhere; in half of the images, of class 1, a bright square in the middle.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.integers(0, 60, (n, side, side), dtype=np.uint8)
    quarter = side // 4
    X[y == 1, quarter:-quarter, quarter:-quarter] += 180
    return X, y


def write_pngs(folder, images):
    """Write images as files named 0.png, 1.png, ...; return their paths."""
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths
