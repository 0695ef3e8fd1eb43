"""Several processes train one network: two of them, on the CPU, started by torch's launcher.

This file is also the program that they run: all of `FITS`, and all of `refusals`.
"""

import contextlib
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.fits import weights_of, without_times
from helpers.messages import mentions, names
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.images import ArrayImages, infer_layout
from skcnn.inspection import find_lr
from skcnn.training.batches import BatchIterator, LabelledImages
from skcnn.training.data_parallel import check_shares

pytest.importorskip("accelerate")

ROOT = Path(__file__).parents[1]
LONGEST = 300  # seconds for all, which are done in 20 on two cores that are free
LAUNCH = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def images(n=300):
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    return X[:n], y[:n]


def lenet(**params):
    defaults = {"lr": 5e-3, "batch_size": 50, "max_epochs": 4, "random_state": 0, "n_threads": 1}
    # Batch normalisation sees the share of a process alone: no other curve would be the same.
    return LeNetClassifier(**{"norm": None, "lr_schedule": "cosine", **defaults, **params})


class Auxiliary(nn.Module):
    """A network whose second output is not trained, nor ever used."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Dropout(0.3))
        self.head, self.auxiliary = nn.Linear(20, n_classes), nn.Linear(20, n_classes)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = self.body(x)
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


class Seen(Callback):
    """Notes which images a process was given in each epoch, by the value of their pixels."""

    def on_train_begin(self, net, **kwargs):
        self.epochs, self.random = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append([])

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            self.epochs[-1].append(batch[0][:, 0, 0, 0].tolist())
            self.random.append(torch.rand(1).item())


class StopsOne(Callback):
    """Asks for the end of the fit, in the second process alone."""

    def on_batch_end(self, net, training, **kwargs):
        if os.environ.get("RANK") == "1" and len(net.history) == 2 and training:
            raise KeyboardInterrupt


def sample_weights(n):
    return np.random.default_rng(0).uniform(0.1, 3, n)


def fit_plain(clf, n=300):
    return clf.fit(*images(n))


def fit_weighted(clf):
    X, y = images(100)
    return clf.fit(X, y, sample_weight=sample_weights(100))


def fit_validated(clf):
    X, y = images()
    return clf.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])


def fit_misled(clf):
    """Validate on wrong labels: whatever the rounding, each epoch is worse than the one before."""
    X, y = images()
    return clf.fit(X, y, X_val=X, y_val=(y + 1) % 10)


def fit_on(clf):
    X, y = images()
    clf.partial_fit(X[:200], y[:200], classes=range(10)).partial_fit(X[100:], y[100:])
    return clf.set_params(warm_start=True, max_epochs=2).fit(X, y)


def fit_numbers(clf):
    X = np.arange(53, dtype=np.uint8).reshape(-1, 1, 1) * np.ones((28, 28), dtype=np.uint8)
    return clf.fit(X, np.arange(53) % 2)


def fit_compiled(clf):
    # No compiler needed: what is compiled runs as it is.
    compile_ = torch.compile
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch, "compile", lambda module: compile_(module, backend="eager"))
        return fit_plain(clf, 299)


def fit_unseeded(clf):
    np.random.seed(int(os.environ.get("RANK", 0)))  # noqa: NPY002
    return fit_plain(clf)


ALL = {"early_stopping": False}
STEP = {**ALL, "optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "max_epochs": 1}
# Fits that a process does alone as well, to the same curve: nothing is drawn but the order.
SAME_CURVE = {
    "early stopping": (lenet(), fit_plain),
    "stops early": (lenet(patience=1, max_epochs=20, lr_schedule=None), fit_misled),
    "uneven shares": (lenet(batch_size=7, max_epochs=2, lr=1e-3, **ALL), fit_weighted),
    "weights of classes": (lenet(class_weight="balanced", label_smoothing=0.1), fit_validated),
    "one cycle": (lenet(lr_schedule="one_cycle", optimizer="sgd", lr=0.05, **ALL), fit_plain),
    "average of weights": (lenet(ema=0.9), fit_plain),
    "head alone": (lenet(freeze="features", **ALL), fit_plain),
    "one step": (lenet(batch_size=300, **STEP), fit_plain),
    "one uneven step": (lenet(batch_size=300, **STEP), lambda clf: fit_plain(clf, 7)),
    "one weighted step": (lenet(batch_size=101, **STEP), fit_weighted),
    "one row each": (lenet(batch_size=2, lr=1e-3, max_epochs=1, **ALL), lambda c: fit_plain(c, 40)),
    "fit after fit": (lenet(max_epochs=3), fit_on),
    "compiled": (lenet(compile=True, max_epochs=2, **ALL), fit_compiled),
}
FITS = {
    **SAME_CURVE,
    "order": (lenet(batch_size=8, max_epochs=3, callbacks=[Seen()], **ALL), fit_numbers),
    "few images": (
        lenet(batch_size=4, lr_schedule="one_cycle", max_epochs=9, **ALL),
        lambda clf: fit_plain(clf, 5),  # batches of 3 and 2, but for batch normalisation
    ),
    "batch normalisation": (lenet(norm="batch"), fit_plain),
    "average of running statistics": (lenet(norm="batch", ema=0.9, **ALL), fit_plain),
    "random pixels": (
        lenet(augment="strong", mixing="mixup", class_weight="balanced", **ALL),
        fit_weighted,
    ),
    "outputs that are not trained": (
        CNNClassifier(module=Auxiliary, weight_decay=0.1, max_epochs=3, random_state=0, **ALL),
        fit_plain,
    ),
    "no seed": (lenet(random_state=None, max_epochs=1), fit_unseeded),
    "table": (lenet(verbose=2, max_epochs=2), fit_plain),
    "stopped by a callback": (lenet(callbacks=[StopsOne()], **ALL), fit_plain),
    "progress bar": (lenet(verbose=1, max_epochs=2), fit_plain),
}


def refusals(rank):
    """What must be refused in every process: a fit, and what its error says."""
    X, y = images(40)
    different = X.copy()
    different[3, 5, 5] = rank
    return {
        "batch smaller than processes": (
            lambda: lenet(batch_size=1, data_parallel=True).fit(X, y),
            mentions("'batch_size'", "data_parallel=True", 2, 1),
        ),
        "batch normalisation of one row": (
            lambda: lenet(batch_size=2, norm="batch", data_parallel=True, **ALL).fit(X, y),
            mentions("'batch_size'", 4, 2),
        ),
        "different images": (
            lambda: lenet(data_parallel=True).fit(different, y),
            mentions("X", "X_val", 2, "data_parallel=True"),
        ),
        "different validation images": (
            lambda: lenet(data_parallel=True).fit(X, y, X_val=different, y_val=y),
            mentions("X", "X_val", 2, "data_parallel=True"),
        ),
        "one device for all": (
            lambda: lenet(data_parallel=True, device="cpu:0").fit(X, y),
            names("device", "cpu:0"),
        ),
        "divergence": (
            lambda: lenet(data_parallel=True, optimizer="sgd", lr=1e20).fit(X, y),
            r"\b(nan|inf)\b.* lr=",
        ),
    }


# Relative to the loss. Rounding, which differs by process since sums are added up in another order,
# is 1e-7 in the first epoch; training makes 1e-5 of it in four. Shares that are averaged without
# regard to their sizes, or one share in place of the batch, are off by 1e-2 and more.
_ROUNDING = 1e-3
# Rounding may flip the prediction for an image, of those of validation one in 30.
_FLIPPED = 0.04


# In each of the processes ------------------------------------------------------------------------


def run_all(output):
    rank = int(os.environ["RANK"])
    results, errors = {}, {}
    for name, (clf, fit) in FITS.items():
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            clf = fit(clone(clf).set_params(data_parallel=True))
        features = clf.transform(images()[0])
        results[name] = {
            "proba": clf.predict_proba(images()[0]),
            "features": features,
            "shown": shown.getvalue(),
            "pickle": pickle.dumps(clf),
        }
        # Its gradients are its own again: nobody else computes any now.
        if rank == 1:
            clf.module_(torch.zeros(2, 1, 28, 28)).sum().backward()
    for name, (fit, _) in refusals(rank).items():
        try:
            fit()
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
    with open(Path(output) / f"{rank}.pickle", "wb") as file:
        pickle.dump((results, errors), file)


def fail():
    X, y = images()
    X = X.astype(float)
    if os.environ["RANK"] == "1":
        X[7, 3, 3] = np.nan
    lenet(data_parallel=True).fit(X, y)


# In the process of pytest ------------------------------------------------------------------------


def launch(*arguments, launcher=LAUNCH):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=LONGEST)
        except BaseException:
            process.terminate()  # not killed, which would leave the others behind
            process.communicate()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What each of two processes found: results of `FITS`, and messages of `refusals`."""
    folder = tmp_path_factory.mktemp("processes")
    run = launch(__file__, "run_all", folder)
    assert run.returncode == 0, run.stderr
    found = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in sys.modules if name.split(".")[0] == "accelerate"]:
            monkeypatch.setitem(sys.modules, name, None)  # a fitted classifier needs none of it
        for rank in range(2):
            results, errors = pickle.loads((folder / f"{rank}.pickle").read_bytes())
            for result in results.values():
                result["clf"] = pickle.loads(result["pickle"])
            found.append((results, errors))
    return found


