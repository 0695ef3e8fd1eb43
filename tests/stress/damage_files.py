"""Damage saved classifiers in every way that is one change: all must be refused.

    python tests/stress/damage_files.py

Cuts a small file at every length, flips a bit of each of its bytes, and flips 10,000 random bits of
a large one. Prints how many were refused.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import skcnn
from skcnn.exceptions import ModelFileError


def cut(data: bytes) -> Iterator[bytes]:
    """All beginnings of a file but the whole."""
    for length in range(len(data)):
        yield data[:length]


def flipped(data: bytes, positions) -> Iterator[bytearray]:
    """Copies of a file with one bit changed, in the byte at each of `positions`."""
    rng = random.Random(0)
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        yield changed


def n_refused(files: Iterator, folder: Path) -> str:
    """Load each, and say how many were refused."""
    n_files = n_refused = 0
    for data in files:
        (folder / "damaged.skcnn").write_bytes(data)
        n_files += 1
        try:
            skcnn.load(folder / "damaged.skcnn")
        except ModelFileError:
            n_refused += 1
    return f"{n_refused} of {n_files} refused"


def main() -> None:
    """Damage a small file and a large one."""
    X = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    common = {"max_epochs": 1, "early_stopping": False, "random_state": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for params in ({"hidden_units": 4, "image_size": 2}, {"hidden_units": 512}):
            clf = skcnn.VGGClassifier(**common, **params, blocks=((1, 2),))
            clf.fit(X, np.arange(20) % 2).save(folder / "whole.skcnn")
            files.append((folder / "whole.skcnn").read_bytes())
        small, large = files
        rng = random.Random(0)
        random_positions = (rng.randrange(len(large)) for _ in range(10_000))
        print(f"cut at every length, {len(small)} bytes:", n_refused(cut(small), folder))
        print("every byte changed:", n_refused(flipped(small, range(len(small))), folder))
        print(
            f"10,000 random changes of {len(large)} bytes:",
            n_refused(flipped(large, random_positions), folder),
        )


if __name__ == "__main__":
    main()
