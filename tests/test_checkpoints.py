"""Checkpoints: one fit in a folder, that goes on after whatever stopped it, to the same bytes."""

import errno
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from helpers.fits import content
from helpers.messages import mentions, names
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from test_memory import ENVIRONMENT, Epochs, lenet
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn._files import write_sealed
from skcnn.exceptions import UnusedEntryWarning
from skcnn.memory import FitIdentity, Part, _checkpoint
from skcnn.memory._journal import read_record

pytestmark = pytest.mark.trains

STRESS = Path(__file__).parent / "stress"


class Dropping(nn.Sequential):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(
            nn.Flatten(), nn.Dropout(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, 10)
        )


def quick(**kwargs):
    """Classifier that draws random numbers in every way, in milliseconds."""
    settings = {"augment": "standard", "batch_size": 50, "max_epochs": 4, "n_threads": 1}
    return CNNClassifier(module=Dropping, **{**settings, "random_state": 0, **kwargs})


@pytest.fixture
def every_epoch(monkeypatch):
    """Write every state, however long that takes beside a fit so short."""
    monkeypatch.setattr(_checkpoint, "_SHARE_OF_FIT", math.inf)


@pytest.fixture(scope="module")
def reference(clothes):
    X, y = clothes
    return content(quick().fit(X, y), X)


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def stopped(clothes, folder, after, **kwargs):
    """Leave the checkpoint of a fit that failed after so many epochs."""
    fit = quick(checkpoint_dir=folder, callbacks=[Epochs(os.devnull, after + 1)], **kwargs)
    with pytest.raises(RuntimeError, match="killed"):
        fit.fit(*clothes)
    assert not hasattr(fit, "net_")


# Going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 3])
def test_a_stopped_fit_goes_on_to_the_same_bytes(clothes, tmp_path, every_epoch, reference, after):
    X, y = clothes
    stopped(clothes, tmp_path / "run", after)
    epochs = Epochs(tmp_path / "epochs")
    fit = quick(checkpoint_dir=tmp_path / "run", callbacks=[epochs]).fit(X, y)
    assert epochs.n == 4 - after
    assert content(fit, X) == reference
    assert files(tmp_path / "run") == ["epoch-000003.checkpoint", "epoch-000004.checkpoint", "lock"]
    again = quick(checkpoint_dir=tmp_path / "run", callbacks=[epochs]).fit(X, y)
    assert epochs.n == 4 - after  # a fit that is whole comes back
    assert content(again, X) == reference


def test_what_changes_nothing_may_change(clothes, tmp_path, every_epoch, reference):
    X, y = clothes
    stopped(clothes, tmp_path, 2)
    changed = {"verbose": 0, "on_oom": "split", "data_device": "cpu", "device": "cpu"}
    assert content(quick(checkpoint_dir=tmp_path, **changed).fit(X.copy(), y), X) == reference


def test_more_epochs_go_on_where_the_schedule_allows(clothes, tmp_path):
    X, y = clothes
    options = {"lr_schedule": None, "patience": 9}
    epochs = Epochs(tmp_path / "epochs")
    for max_epochs in (2, 4):
        fit = quick(
            **options, max_epochs=max_epochs, checkpoint_dir=tmp_path / "run", callbacks=[epochs]
        ).fit(X, y)
    assert epochs.n == 4
    assert content(fit, X) == content(quick(**options).fit(X, y), X)
    with pytest.raises(ValueError, match=mentions("'checkpoint_dir'", "max_epochs", 4, 3)):
        quick(**options, max_epochs=3, checkpoint_dir=tmp_path / "run").fit(X, y)
    quick(checkpoint_dir=tmp_path / "cosine").fit(X, y)
    differs = mentions("'checkpoint_dir'", "max_epochs", 4, 5, "lr_schedule=None")
    with pytest.raises(ValueError, match=differs):
        quick(max_epochs=5, checkpoint_dir=tmp_path / "cosine").fit(X, y)


def test_training_that_goes_on_from_a_fit_is_checkpointed_too(clothes, tmp_path, every_epoch):
    X, y = clothes
    uninterrupted, resumed = (quick(warm_start=True).fit(X, y) for _ in range(2))
    uninterrupted.fit(X, y)
    before = content(resumed, X)
    resumed.set_params(checkpoint_dir=tmp_path, callbacks=[Epochs(os.devnull, 3)])
    with pytest.raises(RuntimeError, match="killed"):
        resumed.fit(X, y)
    assert content(resumed, X) == before
    resumed.set_params(callbacks=None).fit(X, y)
    assert content(resumed, X) == content(uninterrupted, X)
    with pytest.raises(ValueError, match=mentions("'checkpoint_dir'", "network")):
        resumed.fit(X, y)


