"""The recipes by which these networks are taught, run again beside what was published of them.

Ten epochs of plain SGD from Xavier-uniform weights, without schedule, stopping or normalisation.
On a CUDA machine every row runs as published: all 60,000 images, full width, full size. On a CPU it
runs scaled down, and is then no reproduction: the 5,000 bundled images, a quarter of the width and
smaller images for all networks but LeNet and AlexNet (which is the small one, at 67 pixels), and a
quarter of the batch for 30 epochs, which makes as many steps. Throughput counts everything that
`fit` does, the loading too; the published one leaves it out.

    python examples/benchmarks/published_table.py [--only NAME ...] [--scale full|small] [--seeds N]
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import torch
from _report import describe_machine, write_json
from torch import nn

from skcnn import CNNClassifier
from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.networks import VGG, AlexNet, GoogLeNet, LeNet, NiN, ResNet

EPOCHS = {"full": 10, "small": 30}


class Recipe(NamedTuple):
    """One row: the network, how it is trained, and what was published of it (d2l-ai, one V100)."""

    network: type[nn.Module]
    options: dict
    side: int  # of the images, in pixels
    lr: float
    batch_size: int
    accuracy: tuple[float, float, float]  # published: median, lowest, highest
    images_per_second: int  # published
    small: dict  # options of the scaled-down network
    small_side: int


SIGMOID = {"activation": "sigmoid", "pooling": "avg"}
NARROW = {"width_ratio": 4}
RECIPES = {
    "LeNet, sigmoid": Recipe(
        LeNet, SIGMOID, 28, 0.9, 256, (0.806, 0.752, 0.828), 83_600, SIGMOID, 28
    ),
    "LeNet + BatchNorm": Recipe(
        LeNet,
        {**SIGMOID, "norm": "batch", "padding": 0},
        28,
        1.0,
        256,
        (0.834, 0.619, 0.887),
        61_300,
        {**SIGMOID, "norm": "batch", "padding": 0},
        28,
    ),
    "AlexNet": Recipe(
        AlexNet,
        {"padding": 1},
        224,
        0.01,
        128,
        (0.881, 0.860, 0.886),
        4_146,
        {"variant": "small"},
        67,
    ),
    "VGG-11 ÷ 4": Recipe(
        VGG,
        {"depth": 11, **NARROW},
        224,
        0.05,
        128,
        (0.919, 0.900, 0.925),
        2_551,
        {"depth": 11, "hidden_units": 1024, **NARROW},
        32,
    ),
    "NiN": Recipe(NiN, {}, 224, 0.1, 128, (0.845, 0.100, 0.885), 3_198, NARROW, 67),
    "GoogLeNet": Recipe(
        GoogLeNet,
        {"dropout": 0.0},
        96,
        0.1,
        128,
        (0.889, 0.808, 0.902),
        3_467,
        {"dropout": 0.0, **NARROW},
        32,
    ),
    "ResNet-18": Recipe(
        ResNet,
        {"depth": 18, "conv_bias": True},
        96,
        0.05,
        256,
        (0.913, 0.806, 0.927),
        4_685,
        {"depth": 18, "conv_bias": True, **NARROW},
        32,
    ),
}


def with_xavier(network, options):
    """Make `network` with Xavier-uniform weights; biases as torch draws them."""

    def draw(layer):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
            nn.init.xavier_uniform_(layer.weight)

    def build(in_channels, n_classes, input_size):
        module = network(
            in_channels=in_channels, n_classes=n_classes, input_size=input_size, **options
        )
        return module.apply(draw)

    return build


def measure(name, scale, seed, train, test):
    """Fit once; test accuracy, and images a second."""
    recipe = RECIPES[name]
    full = scale == "full"
    clf = CNNClassifier(
        module=with_xavier(recipe.network, recipe.options if full else recipe.small),
        image_size=recipe.side if full else recipe.small_side,
        lr=recipe.lr,
        batch_size=recipe.batch_size if full else recipe.batch_size // 4,
        max_epochs=EPOCHS[scale],
        optimizer="sgd",
        momentum=0.0,
        lr_schedule=None,
        label_smoothing=0.0,
        early_stopping=False,
        normalize=False,
        random_state=seed,
    )
    start = time.perf_counter()
    clf.fit(*train)
    seconds = time.perf_counter() - start
    result = {
        "accuracy": clf.score(*test),
        "images_per_second": len(train[0]) * EPOCHS[scale] / seconds,
        "seconds": seconds,
        "precision": clf.precision_,
        "train_loss": [epoch["train_loss"] for epoch in clf.history_],
    }
    print(
        f"  seed {seed}  {name:18} {result['accuracy']:.3f}"
        f"{result['images_per_second']:9,.0f} img/s  {clf.precision_}",
        flush=True,
    )
    return result


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    default = "full" if torch.cuda.is_available() else "small"
    parser.add_argument("--scale", choices=["full", "small"], default=default)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("results/published_table.json"))
    args = parser.parse_args()
    load = fetch_fashion_mnist if args.scale == "full" else load_fashion_mnist_mini
    train, test = (load(subset=part, return_X_y=True) for part in ("train", "test"))
    machine = describe_machine()
    print(f"scale: {args.scale}, {len(train[0]):,} images to train, {len(test[0]):,} to test")
    results = {name: [] for name in args.only}
    for seed in range(args.seeds):
        for name in args.only:
            results[name].append(measure(name, args.scale, seed, train, test))
    print(
        f"\n{'median of ' + str(args.seeds):20}accuracy  published [range]        img/s  published"
    )
    for name, runs in results.items():
        accuracy, speed = (
            statistics.median(run[key] for run in runs) for key in ("accuracy", "images_per_second")
        )
        median, low, high = RECIPES[name].accuracy
        print(
            f"{name:20}{accuracy:8.3f}  {median:.3f} [{low:.3f}–{high:.3f}]  {speed:9,.0f}"
            f"{RECIPES[name].images_per_second:11,}"
        )
    write_json(args.output, {"machine": machine, "scale": args.scale, "results": results})


if __name__ == "__main__":
    main()
