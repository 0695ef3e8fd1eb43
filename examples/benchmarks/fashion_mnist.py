"""Accuracy and time of LeNet and AlexNet small on all of Fashion-MNIST, beside MLPClassifier.

Contenders fit one after the other in one process, `--repeats` times in turn; medians are reported
with the ratio to MLPClassifier's time. Machine, versions and all results go to a JSON file.

    python examples/benchmarks/fashion_mnist.py [--only NAME ...] [--repeats N]
"""

import argparse
import statistics
import time
from pathlib import Path

from _report import describe_machine, write_json
from sklearn.neural_network import MLPClassifier

from skcnn import AlexNetClassifier, LeNetClassifier
from skcnn.datasets import fetch_fashion_mnist

CONTENDERS = {
    "MLPClassifier": lambda seed: MLPClassifier(early_stopping=True, random_state=seed),
    "LeNet, one-cycle": lambda seed: LeNetClassifier(
        norm="batch",
        lr=1e-2,
        lr_schedule="one_cycle",
        batch_size=256,
        max_epochs=5,
        random_state=seed,
    ),
    "LeNet, defaults": lambda seed: LeNetClassifier(random_state=seed),
    "AlexNet small": lambda seed: AlexNetClassifier(
        variant="small",
        dropout=0.3,
        lr=5e-4,
        lr_schedule="one_cycle",
        batch_size=128,
        max_epochs=6,
        random_state=seed,
    ),
}


def measure(name, seed, train, test):
    """Fit once; seconds to fit and test accuracy."""
    (X, y), (X_test, y_test) = train, test
    if name == "MLPClassifier":  # flat rows on a scale that suits it
        X, X_test = (images.reshape(len(images), -1) / 255 for images in (X, X_test))
    clf = CONTENDERS[name](seed)
    start = time.perf_counter()
    clf.fit(X, y)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "accuracy": clf.score(X_test, y_test)}
    epochs = getattr(clf, "n_epochs_", None) or clf.n_iter_
    print(f"  seed {seed}  {name:18}{seconds:8.1f} s  {result['accuracy']:.4f}  {epochs} epochs")
    return {**result, "epochs": epochs}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/fashion_mnist.json"))
    args = parser.parse_args()
    train, test = (fetch_fashion_mnist(subset=part, return_X_y=True) for part in ("train", "test"))
    machine = describe_machine()
    results = {name: [] for name in args.only}
    for seed in range(args.repeats):
        for name in args.only:
            results[name].append(measure(name, seed, train, test))
    print(f"\n{'median of ' + str(args.repeats):20}{'fit':>8}  {'/ MLP':>6}  accuracy")
    seconds = {
        name: statistics.median(run["seconds"] for run in runs) for name, runs in results.items()
    }
    for name, runs in results.items():
        ratio = seconds[name] / seconds.get("MLPClassifier", float("nan"))
        accuracy = statistics.median(run["accuracy"] for run in runs)
        print(f"{name:20}{seconds[name]:6.1f} s  {ratio:6.2f}  {accuracy:.4f}")
    write_json(args.output, {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