class Validated(Callback):
    """Tells which rows validate."""

    changes_fit = False

    def __init__(self, rows):
        self.rows = rows

    def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
        self.rows.append(dataset_valid.rows.tolist())
        if len(self.rows) == 2:
            raise RuntimeError("killed")


@pytest.mark.parametrize("keeper", ["memory", "checkpoint_dir"])
def test_without_a_seed_the_same_images_stay_set_aside(clothes, tmp_path, every_epoch, keeper):
    rows = []
    fit = quick(random_state=None, callbacks=[Validated(rows)], **{keeper: tmp_path})
    with pytest.raises(RuntimeError, match="killed"):
        fit.fit(*clothes)
    fit.fit(*clothes)
    assert len(rows) == 5
    assert rows == [rows[0]] * 5


# Refusing --------------------------------------------------------------------------------------


def with_a_pixel(X):
    X = X.copy()
    X[7, 3, 3] ^= 1
    return X


@pytest.mark.parametrize(
    ("params", "change", "differs"),
    [
        ({"lr": 0.01}, None, ["lr", "'auto'", 0.01]),
        ({"random_state": 1}, None, ["random_state", 0, 1]),
        ({"n_threads": 2}, None, ["threads", 1, 2]),
        (
            {"augment": "strong", "ema": 0.5},
            None,
            ["augment", "'standard'", "'strong'", "ema", None, 0.5],
        ),
        ({}, lambda X, y: (with_a_pixel(X), y), ["images"]),
        ({}, lambda X, y: (X, y[::-1]), ["labels"]),
        ({}, lambda X, y: (X, y, np.arange(300)), ["sample_weight"]),
    ],
    ids=["lr", "seed", "threads", "augmentation, average", "pixel", "labels", "weights"],
)
def test_another_fit_is_refused_and_what_differs_is_said(
    clothes, tmp_path, params, change, differs
):
    X, y = clothes
    quick(max_epochs=1, checkpoint_dir=tmp_path).fit(X, y)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    other = quick(**{"max_epochs": 1, "checkpoint_dir": tmp_path, **params})
    message = mentions("'checkpoint_dir'", str(tmp_path), *differs, "memory")
    with pytest.raises(ValueError, match=message) as refused:
        other.fit(*(change(X, y) if change else (X, y)))
    same = {"lr", "random_state", "augment", "ema", "sample_weight"} - set(differs)
    assert not [name for name in same if re.search(mentions(name), str(refused.value))]
    assert not hasattr(other, "net_")
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_another_network_and_other_versions_are_refused(clothes, tmp_path, monkeypatch):
    from skcnn.memory import versions

    fit = quick(max_epochs=1, checkpoint_dir=tmp_path).fit(*clothes)
    with pytest.raises(ValueError, match=mentions("CNNClassifier", "LeNetClassifier")):
        lenet(max_epochs=1, checkpoint_dir=tmp_path).fit(*clothes)
    monkeypatch.setattr("skcnn._fit_parts.versions", lambda: {**versions(), "torch": "0.0"})
    with pytest.raises(ValueError, match=mentions("torch", "'0.0'")):
        fit.fit(*clothes)
    write_sealed(tmp_path / "epoch-000001.checkpoint", "skcnn fit 99", b"what is to come")
    with pytest.raises(ValueError, match=mentions("epoch-000001.checkpoint", 99)):
        fit.fit(*clothes)


def test_a_folder_in_use_is_refused(clothes, tmp_path):
    with FileLock(tmp_path / "lock"):
        fit = quick(checkpoint_dir=tmp_path)
        with pytest.raises(ValueError, match=mentions("'checkpoint_dir'", tmp_path, "memory")):
            fit.fit(*clothes)
    fit.fit(*clothes)


