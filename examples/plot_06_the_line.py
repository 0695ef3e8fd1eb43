"""
The line, side by side
======================

The networks that one meets in the order of their years, LeNet to ResNet, on the same images of
clothes: how large each one is, how much work an image is to it, how accurate it becomes, and how
long that takes.

All but LeNet are narrow versions, so that two CPU cores train them in minutes, and none is trained
to its end. The table says what a network costs and that it learns; it is no ranking.

Options: ``--quick`` makes a run of seconds, and ``--output`` names the folder for the picture.
"""

# %%
# The networks
# ------------
# - **LeNet**: two convolutions, each followed by pooling, and three linear layers.
# - **AlexNet**: the same in large, with five convolutions, ReLU and dropout.
# - **NiN**: a 1 × 1 convolution is a linear layer at each pixel; with these, and a mean over all
#   pixels, it needs no linear layer at the end.
# - **VGG**: nothing but 3 × 3 convolutions, in blocks, each of which halves the image.
# - **GoogLeNet**: windows of several sizes side by side in each block; what they find is joined.
# - **Inception v3**: its successor, with large windows factored into sequences of small ones, and
#   batch normalisation.
# - **ResNet**: each block adds to its input, so that even very deep networks can be trained.
#
# ``width_ratio=8`` divides the channels of all convolutions by eight. Those networks that need
# images larger than 28 × 28 enlarge them on the device; GoogLeNet, which would take any, halves
# them five times, and gets 32 × 32. Each has the learning rate and the epochs that suit it.
# "one_cycle" takes the rate up and down once, batch by batch, which does much in few epochs.

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skcnn import (
    AlexNetClassifier,
    GoogLeNetClassifier,
    InceptionV3Classifier,
    LeNetClassifier,
    NiNClassifier,
    ResNetClassifier,
    VGGClassifier,
)
from skcnn.datasets import load_fashion_mnist_mini

parser = argparse.ArgumentParser()
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/the_line"))
args = parser.parse_args()

classifiers = {
    "LeNet (1998)": LeNetClassifier(norm="batch", lr=1e-2, max_epochs=8),
    "AlexNet, small (2012)": AlexNetClassifier(
        variant="small", norm="batch", dropout=0.2, lr=1e-3, max_epochs=2
    ),
    "NiN / 4 (2013)": NiNClassifier(width_ratio=4, dropout=0.2, lr=2e-3, max_epochs=8),
    "VGG-11 / 8 (2014)": VGGClassifier(
        width_ratio=8, hidden_units=128, norm="batch", dropout=0.2, lr=3e-3, max_epochs=7
    ),
    "GoogLeNet / 4 (2014)": GoogLeNetClassifier(
        width_ratio=4, image_size=32, dropout=0.1, lr=1e-2, max_epochs=4
    ),
    "Inception v3 / 8 (2015)": InceptionV3Classifier(
        width_ratio=8, dropout=0.1, lr=1e-2, max_epochs=5
    ),
    "ResNet-18 / 8 (2015)": ResNetClassifier(width_ratio=8, lr=5e-3, max_epochs=4),
}

# %%
# The same fit for all
# --------------------
# All images of the bundled training set are trained on, for a number of epochs known before, so
# nothing is set aside to stop early.

X_train, y_train = load_fashion_mnist_mini(subset="train", return_X_y=True)
X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
if args.quick:
    X_train, y_train, X_test, y_test = X_train[:150], y_train[:150], X_test[:100], y_test[:100]
print(f"{len(X_train):,} images to learn from, {len(X_test):,} to test on: {X_train.shape[1:]}")

# What is imported at the first fit of all is not the first network's time.
LeNetClassifier(max_epochs=1, early_stopping=False).fit(X_train[:50], y_train[:50])

rows = {}
for name, clf in classifiers.items():
    clf.set_params(lr_schedule="one_cycle", batch_size=50, early_stopping=False, random_state=0)
    if args.quick:
        clf.set_params(max_epochs=1)
    start = time.perf_counter()
    clf.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    layers = clf.layer_shapes()
    rows[name] = {
        "input": "{} × {}".format(*clf.input_size_),
        "parameters": layers["n_parameters"].sum(),
        "multiply-adds": layers["multiply_adds"].sum(),
        "epochs": clf.n_epochs_,
        "fit seconds": seconds,
        "test accuracy": clf.score(X_test, y_test),
    }
    print(f"{name}: test accuracy {rows[name]['test accuracy']:.3f} after {seconds:.0f} s")

# %%
# What they cost, and what they reach
# -----------------------------------
# Parameters are what a network keeps in memory; multiply-adds are what one image costs it. They
# need not go together: a weight of a linear layer is used once for an image, one of a convolution
# at every pixel of a feature map.

table = pd.DataFrame.from_dict(rows, orient="index")
formatters = {
    "parameters": "{:,}".format,
    "multiply-adds": "{:,}".format,
    "fit seconds": "{:.0f}".format,
    "test accuracy": "{:.3f}".format,
}
print(table.to_string(formatters=formatters))

# %%
# To the right, more work for an image; the larger the disc, the more parameters.

LABELLED_LEFT = {"AlexNet, small (2012)", "GoogLeNet / 4 (2014)", "VGG-11 / 8 (2014)"}  # for room

figure, ax = plt.subplots(figsize=(10, 4.8), layout="constrained")
work, accuracy = table["multiply-adds"] / 1e6, table["test accuracy"]
areas = table["parameters"] / 4000
ax.scatter(work, accuracy, s=areas, alpha=0.5)
ax.scatter(work, accuracy, s=6, color="black")
for name in table.index:
    distance = np.sqrt(areas[name] / np.pi) + 4  # in points, as the areas
    left = name in LABELLED_LEFT
    ax.annotate(
        name,
        (work[name], accuracy[name]),
        xytext=(-distance if left else distance, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
    )
ax.set(xscale="log", xlabel="million multiply-adds for an image", ylabel="test accuracy")
ax.xaxis.set_major_formatter("{x:g}")
ax.margins(0.1, 0.2)
ax.grid(alpha=0.3)

args.output.mkdir(parents=True, exist_ok=True)
path = args.output / "accuracy_and_work.png"
figure.savefig(path, dpi=120)
print(f"wrote {path}")
