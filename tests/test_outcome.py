"""Fits that end without an error and went wrong: which of them are warned of, and which are not."""

import math
import warnings

import numpy as np
import pytest
from helpers.images import dim_and_bright
from helpers.messages import mentions
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.exceptions import ChanceLevelWarning, DivergenceError, StillImprovingWarning
from skcnn.training.outcome import (
    ChanceLevel,
    is_at_chance,
    is_still_improving,
    outcome_warnings,
)

FEW = settings(max_examples=50, derandomize=True, deadline=None, database=None)
# Its logits hardly depend on the image: untrained, it predicts one class for all.
DEAD = {
    **{"activation": "sigmoid", "pooling": "avg", "norm": None, "n_threads": 1},
    **{"optimizer": "sgd", "lr": 1e-7, "batch_size": 128},
}


# The rules --------------------------------------------------------------------------------------


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=30))
def test_a_weight_counts_as_copies_do_in_the_accuracy(rows):
    targets, weights = np.transpose(rows)
    accuracy = np.bincount(np.repeat(targets, weights)).max() / weights.sum()
    level = ChanceLevel.of(targets, weights)
    assert level.accuracy == pytest.approx(accuracy)
    # Independent images; copies bring none.
    assert 1 - 1e-9 <= level.n_images <= len(rows) + 1e-9
    assert ChanceLevel.of(targets, weights * 1e-200) == pytest.approx(level)
    assert ChanceLevel.of(targets).n_images == len(rows)


@FEW
@given(st.floats(0.01, 0.99), st.integers(1, 10_000))
def test_only_luck_is_discounted(chance, n_images):
    level = ChanceLevel(chance, n_images)
    assert not level.is_exceeded_by(chance)
    assert level.is_exceeded_by(1.0)  # also with so few images that luck may do it
    assert level.is_exceeded_by(chance + 2.01 * math.sqrt(chance * (1 - chance) / n_images)) or (
        level.is_exceeded_by((1.01 + chance) / 2)
    )
    exceeded = [level.is_exceeded_by(accuracy) for accuracy in np.linspace(0, 1, 50)]
    assert exceeded == sorted(exceeded)


@pytest.mark.parametrize(
    ("train_acc", "valid_acc", "mixing", "expected"),
    [
        (0.10, 0.10, False, True),
        (0.11, 0.12, False, True),  # luck
        (0.30, 0.10, False, False),  # it learned the training images, at least
        (0.10, 0.30, False, False),  # dropout, or augmentation
        (0.10, None, False, True),
        (0.30, None, False, False),
        (0.30, 0.10, True, True),
        (0.10, 0.30, True, False),
        (0.10, None, True, False),  # nothing tells
    ],
)
def test_a_network_at_chance_has_learned_neither_here_nor_there(
    train_acc, valid_acc, mixing, expected
):
    epoch = {"train_acc": train_acc}
    validation = None
    if valid_acc is not None:
        epoch["valid_acc"], validation = valid_acc, ChanceLevel(0.1, 100)
    assert is_at_chance(epoch, ChanceLevel(0.1, 900), validation, mixing=mixing) is expected


RISING = np.linspace(0.2, 0.8, 10)