def results_of(processes, name):
    return [results[name] for results, _ in processes]


@pytest.mark.parametrize("name", FITS)
def test_every_process_has_the_same_classifier(processes, name):
    first, second = results_of(processes, name)
    X, _ = images()
    assert weights_of(first["clf"]) == weights_of(second["clf"])
    assert without_times(first["clf"].history_) == without_times(second["clf"].history_)
    assert first["clf"].best_epoch_ == second["clf"].best_epoch_
    for result in (first, second):
        # And so it is when it comes back from a pickle, in a process of its own.
        np.testing.assert_array_equal(result["proba"], first["proba"])
        np.testing.assert_array_equal(result["features"], first["features"])
        np.testing.assert_array_equal(result["clf"].predict_proba(X), result["proba"])
        assert type(result["clf"].module_).__name__ in ("LeNet", "Auxiliary")


@pytest.mark.parametrize("name", SAME_CURVE)
def test_the_curve_is_that_of_one_process(processes, name):
    clf, fit = SAME_CURVE[name]
    alone = fit(clone(clf))
    shared = results_of(processes, name)[0]["clf"]
    assert shared.n_epochs_ == alone.n_epochs_
    assert shared.best_epoch_ == alone.best_epoch_
    for epoch, expected in zip(shared.history_, alone.history_, strict=True):
        assert epoch.keys() == expected.keys()
        for quantity in expected.keys() & {"train_loss", "valid_loss"}:
            assert epoch[quantity] == pytest.approx(expected[quantity], rel=_ROUNDING)
        for quantity in expected.keys() & {"train_acc", "valid_acc"}:
            assert epoch[quantity] == pytest.approx(expected[quantity], abs=_FLIPPED)


