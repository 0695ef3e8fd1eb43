"""Losses that explode, memory that runs out, and algorithms that must repeat."""

import copy
import math
import pickle
import re
from functools import partial

import numpy as np
import pytest
import torch
from helpers.fits import content
from helpers.messages import mentions
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from torch import nn

from skcnn import CNNClassifier
from skcnn.exceptions import DivergenceError, MicroBatchWarning
from skcnn.training.devices import deterministic_algorithms
from skcnn.training.micro_batches import MicroBatches


class Linear(nn.Sequential):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))


class OneLayer(nn.Sequential):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))


class Normalised(nn.Sequential):
    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))


def quick(module=Linear, **kwargs):
    settings = {"batch_size": 50, "max_epochs": 4, "early_stopping": False, "lr_schedule": None}
    return CNNClassifier(module=module, **{**settings, "random_state": 0, **kwargs})


# Divergence ------------------------------------------------------------------------------------


class Spoils(Callback):
    """Makes a weight, or the running statistics, NaN when a batch of an epoch begins or ends."""

    changes_fit = False

    def __init__(self, epoch, batch, hook="on_batch_begin", what="weight"):
        self.epoch = epoch
        self.batch = batch
        self.hook = hook
        self.what = what

    def on_batch_begin(self, net, training=False, **kwargs):
        self.spoil(net, training, "on_batch_begin")

    def on_batch_end(self, net, training=False, **kwargs):
        self.spoil(net, training, "on_batch_end")

    def spoil(self, net, training, hook):
        n_batches = len(net.history[-1]["batches"])
        if (
            training
            and hook == self.hook
            and (len(net.history), n_batches)
            == (
                self.epoch,
                self.batch,
            )
        ):
            values = {**dict(net.module_.named_parameters()), **dict(net.module_.named_buffers())}
            next(v for name, v in values.items() if name.endswith(self.what)).data[0] = math.nan


def left_by(fit, X, y):
    with pytest.raises(DivergenceError) as caught:
        fit.fit(X, y)
    return caught.value


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"ema": 0.9}], ids=str)
def test_a_fit_that_diverges_is_left_after_its_last_good_epoch(clothes, options):
    X, y = clothes
    fit = quick(callbacks=[Spoils(3, 4)], **options)
    error = left_by(fit, X, y)
    assert (error.epoch, error.batch, error.lr, error.n_good_epochs) == (3, 4, 1e-3, 2)
    assert re.search(mentions("nan", 3, 4, "lr=0.001", "max_grad_norm"), str(error))
    copied = pickle.loads(pickle.dumps(error))  # as a worker sends it
    assert (str(copied), vars(copied)) == (str(error), vars(error))
    shorter = quick(max_epochs=2, **{**options, "patience": 1, "early_stopping": False})
    if "early_stopping" in options:  # the same split, but no choice of an epoch
        assert [epoch["epoch"] for epoch in fit.history_] == [1, 2]
        assert fit.best_epoch_ == 2
        assert np.isfinite(fit.predict_proba(X)).all()
    else:
        assert content(fit, X) == content(shorter.fit(X, y), X)
    assert not fit.net_.optimizer_.state  # nothing of what went wrong


def test_with_early_stopping_too_the_weights_are_those_of_the_last_good_epoch(clothes):
    X, y = clothes
    weights = []

    class Keep(Callback):
        def on_epoch_end(self, net, **kwargs):
            weights.append(copy.deepcopy(net.module_.state_dict()))

    fit = quick(early_stopping=True, callbacks=[Keep(), Spoils(3, 1)])
    left_by(fit, X, y)
    for name, value in fit.module_.state_dict().items():
        assert torch.equal(value, weights[1][name])


def test_a_fit_that_diverges_at_once_stays_as_it_was(clothes):
    X, y = clothes
    fit = quick(lr=1e6, optimizer="sgd")
    error = left_by(fit, X, y)
    assert (error.epoch, error.n_good_epochs) == (1, 0)
    assert not hasattr(fit, "net_")
    fit.set_params(lr=1e-3).fit(X, y)
    before = content(fit, X)
    for call in (fit.fit, fit.partial_fit, fit.set_params(warm_start=True).fit):
        fit.set_params(lr=1e6)
        with pytest.raises(DivergenceError):
            call(X, y)
        assert content(fit, X) == before


