"""Speed of training: an estimator's `fit` beside the loops and libraries that people use.

Each contender trains the same network on the same images of Fashion-MNIST, one epoch at a time, in
turn, in one process: the epochs of the others run between two epochs of one `fit`, which is the
ordinary one, with history, accuracies and callbacks. Medians of the epochs after the first are
reported, and the ratio to skcnn's. For LeNet also whole fits, with all that comes before the first
epoch, against whole loops, and the libraries that install: Keras on torch, fastai. Then the rule
that chooses precision and layout: bare loops in each setting, in turn, and what the rule's choice
reaches of the best of them. CPU and CUDA alike; machine, versions and results go to a JSON file.

    python examples/benchmarks/engine.py [--only NAME ...] [--rounds N]
    python examples/benchmarks/engine.py --only --rule ["ResNet-18 96" ...]
"""

import argparse
import contextlib
import copy
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from _report import describe_machine, write_json
from PIL import Image
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

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
from skcnn.datasets import fetch_fashion_mnist
from skcnn.training.arithmetic import MEMORY_FORMATS, Arithmetic, choose_arithmetic
from skcnn.training.devices import has_bfloat16

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MEAN, STD = 0.2860, 0.3530  # of the pixels of Fashion-MNIST
LR = 1e-3

# Name → estimator, side in pixels, batch size, images an epoch on the CPU.
SETTINGS = {
    "LeNet 28": (LeNetClassifier(norm="batch"), 28, 256, 60_000),
    "AlexNet small 67": (AlexNetClassifier(variant="small", norm=None), 67, 256, 2048),
    "AlexNet 224": (AlexNetClassifier(norm=None), 224, 64, 256),
    "VGG-11/4 224": (VGGClassifier(width_ratio=4, norm=None), 224, 32, 256),
    "GoogLeNet 96": (GoogLeNetClassifier(), 96, 64, 512),
    "ResNet-18 96": (ResNetClassifier(), 96, 64, 512),
    "ResNet-18 28": (ResNetClassifier(stem="imagenet"), 28, 256, 2048),
}


def four_convolutions(widths=(24, 48, 96, 96)):
    """Stack 3 × 3 convolutions with batch normalisation, and poolings between them."""
    layers = []
    for n_in, n_out in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out)]
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10))


# Networks and sizes for the rule, narrow ones too: estimator, side, batch size, batches an epoch.
RULE_SETTINGS = {
    "LeNet+BN 28": (LeNetClassifier(norm="batch"), 28, 256, 20),
    "24-96 channels 32": (CNNClassifier(module=four_convolutions), 32, 256, 4),
    "VGG-11/4 32": (VGGClassifier(width_ratio=4, norm=None), 32, 256, 6),
    "VGG-11/4 224": (VGGClassifier(width_ratio=4, norm=None), 224, 32, 2),
    "AlexNet small 67": (AlexNetClassifier(variant="small", norm=None), 67, 256, 2),
    "AlexNet 224": (AlexNetClassifier(norm=None), 224, 64, 1),
    "NiN/4 67": (NiNClassifier(width_ratio=4), 67, 256, 10),
    "GoogLeNet 96": (GoogLeNetClassifier(), 96, 64, 1),
    "GoogLeNet/4 32, small stem": (GoogLeNetClassifier(width_ratio=4), 32, 256, 1),
    "GoogLeNet/4 32, ImageNet stem": (
        GoogLeNetClassifier(width_ratio=4, stem="imagenet"),
        32,
        256,
        4,
    ),
    "ResNet-18 96": (ResNetClassifier(), 96, 64, 1),
    "ResNet-18/4 28, small stem": (ResNetClassifier(width_ratio=4, stem="small"), 28, 256, 3),
    "ResNet-18 28, ImageNet stem": (ResNetClassifier(stem="imagenet"), 28, 256, 2),
    "Inception v3/4 75": (InceptionV3Classifier(width_ratio=4), 75, 64, 4),
}


class Clothes(Dataset):
    """Images one by one through torchvision's transforms, as its own datasets give them."""

    def __init__(self, X, y, side):
        self.X, self.y = X, y
        resize = [transforms.Resize((side, side))] if side != X.shape[1] else []
        self.transform = transforms.Compose(
            [*resize, transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))]
        )

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.X[i])), int(self.y[i])


def resized(X, side):
    """Normalised float32 images (n, 1, side, side)."""
    x = torch.from_numpy(X)[:, None].float() / 255
    if x.shape[-1] != side:
        x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    return ((x - MEAN) / STD).numpy()


# The contenders: each makes a function that trains one epoch more ---------------------------------


