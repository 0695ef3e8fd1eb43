"""Test accuracy and time of rules for stopping a fit early, over data sets, schedules and seeds.

Each network is trained to the end of its schedule once. The rules are then applied to the history
of that fit: when would training have stopped, and which epoch's weights been kept?

    python examples/benchmarks/early_stopping.py [--seeds N] [--schedules cosine ...] [--epochs N]
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from _report import describe_machine, write_json
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from skcnn import LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini

PATIENCE = 6
# Name → share of the epochs after which those without improvement count; None: no epoch is chosen.
RULES = {
    "patience counts from the start": 0.0,
    "in the second half": 1 / 2,
    "in the last third": 2 / 3,
    "in the last quarter": 3 / 4,
    "never, best of all epochs": 1.0,
    "never, last epoch": None,
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
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, train_size=n, test_size=700, random_state=0, stratify=y
        )
        yield f"digits {n}", X_train, X_test, y_train, y_test
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
    for n in (300, 1000):
        X_train, _, y_train, _ = train_test_split(X, y, train_size=n, random_state=0, stratify=y)
        yield f"clothes {n}", X_train, X_test[:1000], y_train, y_test[:1000]


def apply(share, history):
    """Return the test accuracy that a rule ends with, and the share of the epochs that it takes."""
    if share is None:
        return history[-1]["test_acc"], 1.0
    best, misses = None, 0
    for epoch in history:
        score = (epoch["valid_acc"], -epoch["valid_loss"])
        if best is None or score > best[0]:
            best, misses = (score, epoch["test_acc"]), 0
            continue
        misses += epoch["epoch"] > share * len(history)
        if misses == PATIENCE:
            break
    return best[1], epoch["epoch"] / len(history)


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
                # Images as the net takes them, and the indices of their labels.
                images = torch.from_numpy(np.ascontiguousarray(X_test))[:, None]
                test = TestAccuracy(images, np.searchsorted(np.unique(y), y_test))
                clf = LeNetClassifier(
                    norm="batch",
                    lr=3e-3,
                    batch_size=32,
                    max_epochs=args.epochs,
                    patience=args.epochs,
                    lr_schedule=None if schedule == "constant" else schedule,
                    callbacks=[test],
                    random_state=seed,
                )
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


def show(what, values):
    """Print means of accuracy and time."""
    accuracy, time = (statistics.mean(column) for column in zip(*values, strict=True))
    print(f"{what:60} accuracy {accuracy:.4f}, {100 * time:3.0f} % of the epochs", flush=True)


if __name__ == "__main__":
    main()
