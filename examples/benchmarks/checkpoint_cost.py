"""What checkpoints cost: the same fits with `checkpoint_dir` and without, in turn.

Prints, for each network, the medians of their times and the ratio of these; the ratio of the
medians of processor time, which other work on the machine disturbs less, but which leaves out the
waiting for the disk; the share of a fit that went into writing; and after how many epochs a state
was kept.

    python examples/benchmarks/checkpoint_cost.py [--repeats 5] [--only lenet alexnet]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from _report import describe_machine, write_json

from skcnn import AlexNetClassifier, LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.memory import _checkpoint

# Estimator, images, epochs.
FITS = {
    "lenet": (LeNetClassifier(norm="batch", lr=5e-3, batch_size=128), 5000, 10),
    "alexnet": (AlexNetClassifier(variant="small", lr=5e-4, batch_size=128), 2000, 6),
}


def measure(clf, X, y, with_checkpoints):
    """Seconds, processor seconds, seconds of writing and number of states of one fit."""
    writing, n_states = [0.0], [0]
    write, write_file = _checkpoint.Checkpoint.write, _checkpoint.Checkpoint._write

    def timed(self, state):
        start = time.perf_counter()
        write(self, state)
        writing[0] += time.perf_counter() - start

    def counted(self, path, state):
        n_states[0] += 1
        write_file(self, path, state)

    _checkpoint.Checkpoint.write, _checkpoint.Checkpoint._write = timed, counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            clf.set_params(checkpoint_dir=folder if with_checkpoints else None)
            start, start_cpu = time.perf_counter(), time.process_time()
            clf.fit(X, y)
            seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    finally:
        _checkpoint.Checkpoint.write, _checkpoint.Checkpoint._write = write, write_file
    return seconds, cpu, writing[0], n_states[0]


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=FITS, default=list(FITS))
    parser.add_argument("--output", type=Path, default="results/checkpoint_cost.json")
    arguments = parser.parse_args()
    results = {"machine": describe_machine()}
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    for name in arguments.only:
        clf, n_images, max_epochs = FITS[name]
        clf.set_params(max_epochs=max_epochs, early_stopping=False, random_state=0)
        sides = {False: [], True: []}
        for _ in range(arguments.repeats):
            for with_checkpoints, fits in sides.items():
                fits.append(measure(clf, X[:n_images], y[:n_images], with_checkpoints))
        without, with_them = (
            [statistics.median(values) for values in zip(*fits, strict=True)]
            for fits in sides.values()
        )
        shares = [writing / seconds for seconds, _, writing, _ in sides[True]]
        results[name] = {
            "seconds without": without[0],
            "seconds with": with_them[0],
            "ratio": with_them[0] / without[0],
            "ratio of processor time": with_them[1] / without[1],
            "share of writing": statistics.median(shares),
            "states": with_them[3],
            "epochs": max_epochs,
        }
        print(
            f"{name}: {without[0]:.1f} s without, {with_them[0]:.1f} s with checkpoints, ratio "
            f"{with_them[0] / without[0]:.3f} (processor time {with_them[1] / without[1]:.3f}); "
            f"{statistics.median(shares):.1%} of the fit went into writing "
            f"{with_them[3]:.0f} states after {max_epochs} epochs"
        )
    write_json(arguments.output, results)


if __name__ == "__main__":
    main()