def bare_loop(module, X, y, side, batch_size, precision, memory_format):
    """What can be written by hand: resident images, slices of one permutation, fused Adam."""
    module = module.to(DEVICE, memory_format=memory_format)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR, fused=True)
    pixels = torch.from_numpy(X if side == X.shape[1] else resized(X, side)).to(DEVICE)
    pixels = pixels.reshape(len(X), 1, side, side)
    targets = torch.from_numpy(y).long().to(DEVICE)

    def epoch():
        module.train()
        losses, correct = [], []
        for rows in torch.randperm(len(pixels)).to(DEVICE).split(batch_size):
            x = pixels[rows]
            if x.dtype == torch.uint8:
                x = x.float().div_(255).sub_(MEAN).div_(STD)
            x = x.contiguous(memory_format=memory_format)
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = module(x)
            loss = functional.cross_entropy(logits.float(), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            correct.append((logits.detach().argmax(1) == targets[rows]).sum())
        return torch.stack(losses).mean().item(), torch.stack(correct).sum().item() / len(pixels)

    return epoch


def common_loop(module, X, y, side, batch_size):
    """What tutorials write: a dataset with transforms, a DataLoader, Adam."""
    loader = DataLoader(Clothes(X, y, side), batch_size=batch_size, shuffle=True)
    module = module.to(DEVICE)
    optimizer = torch.optim.Adam(module.parameters(), lr=LR)

    def epoch():
        module.train()
        loss_sum = correct = 0
        for x, targets in loader:
            x, targets = x.to(DEVICE), targets.to(DEVICE)
            logits = module(x)
            loss = functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(targets)
            correct += (logits.argmax(1) == targets).sum().item()
        return loss_sum / len(X), correct / len(X)

    return epoch


def plain_skorch(module, data, batch_size):
    """Train skorch's classifier on `data`, (X, y) arrays or a dataset."""
    net = NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        batch_size=batch_size,
        max_epochs=1,
        train_split=None,
        iterator_train__shuffle=True,
        device=DEVICE,
        verbose=0,
    ).initialize()
    return lambda: net.partial_fit(*data)


def keras_lenet(X, y, batch_size):
    """LeNet with batch normalisation in Keras, on its torch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 5),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(120),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(84),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(LR),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x = resized(X, 28).reshape(-1, 28, 28, 1)
    return lambda: model.fit(x, y, batch_size=batch_size, verbose=0)


def fastai_learner(module, X, y, side, batch_size):
    """Train through fastai's learner on its own loaders."""
    import fastai.callback.progress  # noqa: F401  (gives learners no_bar)
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.metrics import accuracy

    loaders = DataLoaders.from_dsets(
        Clothes(X, y, side), Clothes(X[:1], y[:1], side), bs=batch_size, device=DEVICE
    )
    learner = Learner(loaders, module, nn.CrossEntropyLoss(), metrics=accuracy, lr=LR)

    def epoch():
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)

    return epoch


def contenders_of(name, X, y):
    """Name → function that trains an epoch, and the settings of the fit beside them."""
    clf, side, batch_size, _ = SETTINGS[name]

    def module():
        return clf._make_module((1, side, side), 10)[0]

    epochs = {
        f"bare loop, {' '.join(arithmetic)}": bare_loop(
            module(), X, y, side, batch_size, arithmetic.precision, _format(arithmetic)
        )
        for arithmetic in candidates()
    }
    arrays = (resized(X, side), y.astype(np.int64))
    epochs["skorch on arrays"] = plain_skorch(module(), arrays, batch_size)
    if name == "LeNet 28":
        dataset = Clothes(X, y, side)
        epochs["skorch on a dataset"] = plain_skorch(module(), (dataset, None), batch_size)
        epochs["common loop"] = common_loop(module(), X, y, side, batch_size)
        for library, make in {
            "Keras": lambda: keras_lenet(X, y, batch_size),
            "fastai": lambda: fastai_learner(module(), X, y, side, batch_size),
        }.items():
            try:
                epochs[library] = make()
            except ImportError as error:
                print(f"  {library} is not installed: {error}")
    return epochs


def candidates():
    """List what there is to choose from."""
    arithmetics = [Arithmetic("float32", "contiguous"), Arithmetic("float32", "channels_last")]
    return arithmetics + [Arithmetic("bfloat16", "channels_last")] * has_bfloat16(DEVICE)


def _format(arithmetic):
    return MEMORY_FORMATS[arithmetic.memory_format]


# Measuring ----------------------------------------------------------------------------------------


class InTurn(Callback):
    """Let every other contender train an epoch after each epoch of a fit; end the fit in time."""

    class Done(Exception):
        """All rounds are over."""

    def __init__(self, others, rounds):
        self.others = others
        self.rounds = rounds

    def on_train_begin(self, net, **kwargs):
        """Note when training starts."""
        self.seconds = {name: [] for name in ("skcnn", *self.others)}
        self.began = time.perf_counter()

    def on_epoch_begin(self, net, **kwargs):
        """Start the clock; the first time, what was done since the beginning was preparation."""
        now = time.perf_counter()
        if len(net.history) == 1:
            self.prepared = now - self.began
            self.arithmetic = " ".join(net.arithmetic_)
        self.epoch_began = now

    def on_epoch_end(self, net, **kwargs):
        """Stop the clock, and let the others run, each time in another order.

        What ran just before has an effect: whoever follows the same loop every time gains or loses.
        """
        self.seconds["skcnn"].append(time.perf_counter() - self.epoch_began)
        names = list(self.others)
        first = len(net.history) % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            self.others[name]()
            self.seconds[name].append(time.perf_counter() - start)
        if len(net.history) == self.rounds:
            raise self.Done


