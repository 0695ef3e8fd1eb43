"""Convolutional networks as true scikit-learn classifiers.

The names are loaded when first used, so that ``import skcnn`` costs next to nothing.
"""

import importlib

from skcnn._version import __version__ as __version__

_HOMES = {
    "AlexNetClassifier": "skcnn.classifiers",
    "CNNClassifier": "skcnn.classifiers",
    "GoogLeNetClassifier": "skcnn.classifiers",
    "ImageFiles": "skcnn.images",
    "InceptionV3Classifier": "skcnn.classifiers",
    "LeNetClassifier": "skcnn.classifiers",
    "NiNClassifier": "skcnn.classifiers",
    "ResNetClassifier": "skcnn.classifiers",
    "VGGClassifier": "skcnn.classifiers",
    "callbacks": "skcnn.callbacks",
    "datasets": "skcnn.datasets",
    "exceptions": "skcnn.exceptions",
    "inspection": "skcnn.inspection",
    "load": "skcnn.persistence",
    "model_selection": "skcnn.model_selection",
    "networks": "skcnn.networks",
}

__all__ = [*_HOMES]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'skcnn' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    value = home if _HOMES[name] == f"skcnn.{name}" else getattr(home, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