@pytest.mark.parametrize("name", [name for name in SAME_CURVE if name.endswith("step")])
def test_a_step_is_that_of_the_whole_batch(processes, name):
    clf, fit = SAME_CURVE[name]
    start, alone = (fit(clone(clf).set_params(lr=lr)).module_ for lr in (1e-12, clf.lr))
    shared = results_of(processes, name)[0]["clf"].module_
    before, expected, after = (
        torch.cat([p.detach().flatten() for p in module.parameters()])
        for module in (start, alone, shared)
    )
    step = (expected - before).norm()
    assert step > 1e-3
    assert (after - expected).norm() < 1e-4 * step  # weights of 0.1 are rounded to 1e-8


def test_processes_share_the_images_of_each_batch(processes):
    first, second = (result["clf"].callbacks[0] for result in results_of(processes, "order"))
    alone = fit_numbers(clone(FITS["order"][0])).callbacks[0]
    for epoch, (ours, theirs) in enumerate(zip(first.epochs, second.epochs, strict=True)):
        together = [a + b for a, b in zip(ours, theirs, strict=True)]
        if epoch == 0:  # from then on, what the callback draws is between the orders
            assert together == alone.epochs[0]
        assert sorted(i for batch in together for i in batch) == list(range(53))
        assert {len(batch) for batch in together} == {7, 8}
        assert all(len(a) - len(b) in (0, 1) for a, b in zip(ours, theirs, strict=True))
    assert first.epochs[0] != first.epochs[1]
    # Each has numbers of its own for dropout and the like, which change no order.
    assert not set(first.random) & set(second.random)


def test_a_callback_of_one_process_ends_the_fit_in_all_after_the_epoch(processes):
    assert [r["clf"].n_epochs_ for r in results_of(processes, "stopped by a callback")] == [2, 2]


def test_a_schedule_has_as_many_steps_as_there_are(processes):
    rates = [epoch["lr"] for epoch in results_of(processes, "few images")[0]["clf"].history_]
    assert rates[-1] < 0.1 * max(rates)


