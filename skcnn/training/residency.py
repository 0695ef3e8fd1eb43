"""Where images are kept while a network trains on them."""

from __future__ import annotations

import math

import torch

from skcnn.images import ArrayImages, TensorImages
from skcnn.training.batches import LabelledImages
from skcnn.training.devices import free_memory
from skcnn.training.preprocessing import Preprocessing

# Share of a device's free memory that images may take: the network needs the rest. On the CPU they
# are in memory already, and fits may run side by side: there, the share for resized copies.
_DEVICE_SHARE = 1 / 2
_HOST_SHARE = 1 / 8
# Images are copied, and resized, in chunks of this many.
_CHUNK_ROWS = 256


def make_resident(
    dataset: LabelledImages,
    preprocessing: Preprocessing,
    device: torch.device,
    resize: bool = True,
) -> LabelledImages:
    """Put the images on the device, where they fit; resize them once, where they then fit.

    Bytes that need no resizing stay bytes. A Dataset is left alone, since it may give another
    image each time.

    Parameters
    ----------
    dataset : LabelledImages
    preprocessing : Preprocessing
        Of the network, on `device`.
    device : torch.device
        Where the network trains.
    resize : bool, default=True
        False: the images are needed in the size that they have.
    """
    images = dataset.images
    if not isinstance(images, ArrayImages):
        return dataset
    channels, *raw_size = images.layout.shape
    used, rows = torch.unique(dataset.rows, return_inverse=True)
    n_values = len(used) * channels
    raw_bytes = n_values * math.prod(raw_size) * (1 if images.is_uint8 else 4)
    resized_bytes = n_values * math.prod(preprocessing.size) * 4
    on_host = device.type == "cpu"
    share = free_memory(device) * (_HOST_SHARE if on_host else _DEVICE_SHARE)
    if resize and tuple(raw_size) != preprocessing.size and resized_bytes <= share:
        prepare = preprocessing.resize
    elif not on_host and raw_bytes <= share:
        prepare = torch.nn.Identity()
    else:
        return dataset

    sample = prepare(images.read(used[:1]).to(device))
    pixels = sample.new_empty(len(used), *sample.shape[1:])
    for chunk, kept in zip(used.split(_CHUNK_ROWS), pixels.split(_CHUNK_ROWS), strict=True):
        kept.copy_(prepare(images.read(chunk).to(device)))
    return dataset.moved(TensorImages(pixels), rows)
