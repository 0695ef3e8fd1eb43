"""Fit in many threads at a time with one `memory`, some of them the same, and count what fails.

A fit fails if it raises, or if its predictions are not those of the same fit alone, without memory.

    python tests/stress/threaded_fits.py [--fits 1000] [--threads 8] [--seed 0]
"""

import argparse
import random
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from skcnn import LeNetClassifier

N_SEEDS = 25


def main():
    """Print how many fits failed; fail if any did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    X = rng.integers(0, 256, size=(24, 12, 12), dtype=np.uint8)
    y = np.arange(24) % 2

    def predictions(memory, lr, seed, early_stopping):
        classifier = LeNetClassifier(
            lr=lr,
            batch_size=8,
            max_epochs=2,
            early_stopping=early_stopping,
            n_threads=1,
            memory=memory,
            random_state=seed,
        )
        return classifier.fit(X, y).predict_proba(X).tobytes()

    settings = [(lr, s, stop) for lr in (1e-3, 1e-2) for s in range(N_SEEDS) for stop in (0, 1)]
    settings = [(lr, seed, bool(stop)) for lr, seed, stop in settings]
    expected = {setting: predictions(None, *setting) for setting in settings}
    drawn = random.Random(arguments.seed).choices(settings, k=arguments.fits)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.threads) as pool:
        futures = [pool.submit(predictions, folder, *setting) for setting in drawn]
        n_raised = n_other = 0
        for setting, future in zip(drawn, futures, strict=True):
            if future.exception() is not None:
                n_raised += 1
                traceback.print_exception(future.exception(), limit=-3)
            elif future.result() != expected[setting]:
                n_other += 1
        names = [path.name for path in Path(folder).rglob("*") if path.is_file()]
    n_files = names.count("output.pkl")
    strays = sorted(set(names) - {"output.pkl", ".gitignore"})
    print(f"threaded fits: {len(drawn)}, of {len(set(drawn))} kinds")
    print(f"threads: {arguments.threads}")
    print(f"failed: {n_raised}")
    print(f"other than alone: {n_other}")
    print(f"files kept: {n_files}, others: {strays}")
    return int(n_raised or n_other or strays or n_files != len(set(drawn)))


if __name__ == "__main__":
    sys.exit(main())
