"""Accuracy at the learning rates that rules for the range test recommend, over networks and seeds.

For each network and optimizer, the curve of `find_lr` is recorded once a seed. Every rule is then
applied to the same curves, and the network trained at the rates that the rules recommend and at
those of a grid, for a few epochs, with a cosine schedule and at a constant rate. What counts is the
accuracy as a share of the best that any rate reached. The rule of `find_lr` was chosen on the first
half of the combinations; the second half was not looked at before.

    python examples/benchmarks/find_lr.py [--seeds N] [--only NAME ...]
"""

import argparse
import statistics
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _report import describe_machine, write_json
from sklearn.base import clone
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier, ResNetClassifier, VGGClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.exceptions import DivergenceError, LearningRateRangeWarning
from skcnn.inspection import find_lr
from skcnn.networks import LeNet

GRID = [1e-4, 1e-3, 5e-3, 2e-2, 1e-1, 5e-1]
SCHEDULES = ["cosine", None]
CHANCE = 0.1


def sigmoid_lenet(in_channels=1, n_classes=10):
    """LeNet as it was: sigmoids, average pooling, weights from Xavier's distribution."""
    net = LeNet(in_channels=in_channels, n_classes=n_classes, activation="sigmoid", pooling="avg")
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    return net


def lenet(n=1000, max_epochs=4, **params):
    """LeNet."""
    return LeNetClassifier(max_epochs=max_epochs, **params), n


def vgg(**params):
    """VGG-11 of an eighth of the width."""
    return VGGClassifier(width_ratio=8, hidden_units=256, max_epochs=3, **params), 1000


def resnet(**params):
    """ResNet-18 of a sixteenth of the width."""
    return ResNetClassifier(width_ratio=16, max_epochs=4, **params), 600


# Classifier, number of images.
CHOSEN_ON = {
    "LeNet, adam, 32": lenet(optimizer="adam", batch_size=32),
    "LeNet, sgd, 32": lenet(optimizer="sgd", batch_size=32),
    "LeNet, BatchNorm, sgd, 32": lenet(norm="batch", optimizer="sgd", batch_size=32),
    "LeNet, sgd, 128": lenet(2000, optimizer="sgd", batch_size=128),
    "LeNet, adamw, 256": lenet(2000, optimizer="adamw", batch_size=256),
    "VGG, sgd, 32": vgg(optimizer="sgd", batch_size=32),
}
REPORTED_ON = {
    "LeNet, BatchNorm, adam, 64": lenet(norm="batch", optimizer="adam", batch_size=64),
    "LeNet, adam, 64, 300 images": lenet(300, optimizer="adam", batch_size=64, max_epochs=8),
    "LeNet of sigmoids, sgd, 32": (
        CNNClassifier(module=sigmoid_lenet, optimizer="sgd", batch_size=32, max_epochs=8),
        2000,
    ),
    "VGG, adam, 64": vgg(optimizer="adam", batch_size=64),
    "VGG, BatchNorm, sgd, 64": vgg(norm="batch", optimizer="sgd", batch_size=64),
    "ResNet, sgd, 64": resnet(optimizer="sgd", batch_size=64),
    "ResNet, adamw, 32": resnet(optimizer="adamw", batch_size=32),
}


# Rules: learning rates, losses, smoothed losses → rate.


def steepest_fall(lrs, losses, smoothed):
    """Where an exponential average of the losses falls most steeply: the former rule."""
    average, averages = 0.0, []
    for i, loss in enumerate(losses, start=1):
        average = 0.9 * average + 0.1 * loss
        averages.append(average / (1 - 0.9**i))
    end = max(int(np.argmin(averages)) + 1, 2)
    return lrs[np.argmin(np.gradient(averages[:end], np.log(lrs[:end])))]


