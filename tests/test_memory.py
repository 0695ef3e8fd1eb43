"""Fits that are kept: none computed twice, none mixed up, none believed when damaged."""

import enum
import functools
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.fits import content
from helpers.messages import mentions, names
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import TensorDataset

from skcnn import CNNClassifier, LeNetClassifier
from skcnn._files import DamagedFileError, read_sealed, remove_partial_files, write_sealed
from skcnn.exceptions import UnsavedStateWarning, UnusedEntryWarning
from skcnn.memory import fingerprint

# Of processes that import skcnn and these tests from here.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

# Names for values ------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Scale:
    """Something that is made of its content."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


def itself():
    items = [1]
    items.append(items)
    return items


# Each made anew at every call, and no two with the same name.
VALUES = [
    lambda: None,
    lambda: 1,
    lambda: 1.0,
    lambda: True,
    lambda: "1",
    lambda: b"1",
    lambda: float("nan"),
    lambda: [1, 2],
    lambda: (1, 2),
    lambda: [[1], 2],
    lambda: [1, [2]],
    lambda: {1, 2},
    lambda: {"a": 1, "b": 2},
    lambda: {"a": 1, "b": 3},
    lambda: np.arange(3),
    lambda: np.arange(3, dtype=np.int32),
    lambda: np.arange(3.0),
    lambda: np.arange(3).astype("datetime64[D]"),
    lambda: np.arange(3).reshape(1, 3),
    lambda: np.array(["a", None], dtype=object),
    lambda: np.float32(1),
    lambda: torch.arange(3),
    lambda: torch.arange(4)[:3].float(),
    lambda: nn.Parameter(torch.arange(3.0)),
    lambda: Colour.RED,
    lambda: Colour.BLUE,
    lambda: double,
    lambda: triple,
    lambda: functools.partial(double, x=1),
    lambda: functools.partial(double, x=2),
    lambda: Scale,
    lambda: Scale(2),
    lambda: Scale(3),
    lambda: Scale(3).__call__,
    lambda: torch.optim.SGD,
    lambda: torch.float32,
    lambda: torch.device("cpu"),
    lambda: np.random.RandomState(0),
    lambda: np.random.RandomState(1),
    lambda: nn.Sequential(nn.ReLU()),
    lambda: nn.Sequential(nn.Tanh()),
    itself,
]


def test_equal_values_have_one_name_and_others_another():
    names = [fingerprint(make()) for make in VALUES]
    assert names == [fingerprint(make()) for make in VALUES]
    assert len(set(names)) == len(VALUES)
    assert all(len(name) == 64 for name in names)


def test_the_layout_in_memory_does_not_change_the_name():
    X = np.arange(12).reshape(3, 4)
    assert fingerprint(np.asfortranarray(X)) == fingerprint(X) == fingerprint(X[::-1][::-1])
    assert fingerprint(torch.arange(12).reshape(4, 3).T) == fingerprint(
        torch.arange(12).reshape(4, 3).T.contiguous()
    )


def define(tmp_path, monkeypatch, source):
    """Import a module of that source, as if it had been edited and run again."""
    (tmp_path / "edited.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("edited", None)
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    return __import__("edited")


FUNCTION = "def f(x, k=1): return x + k\n"
CLASS = "class f(list):\n    k = 1\n    def m(self): return super().__len__() + self.k\n"


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (FUNCTION, "+", "-"),
        (FUNCTION, "k=1", "k=2"),
        (FUNCTION, "x + k", "[x + y for y in (k, 0)]"),
        (CLASS, "k = 1", "k = 2"),
        (CLASS, "+", "-"),
        (CLASS, "list", "dict"),
    ],
)
def test_edited_code_has_another_name(tmp_path, monkeypatch, source, old, new):
    name = fingerprint(define(tmp_path, monkeypatch, source).f)
    assert fingerprint(define(tmp_path, monkeypatch, "\n\n" + source).f) == name
    assert fingerprint(define(tmp_path, monkeypatch, source.replace(old, new)).f) != name


def test_an_edited_base_class_has_another_name(tmp_path, monkeypatch):
    source = "class B:\n    def m(self): return {}\nclass C(B): pass\n"
    names = {fingerprint(define(tmp_path, monkeypatch, source.format(value)).C) for value in (1, 2)}
    assert len(names) == 2


@pytest.mark.parametrize("value", [lambda x: x, [lambda x: x], open(os.devnull)])  # noqa: SIM115
def test_what_has_no_name_is_an_error(value):
    with pytest.raises(TypeError, match=r"lambda|TextIOWrapper"):
        fingerprint(value)


def test_names_are_the_same_in_another_process():
    script = "from test_memory import VALUES, fingerprint; "
    script += "print(*[fingerprint(make()) for make in VALUES])"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env={**ENVIRONMENT, "PYTHONHASHSEED": "1"},  # here it is drawn at random
    )
    assert run.stdout.split() == [fingerprint(make()) for make in VALUES]


# Files -----------------------------------------------------------------------------------------


def test_a_sealed_file_comes_back(tmp_path):
    write_sealed(tmp_path / "file", "kind 1", b"content")
    kind, content = read_sealed(tmp_path / "file")
    assert (kind, bytes(content)) == ("kind 1", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_cut_and_every_changed_byte_is_refused(tmp_path):
    path = tmp_path / "file"
    write_sealed(path, "kind 1", bytes(range(256)))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError):
            read_sealed(path)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DamagedFileError):
            read_sealed(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    write_sealed(tmp_path / "file", "kind 1", b"old")

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        write_sealed(tmp_path / "file", "kind 1", b"new")
    assert bytes(read_sealed(tmp_path / "file")[1]) == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_files_that_nobody_writes_any_more_are_removed(tmp_path):
    for name, age in (("old.partial", 7200), ("new.partial", 0), ("old", 7200)):
        (tmp_path / name).touch()
        time = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (time, time))
    remove_partial_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new.partial", "old"}


# Fits ------------------------------------------------------------------------------------------


class Epochs(Callback):
    """Writes a line for each epoch; kills the process, or fails, at the start of one."""

    changes_fit = False

    def __init__(self, path, fails_at=None):
        self.path = str(path)
        self.fails_at = fails_at

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.fails_at:
            raise RuntimeError("killed")

    def on_epoch_end(self, net, **kwargs):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")

    @property
    def n(self):
        return len(Path(self.path).read_text().split()) if os.path.exists(self.path) else 0


class Momentum(Callback):
    """Learns from epoch to epoch, and changes the fit by what it learned."""

    def on_train_begin(self, net, **kwargs):
        self.velocities_ = {"last": np.float64(0.0), "all": [torch.zeros(1)]}

    def on_epoch_begin(self, net, **kwargs):
        self.velocities_["last"] += 0.1
        self.velocities_["all"].append(torch.rand(1))
        for group in net.optimizer_.param_groups:
            group["lr"] *= 1 + self.velocities_["last"] * float(sum(self.velocities_["all"]))


@pytest.fixture
def epochs(tmp_path):
    return Epochs(tmp_path / "epochs")


def lenet(**kwargs):
    settings = {"norm": "batch", "lr": 5e-3, "batch_size": 32, "max_epochs": 4, "n_threads": 1}
    return LeNetClassifier(**{**settings, "random_state": 0, **kwargs})


OPTIONS = {
    "as it is": {},
    "one cycle, augmented, mixed": {
        "lr_schedule": "one_cycle",
        "augment": "strong",
        "mixing": "mixup",
        "early_stopping": False,
    },
    "average": {"ema": 0.9, "lr_schedule": None},
    "steps, momentum": {"lr_schedule": functools.partial(StepLR, step_size=2), "optimizer": "sgd"},
    "plateau": {"lr_schedule": functools.partial(ReduceLROnPlateau, patience=0, factor=0.5)},
    "stops early": {"patience": 1, "lr": 0.1, "lr_schedule": None, "max_epochs": 40},
    "callback": {"callbacks": [("momentum", Momentum())]},
    "weights": {
        "class_weight": "balanced",
        "label_smoothing": 0.1,
        "optimizer": torch.optim.Adagrad,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_killed_fit_goes_on_to_the_same_bytes(clothes, tmp_path, options):
    X, y = (values[:120] for values in clothes)
    reference = lenet(**options).fit(X, y)
    assert reference.n_epochs_ == 4 or ("patience" in options and reference.n_epochs_ < 40)
    for fails_at in range(1, reference.n_epochs_ + 1):
        epochs = Epochs(tmp_path / f"epochs-{fails_at}")
        others = options.get("callbacks", [])
        fit = lenet(
            **{**options, "callbacks": [*others, Epochs(epochs.path, fails_at)]},
            memory=tmp_path / str(fails_at),
        )
        with pytest.raises(RuntimeError, match="killed"):
            fit.fit(X, y)
        assert not hasattr(fit, "net_")
        fit.set_params(callbacks=[*others, epochs]).fit(X, y)
        assert epochs.n == reference.n_epochs_
        assert content(fit, X) == content(reference, X)
        fit.fit(X, y)
        assert epochs.n == reference.n_epochs_
        assert content(fit, X) == content(reference, X)


def test_training_goes_on_from_a_kept_fit_as_from_a_new_one(clothes, tmp_path):
    X, y = clothes
    fits = [lenet(memory=tmp_path).fit(X, y), lenet(memory=tmp_path).fit(X, y), lenet().fit(X, y)]
    contents = [content(fit.partial_fit(X, y), X) for fit in fits]
    assert contents[0] == contents[1] == contents[2]


def test_a_kept_fit_prepares_no_images(clothes, tmp_path, monkeypatch):
    fit = lenet(**OPTIONS["stops early"], image_size=32, memory=tmp_path).fit(*clothes)
    assert fit.n_epochs_ < fit.max_epochs - 1

    def refuse(*args):
        raise AssertionError("images were prepared")

    monkeypatch.setattr("skcnn.training.net.make_resident", refuse)
    fit.fit(*clothes)


def test_a_copy_of_a_kept_fit_is_as_good(clothes, tmp_path):
    X, y = clothes
    reference = lenet(memory=tmp_path).fit(X, y)
    copied = pickle.loads(pickle.dumps(lenet(memory=tmp_path).fit(X, y)))
    assert content(copied, X) == content(reference, X)


def changed_pixel(X):
    X = X.copy()
    X[7, 3, 3] ^= 1
    return X


OTHERS = {
    "lr": {"lr": 4e-3},
    "batch size": {"batch_size": 30},
    "seed": {"random_state": 1},
    "no seed": {"random_state": None},
    "network": {"activation": "sigmoid"},
    "augmentation": {"augment": double},
    "callback": {"callbacks": [Momentum()]},
    "threads": {"n_threads": 2},
    "pixel": {"X": changed_pixel},
    "dtype": {"X": lambda X: X / np.float32(255)},
    "labels": {"y": lambda y: y[::-1]},
    "type of labels": {"y": lambda y: y.astype(str)},
    "weights": {"sample_weight": np.linspace(0, 1, 300)},
    "validation": {"X_val": np.zeros((2, 28, 28), np.uint8), "y_val": [0, 1]},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_fits_are_other_entries(clothes, tmp_path, epochs, other):
    X, y = clothes
    params, given = {"callbacks": []}, {"X": X, "y": y}
    for name, value in other.items():
        if name not in ("X", "y", "sample_weight", "X_val", "y_val"):
            params[name] = value
        else:
            given[name] = value(given[name]) if callable(value) else value
    lenet(max_epochs=1, memory=tmp_path / "memory").fit(X, y)
    params["callbacks"] = [*params["callbacks"], epochs]
    fit = lenet(max_epochs=1, memory=tmp_path / "memory", **params)
    for _ in range(2):
        fit.fit(**given)
        assert epochs.n == 1


def test_other_validation_images_are_another_entry(clothes, tmp_path, epochs):
    X, y = clothes
    fit = lenet(max_epochs=1, memory=tmp_path / "memory", callbacks=[epochs])
    for n, X_val in enumerate((X[:20], changed_pixel(X)[:20], X[:20])):
        fit.fit(X, y, X_val=X_val, y_val=y[:20])
        assert epochs.n == (1, 2, 2)[n]


@pytest.mark.parametrize("package", ["torch", "scikit-learn", "skcnn"])
def test_other_versions_are_other_entries(clothes, tmp_path, epochs, monkeypatch, package):
    from skcnn.memory import versions

    fit = lenet(max_epochs=1, memory=tmp_path / "memory", callbacks=[epochs]).fit(*clothes)
    monkeypatch.setattr("skcnn._fit_parts.versions", lambda: {**versions(), package: "0.0"})
    fit.fit(*clothes)
    assert epochs.n == 2


@pytest.mark.parametrize(
    "change",
    [
        {"verbose": 1},
        {"verbose": 2},
        {"data_device": "cpu"},
        {"device": "cpu"},
        {"warm_start": True},
    ],
    ids=str,
)
def test_what_changes_nothing_is_the_same_entry(clothes, tmp_path, epochs, change):
    X, y = clothes
    first = lenet(memory=tmp_path / "memory", callbacks=[epochs]).fit(X, y)
    second = lenet(memory=tmp_path / "memory", callbacks=[epochs], **change).fit(X, y)
    assert epochs.n == 4
    assert content(second, X) == content(first, X)


def test_data_of_another_layout_in_memory_is_the_same_entry(clothes, tmp_path, epochs):
    X, y = clothes
    fit = lenet(max_epochs=1, memory=tmp_path / "memory", callbacks=[epochs]).fit(X, y)
    np.save(tmp_path / "X.npy", X)
    for same in (np.asfortranarray(X), np.load(tmp_path / "X.npy", mmap_mode="r"), X[:, None]):
        fit.fit(same, y)
    assert epochs.n == 1


class Small(nn.Sequential):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, n_classes))


def test_any_module_and_its_given_weights_have_names(clothes, tmp_path, epochs):
    fits = [
        CNNClassifier(
            module=Small,
            weights=Small().state_dict(),
            max_epochs=1,
            random_state=0,
            memory=tmp_path / "memory",
            callbacks=[epochs],
        )
        for _ in range(2)
    ]
    for n, fit in enumerate(fits, 1):
        fit.fit(*clothes).fit(*clothes)
        assert epochs.n == n


@pytest.mark.parametrize("lr_schedule", [None, functools.partial(StepLR, step_size=2)])
def test_a_longer_fit_goes_on_from_a_shorter_one(clothes, tmp_path, epochs, lr_schedule):
    X, y = clothes
    fit = lenet(lr_schedule=lr_schedule, memory=tmp_path / "memory", callbacks=[epochs])
    for n, max_epochs in enumerate((2, 1, 4)):
        fit.set_params(max_epochs=max_epochs).fit(X, y)
        assert epochs.n == (2, 3, 5)[n]
    reference = lenet(lr_schedule=lr_schedule).fit(X, y)
    assert content(fit, X) == content(reference, X)


@pytest.mark.parametrize("lr_schedule", ["cosine", "one_cycle"])
def test_a_schedule_of_fixed_length_starts_again_and_says_so(
    clothes, tmp_path, epochs, lr_schedule
):
    X, y = clothes
    fit = lenet(lr_schedule=lr_schedule, memory=tmp_path / "memory", callbacks=[epochs])
    fit.set_params(max_epochs=2).fit(X, y)
    with pytest.warns(UnusedEntryWarning, match=mentions("max_epochs=2", 4, "lr_schedule=None")):
        fit.set_params(max_epochs=4).fit(X, y)
    assert epochs.n == 6
    assert content(fit, X) == content(lenet(lr_schedule=lr_schedule).fit(X, y), X)


def the_entry(folder):
    (path,) = Path(folder).rglob("output.pkl")
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-5] + b"x" + content[-4:],
        lambda content: b"",
    ],
)
def test_a_damaged_entry_is_computed_again_with_a_warning(clothes, tmp_path, epochs, damage):
    X, y = clothes
    fit = lenet(memory=tmp_path / "memory", callbacks=[epochs]).fit(X, y)
    reference = content(fit, X)
    path = the_entry(tmp_path / "memory")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UnusedEntryWarning, match=mentions(path)):
        fit.fit(X, y)
    assert epochs.n == 8
    assert content(fit, X) == reference
    fit.fit(X, y)
    assert epochs.n == 8


def test_an_entry_of_another_version_is_computed_again_with_a_warning(clothes, tmp_path, epochs):
    fit = lenet(max_epochs=1, memory=tmp_path / "memory", callbacks=[epochs]).fit(*clothes)
    write_sealed(the_entry(tmp_path / "memory"), "skcnn fit 99", b"what is to come")
    with pytest.warns(UnusedEntryWarning, match=mentions("output.pkl", 99)):
        fit.fit(*clothes)
    assert epochs.n == 2


def test_a_folder_that_cannot_be_written_is_an_error_before_training(clothes, tmp_path, epochs):
    (tmp_path / "file").touch()
    for memory in (tmp_path / "file" / "memory", ""):
        fit = lenet(memory=memory, callbacks=[epochs])
        with pytest.raises(ValueError, match=names("memory", str(memory))):
            fit.fit(*clothes)
    assert epochs.n == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("augment", lambda x: x),
        (
            "lr_schedule",
            functools.partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda n: 1),
        ),
    ],
)
def test_what_has_no_name_is_an_error_that_says_how_to_give_it_one(
    clothes, tmp_path, epochs, name, value
):
    fit = lenet(memory=tmp_path, callbacks=[epochs], **{name: value})
    message = mentions(repr(name), "'<lambda>'", "def", "memory=None")
    with pytest.raises(ValueError, match=message):
        fit.fit(*clothes)
    assert epochs.n == 0


def test_a_dataset_is_an_error(tmp_path):
    data = TensorDataset(torch.rand(20, 1, 28, 28), torch.arange(20) % 2)
    with pytest.raises(ValueError, match=mentions("'memory'", "X", "Dataset")):
        lenet(memory=tmp_path).fit(data)
    X, y = data[:]
    with pytest.raises(ValueError, match=mentions("'memory'", "X_val", "Dataset")):
        lenet(memory=tmp_path).fit(X, y, X_val=data)
    lenet(memory=tmp_path).partial_fit(data)  # which is not kept


@pytest.mark.parametrize("memory", [3, [], True])
def test_memory_of_another_type_is_an_error(clothes, memory):
    with pytest.raises(ValueError, match=names("memory", memory)):
        lenet(memory=memory).fit(*clothes)


class KeepsAThing(Callback):
    def on_train_begin(self, net, **kwargs):
        self.thing_ = object()


def test_a_callback_whose_state_is_not_plain_is_warned_of(clothes, tmp_path):
    with pytest.warns(UnsavedStateWarning, match=mentions("'thing_'", "state_dict()")):
        lenet(max_epochs=1, memory=tmp_path, callbacks=[KeepsAThing()]).fit(*clothes)


def test_clearing_and_limiting_are_joblibs(clothes, tmp_path, epochs):
    memory = joblib.Memory(tmp_path / "memory", verbose=0)
    fits = [lenet(max_epochs=1, lr=lr, memory=memory, callbacks=[epochs]) for lr in (1e-3, 2e-3)]
    for n, used_last in enumerate(fits):
        for fit in fits:
            fit.fit(*clothes)
        assert epochs.n == 2 + n
        for path in Path(memory.location).rglob("output.pkl"):
            time = path.stat().st_mtime
            os.utime(path, (time - 100, time - 200))  # so that many systems note no reading
        used_last.fit(*clothes)
        memory.reduce_size(items_limit=1)
        used_last.fit(*clothes)
        assert epochs.n == 2 + n
    memory.clear(warn=False)
    used_last.fit(*clothes)
    assert epochs.n == 4
    joblib.Memory(None).clear(warn=False)
    lenet(max_epochs=1, memory=joblib.Memory(None), callbacks=[epochs]).fit(*clothes)
    assert epochs.n == 5


# Searches --------------------------------------------------------------------------------------


def as_they_are(X):
    return X


@pytest.mark.xdist_group("workers")
def test_searches_and_pipelines_compute_nothing_twice(clothes, tmp_path, epochs):
    X, y = clothes
    clf = lenet(max_epochs=1, early_stopping=False, memory=tmp_path / "memory", callbacks=[epochs])
    grid = {"lr": [1e-3, 5e-3], "batch_size": [32, 64]}
    first = GridSearchCV(clf, grid, cv=2).fit(X, y)
    assert epochs.n == 9
    second = GridSearchCV(clf, grid, cv=2, n_jobs=2).fit(X, y)
    scores = cross_val_score(second.best_estimator_, X, y, cv=2)
    pipeline = make_pipeline(FunctionTransformer(as_they_are), clf)
    third = GridSearchCV(
        pipeline, {f"lenetclassifier__{name}": values for name, values in grid.items()}, cv=2
    ).fit(X, y)
    assert epochs.n == 9
    for split in ("split0_test_score", "split1_test_score"):
        assert (second.cv_results_[split] == first.cv_results_[split]).all()
        # The grids are walked in another order.
        assert set(third.cv_results_[split]) == set(first.cv_results_[split])
    assert scores.mean() == first.best_score_
    assert content(second.best_estimator_, X) == content(first.best_estimator_, X)


def test_halving_over_epochs_goes_on_where_it_stopped(clothes, tmp_path, epochs):
    X, y = clothes
    counts = []
    winners = []
    for memory in (None, tmp_path / "memory"):
        counter = Epochs(tmp_path / f"epochs-{memory is None}")
        clf = lenet(lr_schedule=None, early_stopping=False, memory=memory, callbacks=[counter])
        search = HalvingGridSearchCV(
            clf,
            {"lr": [1e-4, 1e-3, 5e-3, 1e-2], "batch_size": [32, 64]},
            resource="max_epochs",
            min_resources=1,
            max_resources=4,
            factor=1.5,
            cv=2,
            refit=False,
            random_state=0,
        ).fit(X, y)
        counts.append(counter.n)
        winners.append((search.best_params_, search.best_score_))
    assert winners[0] == winners[1]
    resources, candidates = search.n_resources_, search.n_candidates_
    assert counts[0] == 2 * sum(n * r for n, r in zip(candidates, resources, strict=True))
    grown = np.diff([0, *resources])
    assert counts[1] == 2 * sum(n * r for n, r in zip(candidates, grown, strict=True))


class Dies(Epochs):
    """Kills the process at the end of an epoch, which it has noted."""

    def on_epoch_end(self, net, **kwargs):
        super().on_epoch_end(net, **kwargs)
        if self.n == self.fails_at:
            os.kill(os.getpid(), signal.SIGKILL)


def search_in(folder, at, X, y):
    clf = lenet(max_epochs=2, memory=folder / "memory", callbacks=[Dies(folder / "epochs", at)])
    search = GridSearchCV(clf, {"lr": [1e-3, 5e-3]}, cv=2, refit=False).fit(X, y)
    scores = [search.cv_results_[f"split{i}_test_score"].tolist() for i in range(2)]
    (folder / "scores").write_text(repr(scores))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fork stands for a process to kill")
def test_a_search_that_is_killed_loses_no_more_than_an_epoch_each_time(clothes, tmp_path):
    X, y = (values[:200] for values in clothes)

    def run(name, at):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        process = multiprocessing.get_context("fork").Process(
            target=search_in, args=(folder, at, X, y)
        )
        process.start()
        process.join()
        return process.exitcode

    assert run("undisturbed", None) == 0
    assert Epochs(tmp_path / "undisturbed" / "epochs").n == 8
    kills = (2, 5, 6)  # after that many epochs, before the last of them is kept
    assert [run("killed", at) for at in kills] == [-signal.SIGKILL] * len(kills)
    assert run("killed", None) == 0
    scores = [(tmp_path / name / "scores").read_text() for name in ("undisturbed", "killed")]
    assert scores[0] == scores[1]
    assert Epochs(tmp_path / "killed" / "epochs").n == 8 + len(kills)


@pytest.mark.xdist_group("workers")
def test_two_processes_may_fit_the_same_in_one_folder(clothes, tmp_path):
    X, y = clothes
    fits = joblib.Parallel(n_jobs=2)(
        joblib.delayed(lenet(memory=tmp_path / "memory").fit)(X, y) for _ in range(4)
    )
    reference = content(lenet().fit(X, y), X)
    assert all(content(fit, X) == reference for fit in fits)
    assert len(list((tmp_path / "memory").rglob("*.partial"))) == 0
