"""Test accuracy and time of rules for stopping a fit early, over data sets, schedules and seeds.

Each network is trained to the end of its schedule once. The rules are then applied to the history
of that fit: when would training have stopped, and which epoch's weights been kept?

    python examples/benchmarks/early_stopping.py [--seeds N] [--schedules cosine ...] [--epochs N]
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from _report import describe_machine, write_json
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from skcnn import LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini

PATIENCE = 6
# Name → share of the highest rate from which epochs without improvement count; None: they never do.
RULES = {
    "stop at once": 1.0,
    "stop below 1/2 of the rate": 1 / 2,
    "stop below 1/4": 1 / 4,
    "stop below 1/10": 1 / 10,
    "best of all epochs": 0.0,
    "last epoch": None,
}


class TestAccuracy(Callback):
    """Note the test accuracy of each epoch."""

    def __init__(self, X, y):
        self.X = X
        self.y = y

    def on_epoch_end(self, net, **kwargs):
        """Predict with the weights of the epoch."""
        logits = np.concatenate([batch.numpy() for batch in net.logits(self.X.split(256))])
        net.history.record("test_acc", float(np.mean(logits.argmax(1) == self.y)))


def data_sets():
    """Yield name, training images and labels, test images and labels."""
    X, y = load_digits(return_X_y=True)
    X = (X.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    for n in (200, 1000):
        yield f"digits {n}", *train_test_split(X, y, train_size=n, random_state=0, stratify=y)
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
    for n in (300, 1000):
        X_train, _, y_train, _ = train_test_split(X, y, train_size=n, random_state=0, stratify=y)
        yield f"clothes {n}", X_train, X_test[:1000], y_train, y_test[:1000]


def apply(share, history):
    """Return the test accuracy that a rule ends with, and the share of the time that it takes."""
    if share is None:
        return history[-1]["test_acc"], 1.0
    best, misses = None, 0
    peak = max(epoch["lr"] for epoch in history)
    for k, epoch in enumerate(history):
        score = (epoch["valid_acc"], -epoch["valid_loss"])
        if best is None or score > best[0]:
            best, misses = (score, epoch["test_acc"]), 0
            continue
        # The rate of an epoch is that of its first step: the last epoch below the share counts.
        falling = k > 0 and epoch["lr"] < history[k - 1]["lr"]
        misses += share == 1.0 or (falling and epoch["lr"] <= share * peak)
        if misses == PATIENCE:
            break
    return best[1], (k + 1) / len(history)


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--schedules", nargs="+", default=["cosine", "one_cycle", "constant"])
    parser.add_argument("--output", type=Path, default=Path("results/early_stopping.json"))
    args = parser.parse_args()
    results = {"machine": describe_machine()}
    for schedule in args.schedules:
        outcomes = {rule: [] for rule in RULES}
        for name, X, X_test, y, y_test in data_sets():
            of_data = {rule: [] for rule in RULES}
            for seed in range(args.seeds):
                test = TestAccuracy(None, None)
                clf = LeNetClassifier(
                    norm="batch",
                    image_size=28,
                    lr=3e-3,
                    batch_size=32,
                    max_epochs=args.epochs,
                    patience=args.epochs,
                    lr_schedule=None if schedule == "constant" else schedule,
                    callbacks=[test],
                    random_state=seed,
                )
                labels = np.unique(y)
                test.y = np.searchsorted(labels, y_test)
                test.X = clf_images(X_test)
                history = clf.fit(X, y).history_
                for rule, share in RULES.items():
                    of_data[rule].append(apply(share, history))
            for rule, values in of_data.items():
                outcomes[rule] += values
                show(f"{schedule}, {name}, {rule}", values)
        print()
        for rule, values in outcomes.items():
            show(f"{schedule}, all, {rule}", values)
        print()
        results[schedule] = outcomes
        write_json(args.output, results)


def clf_images(X):
    """Images as the network's net takes them: (n, 1, H, W) bytes."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(X))[:, None]


def show(what, values):
    """Print means of accuracy and time."""
    accuracy, time = (statistics.mean(column) for column in zip(*values, strict=True))
    print(f"{what:60} accuracy {accuracy:.4f}, {100 * time:3.0f} % of the epochs", flush=True)


if __name__ == "__main__":
    main()
