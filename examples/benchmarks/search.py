"""What a search costs: killed, repeated, in parallel, by halving. Each part prints what it finds.

1. ``killed``: 12 candidates × 3 folds, killed with SIGKILL at five random moments and run again
   each time: scores and epochs beside those of a search that nobody disturbs.
2. ``parallel``: the scores with one worker, with two, and on a Dask cluster of two, at one thread.
3. ``repeated``: the time of a finished search that is run once more.
4. ``halving``: epochs that halving over `max_epochs` trains with `memory`, and without.
5. ``threads``: a search as many fits of one thread each, and as one fit after the other of many.
6. ``grid``: 45 candidates, learning rate × batch size × dropout, by halving and one by one.

    python examples/benchmarks/search.py [--only killed parallel repeated halving threads grid]
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from _report import describe_machine, write_json
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    ParameterGrid,
    train_test_split,
)
from skorch.callbacks import Callback

from skcnn import AlexNetClassifier, LeNetClassifier, VGGClassifier
from skcnn.datasets import fetch_fashion_mnist, load_fashion_mnist_mini
from skcnn.exceptions import UnusedEntryWarning
from skcnn.model_selection import with_validation_set

N_KILLS = 5
GRID = {"lr": [1e-3, 2e-3, 5e-3, 1e-2], "batch_size": [32, 64, 128]}


class CountEpochs(Callback):
    """Writes a line to a file for every epoch that begins, in whatever process."""

    changes_fit = False

    def __init__(self, path):
        self.path = str(path)

    def on_epoch_begin(self, net, **kwargs):
        """Add a line."""
        with open(self.path, "a") as file:
            file.write("epoch\n")

    def count(self):
        """Count the lines."""
        return len(Path(self.path).read_text().split()) if os.path.exists(self.path) else 0


def make_search(folder, n_jobs=1, **kwargs):
    """Search of the grid over a LeNet, with three folds, that keeps its fits in `folder`."""
    settings = {
        "norm": "batch",
        "max_epochs": 4,
        "n_threads": 1,
        "memory": str(folder / "memory"),
        "callbacks": [CountEpochs(folder / "epochs")],
        "random_state": 0,
    }
    clf = LeNetClassifier(**{**settings, **kwargs})
    return GridSearchCV(clf, GRID, cv=3, n_jobs=n_jobs, refit=False)


def scores_of(search):
    """Accuracy of each candidate on each fold."""
    return [search.cv_results_[f"split{fold}_test_score"].tolist() for fold in range(3)]


def data():
    """Load the 5,000 bundled images."""
    return load_fashion_mnist_mini(subset="train", return_X_y=True)


def run_search(folder, n_jobs):
    """Search in this process, which may be killed; write the scores at the end."""
    search = make_search(folder, n_jobs).fit(*data())
    (folder / "scores.json").write_text(json.dumps(scores_of(search)))


def start_search(folder, n_jobs):
    """Search in a process group of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--n-jobs", str(n_jobs)]
    return subprocess.Popen(command, start_new_session=True)


def killed(folder):
    """Kill searches with one worker and with two."""
    results = {}
    moments = random.Random(0)
    for n_jobs in (1, 2):
        undisturbed, disturbed = folder / f"whole-{n_jobs}", folder / f"killed-{n_jobs}"
        undisturbed.mkdir()
        disturbed.mkdir()
        start = time.perf_counter()
        start_search(undisturbed, n_jobs).wait()
        seconds = time.perf_counter() - start
        kills = []
        while len(kills) < N_KILLS:
            process = start_search(disturbed, n_jobs)
            moment = moments.uniform(4, 4 + seconds / 4)  # 4 s go by until all is imported
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills.append(moment)
            else:
                raise RuntimeError("a search had ended before it could be killed")
        start_search(disturbed, n_jobs).wait()
        epochs = [CountEpochs(each / "epochs").count() for each in (undisturbed, disturbed)]
        scores = [
            json.loads((each / "scores.json").read_text()) for each in (undisturbed, disturbed)
        ]
        results[n_jobs] = {
            "killed_after_s": kills,
            "epochs": epochs,
            "same_scores": scores[0] == scores[1],
        }
        print(
            f"{n_jobs} workers: killed after {', '.join(f'{moment:.1f} s' for moment in kills)}; "
            f"epochs begun {epochs[1]}, undisturbed {epochs[0]}, so {epochs[1] - epochs[0]} more "
            f"of {n_jobs * N_KILLS} allowed; scores "
            f"{'identical' if scores[0] == scores[1] else 'DIFFER'}"
        )
    return results


