"""
Fine-tuning on a small colour data set
======================================

A few dozen images of each class are not much to learn seeing from. A network that has seen others
before needs fewer: its weights are a start, of which all or only the last layer is trained further.
Here it starts from what it learned on either of two other data sets, and it matters which.

Options: ``--weights`` names a file of weights of ResNet-18 on ImageNet, as torchvision has it
(``resnet18-f37072fd.pth``), which then joins the comparison; ``--quick`` makes a run of seconds,
and ``--output`` names the folder for the pictures.
"""

# %%
# The data
# --------
# Pieces of 48 × 48 pixels of pictures that come with scikit-image and scikit-learn; from which
# picture, is the question. Five photographs of everyday things are the task. Eight other pictures,
# three of them grey, are there to learn from before.
#
# Each picture is divided into squares like a chequerboard. Pieces to train on are cut out of the
# white squares, pieces to test on out of the black ones: they share no pixel, but light and colours
# they do share, which makes this easier than five classes of photographs would be.

import argparse
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import skimage.data
from sklearn.base import clone
from sklearn.datasets import load_sample_image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skcnn import ResNetClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.exceptions import AdaptedWeightsWarning

parser = argparse.ArgumentParser()
parser.add_argument("--weights", type=Path, help="file of torchvision's weights of ResNet-18")
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/fine_tuning"))
args = parser.parse_args()

SIDE = 48  # of a piece, in pixels
SQUARE = 96  # of the chequerboard

photographs = {
    "cat": skimage.data.chelsea(),
    "china": load_sample_image("china.jpg"),
    "coffee": skimage.data.coffee(),
    "flower": load_sample_image("flower.jpg"),
    "motorcycle": skimage.data.stereo_motorcycle()[0],
}
other_pictures = {
    "astronaut": skimage.data.astronaut(),
    "brick": skimage.data.brick(),
    "galaxies": skimage.data.hubble_deep_field(),
    "grass": skimage.data.grass(),
    "gravel": skimage.data.gravel(),
    "retina": skimage.data.retina()[::2, ::2],
    "rocket": skimage.data.rocket(),
    "tissue": skimage.data.immunohistochemistry(),
}


