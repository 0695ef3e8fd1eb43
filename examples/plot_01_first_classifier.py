"""
A first classifier
==================

Train a convolutional network on photographs of clothes as one trains any scikit-learn classifier;
then look at its learning curves, at what it mixes up, and at the mistakes it is surest of.

``make demo`` runs this file. Options: ``--full`` trains on all 60,000 images instead of the 5,000
that are bundled, ``--quick`` makes a run of seconds, and ``--output`` names the folder for the
pictures.
"""

# %%
# The data
# --------
# Fashion-MNIST: grey images of 28 × 28 pixels in ten classes, as a NumPy array of bytes. No
# reshaping, no scaling: the classifier sees to both.

import argparse
from pathlib import Path

from skcnn import CNNClassifier
from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.inspection import evaluate, plot_confusion_matrix, plot_history, plot_mistakes

parser = argparse.ArgumentParser()
parser.add_argument("--full", action="store_true", help="train on all of Fashion-MNIST")
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/first_classifier"))
args = parser.parse_args()

load = fetch_fashion_mnist if args.full else load_fashion_mnist_mini
train, test = load(subset="train"), load(subset="test")
n_train = 500 if args.quick else len(train.data)
X_train, y_train = train.data[:n_train], train.target_names[train.target[:n_train]]
X_test, y_test = test.data, test.target_names[test.target]
print(f"{len(X_train):,} images to learn from, {len(X_test):,} to test on: {X_train.shape[1:]}")

# %%
# Train
# -----
# Labels are what they are: here, strings. The network, the number of epochs and the learning rate
# follow the data. Clothes are the same in a mirror, which only you know: ``augment`` and ``tta``
# train and predict with mirror images too. The test images serve as validation data here, only to
# draw their learning curve: nothing is stopped or chosen by them.

clf = CNNClassifier(
    augment="mirror",
    tta=True,
    max_epochs=3 if args.quick else "auto",
    early_stopping=False,
    random_state=0,
    verbose=1,
)
clf.fit(X_train, y_train, X_val=X_test, y_val=y_test)
print(f"{clf.n_epochs_} epochs, batches of {clf.batch_size_}, learning rate {clf.lr_:g}")

# %%
# How good is it?
# ---------------

report = evaluate(clf, X_test, y_test)
print(report)
print(f"test accuracy: {report.accuracy:.4f}")

# %%
# The learning curves. The dashed line marks the epoch that was kept, the last one.

args.output.mkdir(parents=True, exist_ok=True)


def save(display, name):
    path = args.output / f"{name}.png"
    display.figure_.savefig(path, dpi=120)
    print(f"wrote {path}")


save(plot_history(clf), "history")

# %%
# What it mixes up: correct predictions in blue, mistakes in red.

# sphinx_gallery_thumbnail_number = 2

save(plot_confusion_matrix(clf, X_test, y_test), "confusion_matrix")

# %%
# The mistakes that it is surest of. Would you have done better?

save(plot_mistakes(clf, X_test, y_test), "mistakes")
