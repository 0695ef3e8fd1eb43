"""
A complete study: AlexNet on clothes
====================================

From the split to the mistakes: a small AlexNet on Fashion-MNIST at 67 × 67 pixels, trained by a
recipe that a grid search found (Adam, learning rate 5e-4, batches of 2,048, dropout 0.3, a cosine
schedule over 50 epochs, early stopping with patience 6).

That takes a GPU minutes, and two CPU cores hours. Options: ``--bundled`` makes the study on the
5,000 images that come with skcnn, ``--quick`` a run of seconds, and ``--output`` names the folder
for the pictures.
"""

# %%
# The split
# ---------
# The official test images are for the end. Of the others, a tenth is set aside to decide when to
# stop; with `X_val`, the same images for every model of a study.

import argparse
from pathlib import Path

from sklearn.model_selection import train_test_split

from skcnn import AlexNetClassifier
from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.inspection import evaluate, plot_confusion_matrix, plot_history, plot_mistakes

parser = argparse.ArgumentParser()
parser.add_argument("--bundled", action="store_true", help="use the 5,000 bundled images")
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/alexnet_study"))
args = parser.parse_args()

load = load_fashion_mnist_mini if args.bundled or args.quick else fetch_fashion_mnist
train, test = load(subset="train"), load(subset="test")
names = train.target_names
n_train = 300 if args.quick else len(train.data)
n_test = 200 if args.quick else len(test.data)
X_train, X_val, y_train, y_val = train_test_split(
    train.data[:n_train],
    names[train.target[:n_train]],
    test_size=0.1,
    stratify=train.target[:n_train],
    random_state=0,
)
X_test, y_test = test.data[:n_test], names[test.target[:n_test]]
print(f"{len(X_train):,} images train, {len(X_val):,} validate, {len(X_test):,} test")

# %%
# The network
# -----------
# The images have 28 × 28 pixels; AlexNet's strides and poolings need 67, to which they are
# enlarged on the device. Few images make few batches of 2,048, so with fewer images the batches
# are smaller, that an epoch has steps enough.

small_data = args.bundled or args.quick
clf = AlexNetClassifier(
    variant="small",
    image_size=67,
    norm=None,
    dropout=0.3,
    optimizer="adam",
    lr=5e-4,
    batch_size=64 if small_data else 2048,
    lr_schedule="cosine",
    label_smoothing=0.0,
    max_epochs=2 if args.quick else 10 if args.bundled else 50,
    early_stopping=True,
    patience=6,
    random_state=0,
    verbose=1,
)
clf.fit(X_train, y_train, X_val=X_val, y_val=y_val)
print(clf.summary())

# %%
# The curves
# ----------

args.output.mkdir(parents=True, exist_ok=True)


def save(display, name):
    path = args.output / f"{name}.png"
    display.figure_.savefig(path, dpi=120)
    print(f"wrote {path}")


save(plot_history(clf), "history")

# %%
# The test
# --------

report = evaluate(clf, X_test, y_test)
print(report)
print(f"test accuracy: {report.accuracy:.4f} (kept: epoch {clf.best_epoch_} of {clf.n_epochs_})")

# %%
# Shirts are what is hard: per true class, the share that went where.

save(plot_confusion_matrix(clf, X_test, y_test, normalize="true"), "confusion_matrix")

# %%
# The mistakes that the network is surest of, and the same as a table.

save(plot_mistakes(clf, X_test, y_test), "mistakes")
print(report.mistakes_to_frame().head(10))