def cut(pictures, n_per_class, *, black, seed):
    """Cut pieces at random out of the squares of one colour: images and labels."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for name, picture in pictures.items():
        picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
        rows, columns = (side // SQUARE for side in picture.shape[:2])
        squares = [(r, c) for r in range(rows) for c in range(columns) if (r + c) % 2 == black]
        for _ in range(n_per_class):
            corner = np.array(squares[rng.integers(len(squares))]) * SQUARE
            row, column = corner + rng.integers(SQUARE - SIDE + 1, size=2)
            X.append(picture[row : row + SIDE, column : column + SIDE])
            y.append(name)
    return np.array(X), np.array(y)


numbers = [5] if args.quick else [5, 10, 20, 40]  # of images per class to train on
X_train, y_train = cut(photographs, numbers[-1], black=False, seed=0)
X_test, y_test = cut(photographs, 20 if args.quick else 200, black=True, seed=1)
print(f"{len(photographs)} classes, {numbers} images of each to train on, out of the same")
print(f"{len(X_test):,} images to test on: {X_test.shape[1:]}, {X_test.dtype}")


def first(n):
    """Take the first `n` training images of each class."""
    chosen = np.concatenate([np.flatnonzero(y_train == name)[:n] for name in photographs])
    return X_train[chosen], y_train[chosen]


# %%
# Some of them:

args.output.mkdir(parents=True, exist_ok=True)


def save(figure, name):
    path = args.output / f"{name}.png"
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


N_SHOWN = 5
figure, axes = plt.subplots(
    len(photographs), 2 * N_SHOWN, figsize=(9, 4.8), layout="constrained", squeeze=False
)
sheets = [("train", X_train, y_train), ("test", X_test, y_test)]
for half, (kind, X, y) in enumerate(sheets):
    for row, name in zip(axes[:, half * N_SHOWN :], photographs, strict=True):
        for ax, image in zip(row, X[y == name][:N_SHOWN], strict=False):
            ax.imshow(image)
            ax.set(xticks=[], yticks=[])
    axes[0, half * N_SHOWN + N_SHOWN // 2].set_title(kind)
for ax, name in zip(axes[:, 0], photographs, strict=True):
    ax.set_ylabel(name, rotation=0, ha="right", va="center")
save(figure, "images")

# %%
# Two networks to start from
# --------------------------
# A ResNet-18 of a quarter of the width learns to tell the eight other pictures apart, and another
# one the ten clothes of Fashion-MNIST, grey, enlarged to 48 pixels. ``stem="imagenet"`` halves the
# image twice at once, as for photographs of ordinary size: less work, and the form that
# torchvision's file has.

resnet = ResNetClassifier(
    width_ratio=4,
    stem="imagenet",
    lr=3e-3,
    lr_schedule="one_cycle",
    batch_size=16,
    augment="standard",
    early_stopping=False,
    random_state=0,
)


def learn(X, y, **params):
    """Train a network to start from, and return its weights."""
    began = time.perf_counter()
    clf = clone(resnet).set_params(batch_size=32, **params).fit(X, y)
    seconds = time.perf_counter() - began
    accuracy = clf.history_[-1]["train_acc"]
    print(f"{len(X):,} images, {seconds:.0f} s, accuracy in training {accuracy:.3f}")
    return clf.module_.state_dict()


pieces, names = cut(other_pictures, 20 if args.quick else 360, black=False, seed=2)
clothes, kinds = load_fashion_mnist_mini(subset="train", return_X_y=True)
n_clothes = 100 if args.quick else len(clothes)
n_epochs = {"pictures": 1, "clothes": 1} if args.quick else {"pictures": 10, "clothes": 2}
sources = {
    "other pictures": learn(pieces, names, max_epochs=n_epochs["pictures"]),
    "clothes": learn(
        clothes[:n_clothes], kinds[:n_clothes], max_epochs=n_epochs["clothes"], image_size=SIDE
    ),
}

# %%
# Four ways
# ---------
# From scratch; the head alone, by ``freeze="features"``; then all layers, at a lower learning rate,
# by ``freeze=None`` and ``warm_start``; and an ``SVC`` on what `transform` gives, the values that
# the head takes. For the last, the head needs no more than an epoch: it is not used. From scratch,
# there are as many epochs as for the head and all layers together.

start = {name: {"weights": weights} for name, weights in sources.items()}
if args.weights is not None:
    # The file is of the full width, and of images that were normalised in their own way.
    start["ImageNet"] = {"weights": args.weights, "width_ratio": 1, "normalize": "imagenet"}

epochs_of_head, epochs_of_all = (1, 1) if args.quick else (10, 30)
results = []


def note(n, origin, way, clf, seconds):
    """Keep a row of the table: how accurate a fitted classifier is, and how long it took."""
    row = {"images": n, "start": origin, "way": way, "accuracy": clf.score(X_test, y_test)}
    results.append(row | {"seconds": seconds})


def fit_seconds(clf, X, y):
    """Fit, and return the seconds that it took."""
    began = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - began


def fine_tune(n, origin):
    """Go on from weights in three ways, on `n` images of each class."""
    X, y = first(n)
    clf = clone(resnet).set_params(**start[origin], freeze="features")

    clf.set_params(lr=3e-2, max_epochs=epochs_of_head)
    seconds = fit_seconds(clf, X, y)
    note(n, origin, "head alone", clf, seconds)

    features = clone(clf).set_params(max_epochs=1)
    pipeline = make_pipeline(features, StandardScaler(), SVC())
    note(n, origin, "SVC on features", pipeline, fit_seconds(pipeline, X, y))

    clf.set_params(freeze=None, warm_start=True, lr=1e-3, max_epochs=epochs_of_all)
    seconds += fit_seconds(clf, X, y)
    note(n, origin, "head, then all", clf, seconds)


for n in numbers:
    clf = clone(resnet).set_params(max_epochs=epochs_of_head + epochs_of_all)
    note(n, "random weights", "all", clf, fit_seconds(clf, *first(n)))

# %%
# The weights do not fit as they are: each head has other classes, and the network for clothes has
# one channel in its first convolution where there are three. skcnn adapts both, and says so by an
# `AdaptedWeightsWarning`. Here that is what we want; so it is recorded, and printed once.

for origin in start:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdaptedWeightsWarning)
        for n in numbers:
            fine_tune(n, origin)
    print(f"{origin}: {caught[0].message}")

# %%
# What helps
# ----------
# The table has the accuracy on the test images, and the seconds of the fits, those of the source
# not counted.

results = pd.DataFrame(results)
for column, digits in {"accuracy": 3, "seconds": 1}.items():
    table = results.pivot(index=["start", "way"], columns="images", values=column)
    print(f"{column}, by images of each class")
    print(table.sort_index(ascending=False).round(digits).to_string())

# %%
# With the fewest images, a start from other pictures is worth most; with the most, training from
# scratch catches up. A start from clothes is worse than none at all: grey shapes on black have no
# colours, and what was learned from them is in the way. The head alone, or an SVC, costs next to
# nothing, but can only be as good as the features are. All this is for one draw of the images and
# one seed: small differences are chance.

COLORS = {"random weights": "0.4", "other pictures": "C0", "clothes": "C1", "ImageNet": "C2"}
STYLES = {"all": "-", "head, then all": "-", "SVC on features": "--", "head alone": ":"}

figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
for (origin, way), rows in results.groupby(["start", "way"]):
    label = f"{origin}: {way}"
    width = 2.5 if STYLES[way] == "-" else 1.2
    color = COLORS[origin]
    ax.plot(
        rows["images"],
        rows["accuracy"],
        STYLES[way],
        color=color,
        linewidth=width,
        marker="o",
        label=label,
    )
ax.set(xscale="log", xlabel="training images of each class", ylabel="test accuracy")
ax.set_xticks(numbers, numbers)
ax.minorticks_off()
ax.grid(alpha=0.3)
handles, labels = ax.get_legend_handles_labels()
order = np.argsort([-line.get_ydata()[-1] for line in handles])  # as they end, from the top
figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside right center")
save(figure, "accuracy")