@pytest.mark.parametrize(
    ("train_acc", "valid_acc", "max_epochs", "best_epoch", "expected"),
    [
        (RISING, RISING + 0.05, 10, 10, True),
        (RISING, RISING + 0.05, 20, 10, False),  # something else ended it
        (RISING, RISING + 0.05, 10, 9, False),
        (RISING, RISING - 0.05, 10, 10, False),  # it has begun to overfit
        (RISING[:1], RISING[:1], 1, 1, False),  # one epoch does not rise
        (RISING[[0, 9]], RISING[[0, 9]], 2, 2, True),
        ([*RISING[:9], 0.68], [0.8] * 10, 10, 10, True),
        (np.minimum(RISING, 0.7), [0.8] * 10, 10, 10, True),
        (np.minimum(RISING, 0.5), [0.8] * 10, 10, 10, False),  # it stands still
        ([0.5] * 6 + [0.51] * 4, [0.8] * 10, 10, 10, False),  # luck
        ([0.80] * 6 + [0.85] * 4, [0.9] * 10, 10, 10, True),
        ([0.1, 0.8, 0.1, 0.1, 0.8], [0.9] * 5, 5, 5, False),  # it leaps
        ([0.999] * 6 + [1.0] * 4, [1.0] * 10, 10, 10, False),
        (RISING + 0.15, [0.97] * 10, 10, 10, True),
        (RISING + 0.15, [0.99] * 10, 10, 10, False),  # of 150 images, one more would be luck
        (RISING + 0.15, [1.0] * 10, 10, 10, False),
    ],
)
def test_a_fit_still_improves(train_acc, valid_acc, max_epochs, best_epoch, expected):
    history = [{"train_acc": t, "valid_acc": v} for t, v in zip(train_acc, valid_acc, strict=True)]
    found = is_still_improving(history, 1000, 150, best_epoch=best_epoch, max_epochs=max_epochs)
    assert found == expected


def test_many_images_do_not_make_a_small_rise_worth_more_epochs():
    history = [{"train_acc": a, "valid_acc": 0.9} for a in [0.890] * 6 + [0.895] * 4]
    assert not is_still_improving(history, 1e6, 1e6, best_epoch=10, max_epochs=10)


def test_without_validation_nothing_tells_whether_more_epochs_help():
    """As where no class can spare an image for early stopping."""
    history = [{"train_acc": accuracy} for accuracy in RISING]
    found = outcome_warnings(
        history,
        ChanceLevel(0.1, 1000),
        None,
        best_epoch=10,
        max_epochs=10,
        early_stopping=True,
        mixing=False,
        lr=0.1,
        batch_size=8,
        n_steps=90,
        lacks_norm=False,
        is_frozen=False,
    )
    assert list(found) == []


# Real fits --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.reshape(-1, 8, 8), y