def test_training_that_goes_on_counts_its_epochs(clothes):
    X, y = clothes
    fit = quick(max_epochs=2).fit(X, y).set_params(warm_start=True, callbacks=[Spoils(2, 1)])
    error = left_by(fit, X, y)
    assert (error.epoch, error.n_good_epochs) == (4, 1)
    assert fit.n_epochs_ == fit.best_epoch_ == 3
    assert re.search(mentions(3), str(error))  # the last good one
    fit.set_params(callbacks=None).partial_fit(X, y)  # goes on from there
    assert np.isfinite(fit.predict_proba(X)).all()


@pytest.mark.parametrize(
    "spoils",
    [
        Spoils(2, 6, "on_batch_end"),
        Spoils(2, 6, "on_batch_end", "running_var"),
        Spoils(2, 2, "on_batch_end", "running_var"),
    ],
    ids=["weight", "statistics", "statistics on the way"],
)
def test_what_no_training_loss_shows_is_found_at_the_end_of_the_epoch(clothes, spoils):
    fit = quick(Normalised, max_epochs=2, callbacks=[spoils])
    error = left_by(fit, *clothes)
    assert (error.epoch, error.batch, error.n_good_epochs) == (2, 6, 1)  # 6 is the last batch
    assert fit.n_epochs_ == 1
    assert np.isfinite(fit.predict_proba(clothes[0])).all()


