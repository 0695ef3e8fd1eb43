"""What it costs that images are in files: 20,000 JPEGs of 96 to 160 pixels, made here.

1. Decoding alone, beside a bare loop of Pillow in as many threads as there are cores.
2. The first epoch of a fit on files, from the list of paths to its end, beside decoding and that of
   a fit on the array of the same pixels, one after the other; the next epochs of both.
3. Peak memory of a fit and prediction on a tenth of them, and on all, each in a process of its own;
   on Linux.

All sides run in turn, in one process; medians are printed. TMPDIR names the folder of the files.

    python examples/benchmarks/files.py [--only speed memory] [--images 20000] [--repeats 3]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _report import describe_machine, peak_memory, write_json
from PIL import Image
from skorch.callbacks import Callback

from skcnn import ImageFiles, LeNetClassifier

SIDE = 64  # pixels, to which images are resized
N_CLASSES = 10


def write_images(folder, n):
    """Write smooth coloured images, brighter on another side in each class; return their paths."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    paths = []
    for i in range(n):
        angle = 2 * np.pi * (i % N_CLASSES) / N_CLASSES
        slope = 60 * (np.cos(angle) * x + np.sin(angle) * y)
        small = rng.normal(128 + slope[..., None], 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
        size = rng.integers(96, 161, size=2).tolist()
        paths.append(Path(folder, f"{i:05}.jpg"))
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def labels_of(paths):
    """Class of each image."""
    return np.array([int(path.stem) % N_CLASSES for path in paths])


def classifier(**params):
    """Return a classifier whose epochs are short, for that decoding shows."""
    return LeNetClassifier(
        norm="batch", batch_size=256, early_stopping=False, random_state=0, **params
    )


# Speed --------------------------------------------------------------------------------------------


class Clock(Callback):
    """Note when epochs end."""

    def on_train_begin(self, net, **kwargs):
        """Begin anew."""
        self.ends = []

    def on_epoch_end(self, net, **kwargs):
        """Note the time."""
        self.ends.append(time.perf_counter())


def bare_decoding(paths):
    """Decode and resize by Pillow alone, in threads."""

    def decode(path):
        with Image.open(path) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return np.asarray(image)

    start = time.perf_counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        np.stack(list(executor.map(decode, paths)))
    return {"bare decoding": [time.perf_counter() - start]}


def decoding(paths):
    """Decode by ImageFiles."""
    start = time.perf_counter()
    ImageFiles(paths, image_size=SIDE, mode="RGB").decode()
    return {"decoding": [time.perf_counter() - start]}


def epochs(name, make_X, y):
    """Fit some epochs; time them, the first from the beginning of all."""
    clock = Clock()
    clf = classifier(max_epochs=4, callbacks=[clock])
    start = time.perf_counter()
    clf.fit(make_X(), y)
    first, *others = np.diff([start, *clock.ends]).tolist()
    return {f"first epoch, {name}": [first], f"later epochs, {name}": others}


def speed(folder, n_images, repeats):
    """Time all sides in turn."""
    paths = sorted(folder.glob("*.jpg"))[:n_images]
    y = labels_of(paths)
    pixels = np.asarray(ImageFiles(paths, image_size=SIDE, mode="RGB"))
    classifier(max_epochs=1).fit(pixels[:500], y[:500])  # what is done once in a process
    sides = (
        lambda: bare_decoding(paths),
        lambda: decoding(paths),
        lambda: epochs("array", lambda: pixels, y),
        lambda: epochs("files", lambda: ImageFiles(paths, image_size=SIDE, mode="RGB"), y),
    )
    seconds = {}
    for repeat in range(repeats):
        for side in sides[:: 1 if repeat % 2 else -1]:
            for name, values in side().items():
                seconds.setdefault(name, []).extend(values)
                print(f"{name:20}: {' '.join(f'{value:6.1f}' for value in values)} s", flush=True)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    in_turn = median["decoding"] + median["first epoch, array"]
    later = median["later epochs, files"] / median["later epochs, array"]
    print("medians:")
    for name, ratio in (
        ("decoding / bare decoding", median["decoding"] / median["bare decoding"]),
        ("first epoch / (decoding + first epoch, array)", median["first epoch, files"] / in_turn),
        ("later epochs / later epochs, array", later),
    ):
        print(f"{name:46} {ratio:5.2f}")
    return seconds


# Memory -------------------------------------------------------------------------------------------


def memory(folder, n_images, repeats):
    """Fit and predict on a tenth of the images, and on all; the medians of processes' peaks."""
    peaks = {}
    for n in (n_images // 10, n_images) * repeats:
        command = [sys.executable, __file__, "--fit-in", str(folder), "--images", str(n)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks.setdefault(n, []).append(int(done.stdout))
    few, many = (statistics.median(each) / 1e6 for each in peaks.values())
    print(
        f"peak memory: {n_images // 10} images {few:.0f} MB, {n_images} images {many:.0f} MB, "
        f"ratio {many / few:.2f}"
    )
    return peaks


def fit_in(folder, n_images):
    """Fit, then predict the first images in a folder; print the process's peak memory."""
    paths = sorted(folder.glob("*.jpg"))[:n_images]
    X = ImageFiles(paths, image_size=SIDE)
    classifier(max_epochs=2).fit(X, labels_of(paths)).predict(X)
    print(peak_memory())


PARTS = {part.__name__: part for part in (speed, memory)}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit-in", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("results/files.json"))
    args = parser.parse_args()
    if args.fit_in:
        fit_in(args.fit_in, args.images)
        return
    results = {"machine": describe_machine()}
    with tempfile.TemporaryDirectory() as folder:
        write_images(folder, args.images)
        for name in args.only:
            results[name] = PARTS[name](Path(folder), args.images, args.repeats)
            write_json(args.output, results)


if __name__ == "__main__":
    main()
