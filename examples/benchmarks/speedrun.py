"""Speed run: all of Fashion-MNIST, in the time that a support vector machine takes for it.

The unit of time is what `SVC(C=10)` needs to fit and predict flat pixels, in the same run. A recipe
is nothing but parameters of `CNNClassifier`: no validation, no stopping at the right moment. Each
fit runs in a new process: importing, loading, checking, training and predicting.

    python examples/benchmarks/speedrun.py [--only RECIPE ...] [--seeds N] [--svc-seconds S]

With `--svc-seconds`, the unit is what an earlier run printed. Ends with an error if a recipe misses
its goal, or takes longer than it may.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil


class Recipe(NamedTuple):
    """Parameters, the mean test accuracy to reach, and the units of time to do it in."""

    params: dict
    goal: float
    units: float


RECIPES = {
    "untouched": Recipe({}, 0.935, 1),
    "short": Recipe({"augment": "mirror", "tta": True, "ema": 0.999}, 0.939, 1),
    "long": Recipe(
        {
            "module_params": {"width_ratio": 0.5},
            "augment": "mirror",
            "tta": True,
            "ema": 0.999,
            "max_epochs": 16,
            "early_stopping": False,
        },
        0.947,
        4,
    ),
}


def fit_svc():
    """Return the seconds that fitting and predicting take, and the test accuracy."""
    from sklearn.svm import SVC

    from skcnn.datasets import fetch_fashion_mnist

    train, test = (fetch_fashion_mnist(subset=part) for part in ("train", "test"))
    X, X_test = (part.data.reshape(len(part.data), -1) / 255.0 for part in (train, test))
    start = time.perf_counter()
    accuracy = SVC(C=10).fit(X, train.target).score(X_test, test.target)
    return time.perf_counter() - start, accuracy


def run(name, seed):
    """Fit once, in this process; print what it took as JSON."""
    from skcnn import CNNClassifier
    from skcnn.datasets import fetch_fashion_mnist

    since_start = time.time() - psutil.Process().create_time()
    imported = time.perf_counter()
    train, test = (fetch_fashion_mnist(subset=part) for part in ("train", "test"))
    loaded = time.perf_counter()
    clf = CNNClassifier(**RECIPES[name].params, random_state=seed).fit(train.data, train.target)
    fitted = time.perf_counter()
    accuracy = clf.score(test.data, test.target)
    predicted = time.perf_counter()
    seconds = {
        "import": since_start,
        "load": loaded - imported,
        "fit": fitted - loaded,
        "predict": predicted - fitted,
        "total": since_start + predicted - imported,
    }
    taken = {"epochs": clf.n_epochs_, "batch": clf.batch_size_, "lr": clf.lr_}
    arithmetic = f"{clf.precision_} {clf.memory_format_}"
    print(json.dumps({"seed": seed, "accuracy": accuracy, **seconds, **taken, "type": arithmetic}))


def main():
    """Run the recipes for all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--svc-seconds", type=float, help="default: measured")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)  # this one, in this process
    parser.add_argument("--output", type=Path, default=Path("results/speedrun.json"))
    args = parser.parse_args()
    if args.seed is not None:
        run(args.only[0], args.seed)
        return
    from _report import describe_machine, write_json

    machine = describe_machine()
    unit = args.svc_seconds
    if unit is None:
        unit, accuracy = fit_svc()
        print(f"SVC(C=10): {accuracy:.4f} in {unit:.0f} s, the unit of time", flush=True)
    results, missed = {}, []
    for name in args.only:
        recipe = RECIPES[name]
        print(f"{name}: CNNClassifier(**{recipe.params})")
        runs = []
        for seed in range(args.seeds):
            done = subprocess.run(
                [sys.executable, __file__, "--only", name, "--seed", str(seed)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(" ", runs[-1], flush=True)
        for column in ("accuracy", "fit", "predict", "total"):
            values = [each[column] for each in runs]
            spread = f"± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            print(f"  {column:9} {statistics.mean(values):8.4f} {spread}")
        accuracy = statistics.mean(each["accuracy"] for each in runs)
        units = statistics.mean(each["total"] for each in runs) / unit
        print(f"  {accuracy:.4f} in {units:.2f} units; goal: {recipe.goal} in {recipe.units}")
        if accuracy < recipe.goal or units > recipe.units:
            missed.append(name)
        results[name] = {"params": recipe.params, "units": units, "runs": runs}
    write_json(args.output, {"machine": machine, "svc_seconds": unit, "results": results})
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
