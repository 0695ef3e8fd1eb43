"""Image data sets: a small one that is bundled, the full one behind it, and those of users."""

from skcnn.datasets._fashion_mnist import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.datasets._image_folder import load_image_folder
from skcnn.datasets._image_table import load_image_table
from skcnn.datasets._verified_gzip import DamagedFileWarning

__all__ = [
    "DamagedFileWarning",
    "fetch_fashion_mnist",
    "load_fashion_mnist_mini",
    "load_image_folder",
    "load_image_table",
]
