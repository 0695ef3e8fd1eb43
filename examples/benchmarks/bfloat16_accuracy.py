"""Accuracy of networks trained in bfloat16 and in float32, after the same epochs, over three seeds.

Nothing is timed: a machine without bfloat16 units imitates the arithmetic, slowly, and gives the
same accuracies.

    python examples/benchmarks/bfloat16_accuracy.py [--images N]
"""

import argparse
import statistics
import warnings
from pathlib import Path

from _report import describe_machine, write_json

from skcnn import AlexNetClassifier, LeNetClassifier, ResNetClassifier
from skcnn.datasets import fetch_fashion_mnist
from skcnn.exceptions import SlowPrecisionWarning

CLASSIFIERS = {
    "LeNet": LeNetClassifier(norm="batch", max_epochs=4),
    "AlexNet small": AlexNetClassifier(variant="small", lr=5e-4, max_epochs=4),
    "ResNet-18/4": ResNetClassifier(width_ratio=4, max_epochs=4),
}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CLASSIFIERS), default=list(CLASSIFIERS))
    parser.add_argument("--images", type=int, default=60_000, help="to learn from")
    parser.add_argument("--output", type=Path, default=Path("results/bfloat16_accuracy.json"))
    args = parser.parse_args()
    train, test = (fetch_fashion_mnist(subset=part) for part in ("train", "test"))
    X, y = train.data[: args.images], train.target[: args.images]
    warnings.simplefilter("ignore", SlowPrecisionWarning)
    results = {"machine": describe_machine(), "images": len(X)}
    for name in args.only:
        accuracies = {"float32": [], "bfloat16": []}
        for seed in range(3):
            for precision, scores in accuracies.items():
                clf = CLASSIFIERS[name].set_params(
                    precision=precision,
                    batch_size=256,
                    early_stopping=False,
                    lr_schedule="one_cycle",
                    random_state=seed,
                )
                scores.append(clf.fit(X, y).score(test.data, test.target))
        results[name] = accuracies
        float32, bfloat16 = (statistics.mean(scores) for scores in accuracies.values())
        print(f"{name:14}", accuracies)
        print(
            f"{'':14} means {float32:.4f}, {bfloat16:.4f}: {100 * (bfloat16 - float32):+.2f} points"
        )
        write_json(args.output, results)


if __name__ == "__main__":
    main()
