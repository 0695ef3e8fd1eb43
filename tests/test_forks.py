"""Forked processes, which have neither the threads nor the unlocking threads of their parents."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")

SCRIPT = """
import multiprocessing, os, sys, threading, warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skcnn import ImageFiles, LeNetClassifier
from skcnn.images import _cache, _decoding
from skcnn.training import devices, reproducibility

warnings.simplefilter("ignore", DeprecationWarning)  # of forks of processes with threads
torch.set_num_threads(2)
folder = Path(sys.argv[1])
X = np.random.default_rng(0).integers(0, 256, (300, 32, 32), dtype=np.uint8)
y = np.arange(300) % 2
paths = []
for i, pixels in enumerate(X[:40]):
    paths.append(folder / f"{i}.png")
    Image.fromarray(pixels).save(paths[-1])


def new():
    return LeNetClassifier(max_epochs=1, early_stopping=False, random_state=0)


clf = new().fit(X, y)
proba = clf.predict_proba(X)  # with the threads of a pool, which no child has
paths_of_parent = ImageFiles(paths[:20]).decode()


def predict():
    np.testing.assert_allclose(clf.predict_proba(X), proba, rtol=0, atol=1e-6)
    clf.transform(X)


def predict_with_threads():
    clf.n_threads = 2
    predict()


def fit():
    again = new().fit(X, y)
    np.testing.assert_allclose(again.predict_proba(X), proba, rtol=0, atol=1e-2)
    assert torch.get_num_threads() == 1


def decode():
    np.testing.assert_array_equal(np.asarray(ImageFiles(paths)), X[:40])
    np.testing.assert_array_equal(np.asarray(paths_of_parent), X[:20])
    np.testing.assert_allclose(clf.predict_proba(paths), proba[:40], rtol=0, atol=1e-6)


def fit_in_another_thread():
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()


def answers(target):
    child = multiprocessing.get_context("fork").Process(target=target)
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
        return False
    return child.exitcode == 0


tasks = (predict, predict_with_threads, fit, decode, fit_in_another_thread)
failed = [task.__name__ for task in tasks if not answers(task)]

# What other threads of the parent hold as it forks: for good, or as long as the fork waits.
locks = {
    "room to decode": (_decoding._decoded_at_once.room_for(_decoding.MAX_PIXELS), None),
    "random generators": (reproducibility.seeded_generators(0, torch.device("cpu")), None),
    "Pillow's limit": (_decoding._without_pillow_limit(), 0.5),
    "numbers of threads": (devices._numbers_of_threads, 0.5),
    "file of pixels": (_cache._locked(folder / "lock"), 0.5),
}


def take_the_lock():
    with _cache._locked(folder / "lock"):
        decode()
        fit()
    assert Image.MAX_IMAGE_PIXELS == _decoding.MAX_PIXELS


for name, (lock, seconds) in locks.items():
    taken, let_go = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            let_go.wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    if not answers(take_the_lock):
        failed.append(name)
    let_go.set()
    thread.join()

# A child that goes on after a lock was held lets go of it, as its parent does.
held = _cache._locked(folder / "lock")
held.__enter__()
child = os.fork()
if child == 0:
    signal = threading.Event()
    signal.wait(5)
    os._exit(0)
held.__exit__(None, None, None)
import fcntl
with open(folder / "lock", "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # though the child has the file open
os.kill(child, 9)
os.waitpid(child, 0)
print(failed)
sys.exit(len(failed))
"""


def test_a_forked_process_predicts_fits_and_decodes(tmp_path):
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
