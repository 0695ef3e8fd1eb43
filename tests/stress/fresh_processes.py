"""The same fit in fresh processes with empty cache folders, half of them on a busy machine.

Prints the digest of the weights that each process trained, and how many different ones there are:
one, since no result depends on a clock, a cache or the load.

    python tests/stress/fresh_processes.py [--processes N]
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import subprocess
import sys
import tempfile

from skcnn import AlexNetClassifier, LeNetClassifier, VGGClassifier
from skcnn.datasets import load_fashion_mnist_mini

CLASSIFIERS = [
    LeNetClassifier(),
    VGGClassifier(width_ratio=4, image_size=32, hidden_units=64),
    AlexNetClassifier(variant="small", image_size=67),
]


def digests():
    """Print what default settings train, but for the length of the fits."""
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    for clf in CLASSIFIERS:
        clf.set_params(max_epochs=3, random_state=0).fit(X[:500], y[:500])
        weights = [value.numpy().tobytes() for value in clf.module_.state_dict().values()]
        digest = hashlib.sha256(b"".join(weights)).hexdigest()[:16]
        print(type(clf).__name__, clf.precision_, clf.memory_format_, digest, sep=" ", end="; ")


def compute():
    """Keep a core busy."""
    while True:
        sum(range(10**6))


@contextlib.contextmanager
def busy_cores():
    """Let a process compute on each core, beside what runs in the block."""
    processes = [multiprocessing.Process(target=compute) for _ in range(os.cpu_count())]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def main():
    """Start the processes, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        digests()
        return
    results = []
    for k in range(args.processes):
        busy = k >= args.processes // 2
        load = busy_cores() if busy else contextlib.nullcontext()
        with tempfile.TemporaryDirectory() as folder, load:
            done = subprocess.run(
                [sys.executable, __file__, "--train"],
                env={**os.environ, "TORCH_HOME": folder, "XDG_CACHE_HOME": folder, "HOME": folder},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
        results.append(done.stdout)
        print(f"{'busy' if busy else 'idle'}: {done.stdout}")
    n_digests = len(set(results))
    print(f"{len(results)} processes, {n_digests} digest{'s' * (n_digests > 1)}")
    sys.exit(n_digests > 1)


if __name__ == "__main__":
    main()
