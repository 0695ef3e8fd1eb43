"""The contenders of first_fit.py, each as its documentation's first example has it.

Each is made by a function of the training images (n, height, width[, 3]), the number of classes
and a seed, and has `fit` and `predict` for images. The seed is the only parameter that is set,
apart from those in the names and what a network of another library cannot do without.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from skorch import NeuralNetClassifier
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.networks import LeNet

LR = 1e-3  # Adam's
MAX_EPOCHS = 20


class Contender(NamedTuple):
    """How to make a classifier of images, and where it takes part."""

    make: Callable
    package: str
    # Images drawn, and values in all of them; with more, its fits take too long.
    most_images: int = 60_000
    most_values: float = float("inf")


# Made ready for each ------------------------------------------------------------------------------


def flatten(images, white):
    """Return pixels (n, n_pixels) from 0 to 1: a common scale, as pixels already share a unit."""
    return images.reshape(len(images), -1) / white


def hog(images):
    """Describe images by histograms of gradients, in about 7 × 7 cells."""
    from skimage.feature import hog

    side = max(images.shape[2] // 7, 2)
    channel_axis = -1 if images.ndim == 4 else None
    return np.stack(
        [
            hog(
                image,
                pixels_per_cell=(side, side),
                cells_per_block=(2, 2),
                channel_axis=channel_axis,
            )
            for image in images
        ]
    )


def for_networks(images, white):
    """Return images (n, height, width, channels) from 0 to 1, of 16 pixels or more."""
    n_times = -(-16 // min(images.shape[1:3]))
    images = images.repeat(n_times, axis=1).repeat(n_times, axis=2)
    return (images.reshape(*images.shape[:3], -1) / white).astype(np.float32)


# Makers -------------------------------------------------------------------------------------------


def on_images(classifier):
    """Give the images to the classifier as they are."""
    return lambda images, n_classes, seed: clone(classifier).set_params(random_state=seed)


def on_pixels(classifier):
    """Flatten the images, and scale them from 0 to 1."""

    def make(images, n_classes, seed):
        prepare = FunctionTransformer(flatten, kw_args={"white": images.max()})
        return make_pipeline(prepare, clone(classifier).set_params(random_state=seed))

    return make


def on_hog(classifier):
    """Describe the images by histograms of gradients."""
    return lambda images, n_classes, seed: make_pipeline(
        FunctionTransformer(hog), clone(classifier)
    )


def lenet_in_skorch(images, n_classes, seed):
    """Train the network of LeNetClassifier in skorch, with its defaults, Adam and shuffling."""
    white = images.max()

    def prepare(images):
        return for_networks(images, white).transpose(0, 3, 1, 2)

    _, channels, *size = prepare(images[:1]).shape
    torch.manual_seed(seed)
    net = NeuralNetClassifier(
        LeNet(in_channels=channels, n_classes=n_classes, input_size=tuple(size)),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        max_epochs=MAX_EPOCHS,
        iterator_train__shuffle=True,
        device="cuda" if torch.cuda.is_available() else "cpu",
        verbose=0,
    )
    return make_pipeline(FunctionTransformer(prepare), net)


class KerasConvnet:
    """The "simple MNIST convnet" of Keras' examples, with its 15 epochs and its held-out tenth."""

    def __init__(self, images, n_classes, seed):
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras

        self.white = images.max()
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        self.model = keras.Sequential(
            [
                layers.Input(for_networks(images[:1], self.white).shape[1:]),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.Dense(n_classes, activation="softmax"),
            ]
        )
        self.model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")

    def fit(self, images, y):
        """Train."""
        x = for_networks(images, self.white)
        self.model.fit(x, y, batch_size=128, epochs=15, validation_split=0.1, verbose=0)

    def predict(self, images):
        """Predict the classes."""
        return self.model.predict(for_networks(images, self.white), verbose=0).argmax(1)


class FastaiLearner:
    """fastai's `vision_learner` with a ResNet-18, one cycle from random weights."""

    def __init__(self, images, n_classes, seed):
        # Here, as it takes seconds, for a contender that is mostly not asked for.
        from fastai.vision.all import set_seed

        self.white, self.n_classes, self.seed = images.max(), n_classes, seed
        set_seed(seed)

    def _items(self, images, y):
        x = np.uint8(255 * for_networks(images, self.white))
        return list(zip(np.broadcast_to(x, (*x.shape[:3], 3)), y, strict=True))

    def fit(self, images, y):
        """Train."""
        from fastai.vision import all as vision

        block = vision.DataBlock(
            blocks=(vision.ImageBlock, vision.CategoryBlock(vocab=range(self.n_classes))),
            getters=[vision.ItemGetter(0), vision.ItemGetter(1)],
            splitter=vision.RandomSplitter(seed=self.seed),
        )
        loaders = block.dataloaders(self._items(images, y), num_workers=0)
        self.learner = vision.vision_learner(loaders, vision.resnet18, pretrained=False)
        with self.learner.no_bar(), self.learner.no_logging():
            self.learner.fit_one_cycle(MAX_EPOCHS)

    def predict(self, images):
        """Predict the classes."""
        items = self._items(images, np.zeros(len(images), int))
        with self.learner.no_bar(), self.learner.no_logging():
            probabilities, _ = self.learner.get_preds(dl=self.learner.dls.test_dl(items))
        return probabilities.argmax(1).numpy()


CONTENDERS = {
    "CNN": Contender(on_images(CNNClassifier()), "skcnn"),
    "LeNet": Contender(on_images(LeNetClassifier()), "skcnn"),
    "MLP": Contender(on_pixels(MLPClassifier()), "scikit-learn"),
    "SVC": Contender(on_pixels(SVC()), "scikit-learn", 5000),
    "SVC C=10": Contender(on_pixels(SVC(C=10)), "scikit-learn"),
    "forest": Contender(on_pixels(RandomForestClassifier()), "scikit-learn"),
    "boosting": Contender(
        on_pixels(HistGradientBoostingClassifier()), "scikit-learn", most_values=400_000
    ),
    "logistic": Contender(on_pixels(LogisticRegression()), "scikit-learn", 5000),
    "HOG + SVC": Contender(on_hog(SVC(C=10)), "scikit-image"),
    "skorch": Contender(lenet_in_skorch, "skorch"),
    "Keras": Contender(KerasConvnet, "keras", 5000),
    "fastai": Contender(FastaiLearner, "fastai", 500),
}
# Those of skcnn, and whom each has to beat.
OURS = {
    "CNN": [name for name, contender in CONTENDERS.items() if contender.package != "skcnn"],
    "LeNet": ["MLP"],
}
