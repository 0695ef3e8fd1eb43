"""The first try of a scikit-learn user: small sets of real images, and no parameter touched.

For each set and size, images are drawn by a seed, and every contender is fitted and scored on the
same three folds, in turn. Printed are the mean and standard error of the accuracies over seeds and
folds, and the median time to fit and predict. The whole of Fashion-MNIST is fitted once a seed and
scored on its own test set. Defaults of skcnn may be chosen with the sets marked "choose" alone;
what they are worth shows on those marked "report". No image of "choose" is tested on in "report",
though the bundled images of clothes are among those that all of Fashion-MNIST is trained on.

All scores go to a JSON file, and those that it already has, of the same version of a contender's
package, are not computed again.

    python examples/benchmarks/first_fit.py [--data NAME ...] [--only NAME ...] [--sizes N ...]
"""

import argparse
import json
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _first_fit_contenders import CONTENDERS, OURS
from _first_fit_data import N_TRAIN, MissingDataError, load
from _report import describe_machine, write_json
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

SIZES = (200, 500, 1000, 2000, 5000)
N_FOLDS = 3


class Set(NamedTuple):
    """What a set of images is for, and how many of them to draw where it has as many."""

    role: str
    sizes: tuple = SIZES


SETS = {
    "digits": Set("choose", (200, 500, 600, 1000, 1797)),
    "icons": Set("choose"),
    "fashion": Set("choose"),
    "faces": Set("report"),
    "textures": Set("report"),
    "mnist": Set("report"),
    "glyphs": Set("report"),
    "all fashion": Set("report", (60_000,)),
}


# Measuring ----------------------------------------------------------------------------------------