def middle_of_the_fall(lrs, losses, smoothed):
    """Middle of the longest sequence of ever lower losses, with gaps ("valley")."""
    lengths, before = np.ones(len(lrs), int), np.arange(len(lrs))
    for i in range(len(lrs)):
        higher = np.flatnonzero(smoothed[:i] > smoothed[i])
        if len(higher):
            before[i] = higher[np.argmax(lengths[higher])]
            lengths[i] += lengths[before[i]]
    start = end = int(np.argmax(lengths))
    while before[start] != start:
        start = before[start]
    return lrs[(start + end) // 2]


def half_of_the_fall(lrs, losses, smoothed):
    """Where the loss crosses the middle between the first and the lowest."""
    lowest = int(np.argmin(smoothed))
    is_above = smoothed[:lowest] > (smoothed[0] + smoothed[lowest]) / 2
    return lrs[np.flatnonzero(is_above)[-1] + 1 if is_above.any() else 0]


def end_of_the_low(lrs, losses, smoothed):
    """An eighth of where the loss has risen again by half of what it fell."""
    lowest = int(np.argmin(smoothed))
    is_above = smoothed[lowest:] > (smoothed[0] + smoothed[lowest]) / 2
    return lrs[lowest + np.argmax(is_above) - 1 if is_above.any() else -1] / 8


def share_of_the_lowest(share):
    """Return the rule that takes a share of the rate with the lowest loss."""
    return lambda lrs, losses, smoothed: lrs[np.argmin(smoothed)] / share


def third_of_the_fallen(lrs, losses, smoothed):
    """A third of where the loss has made 95 % of its fall: the rule of `find_lr`."""
    return lrs[np.argmax(smoothed <= smoothed[0] - 0.95 * (smoothed[0] - smoothed.min()))] / 3


RULES = {
    "steepest fall": steepest_fall,
    "middle of the fall": middle_of_the_fall,
    "half of the fall": half_of_the_fall,
    "end of the low / 8": end_of_the_low,
    "lowest / 4": share_of_the_lowest(4),
    "lowest / 10": share_of_the_lowest(10),
    "95 % of the fall / 3": third_of_the_fallen,
}


def record_curves(clf, X, y, n_seeds):
    """Return the display of the range test for each seed, None where it recommends nothing."""
    displays = []
    for seed in range(n_seeds):
        try:
            displays.append(find_lr(clone(clf).set_params(lr=1e-3, random_state=seed), X, y))
        except ValueError as error:
            print(f"  seed {seed}: {error}")
            displays.append(None)
        plt.close("all")
    return displays


def train(clf, lr, schedule, train_set, test_set):
    """Return the test accuracy after a short fit at a rate."""
    clf = clone(clf).set_params(lr=lr, lr_schedule=schedule, early_stopping=False, random_state=0)
    try:
        return clf.fit(*train_set).score(*test_set)
    except DivergenceError:
        return CHANCE


def round_rate(lr):
    """Return the nearest of 1, 2, 5, 10, 20, ..., so that fewer rates have to be trained at."""
    decade = 10.0 ** np.floor(np.log10(lr))
    nearest = min((1, 2, 5, 10), key=lambda digit: abs(np.log(lr / decade / digit)))
    return float(f"{nearest * decade:.0e}")


def shares_of_best(clf, displays, train_set, test_set):
    """Return, for each rule, its rates and the accuracies at them as shares of the best."""
    curves = [(d.lrs, d.losses, d.smoothed_losses) for d in displays if d is not None]
    rates = {name: [round_rate(rule(*curve)) for curve in curves] for name, rule in RULES.items()}
    tried = sorted({*GRID, *(lr for recommended in rates.values() for lr in recommended)})
    outcomes = {name: {"lrs": recommended, "shares": []} for name, recommended in rates.items()}
    accuracies = {}
    for schedule in SCHEDULES:
        reached = {lr: train(clf, lr, schedule, train_set, test_set) for lr in tried}
        accuracies[str(schedule)] = reached
        for outcome in outcomes.values():
            outcome["shares"] += [reached[lr] / max(reached.values()) for lr in outcome["lrs"]]
    return outcomes, accuracies


def main():
    """Run the benchmark."""
    combinations = {**CHOSEN_ON, **REPORTED_ON}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(combinations), default=list(combinations))
    parser.add_argument("--output", type=Path, default=Path("results/find_lr.json"))
    args = parser.parse_args()
    warnings.simplefilter("ignore", LearningRateRangeWarning)
    plt.switch_backend("agg")
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
    test_set = X_test[:1000], y_test[:1000]
    results = {"machine": describe_machine(), "combinations": {}}
    for name in args.only:
        clf, n = combinations[name]
        print(name)
        displays = record_curves(clf, X[:n], y[:n], args.seeds)
        outcomes, accuracies = shares_of_best(clf, displays, (X[:n], y[:n]), test_set)
        best = {schedule: max(reached.values()) for schedule, reached in accuracies.items()}
        print(f"  best accuracies: {best}")
        for rule, outcome in outcomes.items():
            lrs = ", ".join(f"{lr:g}" for lr in outcome["lrs"])
            show(rule, outcome["shares"], lrs)
        results["combinations"][name] = {
            "outcomes": outcomes,
            "accuracies": accuracies,
            "curves": [
                d and {"lrs": d.lrs.tolist(), "losses": d.losses.tolist()} for d in displays
            ],
        }
        write_json(args.output, results)
    for title, names in (("chosen on", CHOSEN_ON), ("reported on", REPORTED_ON)):
        print(f"\n{title} {', '.join(name for name in names if name in args.only)}")
        for rule in RULES:
            shares = [
                share
                for name in names
                if name in args.only
                for share in results["combinations"][name]["outcomes"][rule]["shares"]
            ]
            if shares:
                show(rule, shares)


def show(rule, shares, lrs=""):
    """Print the worst and the mean share of the best accuracy."""
    if shares:
        worst, mean = min(shares), statistics.mean(shares)
        print(f"  {rule:20} worst {worst:.3f}, mean {mean:.3f}  {lrs}", flush=True)


if __name__ == "__main__":
    main()
