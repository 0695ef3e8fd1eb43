"""Speed of training: an estimator's `fit` beside the loops and libraries that people use.

Each contender trains the same network on the same images of Fashion-MNIST, one epoch at a time, in
turn, in one process: the epochs of the others run between two epochs of one `fit`, which is the
ordinary one, with history, accuracies and callbacks. Medians of the epochs after the first are
reported, and the ratio to skcnn's. For LeNet also whole fits, with all that comes before the first
epoch, against whole loops, and the libraries that install: Keras on torch, fastai. CPU and CUDA
alike; machine, versions and results go to a JSON file.

    python examples/benchmarks/engine.py [--only NAME ...] [--rounds N]
"""

import argparse
import contextlib
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
    GoogLeNetClassifier,
    LeNetClassifier,
    ResNetClassifier,
    VGGClassifier,
)
from skcnn.datasets import fetch_fashion_mnist

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MEAN, STD = 0.2860, 0.3530  # of the pixels of Fashion-MNIST
LR = 1e-3

# Name → estimator, side in pixels, batch size, images an epoch on the CPU.
SETTINGS = {
    "LeNet 28": (LeNetClassifier(norm="batch"), 28, 256, 60_000),
    "AlexNet small 67": (AlexNetClassifier(variant="small"), 67, 256, 2048),
    "AlexNet 224": (AlexNetClassifier(), 224, 64, 256),
    "VGG-11/4 224": (VGGClassifier(width_ratio=4), 224, 32, 256),
    "GoogLeNet 96": (GoogLeNetClassifier(), 96, 64, 512),
    "ResNet-18 96": (ResNetClassifier(), 96, 64, 512),
    "ResNet-18 28": (ResNetClassifier(stem="imagenet"), 28, 256, 2048),
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

    loops = {
        "bare loop, float32": ("float32", torch.contiguous_format),
        "bare loop, float32, channels last": ("float32", torch.channels_last),
        "bare loop, bfloat16, channels last": ("bfloat16", torch.channels_last),
    }
    if not _has_bfloat16():
        loops.popitem()
    epochs = {
        loop: bare_loop(module(), X, y, side, batch_size, *arithmetic)
        for loop, arithmetic in loops.items()
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


def _has_bfloat16():
    if DEVICE.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)


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
        """Stop the clock, and let the others run."""
        self.seconds["skcnn"].append(time.perf_counter() - self.epoch_began)
        for name, epoch in self.others.items():
            start = time.perf_counter()
            epoch()
            self.seconds[name].append(time.perf_counter() - start)
        if len(net.history) == self.rounds:
            raise self.Done


def measure(name, X, y, rounds):
    """Seconds per epoch of every contender, in turn."""
    clf, side, batch_size, _ = SETTINGS[name]
    in_turn = InTurn(contenders_of(name, X, y), rounds)
    # Long enough for the choice of precision and layout, as ordinary fits are.
    clf.set_params(
        lr=LR,
        batch_size=batch_size,
        image_size=side,
        max_epochs=1000,
        early_stopping=False,
        lr_schedule=None,
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
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=4, help="epochs, of which the first warms up")
    parser.add_argument("--output", type=Path, default=Path("results/engine.json"))
    args = parser.parse_args()
    X, y = fetch_fashion_mnist(subset="train", return_X_y=True)
    results = {"machine": describe_machine()}
    for name in args.only:
        n = SETTINGS[name][3] if DEVICE.type == "cpu" else len(X)
        results[name] = measure(name, X[:n], y[:n], args.rounds)
        if name == "LeNet 28":
            results["whole fits"] = measure_whole_fits(X, y, args.rounds - 1)
        write_json(args.output, results)


if __name__ == "__main__":
    main()
