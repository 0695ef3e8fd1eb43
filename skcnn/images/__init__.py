"""From what users have to canonical batches: tensors of shape (n, C, H, W).

A batch is uint8, which is divided on the device, or float32, which comes divided: by the divisor
that the numbers of `fit` set. Nothing here copies a whole data set, and nothing writes to it.
"""

from skcnn.images._conversion import as_array, detached, is_dataset
from skcnn.images._files import ImageFiles
from skcnn.images._layout import ImageLayout, infer_layout
from skcnn.images._reopening import open_paths
from skcnn.images._scale import PixelScale, ScaleComparison, image_extremes, pixel_divisor
from skcnn.images._scan import ImageScan, scan_images
from skcnn.images._sources import (
    ArrayImages,
    DatasetImages,
    FileImages,
    Images,
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
    "Images",
    "PixelScale",
    "ScaleComparison",
    "TensorImages",
    "as_array",
    "dataset_labels",
    "detached",
    "first_image",
    "image_extremes",
    "infer_layout",
    "is_dataset",
    "open_paths",
    "pixel_divisor",
    "scan_images",
]
