"""Build the images that ``load_fashion_mnist_mini`` loads, from the full Fashion-MNIST.

Usage, where skcnn is installed from this repository (``pip install --editable .``)::

    python scripts/build_fashion_mnist_mini.py            # write the file anew
    python scripts/build_fashion_mnist_mini.py --check    # compare it to a rebuild

Every run gives the same arrays, on every platform and with every NumPy, and the same bytes wherever
zlib compresses alike.
"""

import argparse
import io
import sys
import zipfile
from pathlib import Path

import numpy as np

from skcnn.datasets import fetch_fashion_mnist

PATH = Path(__file__).parents[1] / "skcnn" / "datasets" / "data" / "fashion_mnist_mini.npz"
N_PER_CLASS = {"train": 500, "test": 100}
SEED = 0


def build_arrays():
    """Return the bundled arrays by name."""
    # RandomState, not default_rng: its stream is frozen for good (NumPy's NEP 19).
    random_state = np.random.RandomState(SEED)
    arrays = {}
    for subset, n_per_class in N_PER_CLASS.items():
        X, y = fetch_fashion_mnist(subset=subset, return_X_y=True)
        rows = np.concatenate(
            [random_state.permutation(np.flatnonzero(y == k))[:n_per_class] for k in np.unique(y)]
        )
        rows = random_state.permutation(rows)
        arrays[f"X_{subset}"] = X[rows]
        arrays[f"y_{subset}"] = y[rows].astype(np.uint8)
    return arrays


def to_npz(arrays):
    """Return the bytes of an .npz file that depend on nothing but the arrays and zlib.

    Like ``np.savez_compressed``, with the date, the system and the level of compression fixed.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def difference(bundled, rebuilt):
    """Return the names of the arrays, of either, that are not the same in both."""
    return sorted(
        name
        for name in bundled.keys() | rebuilt.keys()
        if name not in bundled
        or name not in rebuilt
        or bundled[name].dtype != rebuilt[name].dtype
        or not np.array_equal(bundled[name], rebuilt[name])
    )


def main(argv=None):
    """Write the file, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the file, write nothing")
    arguments = parser.parse_args(argv)

    rebuilt = build_arrays()
    if not arguments.check:
        PATH.write_bytes(to_npz(rebuilt))
        print(f"{PATH.name}: {PATH.stat().st_size} bytes written")
        return 0

    with np.load(PATH) as file:
        bundled = dict(file)
    if differing := difference(bundled, rebuilt):
        print(f"{PATH.name} differs from a rebuild in {', '.join(differing)}")
        return 1
    same_bytes = PATH.read_bytes() == to_npz(rebuilt)
    print(f"{PATH.name} equals a rebuild ({'same' if same_bytes else 'other'} compressed bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