def measure(name, X, y, rounds):
    """Seconds per epoch of every contender, in turn."""
    clf, side, batch_size, _ = SETTINGS[name]
    in_turn = InTurn(contenders_of(name, X, y), rounds)
    # As many epochs as there are rounds, whatever that number is.
    clf.set_params(
        lr=LR,
        batch_size=batch_size,
        image_size=side,
        max_epochs=1000,
        optimizer="adam",
        lr_schedule=None,
        early_stopping=False,
        label_smoothing=0.0,
        callbacks=[in_turn],
        random_state=0,
        device=DEVICE,
    )
    with contextlib.suppress(InTurn.Done):
        clf.fit(X, y)
    medians = {who: statistics.median(s[1:]) for who, s in in_turn.seconds.items()}
    print(f"\n{name}, {len(X)} images in batches of {batch_size}: skcnn in {in_turn.arithmetic}")
    for who, seconds in medians.items():
        ratio = seconds / medians["skcnn"]
        print(f"  {who:36}{len(X) / seconds:9.0f} img/s   skcnn is {ratio:5.2f} times as fast")
    best = min(seconds for who, seconds in medians.items() if who.startswith("bare"))
    ratio = best / medians["skcnn"]
    print(f"  {'best bare loop':51}   skcnn is {ratio:5.2f} times as fast")
    print(f"  before the first epoch: {in_turn.prepared / medians['skcnn']:.2f} epochs")
    return {
        "arithmetic": in_turn.arithmetic,
        "images": len(X),
        "seconds": in_turn.seconds,
        "prepared": in_turn.prepared,
    }


def measure_rule(name, rounds):
    """Seconds of an epoch in each precision and layout, in turn, and the rule's choice."""
    clf, side, batch_size, n_batches = RULE_SETTINGS[name]
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (batch_size * n_batches, side, side), dtype=np.uint8)
    y = rng.integers(0, 10, len(X))
    module = clf._make_module((1, side, side), 10)[0].to(DEVICE)
    choice = choose_arithmetic(module, (1, side, side), precision="auto", device=DEVICE)
    epochs = {
        each: bare_loop(
            copy.deepcopy(module), X, y, side, batch_size, each.precision, _format(each)
        )
        for each in candidates()
    }
    seconds = {each: [] for each in epochs}
    for _ in range(rounds):
        for each, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            seconds[each].append(time.perf_counter() - start)
    medians = {each: statistics.median(values[1:]) for each, values in seconds.items()}
    ratio = min(medians.values()) / medians[choice]
    rates = "".join(f"{len(X) / value:10.0f}" for value in medians.values())
    print(f"{name:30}{rates}   {' '.join(choice):24}{ratio:6.2f} of the best", flush=True)
    return {
        "choice": choice,
        "ratio": ratio,
        "seconds": {" ".join(each): values for each, values in seconds.items()},
    }


def measure_whole_fits(X, y, repeats, n_epochs=5):
    """Whole fits of LeNet, preparation included, against whole loops, in turn."""
    clf, side, batch_size, _ = SETTINGS["LeNet 28"]
    seconds = {"skcnn": [], "bare loop": []}
    for _ in range(repeats):
        clf.set_params(max_epochs=n_epochs, callbacks=None)
        start = time.perf_counter()
        clf.fit(X, y)
        seconds["skcnn"].append(time.perf_counter() - start)
        module = clf._make_module((1, side, side), 10)[0]
        start = time.perf_counter()
        epoch = bare_loop(module, X, y, side, batch_size, "float32", torch.contiguous_format)
        for _ in range(n_epochs):
            epoch()
        seconds["bare loop"].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(values) for values in seconds.values())
    print(f"\nLeNet 28, whole fits of {n_epochs} epochs, checks and choices included:")
    print(f"  skcnn {ours:.1f} s, bare loop {theirs:.1f} s: {theirs / ours:.2f} times as fast")
    return seconds


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument(
        "--rule", nargs="*", choices=list(RULE_SETTINGS), default=list(RULE_SETTINGS)
    )
    parser.add_argument("--rounds", type=int, default=4, help="epochs, of which the first warms up")
    parser.add_argument("--output", type=Path, default=Path("results/engine.json"))
    args = parser.parse_args()
    results = {"machine": describe_machine()}
    if args.only:
        X, y = fetch_fashion_mnist(subset="train", return_X_y=True)
    for name in args.only:
        n = SETTINGS[name][3] if DEVICE.type == "cpu" else len(X)
        results[name] = measure(name, X[:n], y[:n], args.rounds)
        if name == "LeNet 28":
            results["whole fits"] = measure_whole_fits(X, y, args.rounds - 1)
        write_json(args.output, results)
    if args.rule:
        names = ", ".join(" ".join(each) for each in candidates())
        print(f"\nImages per second in {names}; the rule's choice")
        results["rule"] = {name: measure_rule(name, args.rounds) for name in args.rule}
        mean = statistics.mean(row["ratio"] for row in results["rule"].values())
        print(f"{'mean':84}{mean:6.2f} of the best")
    write_json(args.output, results)


if __name__ == "__main__":
    main()
