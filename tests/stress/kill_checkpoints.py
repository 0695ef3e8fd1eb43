"""Kill fits at random moments while they write checkpoints, and look at what each leaves behind.

Every fit runs in a process of its own, which SIGKILL ends after a random time, and the next one
goes on from what is there; one that comes to its end is followed by a new one. After each kill,
every file is read: is it what was written, and is it the state of its epoch in a fit that nobody
disturbed? Each start looks for files that the last one left.

    python tests/stress/kill_checkpoints.py [--kills 200] [--seed 0]
"""

import argparse
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from skorch.callbacks import Callback
from torch import nn

from skcnn import CNNClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.memory import _checkpoint, fingerprint
from skcnn.memory._journal import read_record


class Network(nn.Sequential):
    """Two layers, so large that writing takes longer than training."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, n_classes)
        )


class StraysAtStart(Callback):
    """Writes down which files are too many when training begins."""

    changes_fit = False

    def __init__(self, folder, log):
        self.folder = folder
        self.log = log

    def on_train_begin(self, net, **kwargs):
        """Allow the lock and the last two states."""
        names = sorted(path.name for path in self.folder.iterdir())
        states = [name for name in names if name.endswith(".checkpoint")]
        strays = [name for name in names if name not in ("lock", *states[-2:])]
        with open(self.log, "a") as log:
            log.writelines(f"{name}\n" for name in strays)


def content(state):
    """Fingerprint of a state, of which only what the clock said is left out."""
    history = [{k: v for k, v in epoch.items() if k != "dur"} for epoch in state["history"]]
    callbacks = {k: v for k, v in state["callbacks"].items() if k != "epoch_timer"}
    return fingerprint({**state, "history": history, "callbacks": callbacks})


def fit_in_child(estimator, X, y):
    """Fit in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        try:
            estimator.fit(X, y)
        except BaseException as error:
            print(f"a fit failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return child


def kill_after(child, seconds):
    """Kill a process after some time; return how it ended, which it may have done before."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        number, status = os.waitpid(child, os.WNOHANG)
        if number == child:
            return status
        time.sleep(5e-4)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main():
    """Kill, look, and print the counts; fail if any but that of the kills is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _checkpoint._SHARE_OF_FIT = math.inf  # a state after every epoch
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X, y = X[:200], y[:200]
    rng = random.Random(arguments.seed)

    with tempfile.TemporaryDirectory() as home:
        folder, log = Path(home) / "checkpoints", Path(home) / "strays"
        estimator = CNNClassifier(
            module=Network,
            augment="standard",
            batch_size=50,
            max_epochs=12,
            patience=12,
            n_threads=1,
            random_state=0,
            checkpoint_dir=folder,
            callbacks=[StraysAtStart(folder, log)],
        )
        expected = {}
        write = _checkpoint.Checkpoint.write

        def note(self, state):
            expected[len(state["history"])] = content(state)
            write(self, state)

        _checkpoint.Checkpoint.write = note
        estimator.fit(X, y)
        _checkpoint.Checkpoint.write = write
        shutil.rmtree(folder)
        start = time.perf_counter()  # now that all is imported
        os.waitpid(fit_in_child(estimator, X, y), 0)
        duration = time.perf_counter() - start
        shutil.rmtree(folder)

        counts = dict.fromkeys(
            ["kills", "files read", "unreadable", "mixed", "lost", "fits that ended", "failed"], 0
        )
        newest = 0
        while counts["kills"] < arguments.kills:
            child = fit_in_child(estimator, X, y)
            status = kill_after(child, rng.uniform(0, duration))
            if os.WIFSIGNALED(status):
                counts["kills"] += 1
                if counts["kills"] % 50 == 0:
                    print(f"{counts['kills']} kills so far", file=sys.stderr, flush=True)
            elif os.WEXITSTATUS(status):
                counts["failed"] += 1
            found = 0
            for path in folder.glob("epoch-*.checkpoint"):
                counts["files read"] += 1
                try:
                    state = read_record(path)["state"]
                except (OSError, ValueError):
                    counts["unreadable"] += 1
                    continue
                n_epochs = len(state["history"])
                counts["mixed"] += content(state) != expected[n_epochs]
                found = max(found, n_epochs)
            counts["lost"] += found < newest
            newest = found
            if newest == len(expected):
                counts["fits that ended"] += 1
                shutil.rmtree(folder)
                newest = 0
        counts["stray files after the next start"] = len(log.read_text().splitlines())
    for name, count in counts.items():
        print(f"{name}: {count}")
    wrong = ("unreadable", "mixed", "lost", "failed", "stray files after the next start")
    return int(any(counts[name] for name in wrong))


if __name__ == "__main__":
    sys.exit(main())
