"""Every classifier on the bundled 5,000 images, with the training settings that it has by default.

Only size is reduced, to what a CPU trains in minutes: narrow networks, few hidden units, images of
32 pixels where the network takes them. Ends with an error if a test accuracy is not above that of
a random forest.

    python examples/benchmarks/every_network.py [--only NAME ...]
"""

import argparse
import sys
import time
from pathlib import Path

from _report import describe_machine, write_json
from sklearn.ensemble import RandomForestClassifier

from skcnn import (
    AlexNetClassifier,
    CNNClassifier,
    GoogLeNetClassifier,
    InceptionV3Classifier,
    LeNetClassifier,
    NiNClassifier,
    ResNetClassifier,
    VGGClassifier,
)
from skcnn.datasets import load_fashion_mnist_mini

CLASSIFIERS = {
    "ConvNet": CNNClassifier(),
    "LeNet": LeNetClassifier(),
    "AlexNet": AlexNetClassifier(variant="small"),
    "VGG": VGGClassifier(width_ratio=4, hidden_units=512),
    "VGG, plain": VGGClassifier(width_ratio=4, hidden_units=512, norm=None),
    "NiN": NiNClassifier(width_ratio=4),
    "GoogLeNet": GoogLeNetClassifier(width_ratio=4, image_size=32),
    "GoogLeNet, plain": GoogLeNetClassifier(width_ratio=4, image_size=32, norm=None),
    "Inception v3": InceptionV3Classifier(width_ratio=4),
    "ResNet": ResNetClassifier(width_ratio=4),
    "CNN, torchvision": CNNClassifier(module="squeezenet1_1"),
}


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CLASSIFIERS), default=list(CLASSIFIERS))
    parser.add_argument("--output", type=Path, default=Path("results/every_network.json"))
    args = parser.parse_args()
    train, test = (
        load_fashion_mnist_mini(subset=part, return_X_y=True) for part in ("train", "test")
    )
    machine = describe_machine()
    forest = RandomForestClassifier(random_state=0, n_jobs=-1)
    lowest = forest.fit(train[0].reshape(len(train[0]), -1), train[1]).score(
        test[0].reshape(len(test[0]), -1), test[1]
    )
    print(f"random forest: {lowest:.3f}")
    print(f"{'':18}{'parameters':>12}{'mult-adds':>14}  accuracy  epochs  fit")
    results = {}
    for name in args.only:
        clf = CLASSIFIERS[name].set_params(random_state=0)
        start = time.perf_counter()
        clf.fit(*train)
        seconds = time.perf_counter() - start
        summary = clf.summary()
        results[name] = {
            "parameters": summary.total_params,
            "multiply_adds": summary.total_mult_adds,
            "accuracy": clf.score(*test),
            "epochs": clf.n_epochs_,
            "seconds": seconds,
            "train_loss": [epoch["train_loss"] for epoch in clf.history_],
        }
        print(
            f"{name:18}{summary.total_params:12,}{summary.total_mult_adds:14,}"
            f"{results[name]['accuracy']:10.3f}{clf.n_epochs_:8}{seconds:7.0f} s",
            flush=True,
        )
    write_json(args.output, {"machine": machine, "forest": lowest, "results": results})
    if low := [name for name in args.only if results[name]["accuracy"] <= lowest]:
        sys.exit(f"not above the forest: {', '.join(low)}")


if __name__ == "__main__":
    main()
