"""
From a folder of photographs to a saved model
=============================================

What the study of cats and dogs does, which so many begin with: colour photographs of all sizes, a
folder for each of two classes; an AlexNet with batch normalisation that learns from nothing, and
a small network that has learned from other pictures before; what they mistake, by the names of the
files; and a model in a file, which another process asks about a photograph.

Options: ``--data`` names a folder of your own, with a folder for each class, or with these in
``train`` and ``test``; ``--weights`` a file of weights of ResNet-18 on ImageNet, as torchvision has
it, for the small network to start from; ``--quick`` makes a run of seconds, and ``--output`` names
the folder for what is written.
"""

# %%
# The folder
# ----------
# No cats and dogs come with any package. What does come with scikit-image and scikit-learn are
# five photographs of everyday things: a cat and a flower, which live, and a palace, a cup of coffee
# and a motorcycle, which were made. Pieces of various sizes are cut out of them and saved as JPEG:
# those to train on out of the white squares of a chequerboard, those to test on out of the black
# ones. They share no pixel, though light and colours they do share, which makes this far easier
# than real photographs of two kinds would be.

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image
from sklearn.model_selection import train_test_split

from skcnn import AlexNetClassifier, ResNetClassifier
from skcnn.datasets import load_image_folder
from skcnn.exceptions import AdaptedWeightsWarning
from skcnn.inspection import evaluate, plot_confusion_matrix, plot_history, plot_mistakes

parser = argparse.ArgumentParser()
parser.add_argument("--data", type=Path, help="a folder with a folder of photographs per class")
parser.add_argument("--weights", type=Path, help="file of torchvision's weights of ResNet-18")
parser.add_argument("--quick", action="store_true", help="a run of seconds, for a look")
parser.add_argument("--output", type=Path, default=Path("results/image_folder"))
args = parser.parse_args()
args.output.mkdir(parents=True, exist_ok=True)

SQUARE = 104  # of the chequerboard, in pixels
PHOTOGRAPHS = {
    "living": {"cat": skimage.data.chelsea(), "flower": load_sample_image("flower.jpg")},
    "made": {
        "coffee": skimage.data.coffee(),
        "motorcycle": skimage.data.stereo_motorcycle()[0],
        "palace": load_sample_image("china.jpg"),
    },
}