def warnings_of(fit, *args, **kwargs):
    """Messages of the warnings of a fit that fits may give when they end, by category."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args, **kwargs)
    assert all(w.filename == __file__ for w in caught if w.category is not DeprecationWarning)
    return {
        w.category: str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)
    }


@pytest.mark.trains
@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"max_epochs": 3, "batch_size": 4}, ["1e-07", "find_lr", "norm='batch'"]),
        ({"max_epochs": 3}, ["than 6", "max_epochs=3", "batch_size=128"]),
        ({"max_epochs": 2, "early_stopping": False}, ["1e-07"]),
        ({"max_epochs": 2, "freeze": "features"}, ["freeze"]),
        ({"max_epochs": 2, "class_weight": "balanced"}, ["1e-07"]),
        ({"max_epochs": 2, "mixing": "mixup"}, ["validation"]),
        ({"max_epochs": 2, "ema": 0.9}, ["1e-07"]),
    ],
)
def test_a_fit_at_chance_says_so(digits, params, named, seed):
    X, y = digits
    clf = LeNetClassifier(**{**DEAD, "random_state": seed, **params})
    found = warnings_of(clf.fit, X[:200], y[:200])
    assert found.keys() == {ChanceLevelWarning}
    message = found[ChanceLevelWarning]
    assert all(name in message for name in named), message


@pytest.mark.trains
def test_rare_classes_hide_behind_the_frequent_one(digits, seed):
    X, y = digits[0][:200], np.arange(200) % 10 == 0
    clf = LeNetClassifier(**DEAD, random_state=seed, max_epochs=2)
    assert "class_weight='balanced'" in warnings_of(clf.fit, X, y)[ChanceLevelWarning]
    # An image of weight 9 is as good as nine: then none is frequent.
    weighted = warnings_of(clf.fit, X, y, sample_weight=np.where(y, 9, 1))
    assert "class_weight" not in weighted[ChanceLevelWarning]
    given = warnings_of(clf.fit, X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    assert given.keys() == {ChanceLevelWarning}


@pytest.mark.trains
def test_a_fit_that_is_kept_says_so_again(digits, tmp_path):
    X, y = digits[0][:200], digits[1][:200]
    clf = LeNetClassifier(**DEAD, random_state=0, max_epochs=2, memory=tmp_path)
    assert warnings_of(clf.fit, X, y) == warnings_of(clf.fit, X, y) != {}


@pytest.mark.trains
def test_a_fit_that_goes_on_is_judged_by_its_own_epochs(digits):
    X, y = digits[0][:200], digits[1][:200]
    clf = LeNetClassifier(**DEAD, random_state=0, max_epochs=2, warm_start=True)
    assert warnings_of(clf.fit, X, y) == warnings_of(clf.fit, X, y) != {}
    assert clf.n_epochs_ == 4


@pytest.mark.trains
def test_a_fatal_warning_leaves_the_classifier_fitted(digits):
    X, y = digits[0][:200], digits[1][:200]
    clf = LeNetClassifier(**DEAD, random_state=0, max_epochs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ChanceLevelWarning, match=mentions("max_epochs=2")):
            clf.fit(X, y)
    assert len(clf.predict(X)) == 200


@pytest.mark.trains
def test_chunks_and_errors_are_not_judged(digits):
    X, y = digits[0][:200], digits[1][:200]
    clf = LeNetClassifier(**DEAD, random_state=0, max_epochs=3)
    assert warnings_of(clf.partial_fit, X, y) == {}
    no_validation = clf.set_params(mixing="mixup", early_stopping=False)
    assert warnings_of(no_validation.fit, X, y) == {}  # nothing tells

    def diverge():
        with pytest.raises(DivergenceError):
            CNNClassifier(module=linear, optimizer="sgd", lr=1e38, random_state=0).fit(X, y)

    assert warnings_of(diverge) == {}


@pytest.mark.learning
@pytest.mark.trains
@pytest.mark.parametrize(
    ("n", "params"),
    [
        (6, {}),
        (12, {}),
        (30, {}),
        (30, {"early_stopping": False}),
        (160, {}),
        (160, {"class_weight": "balanced"}),
        (160, {"augment": "standard"}),
        (160, {"mixing": "mixup"}),
        (160, {"label_smoothing": 0.2}),
    ],
)
def test_a_fit_that_learns_is_silent(n, params, seed):
    X, y = dim_and_bright(n=n, seed=seed)
    clf = LeNetClassifier(
        norm="batch",
        lr=3e-3,
        batch_size=16,
        max_epochs=20,
        random_state=seed,
        n_threads=1,
        **params,
    )
    assert warnings_of(clf.fit, X, y) == {}


def linear(in_channels, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, n_classes))


@pytest.mark.learning
@pytest.mark.trains
def test_a_fit_that_ends_while_it_improves_says_so(digits, seed):
    X, y = digits
    clf = CNNClassifier(
        module=linear, optimizer="sgd", lr=1e-3, lr_schedule=None, max_epochs=6, random_state=seed
    )
    # Validated on the images it trains on, so that validation accuracy does not depend on luck.
    found = warnings_of(clf.fit, X, y, X_val=X, y_val=y)
    assert found.keys() == {StillImprovingWarning}
    assert "max_epochs=6" in found[StillImprovingWarning]
    assert "0.001" in found[StillImprovingWarning]
    silent = [
        {"early_stopping": False},
        {"max_epochs": 1},
        {"lr": 0.02, "max_epochs": 40},  # it has converged
    ]
    for params in silent:
        clf.set_params(lr=1e-3, max_epochs=6, early_stopping=True).set_params(**params)
        assert StillImprovingWarning not in warnings_of(clf.fit, X, y, X_val=X, y_val=y), params
