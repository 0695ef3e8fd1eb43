"""Who interrupts a fit: callbacks end it, as in skorch; Ctrl-C changes nothing."""

import _thread
import os
import signal
import threading
import time

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping

from skcnn import LeNetClassifier

X = np.random.default_rng(0).integers(0, 256, size=(60, 12, 12), dtype=np.uint8)
y = np.arange(60) % 2


def lenet(*callbacks, **kwargs):
    settings = {"batch_size": 16, "max_epochs": 4, "n_threads": 1, "random_state": 0}
    return LeNetClassifier(callbacks=list(callbacks), **{**settings, **kwargs})


class Does(Callback):
    """Calls a function at the `at`-th call of a hook, 1 being the first."""

    def __init__(self, hook, function, at=2):
        self.hook = hook
        self.function = function
        self.at = at
        self.n_calls = 0

    def _count(self, *args, **kwargs):
        self.n_calls += 1
        if self.n_calls == self.at:
            self.function()

    def __new__(cls, hook, *args):
        return super().__new__(type(cls.__name__, (cls,), {hook: cls._count}))


class Rates(Callback):
    """Notes the learning rate of each fit, in a list that clones share."""

    def __init__(self, rates):
        self.rates = rates

    __sklearn_clone__ = lambda self: self  # noqa: E731

    def on_train_begin(self, net, **kwargs):
        self.rates.append(net.lr)


def stop():
    raise KeyboardInterrupt


def stop_again():
    try:
        stop()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("time is up") from None


def sleep():
    for _ in range(1000):
        time.sleep(0.01)


def press_ctrl_c():
    signal.raise_signal(signal.SIGINT)


def press_while_busy():
    _thread.interrupt_main()
    sum(n for n in range(1000))


def press_while_asleep():
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    sleep()


def press_and_clean_up():
    try:
        press_ctrl_c()
    except KeyboardInterrupt:
        raise KeyboardInterrupt  # noqa: B904
    finally:
        sum(range(10))


def own_handler(number, frame):
    raise KeyboardInterrupt("by a handler in Python")


class OwnHandler:
    def __call__(self, number, frame):
        stop()

    def handle(self, number, frame):
        stop()


@pytest.fixture(autouse=True)
def sigint():
    """Let SIGINT raise, which shells have background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Hook, and how many epochs there are after its second call.
HOOKS = {
    "on_epoch_begin": 1,
    "on_batch_begin": 1,
    "on_grad_computed": 1,
    "on_batch_end": 1,
    "on_epoch_end": 2,
}


@pytest.mark.parametrize("function", [stop, stop_again])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("options", [{}, {"ema": 0.5, "early_stopping": False}], ids=str)
def test_a_callback_ends_a_fit_which_is_kept(hook, function, options):
    clf = lenet(Does(hook, function), **options).fit(X, y)
    assert clf.n_epochs_ == len(clf.history_) == HOOKS[hook]
    assert [epoch["epoch"] for epoch in clf.history_] == [*range(1, clf.n_epochs_ + 1)]
    assert {name for epoch in clf.history_ for name in epoch} == set(clf.history_[-1])
    assert 1 <= clf.best_epoch_ <= clf.n_epochs_
    assert np.isfinite(clf.predict_proba(X)).all()
    if hook.startswith("on_epoch"):  # and no batch is missing
        whole = lenet(max_epochs=HOOKS[hook], lr_schedule=None, **options).fit(X, y)
        ended = lenet(Does(hook, function), lr_schedule=None, **options).fit(X, y)
        assert whole.predict_proba(X).tobytes() == ended.predict_proba(X).tobytes()


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin"])
def test_before_the_first_batch_there_is_no_fit_to_keep(hook):
    clf = lenet(Does(hook, stop, 1))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert not hasattr(clf, "net_")


PRESSES = [press_ctrl_c, press_while_busy, press_while_asleep, press_and_clean_up]


@pytest.mark.parametrize("press", PRESSES)
@pytest.mark.parametrize("hook", HOOKS)
def test_ctrl_c_in_a_callback_changes_nothing(hook, press):
    clf = lenet().fit(X, y)
    before = clf.__dict__.copy(), clf.predict_proba(X).tobytes()
    clf.callbacks = [Does(hook, press)]
    for call in (clf.fit, clf.partial_fit):
        clf.callbacks[0].n_calls = 1
        with pytest.raises(KeyboardInterrupt):
            call(X, y)
    assert ({**clf.__dict__, "callbacks": []}, clf.predict_proba(X).tobytes()) == before


@pytest.mark.parametrize(
    "handler",
    [own_handler, OwnHandler(), OwnHandler().handle],
    ids=["function", "object", "method"],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_with_a_handler_in_python_are_the_users_too(handler, number):
    before = signal.signal(number, handler)
    try:
        clf = lenet(Does("on_batch_end", lambda: signal.raise_signal(number)))
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, y)
    finally:
        signal.signal(number, before)
    assert not hasattr(clf, "net_")


def test_ctrl_c_outside_callbacks_changes_nothing_and_stops_a_search():
    def augment(x):
        press_ctrl_c()
        return x

    clf = lenet(augment=augment)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert not hasattr(clf, "net_")
    rates = []
    search = GridSearchCV(lenet(Rates(rates), augment=augment), {"lr": [1e-3, 1e-2]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert rates == [1e-3]


def test_a_fit_while_an_earlier_interrupt_is_handled_stops_early_as_ever():
    try:
        press_ctrl_c()
    except KeyboardInterrupt:
        clf = lenet(Does("on_epoch_end", stop)).fit(X, y)
    assert clf.n_epochs_ == 2


def test_callbacks_end_fits_in_threads():
    fits = [lenet(Does("on_epoch_end", stop, at)) for at in (1, 2, 3)]
    threads = [threading.Thread(target=fit.fit, args=(X, y)) for fit in fits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fit.n_epochs_ for fit in fits] == [1, 2, 3]


def test_early_stopping_of_skorch_ends_a_fit_beside_ours():
    stopping = EarlyStopping("train_loss", patience=1, threshold=0.99)
    for early_stopping in (True, False):
        clf = lenet(stopping, max_epochs=9, patience=9, early_stopping=early_stopping).fit(X, y)
        assert clf.n_epochs_ < 9


@pytest.mark.parametrize("keeper", ["memory", "checkpoint_dir"])
def test_a_fit_that_a_callback_ended_is_kept_as_that(tmp_path, keeper):
    fits = [lenet(Stops(), **{keeper: tmp_path / "a"}).fit(X, y) for _ in range(2)]
    assert [fit.n_epochs_ for fit in fits] == [2, 2]
    assert fits[0].predict_proba(X).tobytes() == fits[1].predict_proba(X).tobytes()
    # One that claims to change no fit only puts it off.
    put_off = lenet(Stops(changes_fit=False), **{keeper: tmp_path / "b"}).fit(X, y)
    assert put_off.n_epochs_ == 2
    resumed = lenet(**{keeper: tmp_path / "b"}).fit(X, y)
    assert resumed.n_epochs_ == 4
    assert resumed.predict_proba(X).tobytes() == lenet().fit(X, y).predict_proba(X).tobytes()


class Stops(Callback):
    """Ends a fit in the middle of its second epoch."""

    def __init__(self, changes_fit=True):
        self.changes_fit = changes_fit

    def on_batch_end(self, net, training, **kwargs):
        if len(net.history) == 2 and training:
            raise KeyboardInterrupt