def splits(name, labels, groups, size, seed):
    """Yield training and test rows of `size` images that the seed draws."""
    n_train = N_TRAIN.get(name, len(labels))
    rows = np.arange(n_train)
    if size < n_train:
        rows, _ = train_test_split(
            rows, train_size=size, stratify=labels[:n_train], random_state=seed
        )
    if name in N_TRAIN:
        yield rows, np.arange(n_train, len(labels))
        return
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = kind(N_FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(rows, labels[rows], None if groups is None else groups[rows]):
        yield rows[train], rows[test]


def measure(contender, images, labels, train, test, seed):
    """Return accuracy and seconds of one fit and prediction."""
    X_train, X_test = images[train], images[test]
    clf = contender.make(X_train, int(labels.max()) + 1, seed)
    start = time.perf_counter()
    clf.fit(X_train, labels[train])
    accuracy = np.mean(clf.predict(X_test) == labels[test])
    return {"accuracy": float(accuracy), "seconds": time.perf_counter() - start}


class Scores:
    """Scores of each fit by set, size, contender, seed and fold; they outlive the run in a file."""

    KEY = ("data", "size", "contender", "seed", "fold")

    def __init__(self, path, again):
        self.path = path
        self.by_key = {}
        self.machine = describe_machine()
        if path.exists():
            for score in json.loads(path.read_text())["scores"]:
                name = score["contender"]
                # Kept too if the package is not installed, as nothing can replace it.
                if name not in again and _version(name) in (None, score["version"]):
                    self.by_key[tuple(score[k] for k in self.KEY)] = score

    def measure_row(self, name, images, labels, groups, size, contenders, seeds):
        """Measure what is missing of one size of a set; the contenders take turns to be first."""
        n_values = size * images[0].size
        contenders = [
            each
            for each in contenders
            if size <= CONTENDERS[each].most_images and n_values <= CONTENDERS[each].most_values
        ]
        row = {each: {} for each in contenders}
        for seed in range(seeds):
            for fold, rows in enumerate(splits(name, labels, groups, size, seed)):
                turn = (seed + fold) % max(len(contenders), 1)
                for each in contenders[turn:] + contenders[:turn]:
                    key = (name, size, each, seed, fold)
                    if key not in self.by_key:
                        score = measure(CONTENDERS[each], images, labels, *rows, seed)
                        labelled = dict(zip(self.KEY, key, strict=True))
                        self.by_key[key] = {**labelled, "version": _version(each), **score}
                        self.write(quiet=True)
                    row[each][seed, fold] = self.by_key[key]
        return row

    def write(self, quiet=False, **results):
        """Write all scores, of this run and of those before."""
        results = {"machine": self.machine, **results, "scores": list(self.by_key.values())}
        write_json(self.path, results, quiet=quiet)


def _version(contender):
    try:
        return version(CONTENDERS[contender].package)
    except PackageNotFoundError:
        return None


# Comparing ----------------------------------------------------------------------------------------


def values(scores, what="accuracy"):
    """List one figure of all fits of a contender, in the order of seeds and folds."""
    return np.array([scores[key][what] for key in sorted(scores)])


def standard_error(x):
    """Return the standard error of the mean; not a number for a single value."""
    return np.std(x, ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan


def behind(row, ours, theirs):
    """Return how far `ours` is below `theirs` on the same folds, and the standard error of that."""
    differences = values(row[theirs]) - values(row[ours])
    return float(differences.mean()), float(np.nan_to_num(standard_error(differences)))


def summarize(rows):
    """Return mean ranks, each over the rows that a contender is in, and how `OURS` do in the rows.

    `OURS` are compared with the best of those that they have to beat.
    """
    ranks, gaps = {}, {ours: [] for ours in OURS}
    for (_, size), row in rows.items():
        means = {each: values(scores).mean() for each, scores in row.items()}
        for each, rank in zip(means, rankdata([-mean for mean in means.values()]), strict=True):
            ranks.setdefault(each, []).append(rank)
        for ours, rivals in OURS.items():
            present = [each for each in rivals if each in row]
            if ours in row and present:
                gaps[ours].append((size, *behind(row, ours, max(present, key=means.get))))
    counts = {ours: count(gaps) for ours, gaps in gaps.items() if gaps}
    return {"rank": {each: float(np.mean(r)) for each, r in ranks.items()}, "counts": counts}


def count(gaps):
    """Count the rows by how far a contender is below its best rival."""
    large = [gap for size, gap, _ in gaps if size >= 1000]
    return {
        "rows": len(gaps),
        "not below by more than a standard error": sum(gap <= error for _, gap, error in gaps),
        "not below by more than a point": sum(gap <= 0.01 for _, gap, _ in gaps),
        "rows from 1,000 images": len(large),
        "above by a point": sum(gap <= -0.01 for gap in large),
    }


# Printing -----------------------------------------------------------------------------------------


def print_header(contenders):
    """Print the names above the columns."""
    print("\nAccuracy ± standard error; below, median seconds to fit and predict")
    print(f"{'':29}{''.join(f'{name:>11}' for name in contenders)}", flush=True)


def print_row(name, size, row, contenders):
    """Print accuracies and times of the contenders on one size of a set."""
    accuracies, seconds = "", ""
    for each in contenders:
        cell, below = "–", ""
        if each in row:
            accuracy = values(row[each])
            cell = f"{accuracy.mean():.3f}±{standard_error(accuracy):.3f}".replace("0.", ".")
            below = f"{np.median(values(row[each], 'seconds')):.2f} s"
        accuracies += f"{cell:>11}"
        seconds += f"{below:>11}"
    print(f"{name:12}{size:8,}  {SETS[name].role:7}{accuracies}\n{'':29}{seconds}", flush=True)


def print_summary(title, summary, contenders):
    """Print mean ranks in the columns of the table, and the standing of ours."""
    ranks = summary["rank"]
    cells = "".join(
        f"{ranks[each]:11.2f}" if each in ranks else f"{'–':>11}" for each in contenders
    )
    print(f"{'mean rank, ' + title:29}{cells}")
    for ours, counts in summary["counts"].items():
        rival = OURS[ours][0] if len(OURS[ours]) == 1 else "the best other"
        print(f"  {ours} and {rival}: " + ", ".join(f"{what} {n}" for what, n in counts.items()))


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--sizes", nargs="+", type=int, help="instead of the sizes of each set")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--seeds", type=int, default=3, help="how many times images are drawn")
    parser.add_argument(
        "--again", nargs="+", choices=list(CONTENDERS), default=[], help="forget earlier scores"
    )
    parser.add_argument("--output", type=Path, default=Path("results/first_fit.json"))
    args = parser.parse_args()
    # Expected of a first try with no parameter touched.
    warnings.simplefilter("ignore", ConvergenceWarning)
    scores = Scores(args.output, args.again)
    contenders = [name for name in args.only if _version(name)]
    for name in args.only:
        if name not in contenders:
            print(f"without {name}: pip install {CONTENDERS[name].package}")
    print_header(contenders)
    rows, sets = {}, {}
    for name in args.data:
        try:
            images, labels, groups = load(name)
        except MissingDataError as error:
            print(f"without {name}: {error}")
            continue
        # Fonts and icons depend on what is installed.
        sets[name] = {
            "shape": images.shape,
            "classes": len(np.unique(labels)),
            "groups": len(labels if groups is None else np.unique(groups)),
        }
        for size in args.sizes or SETS[name].sizes:
            if size <= N_TRAIN.get(name, len(labels)):
                row = scores.measure_row(name, images, labels, groups, size, contenders, args.seeds)
                rows[name, size] = row
                print_row(name, size, row, contenders)
    summaries = {}
    for role in ("choose", "report"):
        if part := {key: row for key, row in rows.items() if SETS[key[0]].role == role}:
            summaries[role] = summarize(part)
            print_summary(role, summaries[role], contenders)
    scores.write(sets=sets, summary=summaries)


if __name__ == "__main__":
    main()