@pytest.mark.parametrize("name", ["table", "progress bar"])
def test_only_the_main_process_shows_progress(processes, name):
    first, second = (result["shown"] for result in results_of(processes, name))
    assert "valid_loss" in first
    said = any(re.search(mentions("float32", "contiguous"), line) for line in first.splitlines())
    assert said == (name == "table")
    assert second == ""


@pytest.mark.parametrize("name", refusals(0))
def test_refusals(processes, name):
    _, expected = refusals(0)[name]
    for _, errors in processes:
        assert re.search(expected, errors[name])


def test_an_error_in_one_process_ends_all():
    run = launch(__file__, "fail")
    assert run.returncode != 0
    errors = [line for line in run.stderr.splitlines() if "ValueError: " in line]
    assert any(re.search(mentions("X", "NaN", 7), line) for line in errors)


def test_the_example_runs():
    run = launch(
        ROOT / "examples" / "distributed" / "data_parallel.py",
        "--quick",
        launcher=["accelerate.commands.launch", "--cpu", "--num_processes", "2"],
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "1", "2", "test"]
    losses = [float(line.split()[1]) for line in lines[1:3]]
    assert losses[1] < losses[0]


# In one process ----------------------------------------------------------------------------------


def test_a_process_that_is_alone_trains_as_ever(clothes):
    X, y = clothes
    alone, plain = (lenet(data_parallel=value, norm="batch").fit(X, y) for value in (True, False))
    assert weights_of(alone) == weights_of(plain)
    assert without_times(alone.history_) == without_times(plain.history_)


def test_processes_that_do_not_know_each_other_are_refused(clothes, monkeypatch):
    lenet(data_parallel=True, max_epochs=1).fit(*clothes)  # for one process, and for good
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=mentions("'data_parallel'", 3, 1)):
        lenet(data_parallel=True).fit(*clothes)


def test_fewer_images_than_processes_are_refused():
    three = SimpleNamespace(num_processes=3)
    check_shares(three, "data", n_images=3, batch_size=8, estimator="Est")
    with pytest.raises(ValueError, match=mentions("Est", "data_parallel=True", 3, 2)):
        check_shares(three, "data", n_images=2, batch_size=8, estimator="Est")


def test_memory_is_refused(clothes, tmp_path):
    clf = lenet(data_parallel=True, memory=tmp_path)
    with pytest.raises(
        ValueError, match=mentions("'memory'", "data_parallel=True", repr(tmp_path))
    ):
        clf.fit(*clothes)


def test_accelerate_is_asked_for_only_where_it_is_needed(clothes, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    clf = lenet(data_parallel=True)
    with pytest.raises(ImportError, match=mentions("'data_parallel'", "'skcnn[distributed]'")):
        clf.fit(*clothes)
    lenet(max_epochs=1).fit(*clothes)
    find_lr(clf, *clothes, min_lr=1e-4, max_lr=1, n_steps=60)  # which every process does for itself


@pytest.mark.parametrize("n_shares", [2, 3, 4])
@pytest.mark.parametrize(("n", "batch_size"), [(4, 4), (5, 4), (9, 4), (10, 8), (50, 8), (53, 12)])
def test_no_share_is_empty(clothes, n, batch_size, n_shares):
    X = clothes[0][:n]
    source = ArrayImages(X, infer_layout(X.shape[1:], None, "Est"))
    dataset = LabelledImages(source, np.arange(n), np.arange(n))
    shares = []
    for k in range(n_shares):
        order = torch.Generator().manual_seed(0)
        batches = BatchIterator(
            dataset, batch_size, shuffle=True, share=(k, n_shares), generator=order
        )
        shares.append([(batch[1], batch.n_rows) for batch in batches])
    for parts in zip(*shares, strict=True):
        sizes = [len(targets) for targets, _ in parts]
        assert sum(sizes) == parts[0][1]
        assert max(sizes) - min(sizes) <= 1
        # Batch normalisation needs two rows in each, where the batch size allows.
        assert min(sizes) >= min(2, batch_size // n_shares, n // n_shares)
    together = torch.cat([targets for share in shares for targets, _ in share])
    assert together.sort().values.tolist() == list(range(n))


if __name__ == "__main__":
    # Imported, so that pickles name the classes of this module, and not those of a program.
    import test_data_parallel as this

    getattr(this, sys.argv[1])(*sys.argv[2:])
