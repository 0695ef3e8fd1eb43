"""What the estimators cost beside the bare computation, where that shows most.

1. Fits on 80 rows with a linear network, beside a bare loop.
2. Predictions, with all checks, beside the bare forward pass on the same batches, made ready.
3. Peak memory of a fit on a memory-mapped set, and of one on a set ten times larger, each in a
   process of its own; on Linux.

Both sides run in turn in one process; medians and their ratio are printed.

    python examples/benchmarks/overheads.py [--only small_data predictions memory]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _report import describe_machine, peak_memory, write_json
from torch import nn
from torch.nn import functional

from skcnn import AlexNetClassifier, CNNClassifier, LeNetClassifier, ResNetClassifier
from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini

REPEATS = 9


def in_turn(ours, theirs, repeats=REPEATS):
    """Median seconds of two functions, after one call of each."""
    seconds = [], []
    for _ in range(repeats + 1):
        for function, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times[1:]) for times in seconds]


# Few rows -----------------------------------------------------------------------------------------


def linear(in_channels, n_classes):
    """Network of one layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 28 * 28, n_classes))


def small_data():
    """Fit 80 rows for 200 epochs, as in skorch's issue 433."""
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X, y = (X[:80] / 255).astype(np.float32), y[:80]
    results = {}
    for batch_size in (80, 8):
        clf = CNNClassifier(
            module=linear,
            max_epochs=200,
            batch_size=batch_size,
            early_stopping=False,
            optimizer="adam",
            lr=1e-3,
            lr_schedule=None,
            label_smoothing=0.0,
            normalize=False,
            random_state=0,
        )

        def bare_loop(batch_size=batch_size):
            module = linear(1, 10)
            optimizer = torch.optim.Adam(module.parameters(), fused=True)
            pixels, targets = torch.from_numpy(X)[:, None], torch.from_numpy(y)
            for _ in range(200):
                losses, correct = [], []
                for rows in torch.randperm(80).split(batch_size):
                    logits = module(pixels[rows])
                    loss = functional.cross_entropy(logits, targets[rows])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.detach())
                    correct.append((logits.detach().argmax(1) == targets[rows]).sum())
                torch.stack(losses).mean().item()
                torch.stack(correct).sum().item()

        ours, theirs = in_turn(lambda clf=clf: clf.fit(X, y), bare_loop)
        print(f"80 rows, batches of {batch_size:2}: fit / bare loop {ours / theirs:5.2f}")
        results[batch_size] = {"fit": ours, "bare loop": theirs}
    return results


# Predictions --------------------------------------------------------------------------------------


def predictions():
    """Predict with all checks, and run the network alone on float batches of the same size."""
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    results = {}
    for name, clf, n in (
        ("LeNet 28", LeNetClassifier(norm="batch"), 4096),
        ("AlexNet small 67", AlexNetClassifier(variant="small", image_size=67), 512),
        ("ResNet-18/4 28", ResNetClassifier(width_ratio=4), 1024),
    ):
        clf.set_params(max_epochs=1, random_state=0).fit(X[:256], y[:256])
        images = X[:n]
        device, rows = clf.device_, clf.net_.prediction_rows
        batches = [
            clf.net_.preprocessing_(torch.from_numpy(images[start : start + rows, None]).to(device))
            for start in range(0, n, rows)
        ]

        def forward(module=clf.module_, batches=batches):
            with torch.inference_mode():
                torch.cat([module(batch) for batch in batches]).cpu()

        ours, theirs = in_turn(lambda clf=clf, images=images: clf.predict_proba(images), forward)
        print(f"predictions, {name:17}: predict_proba / forward pass {ours / theirs:5.3f}")
        results[name] = {"predict_proba": ours, "forward": theirs}
    return results


# Memory -------------------------------------------------------------------------------------------


def memory():
    """Fit and predict memory-mapped sets of two sizes, each in a process of its own."""
    X, y = fetch_fashion_mnist(subset="train", return_X_y=True)
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for times in (1, 10):
            images = np.lib.format.open_memmap(
                Path(folder, "X.npy"), "w+", np.uint8, (times * len(X), *X.shape[1:])
            )
            for copy in range(times):  # shifted, so that the images differ
                images[copy * len(X) : (copy + 1) * len(X)] = np.roll(X, copy, axis=2)
            images.flush()
            del images
            np.save(Path(folder, "y.npy"), np.tile(y, times))
            command = [sys.executable, __file__, "--fit-in", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[times * len(X)] = [int(peak) for peak in done.stdout.split()]
    for i, part in enumerate(("fit", "fit and predict")):
        small, large = (each[i] for each in peaks.values())
        print(
            f"memory-mapped, {part:15}: peak {small / 1e6:.0f} MB, of ten times as many images "
            f"{large / 1e6:.0f} MB, ratio {large / small:.2f}"
        )
    return peaks


def fit_in(folder):
    """Fit, then predict the images in a folder; after each, print the process's peak memory."""
    X, y = np.load(Path(folder, "X.npy"), mmap_mode="r"), np.load(Path(folder, "y.npy"))
    clf = LeNetClassifier(max_epochs=1, batch_size=256, random_state=0)
    for step in (lambda: clf.fit(X, y), lambda: clf.predict(X)):
        step()
        print(peak_memory())


PARTS = {part.__name__: part for part in (small_data, predictions, memory)}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--fit-in", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("results/overheads.json"))
    args = parser.parse_args()
    if args.fit_in:
        fit_in(args.fit_in)
        return
    results = {"machine": describe_machine()}
    for name in args.only:
        results[name] = PARTS[name]()
        write_json(args.output, results)


if __name__ == "__main__":
    main()
