"""Fits side by side: on threads, devices and machines of their own, with the scores of one."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.model_selection import GridSearchCV, cross_validate
from skorch.callbacks import Callback

from skcnn import LeNetClassifier
from skcnn.training.devices import resolve_device, worker_number

pytestmark = pytest.mark.xdist_group("workers")  # which are started once

ROOT = Path(__file__).parents[1]


def lenet(**kwargs):
    return LeNetClassifier(**{"max_epochs": 1, "n_threads": 1, "random_state": 0, **kwargs})


def where(kind):
    """Number of this worker, and its threads."""
    time.sleep(0.5)  # so that each of two workers has something to do
    return kind, worker_number(), torch.get_num_threads()


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_workers_are_numbered_and_share_the_threads(backend):
    assert worker_number() is None
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(where)(n) for n in range(2))
    numbers = [number for _, number, _ in found]
    assert None not in numbers
    assert len(set(numbers)) == 2
    if backend == "loky":
        n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        assert all(n_threads <= max(1, n_cores // 2) for _, _, n_threads in found)


@pytest.fixture
def several_gpus(monkeypatch):
    """Three CUDA devices, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("MainProcess", None),
        ("LokyProcess-1", 1),
        ("LokyProcess-6", 0),
        ("ForkPoolWorker-2", 2),
        ("ForkPoolWorker-7:4", 1),
    ],
)
def test_workers_take_one_device_each_in_turn(several_gpus, monkeypatch, name, index):
    monkeypatch.setattr(multiprocessing.current_process(), "_name", name)
    assert resolve_device("auto", "Est") == torch.device("cuda", index)
    assert resolve_device("cuda:1", "Est") == torch.device("cuda:1")


def test_what_a_worker_returns_arrives_on_the_cpu(tops_and_bags, monkeypatch):
    net = lenet(early_stopping=False).fit(*tops_and_bags).net_
    net.device = "cuda"
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "MainProcess")
    assert net.__getstate__()["device"] == "cuda"
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    assert net.__getstate__()["device"] == "cpu"


def test_nothing_asks_for_cuda_before_a_fit():
    # Processes that are forked after CUDA was asked for cannot use it.
    script = """
import torch
def refuse(*args): raise AssertionError("CUDA was asked for")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = refuse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
import skcnn
for name in skcnn.__all__:
    thing = getattr(skcnn, name)
    if name.endswith("Classifier") and name != "CNNClassifier":
        repr(clone(thing()))
GridSearchCV(skcnn.LeNetClassifier(), {"lr": [1e-3]})
"""
    subprocess.run(
        [sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_searches_are_the_same_for_every_number_of_workers(clothes):
    """Though workers are given the images as a file that they may not write to."""
    X, y = clothes[0] / 255.0, clothes[1]  # so large that joblib maps a file
    clf = lenet(augment="standard")
    searches = [
        GridSearchCV(clf, {"lr": [1e-4, 5e-3], "batch_size": [32, 64]}, cv=2, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    first, second = (search.fit(X, y) for search in searches)
    for split in ("split0_test_score", "split1_test_score"):
        assert (first.cv_results_[split] == second.cv_results_[split]).all()
    assert first.best_params_ == second.best_params_
    assert first.predict_proba(X).tobytes() == second.predict_proba(X).tobytes()


class Dies(Callback):
    """Ends the process in the middle of a fit whose learning rate is too high."""

    changes_fit = False

    def on_epoch_end(self, net, **kwargs):
        if net.lr > 1:
            os._exit(1)


def test_a_worker_that_dies_is_an_error_soon(clothes, tmp_path):
    clf = lenet(memory=tmp_path, callbacks=[Dies()])
    start = time.monotonic()
    with pytest.raises(TerminatedWorkerError):
        GridSearchCV(clf, {"lr": [1e-3, 5e-3, 2]}, cv=2, n_jobs=2).fit(*clothes)
    assert time.monotonic() - start < 60  # what is promised; it takes seconds
    # What was finished is kept.
    n_kept = len(list(tmp_path.rglob("output.pkl")))
    assert n_kept >= 1
    clf.set_params(callbacks=None)
    results = cross_validate(clf, *clothes, cv=2, n_jobs=2, return_estimator=True)
    assert all(fitted.device_ == torch.device("cpu") for fitted in results["estimator"])


def test_a_search_on_a_dask_cluster_has_the_scores_of_one_process(tmp_path):
    pytest.importorskip("distributed")
    script = ROOT / "examples" / "distributed" / "dask_search.py"
    run = subprocess.run(
        [sys.executable, str(script), "--quick", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert "on 2 workers" in run.stdout
    assert run.stdout.count("identical") == 2
    assert "DIFFERENT" not in run.stdout
    assert (tmp_path / "results.json").stat().st_size > 1000
