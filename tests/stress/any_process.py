"""One search, in fresh processes and with any number of workers: the same bytes each time.

    python tests/stress/any_process.py

starts two fresh processes, each of which searches with n_jobs 1, 2 and 4, and prints a line for
each search with a digest of its scores and of the weights of the network that it chose.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from sklearn.model_selection import GridSearchCV

from skcnn import AlexNetClassifier
from skcnn.datasets import load_fashion_mnist_mini

ROOT = Path(__file__).parents[2]


def digest(n_jobs):
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X, y = X[:200], y[:200]
    clf = AlexNetClassifier(
        variant="small",
        lr=1e-3,
        batch_size=32,
        max_epochs=2,
        augment="standard",
        n_threads=1,
        random_state=0,
    )
    grid = {"lr": [1e-3, 5e-4], "dropout": [0.2, 0.5]}
    search = GridSearchCV(clf, grid, cv=2, n_jobs=n_jobs).fit(X, y)
    found = hashlib.sha256(repr(search.cv_results_["mean_test_score"].tolist()).encode())
    for value in search.best_estimator_.module_.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()


def main():
    if len(sys.argv) > 1:
        for n_jobs in (1, 2, 4):
            print(n_jobs, digest(n_jobs), flush=True)
        return
    digests = set()
    for process in range(2):
        run = subprocess.run(
            [sys.executable, __file__, "search"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(process)},
        )
        for line in run.stdout.splitlines():
            n_jobs, found = line.split()
            print(f"process {process}, n_jobs={n_jobs}: {found[:16]}")
            digests.add(found)
    print("identical" if len(digests) == 1 else "DIFFERENT")
    sys.exit(len(digests) != 1)


if __name__ == "__main__":
    main()
