"""Kill a fit at many points, let it go on, and compare it with one that nobody disturbed.

With dropout, augmentation, a one-cycle schedule and a moving average of the weights. Every kill is
a SIGKILL that the fit sends itself after one of its training steps, spread evenly over all of them.

    python tests/stress/resume.py [--points 20]
"""

import argparse
import math
import os
import signal
import sys
import tempfile
from pathlib import Path

import torch
from skorch.callbacks import Callback
from torch import nn

from skcnn import CNNClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.memory import _checkpoint


class Network(nn.Sequential):
    """One convolution, dropout before and after."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(
            nn.Conv2d(in_channels, 8, 5, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(8 * 12 * 12, n_classes),
        )


class KillItself(Callback):
    """Ends the process after so many training steps."""

    changes_fit = False

    def __init__(self, n_steps):
        self.n_steps = n_steps
        self.n_done = 0

    def on_batch_end(self, net, training, **kwargs):
        """Count."""
        self.n_done += training
        if training and self.n_done == self.n_steps:
            os.kill(os.getpid(), signal.SIGKILL)


def estimator(folder, *callbacks):
    """Classifier that draws random numbers wherever it can."""
    return CNNClassifier(
        module=Network,
        augment="strong",
        lr_schedule="one_cycle",
        ema=0.9,
        batch_size=32,
        max_epochs=8,
        patience=8,
        n_threads=1,
        random_state=0,
        checkpoint_dir=folder,
        callbacks=list(callbacks),
    )


def learned(clf):
    """Weights, and the history without the clock."""
    history = [{k: v for k, v in epoch.items() if k != "dur"} for epoch in clf.history_]
    return clf.module_.state_dict(), history


def in_child(function):
    """Run in a process of its own; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:
            print(f"a fit failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def main():
    """Compare all; fail if any differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20)
    n_points = parser.parse_args().points
    _checkpoint._SHARE_OF_FIT = math.inf  # a state after every epoch
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X, y = X[:300], y[:300]
    counter = KillItself(-1)
    weights, history = learned(estimator(None, counter).fit(X, y))
    largest, n_same, n_killed = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as home:
        for point in range(n_points):
            folder, result = Path(home) / str(point), Path(home) / f"{point}.pt"
            n_steps = 1 + point * (counter.n_done - 1) // max(1, n_points - 1)
            kill = estimator(folder, KillItself(n_steps))
            n_killed += os.WIFSIGNALED(in_child(lambda kill=kill: kill.fit(X, y)))
            rest = estimator(folder)

            def go_on(rest=rest, result=result):
                torch.save(learned(rest.fit(X, y)), result)

            if in_child(go_on) != 0:
                return 1
            resumed, resumed_history = torch.load(result, weights_only=True)
            n_same += resumed_history == history
            differences = [(resumed[k].double() - weights[k].double()).abs().max() for k in weights]
            largest = max(largest, float(max(differences)))
    print(f"kills: {n_killed}, after 1 to {counter.n_done} training steps")
    print(f"largest difference of a weight: {largest}")
    print(f"identical histories: {n_same} of {n_points}")
    return int(largest > 0 or n_same < n_points or n_killed < n_points)


if __name__ == "__main__":
    sys.exit(main())
