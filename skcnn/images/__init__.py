"""From what users have to canonical batches: tensors of shape (n, C, H, W).

A batch is uint8 in 0–255, or float32 with values as given. Nothing here copies a whole data set,
and nothing writes to it.
"""

from skcnn.images._conversion import as_array, detached, is_dataset
from skcnn.images._files import ImageFiles
from skcnn.images._layout import ImageLayout, infer_layout
from skcnn.images._reopening import open_paths
from skcnn.images._scan import ImageScan, PixelRange, check_finite, scan_images
from skcnn.images._sources import (
    ArrayImages,
    DatasetImages,
    FileImages,
    TensorImages,
    dataset_labels,
    first_image,
)

__all__ = [
    "ArrayImages",
    "DatasetImages",
    "FileImages",
    "ImageFiles",
    "ImageLayout",
    "ImageScan",
    "PixelRange",
    "TensorImages",
    "as_array",
    "check_finite",
    "dataset_labels",
    "detached",
    "first_image",
    "infer_layout",
    "is_dataset",
    "open_paths",
    "scan_images",
]
