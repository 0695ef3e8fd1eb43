"""Image data sets: a small one that is bundled, and the full one behind it."""

from skcnn.datasets._fashion_mnist import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.datasets._verified_gzip import DamagedFileWarning

__all__ = ["DamagedFileWarning", "fetch_fashion_mnist", "load_fashion_mnist_mini"]
