"""Pick single images out of whatever X is, and make them fit for a screen."""

import math
import os
from functools import partial

import numpy as np

from skcnn._paths import paths_in
from skcnn.inspection._arrays import as_numpy

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
LONGEST_SIDE = 512  # pixels, to which photographs are reduced for a screen


def take_samples(X, indices):
    """Return the samples of `X` at `indices` as a list of ndarrays; the others are not read."""
    indices = [int(index) for index in indices]
    paths = paths_in(X)
    if paths is not None:
        return [_read_reduced(paths[index]) for index in indices]
    if hasattr(X, "iloc"):
        return list(X.iloc[indices].to_numpy())
    if hasattr(X, "toarray"):
        return list(X[indices].toarray())
    return [_as_array(X[index]) for index in indices]


def sample_readers(X, indices):
    """Return a function for each of the samples of `X` at `indices`, which returns the sample.

    Files are read when it is called; of anything else, it has a copy, and does not keep `X` alive.
    """
    if paths_of(X) is None:
        return [partial(np.asarray, sample.copy()) for sample in take_samples(X, indices)]
    paths = paths_in(X)
    if paths is None:
        return [partial(X.__getitem__, int(index)) for index in indices]
    return [partial(_read_reduced, paths[index]) for index in indices]


def paths_of(X):
    """Return the path of the file behind each sample, or None where `X` is not of files."""
    paths = paths_in(X)
    if paths is None and not hasattr(X, "iloc"):  # of a table, it would be a column
        paths = getattr(X, "paths", None)
    return None if paths is None else [os.fspath(path) for path in paths]


def _read_reduced(path):
    """Read one file, in its own proportions, at no more than `LONGEST_SIDE`."""
    from skcnn.images import ImageFiles

    image = ImageFiles([path])
    size = image.shape[1:3]
    if max(size) > LONGEST_SIDE:
        size = [max(1, round(side * LONGEST_SIDE / max(size))) for side in size]
        image = ImageFiles([path], **{**image.options, "image_size": size})
    return image[0]


def _as_array(sample):
    if hasattr(sample, "convert") and sample.mode not in (
        "1",
        "L",
        "RGB",
        "RGBA",
        "I;16",
        "I",
        "F",
    ):
        # Pillow's palette images would come as numbers of palette entries, CMYK inverted.
        sample = sample.convert("RGBA" if "A" in sample.getbands() else "RGB")
    return as_numpy(sample)


def fitted_image_shapes(classifier):
    """Return the shapes that rows of flat pixels may have, as the classifier knows them.

    `image_shape_` is always (C, H, W), whatever the layout of the rows: they are channels-last,
    unless the parameter `image_shape` of the classifier says otherwise.
    """
    shapes = []
    if getattr(classifier, "image_shape", None) is not None:
        shapes.append(tuple(classifier.image_shape))
    if getattr(classifier, "image_shape_", None) is not None:
        n_channels, height, width = classifier.image_shape_
        shapes.append((height, width, n_channels))
    return shapes


def square_shapes(n_pixels):
    """Return the square grey or RGB shape with `n_pixels` values, as a list of at most one.

    The same guess that the classifiers make about flat rows; 3 s² is never a square.
    """
    side = math.isqrt(n_pixels)
    if side * side == n_pixels:
        return [(side, side)]
    side = math.isqrt(n_pixels // 3)
    return [(side, side, 3)] if 3 * side * side == n_pixels else []


def check_image_shape(image_shape, owner):
    """Raise a ValueError unless `image_shape` is None or a shape of one image."""
    if image_shape is None:
        return
    sizes = tuple(image_shape) if np.iterable(image_shape) else ()
    if len(sizes) not in (2, 3) or not all(
        isinstance(size, (int, np.integer)) and size > 0 for size in sizes
    ):
        raise ValueError(
            f"The 'image_shape' parameter of {owner} must be None, (H, W), (H, W, C) or "
            f"(C, H, W); got {image_shape!r} instead. Give the shape of one image in pixels."
        )


def as_image(sample, shapes, owner):
    """Return one sample as an image.

    Parameters
    ----------
    sample : ndarray of shape (H, W), (H, W, C), (C, H, W) or (d,)
        One sample of X.

    shapes : list of tuple
        Shapes that a flat sample may have; the first one of its length is taken.

    owner : str
        Name of the caller, for the error messages.

    Returns
    -------
    image : ndarray of shape (H, W), (H, W, 3) or (H, W, 4)
        A view of the sample where possible.

    Raises
    ------
    ValueError
        If the sample is no image, or is flat and of none of the shapes.
    """
    image = sample
    if image.ndim == 1:
        shape = next((shape for shape in shapes if math.prod(shape) == image.size), None)
        if shape is None:
            expected = f" {shapes[0]}" if shapes else ""
            raise ValueError(
                f"The 'X' parameter of {owner} must hold images, or flat rows that have as many "
                f"values as the image shape{expected}; got rows of {image.size} values instead. "
                "Give image_shape=(H, W), (H, W, C) or (C, H, W) of the images behind the rows."
            )
        image = image.reshape(shape)
    if image.ndim == 3 and image.shape[2] not in CHANNELS and image.shape[0] in CHANNELS:
        image = np.moveaxis(image, 0, 2)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    is_image = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in CHANNELS)
    if not is_image or image.dtype.kind not in "buif":
        raise ValueError(
            f"The 'X' parameter of {owner} must hold images of shape (H, W), (H, W, C) or "
            f"(C, H, W) with 1, 3 or 4 channels; got a sample of shape {sample.shape} and dtype "
            f"{sample.dtype} instead. Pass the images themselves."
        )
    return image


def grey_limits(images):
    """Return the values to be drawn black and white in all of these images.

    uint8 keeps its 0 to 255. Other values may have any range: black is 0, or the lowest value
    where some are negative, and white the highest, so that brightness compares across images.
    """
    if all(image.dtype == np.uint8 for image in images):
        return 0, 255
    low = min(0.0, min(float(np.nanmin(image)) for image in images))
    high = max(float(np.nanmax(image)) for image in images)
    return (low, high) if high > low else (low, low + 1.0)


def as_rgb(image, limits):
    """Return a colour image with any range of values as one that matplotlib shows unclipped."""
    if image.dtype == np.uint8:
        return image
    low, high = limits
    rgb = (image[:, :, :3].astype(float) - low) / (high - low)
    if image.shape[2] == 3:
        return np.clip(rgb, 0, 1)
    alpha = image[:, :, 3:].astype(float)
    highest = np.nanmax(alpha)
    # Opacity has a scale of its own, 0 to 1 or 0 to 255; a standardized one has none left.
    if np.nanmin(alpha) < 0 or highest > 255:
        alpha = np.ones_like(alpha)
    elif highest > 1:
        alpha = alpha / 255
    return np.clip(np.concatenate([rgb, alpha], axis=2), 0, 1)


def colour_values(image):
    """Return the values of an image without its opacity."""
    return image[:, :, :3] if image.ndim == 3 else image