def test_a_search_is_told_of_memory(clothes, tmp_path):
    clf = quick(max_epochs=1, checkpoint_dir=tmp_path)
    with pytest.raises(
        ValueError, match=mentions("'checkpoint_dir'", "images", "labels", "memory")
    ):
        GridSearchCV(clf, {"lr": [1e-3, 1e-2]}, cv=2, error_score="raise").fit(*clothes)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"checkpoint_dir": ""}, names("checkpoint_dir", "")),
        ({"checkpoint_dir": __file__}, names("checkpoint_dir", __file__)),
        ({"checkpoint_dir": 3}, names("checkpoint_dir", 3)),
        ({"checkpoint_dir": "a", "memory": "b"}, mentions("'checkpoint_dir'", "memory", "'a'")),
        (
            {"checkpoint_dir": "a", "data_parallel": True},
            mentions("'checkpoint_dir'", "data_parallel=True", "'a'"),
        ),
        (
            {"on_oom": "split", "data_parallel": True},
            mentions("'on_oom'", "data_parallel=True", "'split'"),
        ),
        ({"on_oom": "halve"}, names("on_oom", "halve")),
        ({"max_grad_norm": 0}, names("max_grad_norm", 0)),
        ({"deterministic": "yes"}, names("deterministic", "yes")),
    ],
    ids=[
        "no folder",
        "file",
        "number",
        "memory too",
        "several processes",
        "several processes, split",
        "on_oom",
        "max_grad_norm",
        "deterministic",
    ],
)
def test_what_is_not_allowed_is_an_error_before_training(clothes, params, message):
    with pytest.raises(ValueError, match=message):
        LeNetClassifier(**params).fit(*clothes)


# Failing disks and kills -----------------------------------------------------------------------


def is_folder(descriptor):
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


class FailingDisk:
    """Lets the n-th write, fsync or rename of skcnn's files fail, the write half done."""

    def __init__(self, monkeypatch, n):
        self.n = n
        monkeypatch.setattr("skcnn._files.open", self.open, raising=False)
        fsync, replace = os.fsync, self.failing(os.replace)
        failing = self.failing(fsync)
        monkeypatch.setattr(os, "replace", replace)
        # A folder that cannot be synchronised is no failure: the file is there.
        monkeypatch.setattr(os, "fsync", lambda f: (fsync if is_folder(f) else failing)(f))

    def failing(self, function):
        def call(*args):
            self.n -= 1
            if self.n == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args)

        return call

    def open(self, *args):
        file = open(*args)  # noqa: SIM115
        write = self.failing(file.write)

        class Half:
            """What an open file does here."""

            __enter__ = lambda self: self  # noqa: E731
            __exit__ = lambda self, *error: file.close()  # noqa: E731
            flush = file.flush
            fileno = file.fileno

            def writelines(self, parts):
                parts = list(map(bytes, parts))
                file.write(parts[0])
                write(b"".join(parts[1:]))

        return Half()


def failure_of(fit, X, y):
    try:
        fit.fit(X, y)
    except OSError as error:
        return error
    return None


def test_whichever_write_fails_raises_and_leaves_a_checkpoint_to_go_on_from(
    clothes, tmp_path, every_epoch, reference
):
    X, y = clothes
    n_failures = 0
    while True:
        folder = tmp_path / str(n_failures)
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = FailingDisk(monkeypatch, n_failures + 1)
            fit = quick(checkpoint_dir=folder)
            error = failure_of(fit, X, y)
        if error is None:
            break
        assert error.errno == errno.ENOSPC
        assert error.filename == str(folder)
        epoch = n_failures // 3 + 1  # of three steps each: write, fsync, rename
        assert re.search(mentions(epoch, os.strerror(errno.ENOSPC)), str(error))
        n_failures += 1
        assert not hasattr(fit, "net_")
        states = [name for name in files(folder) if name != "lock"]
        assert len(states) >= min(2, epoch - 1)
        for name in states:
            n_epochs = len(read_record(folder / name)["state"]["history"])
            assert name == f"epoch-{n_epochs:06}.checkpoint"
        if n_failures % 3 == 2:  # goes on from each epoch, in turn
            assert content(quick(checkpoint_dir=folder).fit(X, y), X) == reference
    assert n_failures == 12
    assert disk.n == 1  # as many steps as failures, and not one more
    assert content(fit, X) == reference


class Does(Callback):
    """Calls a function after the third epoch."""

    changes_fit = False  # it need not have a name

    def __init__(self, function):
        self.function = function

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 3:
            self.function()