def parallel(folder):
    """Search in one process, in two, and on a Dask cluster of two."""
    from dask.distributed import Client, LocalCluster

    X, y = data()
    scores, seconds = {}, {}

    def search(name, n_jobs):
        (folder / name).mkdir()
        start = time.perf_counter()
        scores[name] = scores_of(make_search(folder / name, n_jobs, memory=None).fit(X, y))
        seconds[name] = time.perf_counter() - start

    search("serial", 1)
    search("two workers", 2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        search("dask", 2)
    for name, value in scores.items():
        same = "identical" if value == scores["serial"] else "DIFFERENT"
        print(f"{name}: {seconds[name]:.1f} s, scores {same}")
    return {"seconds": seconds, "same": all(v == scores["serial"] for v in scores.values())}


def repeated(folder):
    """Search twice."""
    X, y = data()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        make_search(folder).fit(X, y)
        seconds.append(time.perf_counter() - start)
    share = seconds[1] / seconds[0]
    print(f"first run {seconds[0]:.1f} s, second {seconds[1]:.2f} s: {share:.1%}")
    return {"seconds": seconds, "share": share}


def halving(folder):
    """Count the epochs of a halving search, at several factors."""
    X, y = data()
    X, y = X[:1500], y[:1500]
    grid = {"lr": [5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2], "batch_size": [32, 64, 128]}
    results = {}
    for factor in (1.5, 2, 3):
        epochs, winners = [], []
        for memory in (None, str(folder / f"memory-{factor}")):
            counter = CountEpochs(folder / f"epochs-{factor}-{memory is None}")
            clf = LeNetClassifier(
                norm="batch",
                lr_schedule=None,
                early_stopping=False,
                n_threads=1,
                memory=memory,
                callbacks=[counter],
                random_state=0,
            )
            search = HalvingGridSearchCV(
                clf,
                grid,
                resource="max_epochs",
                min_resources=2,
                max_resources=18,
                factor=factor,
                cv=3,
                refit=False,
                random_state=0,
            ).fit(X, y)
            epochs.append(counter.count())
            winners.append(search.best_params_)
        results[factor] = {
            "epochs_without": epochs[0],
            "epochs_with": epochs[1],
            "share": epochs[1] / epochs[0],
            "winners": winners,
            "resources": search.n_resources_,
        }
        print(
            f"factor {factor}, max_epochs {search.n_resources_}: {epochs[1]} epochs with memory, "
            f"{epochs[0]} without: {epochs[1] / epochs[0]:.2f}; "
            f"{'same winner' if winners[0] == winners[1] else f'winners {winners}'}"
        )
    return results


def threads(folder):
    """Time searches of small and of larger networks, in turn, in both ways."""
    del folder
    X, y = data()
    networks = {
        "LeNet": LeNetClassifier(norm="batch", max_epochs=3),
        "AlexNet small": AlexNetClassifier(variant="small", max_epochs=1),
    }
    n_cores = os.cpu_count()
    results = {}
    for name, clf in networks.items():
        n_images = 5000 if name == "LeNet" else 1000
        seconds = {"many one-threaded": [], "few many-threaded": []}
        for _ in range(3):
            for way, n_jobs, n_threads in (
                ("many one-threaded", n_cores, 1),
                ("few many-threaded", 1, n_cores),
            ):
                candidate = clone(clf).set_params(
                    n_threads=n_threads, early_stopping=False, random_state=0
                )
                search = GridSearchCV(
                    candidate, {"lr": [1e-3, 2e-3, 5e-3, 1e-2]}, cv=2, n_jobs=n_jobs, refit=False
                )
                start = time.perf_counter()
                search.fit(X[:n_images], y[:n_images])
                seconds[way].append(time.perf_counter() - start)
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        many, few = medians.values()
        print(
            f"{name}: {many:.1f} s as {n_cores} fits at a time of one thread, {few:.1f} s as one "
            f"at a time of {n_cores}: {few / many:.2f} times as long"
        )
        results[name] = medians
    return results


def accuracy(clf, X, y, X_val, y_val):
    """Fit a candidate, and score it on the validation set."""
    return clf.fit(X, y).score(X_val, y_val)


def grid(folder):
    """Choose among 45 candidates by training every one to the end, and by halving before and after.

    Constant rates leave the weights restless: their average over the last steps is validated, on
    images enough that the best of 45 is not the luckiest.
    """
    X, y = fetch_fashion_mnist(subset="train", return_X_y=True)
    X, X_val, y, y_val = train_test_split(
        X, y, train_size=8000, test_size=5000, stratify=y, random_state=0
    )
    candidates = {
        "lr": [1e-3, 5e-4, 1e-4],
        "batch_size": [128, 256, 512, 1024, 2048],
        "dropout": [0.5, 0.3, 0.2],
    }
    clf = VGGClassifier(
        blocks=((1, 64), (1, 128), (1, 256)),
        width_ratio=8,
        hidden_units=256,
        max_epochs=27,
        lr_schedule=None,
        early_stopping=False,
        ema=0.98,
        n_threads=1,
        random_state=0,
    )
    every = list(ParameterGrid(candidates))

    def by_halving(memory):
        X_all, y_all, cv = with_validation_set(X, y, X_val, y_val)
        search = HalvingGridSearchCV(
            clone(clf).set_params(memory=str(memory)),
            candidates,
            resource="max_epochs",
            min_resources=1,
            max_resources=clf.max_epochs,
            factor=3,
            cv=cv,
            n_jobs=os.cpu_count(),
            refit=False,
            return_train_score=False,
            random_state=0,
        ).fit(X_all, y_all)
        return every.index({name: search.best_params_[name] for name in candidates})

    def one_by_one():
        return joblib.Parallel(n_jobs=os.cpu_count())(
            joblib.delayed(accuracy)(clone(clf).set_params(**params), X, y, X_val, y_val)
            for params in every
        )

    before = timed(by_halving, folder / "before")
    scores, seconds = timed(one_by_one)
    after = timed(by_halving, folder / "after")
    halving_seconds = (before[1] + after[1]) / 2
    best = int(np.argmax(scores))
    chosen = [index for index, _ in (before, after)]
    print(
        f"halving {before[1]:.0f} and {after[1]:.0f} s, all {len(every)} to the end "
        f"{seconds:.0f} s: {seconds / halving_seconds:.2f} times as long. Best {every[best]}, "
        f"accuracy {scores[best]:.4f}; chosen "
        + " and ".join(f"{every[index]}, {scores[index]:.4f}" for index in chosen)
    )
    return {
        "seconds": {"halving": [before[1], after[1]], "every": seconds},
        "ratio": seconds / halving_seconds,
        "chosen": [[every[index], scores[index]] for index in chosen],
        "best": [every[best], scores[best]],
        "scores": scores,
    }


def timed(function, *args):
    """What a function returns, and the seconds that it takes."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


PARTS = (killed, parallel, repeated, halving, threads, grid)


def main():
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--output", type=Path, default=Path("results/search.json"))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # one search, in it
    parser.add_argument("--n-jobs", type=int, default=1, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder is not None:
        run_search(args.folder, args.n_jobs)
        return
    warnings.simplefilter("error", UnusedEntryWarning)
    results = {"machine": describe_machine()}
    for part in PARTS:
        if part.__name__ in args.only:
            print(f"\n{part.__doc__}")
            with tempfile.TemporaryDirectory() as folder:
                results[part.__name__] = part(Path(folder))
    write_json(args.output, results)


if __name__ == "__main__":
    main()
