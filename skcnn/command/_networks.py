"""The networks by the names that the shell has for them."""

from __future__ import annotations

from typing import Any, NamedTuple


class Network(NamedTuple):
    """A classifier of skcnn, by its name there, and the size of images that is customary for it."""

    classifier: str
    params: dict[str, Any]
    image_size: int


NETWORKS = {
    "convnet": Network("CNNClassifier", {}, 64),
    "lenet": Network("LeNetClassifier", {}, 28),
    "alexnet": Network("AlexNetClassifier", {}, 227),
    "alexnet-small": Network("AlexNetClassifier", {"variant": "small"}, 67),
    **{f"vgg{n}": Network("VGGClassifier", {"depth": n}, 224) for n in (11, 13, 16, 19)},
    **{
        f"vgg{n}_bn": Network("VGGClassifier", {"depth": n, "norm": "batch"}, 224)
        for n in (11, 13, 16, 19)
    },
    "nin": Network("NiNClassifier", {}, 224),
    "googlenet": Network("GoogLeNetClassifier", {}, 224),
    "inception_v3": Network("InceptionV3Classifier", {}, 299),
    **{
        f"resnet{n}": Network("ResNetClassifier", {"depth": n}, 224) for n in (18, 34, 50, 101, 152)
    },
}


def find_network(name: str) -> Network:
    """Return the network of a name; one that is not in the table may be torchvision's."""
    return NETWORKS.get(name, Network("CNNClassifier", {"module": name}, 224))


def make_classifier(network: Network) -> Any:
    """Return an unfitted classifier with the network."""
    import skcnn.classifiers

    return getattr(skcnn.classifiers, network.classifier)(**network.params)