def test_what_is_kept_of_an_epoch_does_not_grow_with_its_batches(clothes, tmp_path, every_epoch):
    stopped(clothes, tmp_path, 3, batch_size=2)
    *_, path = (name for name in files(tmp_path) if name != "lock")
    history = read_record(tmp_path / path)["state"]["history"]
    assert [epoch["batches"] for epoch in history] == [[], [], []]
    assert all(epoch["train_batch_count"] > 10 for epoch in history)


def test_a_relative_folder_is_the_same_wherever_a_callback_goes(
    clothes, tmp_path, every_epoch, monkeypatch
):
    (tmp_path / "begin").mkdir()
    monkeypatch.chdir(tmp_path / "begin")
    quick(checkpoint_dir="run", callbacks=[Does(lambda: os.chdir(tmp_path))]).fit(*clothes)
    assert files(tmp_path / "begin" / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_gone_is_called_so(clothes, tmp_path, every_epoch):
    folder = tmp_path / "run"
    removes = Does(lambda: shutil.rmtree(folder))
    error = failure_of(quick(checkpoint_dir=folder, callbacks=[removes]), *clothes)
    assert isinstance(error, FileNotFoundError)
    assert error.filename == str(folder)


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.UnusedEntryWarning")  # each file has one
@pytest.mark.parametrize("n_damaged", [1, 2])
def test_a_damaged_file_is_warned_of_and_the_one_before_used(
    clothes, tmp_path, every_epoch, reference, n_damaged
):
    X, y = clothes
    stopped(clothes, tmp_path / "run", 3)
    for number in (3, 2)[:n_damaged]:
        path = tmp_path / "run" / f"epoch-00000{number}.checkpoint"
        path.write_bytes(path.read_bytes()[:-100])
    epochs = Epochs(tmp_path / "epochs")
    with pytest.warns(UnusedEntryWarning, match=mentions("epoch-000003.checkpoint")):
        fit = quick(checkpoint_dir=tmp_path / "run", callbacks=[epochs]).fit(X, y)
    assert epochs.n == (2 if n_damaged == 1 else 4)
    assert content(fit, X) == reference


def test_what_a_kill_left_is_removed_and_what_is_others_stays(clothes, tmp_path, every_epoch):
    stopped(clothes, tmp_path, 3)
    newest = tmp_path / "epoch-000003.checkpoint"
    (tmp_path / "epoch-000001.checkpoint").write_bytes(newest.read_bytes())
    (tmp_path / "epoch-000004.checkpoint.12-ab.partial").touch()
    (tmp_path / "notes.partial").touch()
    with pytest.raises(RuntimeError, match="killed"):
        quick(checkpoint_dir=tmp_path, callbacks=[Epochs(os.devnull, 4)]).fit(*clothes)
    kept = ["epoch-000002.checkpoint", "epoch-000003.checkpoint", "lock", "notes.partial"]
    assert files(tmp_path) == kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
@pytest.mark.parametrize(
    "arguments",
    [("kill_checkpoints.py", "--kills", "4"), ("resume.py", "--points", "2")],
    ids=lambda a: a[0],
)
def test_kills_leave_what_a_fit_goes_on_from(arguments):
    script, *options = arguments
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(STRESS / script), *options],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert run.returncode == 0, run.stdout + run.stderr


# What it costs ---------------------------------------------------------------------------------


def state_after(n_epochs, stopped=False):
    return {"history": [{}] * n_epochs, "stopped": stopped}


@pytest.mark.parametrize(("seconds", "most"), [(0.01, 0.035), (0.2, 0.035), (60.0, math.inf)])
def test_writing_takes_a_bounded_share_of_a_fit(tmp_path, monkeypatch, seconds, most):
    now = [0.0]
    monkeypatch.setattr(_checkpoint.time, "perf_counter", lambda: now[0])
    written = []

    def write(self, path, state):
        now[0] += seconds
        written.append(len(state["history"]))

    monkeypatch.setattr(_checkpoint.Checkpoint, "_write", write)
    fit = FitIdentity({"class": Part.of(int)}, 200, extendable=True, seeds=(0, 0))
    checkpoint = _checkpoint.Checkpoint(tmp_path, fit)
    for n_epochs in range(1, 201):
        now[0] += 1.0  # of training
        checkpoint.write(state_after(n_epochs))
    assert written[0] == 1
    assert written[-1] == 200
    assert len(written) * seconds / now[0] <= max(most, 2 * seconds / now[0])
    if seconds == 0.01:
        assert written == list(range(1, 201))
    if seconds == 60:
        assert written == [1, 200]