def pieces(picture, n, rng, *, black):
    """Cut `n` pieces of 64 to 104 pixels out of the squares of one colour, 104 pixels wide."""
    rows, columns = (side // SQUARE for side in picture.shape[:2])
    squares = [(r, c) for r in range(rows) for c in range(columns) if (r + c) % 2 == black]
    for _ in range(n):
        size = rng.integers(64, SQUARE + 1, size=2)
        corner = np.array(squares[rng.integers(len(squares))]) * SQUARE
        top, left = corner + rng.integers(SQUARE - size + 1)
        yield picture[top : top + size[0], left : left + size[1]]


def build_folder(root, n_train, n_test):
    """Save pieces as root/train/living/cat_000.jpg, and so on; as many of each class."""
    rng = np.random.default_rng(0)
    for part, n in (("train", n_train), ("test", n_test)):
        for label, pictures in PHOTOGRAPHS.items():
            folder = root / part / label
            folder.mkdir(parents=True, exist_ok=True)
            for name, picture in pictures.items():
                some = pieces(picture, n // len(pictures), rng, black=part == "test")
                for i, piece in enumerate(some):
                    Image.fromarray(piece).save(folder / f"{name}_{i:03}.jpg", quality=90)


if args.data is None:
    args.data = args.output / "photographs"
    build_folder(args.data, *((24, 12) if args.quick else (120, 60)))

# %%
# A folder becomes images and labels
# ----------------------------------
# AlexNet sees squares of 227 pixels: of each photograph, the largest square in its middle. Files
# are decoded once, in parallel, and sliced like an array.


def load_parts(**options):
    """Images and labels to train on, and to test on, as the folder is divided, or at random."""
    if (args.data / "train").is_dir():
        parts = [load_image_folder(args.data, subset=part, **options) for part in ("train", "test")]
        X, y = zip(*((part.data, part.target_names[part.target]) for part in parts), strict=True)
        return *X, *y
    images = load_image_folder(args.data, **options)
    y = images.target_names[images.target]
    return train_test_split(images.data, y, test_size=0.2, stratify=y, random_state=0)


crop = {"mode": "RGB", "resize": "crop", "crop_pct": 1.0}
side = 67 if args.quick else 227
X_train, X_test, y_train, y_test = load_parts(image_size=side, **crop)
print(f"to train on: {X_train}")
print(f"to test on:  {X_test}")
print(f"classes:     {', '.join(np.unique(y_train))}")

# %%
# AlexNet, from nothing
# ---------------------
# Adam, with each image mirrored and turned at random: a photograph of a cat stays one. Batches of
# 256 are for a folder of thousands; with a few hundred images, smaller ones give an epoch steps
# enough.

alexnet = AlexNetClassifier(
    variant="small" if args.quick else "full",
    norm="batch",
    optimizer="adam",
    lr=5e-4,
    batch_size=256 if len(X_train) >= 5000 else 32,
    max_epochs=2 if args.quick else 10,
    augment=["mirror", "rotation"],
    random_state=0,
    verbose=1,
)
results = {}


def timed_fit(clf, X, y):
    """Fit, and return the seconds that it took."""
    began = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - began


seconds = timed_fit(alexnet, X_train, y_train)
results["AlexNet, from nothing"] = alexnet.score(X_test, y_test), seconds


def save(display, name):
    path = args.output / f"{name}.png"
    display.figure_.savefig(path, dpi=120)
    print(f"wrote {path}")


save(plot_history(alexnet), "history")

# %%
# A small network that has seen before
# ------------------------------------
# A ResNet-18 of a quarter of the width, on squares of 96 pixels. It starts from what it learned on
# pieces of six other pictures, among them grass, bricks and an astronaut; or from ImageNet, if
# ``--weights`` names the file. First the head alone is trained, then all layers, at a lower rate.

resnet = ResNetClassifier(
    width_ratio=4,
    stem="imagenet",
    lr=3e-3,
    lr_schedule="one_cycle",
    batch_size=32,
    max_epochs=1 if args.quick else 8,
    augment=["mirror", "rotation"],
    early_stopping=False,
    random_state=0,
)
if args.weights is None:
    others = {
        name: getattr(skimage.data, name)()
        for name in ("astronaut", "brick", "grass", "gravel", "hubble_deep_field", "rocket")
    }
    rng = np.random.default_rng(1)
    X, y = [], []
    for name, picture in others.items():
        for piece in pieces(picture, 10 if args.quick else 80, rng, black=False):
            X.append(np.asarray(Image.fromarray(piece).convert("RGB").resize((96, 96))))
            y.append(name)
    learned = resnet.fit(X, y).module_.state_dict()
    print(f"other pictures: accuracy in training {resnet.history_[-1]['train_acc']:.3f}")
    resnet.set_params(weights=learned)
else:
    resnet.set_params(weights=args.weights, width_ratio=1, normalize="imagenet")

X_train_96, X_test_96, y_train_96, y_test_96 = load_parts(image_size=96, **crop)
resnet.set_params(freeze="features", lr=1e-2, max_epochs=1 if args.quick else 5)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", AdaptedWeightsWarning)
    seconds = timed_fit(resnet, X_train_96, y_train_96)
print(caught[0].message)

# The weights have served, and the model that is saved below need not know of them.
resnet.set_params(weights=None, freeze=None, warm_start=True, lr=1e-3)
resnet.set_params(max_epochs=1 if args.quick else 15)
seconds += timed_fit(resnet, X_train_96, y_train_96)
results["ResNet-18, fine-tuned"] = resnet.score(X_test_96, y_test_96), seconds

print(pd.DataFrame(results, index=["test accuracy", "seconds"]).T.round(3).to_string())

# %%
# What is mistaken for what
# -------------------------
# The table and the confusion matrix of AlexNet on the test pieces.

report = evaluate(alexnet, X_test, y_test)
print(report)

save(plot_confusion_matrix(alexnet, X_test, y_test), "confusion_matrix")

# %%
# The mistakes that it is surest of, with the names of their files: what one needs to look for a
# wrong label.

# sphinx_gallery_thumbnail_number = 3

save(plot_mistakes(alexnet, X_test, y_test, n_images=15), "mistakes")
for mistake in report.mistakes[:5]:
    print(
        f"{Path(mistake.path).name}: {mistake.true_label}, taken for {mistake.predicted_label} "
        f"({mistake.probability:.0%})"
    )

# %%
# Another day, another process
# ----------------------------
# The file holds the network, the names of the classes, and how photographs are prepared. Another
# process needs nothing else to classify a new one; here it is ``python -m skcnn predict``, from
# which the shell gets a line for each file.

model = args.output / "model.skcnn"
resnet.save(model)
print(f"wrote {model} ({model.stat().st_size / 1e6:.1f} MB)")

new = X_test.paths[0]
command = [sys.executable, "-m", "skcnn", "predict", str(model), new]
lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
print(*(line.replace(str(Path(new).parent), "…") for line in lines), sep="\n")
here = resnet.predict_proba(X_test_96[:1]).max()
print(f"in this process: {resnet.predict(X_test_96[:1])[0]}, {here:.6f}")
