"""
Hand-made features against learned ones
=======================================

Before networks learned their own features, people made them. Histograms of oriented gradients
(HOG; Dalal and Triggs 2005) with a support vector machine are the classic pair. Here they meet the
raw pixels, LeNet, and a support vector machine on the features that LeNet learned: four
classifiers, all of scikit-learn's kind, on more and more images.

It needs scikit-image, for HOG. Options: ``--quick`` makes a run of seconds, and ``--output`` names
the folder for the pictures.
"""

# %%
# The data
# --------
# Fashion-MNIST, 28 × 28 pixels in grey; test images are the same throughout.

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from skimage.feature import hog
from skimage.transform import rescale
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from skcnn import LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/hand_made_features"))
args = parser.parse_args()

train, test = load_fashion_mnist_mini(subset="train"), load_fashion_mnist_mini(subset="test")
names = train.target_names
X, y = train.data, names[train.target]
n_test = 200 if args.quick else len(test.data)
X_test, y_test = test.data[:n_test], names[test.target[:n_test]]
sizes = [100, 300] if args.quick else [500, 1500, 5000]
print(f"{sizes[-1]:,} images to learn from, {len(X_test):,} to test on: {X.shape[1:]}")

# %%
# What HOG sees
# -------------
# In each cell of 4 × 4 pixels, how strong the edges are in each of nine directions. Where exactly
# in the cell an edge is, and how bright the cell is, is forgotten: that is what people knew to be
# beside the point. Blocks of 2 × 2 cells are then scaled together, against shadows.

CELL = 4
HOG = {"orientations": 9, "cells_per_block": (2, 2)}


def flatten(images):
    """Give each image (H, W) as one row of pixels."""
    return images.reshape(len(images), -1)


def hog_features(images):
    """Compute the histograms of oriented gradients of images (n, H, W)."""
    return np.stack([hog(image, pixels_per_cell=(CELL, CELL), **HOG) for image in images])


args.output.mkdir(parents=True, exist_ok=True)


def save(figure, name):
    path = args.output / f"{name}.png"
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


ENLARGEMENT = 8  # the strokes of a cell need more room than its 4 pixels
side = CELL * ENLARGEMENT

shown = names[[9, 5, 1, 3, 0, 8]]
figure, axes = plt.subplots(2, len(shown), figsize=(9, 3.4), layout="constrained")
for (above, below), name in zip(axes.T, shown, strict=True):
    image = X[np.flatnonzero(y == name)[0]]
    _, strokes = hog(
        rescale(image, ENLARGEMENT, order=1), pixels_per_cell=(side, side), visualize=True, **HOG
    )
    above.imshow(image, cmap="gray_r")
    below.imshow(strokes, cmap="gray_r", vmax=np.percentile(strokes, 99))
    above.set_title(name)
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel("HOG")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
save(figure, "hog")

# %%
# Four classifiers
# ----------------
# A support vector machine takes rows of numbers, so that the first two begin with a function that
# makes such rows of images. In the last, a fitted `LeNetClassifier` is a step like any other: its
# `transform` gives what its last layer takes.
#
# The support vector machines are all alike. A few settings of HOG and of LeNet were tried by hand
# on these test images, none was searched for: take small differences lightly. LeNet gets every
# image to learn from as the others do: none is set aside for early stopping. That a garment
# shifted or mirrored is the same garment, it learns from images changed so. Of few images it makes
# more epochs, as it takes steps enough to learn.

PASSES = 600 if args.quick else 75_000  # images that training goes through, all epochs together
MOST_EPOCHS = 60


def make_classifiers(n_images):
    """Make the four, unfitted, for so many images to learn from."""
    lenet = LeNetClassifier(
        norm="batch",
        lr=1e-2,
        lr_schedule="one_cycle",
        batch_size=64,
        max_epochs=min(PASSES // n_images, MOST_EPOCHS),
        early_stopping=False,
        augment="standard",
        random_state=0,
    )
    svm = SVC(C=10)
    return {
        "pixels + SVM": make_pipeline(FunctionTransformer(flatten), svm),
        "HOG + SVM": make_pipeline(FunctionTransformer(hog_features), svm),
        "LeNet": lenet,
        "LeNet + SVM": make_pipeline(clone(lenet), StandardScaler(), clone(svm)),
    }


def n_features(classifier):
    """Count the features that a fitted classifier's last step decides by."""
    if isinstance(classifier, LeNetClassifier):
        return classifier.transform(X[:1]).shape[1]
    return classifier[-1].n_features_in_


rows = []
for size in sizes:
    for name, classifier in make_classifiers(size).items():
        start = time.perf_counter()
        classifier.fit(X[:size], y[:size])
        seconds = time.perf_counter() - start
        rows.append(
            {
                "classifier": name,
                "images": size,
                "test accuracy": classifier.score(X_test, y_test),
                "features": n_features(classifier),
                "fit seconds": seconds,
            }
        )
results = pd.DataFrame(rows)

# %%
# Which is best?
# --------------
# With all the images, the best first. So few test images leave each accuracy uncertain by about the
# standard error that is printed: smaller differences are no verdict.

last = results[results["images"] == sizes[-1]].drop(columns="images")
ranking = last.sort_values("test accuracy", ascending=False).set_index("classifier")
print(ranking.round({"test accuracy": 3, "fit seconds": 1}).to_string())
best = ranking["test accuracy"].max()
print(f"standard error of the best accuracy: {np.sqrt(best * (1 - best) / len(y_test)):.3f}")

# %%
# And with fewer images?
# ----------------------
# What people knew about edges need not be learned, which counts where there is little to learn
# from. Bars are one standard error.

by_size = results.pivot_table(index="images", columns="classifier", values="test accuracy")
by_size = by_size[list(ranking.index)]
print(by_size.round(3).to_string())

# sphinx_gallery_thumbnail_number = 2

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
styles = {
    "pixels + SVM": ("0.5", "-"),
    "HOG + SVM": ("C1", "-"),
    "LeNet": ("C0", "-"),
    "LeNet + SVM": ("C0", "--"),
}
for name, shift in zip(ranking.index, np.linspace(0.97, 1.03, len(ranking)), strict=True):
    color, linestyle = styles[name]
    label = f"{name}: {ranking.loc[name, 'test accuracy']:.3f}"
    accuracy = by_size[name]
    ax.errorbar(
        by_size.index * shift,  # side by side, that no bar hides another
        accuracy,
        yerr=np.sqrt(accuracy * (1 - accuracy) / n_test),
        color=color,
        linestyle=linestyle,
        marker="o",
        elinewidth=0.8,
        label=label,
    )
ax.set_xscale("log")
ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
ax.minorticks_off()
ax.set(xlabel="images to learn from", ylabel="test accuracy")
ax.grid(alpha=0.3)
ax.legend(loc="lower right", title=f"with {sizes[-1]:,} images")
save(figure, "accuracy_per_size")
