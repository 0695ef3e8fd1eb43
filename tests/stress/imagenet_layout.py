"""A folder laid out as ImageNet is, with 1,000 classes, from the shell: train, evaluate, predict.

The images are small and made here: three stripes, whose colours are the digits of the class. What
is measured is that 1,000 folders go all the way, and how long each command takes. Ends with an
error if a class is missing on the way, or if nothing was learned. Not a test: it takes minutes.

    python tests/stress/imagenet_layout.py [--classes 1000] [--images 20] [--epochs 3]
"""

import argparse
import colorsys
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

N_DIGITS = 3
COLOURS = [[round(255 * c) for c in colorsys.hsv_to_rgb(i / 10, 1, 1)] for i in range(10)]


def make_folder(root, n_classes, n_train, n_val):
    """Write root/train/n00000000/n00000000_0.JPEG and so on, and root/val, of several sizes."""
    rng = np.random.default_rng(0)
    for label in range(n_classes):
        name = f"n{label:08}"
        stripes = np.array([COLOURS[int(digit)] for digit in f"{label:0{N_DIGITS}}"], float)
        for part, n in (("train", n_train), ("val", n_val)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                height, width = rng.integers(36, 61, size=2)
                image = np.empty((height, width, 3))
                image[:] = stripes[np.arange(width) * N_DIGITS // width]
                image += rng.normal(0, 30, image.shape)
                pixels = image.clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}_{i}.JPEG")


def run(*command):
    """Run a command of skcnn; print how long it took, and return what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "skcnn", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}")
    print(f"{command[0]:10}{time.perf_counter() - start:8.1f} s", flush=True)
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20, help="of each class to train on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folder", help="where to write the images; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root, model = Path(folder, "images"), Path(folder, "model.skcnn")
        make_folder(root, options.classes, options.images, 2)
        network = ["--network", "resnet18", "--set", "width_ratio=4", "--image-size", 32]
        training = ["--epochs", options.epochs, "--batch-size", 64, "--seed", 0]
        print(run("train", root, "--out", model, *network, *training))
        report = json.loads(run("evaluate", model, root, "--json"))
        lines = run("predict", model, root / "val", "--format", "jsonl", "--top-k", 5).splitlines()
    rows = [json.loads(line) for line in lines]
    truths = [Path(row["file"]).parent.name for row in rows]
    in_five = [
        truth in (row["label"], *(other["label"] for other in row["others"]))
        for truth, row in zip(truths, rows, strict=True)
    ]
    print(f"{len(report['classes']):,} classes evaluated, {len(rows):,} files predicted")
    print(f"accuracy {report['accuracy']:.3f}, among five {np.mean(in_five):.3f}")
    if len(report["classes"]) != options.classes or len(set(truths)) != options.classes:
        sys.exit("a class is missing")
    if report["accuracy"] < 10 / options.classes:
        sys.exit("nothing was learned")


if __name__ == "__main__":
    main()