def test_weights_that_are_only_huge_are_none_that_diverged(clothes):
    class Grows(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.module_.spare.data.fill_(3e38)  # two of which have an infinite sum

    class Spare(nn.Sequential):
        def __init__(self, in_channels=1, n_classes=10):
            super().__init__(nn.Flatten(), nn.Linear(784, n_classes))
            self.spare = nn.Parameter(torch.zeros(5))

    fit = quick(Spare, max_epochs=3, callbacks=[Grows()]).fit(*clothes)
    assert fit.n_epochs_ == 3
    assert np.isfinite(fit.predict_proba(clothes[0])).all()


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_gives_no_numbers_is_an_error(clothes, method, value):
    X, y = clothes
    fit = quick(max_epochs=1).fit(X, y)
    with torch.no_grad():
        fit.module_.get_parameter([*dict(fit.module_.named_parameters())][-1])[0] = value
    with pytest.raises(ValueError, match=mentions("CNNClassifier", "X[0]")):
        getattr(fit, method)(X)


class TooLarge(nn.Sequential):
    """Overflows on images that no training image is like."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, x):
        return super().forward(x) * torch.where(x.amax((1, 2, 3)) > 9, math.inf, 1.0)[:, None]


def test_a_validation_loss_that_is_not_finite_is_an_error(clothes):
    X, y = clothes
    X_val = X[:20].astype(np.float32)
    X_val[3, 3, 3] = 1e5
    fit = quick(TooLarge, normalize=False, early_stopping=True)
    with pytest.raises(DivergenceError, match=mentions("validation", 1)):
        fit.fit((X / 255).astype(np.float32), y, X_val=X_val / 255, y_val=y[:20])


def test_a_long_epoch_does_not_run_to_its_end(clothes, monkeypatch):
    monkeypatch.setattr("skcnn.training.divergence._LOSSES_AT_ONCE", 2)
    n_batches = []

    class Count(Callback):
        def on_batch_end(self, net, **kwargs):
            n_batches.append(1)

    error = left_by(quick(callbacks=[Spoils(1, 3), Count()]), *clothes)
    assert error.batch == 3
    assert len(n_batches) == 3  # of six: the fourth loss was not waited for any longer


def test_a_search_counts_a_fit_that_diverges_as_failed(clothes):
    search = GridSearchCV(quick(optimizer="sgd"), {"lr": [1e6, 1e-2]}, cv=2, error_score=np.nan)
    with (
        pytest.warns(FitFailedWarning, match="2 fits failed"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(*clothes)
    assert search.best_params_ == {"lr": 1e-2}
    assert np.isnan(search.cv_results_["mean_test_score"][0])


def test_a_checkpoint_before_the_divergence_is_gone_on_from(clothes, tmp_path, monkeypatch):
    X, y = clothes
    monkeypatch.setattr("skcnn.memory._checkpoint._SHARE_OF_FIT", math.inf)
    error = left_by(quick(checkpoint_dir=tmp_path, callbacks=[Spoils(3, 1)]), X, y)
    assert error.n_good_epochs == 2
    again = quick(checkpoint_dir=tmp_path, callbacks=[Spoils(3, 2)])
    assert left_by(again, X, y).n_good_epochs == 2  # none of which this fit trained
    assert again.n_epochs_ == 2
    fit = quick(checkpoint_dir=tmp_path).fit(X, y)
    assert content(fit, X) == content(quick().fit(X, y), X)


# Clipping --------------------------------------------------------------------------------------


def first_step(clothes, **options):
    """Weights before and after one step of plain descent at rate 1: their difference is it."""
    X, y = clothes
    before = []

    class Keep(Callback):
        def on_batch_begin(self, net, **kwargs):
            before.append([p.detach().clone() for p in net.module_.parameters()])

    settings = {"optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "max_epochs": 1, "batch_size": 300}
    fit = quick(**{**settings, "callbacks": [Keep()], **options}).fit(X, y)
    after = [p.detach() for p in fit.module_.parameters()]
    return torch.cat([(b - a).flatten() for b, a in zip(before[0], after, strict=True)])


@pytest.mark.parametrize("share", [0.1, 2.0])
def test_gradients_are_scaled_down_to_the_norm_and_never_up(clothes, share):
    gradient = first_step(clothes, module=OneLayer)
    limit = share * gradient.norm().item()
    clipped = first_step(clothes, module=OneLayer, max_grad_norm=limit)
    # A sum of 8,000 squares in float32, and differences of weights near 0.04 rounded at 2e-9.
    torch.testing.assert_close(clipped, min(1, share) * gradient, rtol=1e-4, atol=1e-8)


# Memory ----------------------------------------------------------------------------------------


class Narrow(Linear):
    """Has no memory for more than a number of images, neither forward nor, later, backward."""

    fits_in = 7

    def forward(self, x):
        if self.training and len(x) > self.fits_in:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x)


class NarrowBackward(nn.Module):
    """Runs out of memory after the whole forward pass, once statistics and masks were drawn."""

    def __init__(self, in_channels=1, n_classes=10, fits_in=10):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 10)
        )
        self.fits_in = fits_in

    def forward(self, x):
        y_pred = self.layers(x)
        if self.training and len(x) > self.fits_in:
            y_pred.register_hook(self.fail)
        return y_pred

    def fail(self, gradient):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "balanced", "label_smoothing": 0.1},
        {"mixing": "mixup", "augment": "strong", "class_weight": "balanced"},
        {"max_grad_norm": 0.1},
    ],
    ids=str,
)
def test_a_batch_in_parts_gives_the_step_of_the_whole(clothes, options):
    whole = first_step(clothes, **options)
    with pytest.warns(MicroBatchWarning, match=mentions(300, 5, "on_oom='split'")):
        parts = first_step(clothes, module=Narrow, on_oom="split", **options)
    # Sums of 300 losses in another order, in float32: differences of a few 1e-7 of the largest.
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


def test_the_rest_of_the_fit_keeps_to_the_parts_and_repeats(clothes):
    X, y = clothes
    module = partial(NarrowBackward, fits_in=10)
    with pytest.warns(MicroBatchWarning) as caught:
        fit = quick(module, on_oom="split", augment="standard").fit(X, y)
    (warning,) = (w for w in caught if w.category is MicroBatchWarning)
    assert re.search(mentions(50, 7), str(warning.message))  # 50, 25, 13, 7
    # As if it had been known from the start: a failed attempt leaves no draw and no statistics.
    known = quick(module, on_oom="split", augment="standard")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(MicroBatches, "n_rows", 7, raising=False)
        monkeypatch.setattr(MicroBatches, "__init__", knows_its_rows)
        known.fit(X, y)
    assert content(known, X) == content(fit, X)
    assert fit.module_.layers[2].num_batches_tracked == 4 * 6 * 8  # epochs, batches, parts


def knows_its_rows(self, network, device):
    self.network, self.device, self._fewest = network, device, 2


def test_a_fit_that_goes_on_keeps_to_the_parts(clothes, tmp_path, monkeypatch):
    X, y = clothes
    monkeypatch.setattr("skcnn.memory._checkpoint._SHARE_OF_FIT", math.inf)
    fits = {}
    for name in ("whole", "stopped"):
        fit = quick(NarrowBackward, on_oom="split", checkpoint_dir=tmp_path / name)
        if name == "stopped":
            fit.set_params(callbacks=[Spoils(3, 1)])
            with pytest.warns(MicroBatchWarning):
                left_by(fit, X, y)
            fits[name] = fit.set_params(callbacks=None).fit(X, y)  # without another warning
        else:
            with pytest.warns(MicroBatchWarning):
                fits[name] = fit.fit(X, y)
    assert content(fits["stopped"], X) == content(fits["whole"], X)


@pytest.mark.parametrize(("module", "smallest"), [(Narrow, 1), (NarrowBackward, 2)])
def test_where_not_even_the_smallest_part_fits_it_is_a_memory_error(
    clothes, monkeypatch, module, smallest
):
    monkeypatch.setattr(Narrow, "fits_in", 0)
    module = Narrow if module is Narrow else partial(NarrowBackward, fits_in=0)
    fit = quick(module, on_oom="split")
    with pytest.raises(MemoryError, match=mentions("batch_size", 50)):
        fit.fit(*clothes)
    with pytest.raises(MemoryError, match=mentions("batch_size", 50, "on_oom='split'")):
        quick(module).fit(*clothes)
    assert not hasattr(fit, "net_")


@pytest.mark.parametrize("n", [1, 2, 5, 50])
@pytest.mark.parametrize("n_rows", [None, 1, 2, 7, 100])
def test_parts_cover_a_batch_and_leave_none_alone(n, n_rows):
    batches = MicroBatches(nn.BatchNorm1d(1), torch.device("cpu"))
    batches.n_rows = n_rows
    parts = batches.parts(n)
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert min(sizes) >= min(n, 2)
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(3, n_rows or n)


# Algorithms that repeat ------------------------------------------------------------------------


class Algorithms(Callback):
    def __init__(self):
        self.seen = []

    def on_batch_end(self, net, **kwargs):
        self.seen.append(
            (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark)
        )


def test_deterministic_holds_in_a_fit_and_in_predictions_and_not_after(clothes):
    X, y = clothes
    algorithms = Algorithms()
    fit = quick(max_epochs=2, deterministic=True, callbacks=[algorithms]).fit(X, y)
    assert set(algorithms.seen) == {(True, False)}
    assert not torch.are_deterministic_algorithms_enabled()
    seen = []
    fit.module_.register_forward_hook(
        lambda *args: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    fit.predict(X[:3])
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="else"), deterministic_algorithms(torch.device("cpu")):
        raise RuntimeError("something else")
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_layer_without_such_an_algorithm_is_an_error_that_names_it():
    with (
        pytest.raises(
            ValueError, match=mentions("'deterministic'", "adaptive_avg_pool2d_backward_cuda")
        ),
        deterministic_algorithms(torch.device("cpu")),
    ):
        raise RuntimeError(
            "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but "
            "you set 'torch.use_deterministic_algorithms(True)'."
        )


@pytest.mark.parametrize("setting", [None, ":0:0", ":16:8"], ids=str)
@pytest.mark.parametrize("in_use", [False, True], ids=["fresh", "in use"])
def test_cublas_is_told_in_time_or_it_is_an_error(monkeypatch, setting, in_use):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", setting)

    def enter():
        with deterministic_algorithms(torch.device("cuda")):
            import os

            return os.environ["CUBLAS_WORKSPACE_CONFIG"]

    if setting == ":16:8":
        assert enter() == ":16:8"
    elif setting is None and not in_use:
        assert enter() == ":4096:8"
    else:
        message = mentions("'deterministic'", "CUBLAS_WORKSPACE_CONFIG", repr(setting))
        with pytest.raises(ValueError, match=message):
            enter()
