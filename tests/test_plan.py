"""What "auto" stands for: epochs, batches, stopping and learning rate."""

import math

import numpy as np
import pytest
import torch
from helpers.fits import weights_of
from helpers.messages import names
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

import skcnn
from skcnn import CNNClassifier, LeNetClassifier, ResNetClassifier, VGGClassifier
from skcnn.networks import VGG, ConvNet, LeNet
from skcnn.training.optimizers import default_lr
from skcnn.training.plan import plan_training

AUTO = dict.fromkeys(["batch_size", "max_epochs", "early_stopping", "patience"], "auto")
NUMBERS_OF_IMAGES = st.integers(1, 2_000_000)


def plan(n_images, has_validation_data=False, **params):
    return plan_training(n_images, **{**AUTO, **params}, has_validation_data=has_validation_data)


def n_steps(n_images):
    chosen = plan(n_images)
    return chosen.max_epochs * math.ceil(n_images / chosen.batch_size)


@given(NUMBERS_OF_IMAGES)
def test_a_plan_is_neither_short_nor_endless(n):
    chosen = plan(n)
    assert 32 <= chosen.batch_size <= 256
    assert 12 <= chosen.max_epochs <= 60
    assert n_steps(n) >= min(200, 50 * math.ceil(n / 32))
    assert not chosen.early_stopping


@given(NUMBERS_OF_IMAGES, st.integers(1, 1000))
def test_more_images_are_shown_less_often_but_more_in_all(n, more):
    few, many = plan(n), plan(n + more)
    assert many.max_epochs <= few.max_epochs
    assert many.batch_size >= few.batch_size
    # But for rounding to whole epochs.
    assert (many.max_epochs + 1) * (n + more) >= few.max_epochs * n


@given(
    NUMBERS_OF_IMAGES,
    st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 5000),
            "max_epochs": st.integers(1, 5000),
            "early_stopping": st.booleans(),
            "patience": st.integers(1, 50),
        }
    ),
    st.booleans(),
)
def test_given_values_are_kept(n, params, has_validation_data):
    assert plan(n, has_validation_data, **params)._asdict() == params


@pytest.mark.parametrize(
    ("params", "has_validation_data", "early_stopping"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"max_epochs": 20}, False, True),
        ({"max_epochs": 20, "early_stopping": False}, False, False),
        ({"early_stopping": True}, False, True),
    ],
)
def test_epochs_that_follow_the_data_need_no_validation(
    params, has_validation_data, early_stopping
):
    assert plan(1000, has_validation_data, **params).early_stopping is early_stopping


@pytest.mark.parametrize(
    ("optimizer", "module", "lr"),
    [
        ("adam", nn.Linear(2, 2), 1e-3),
        ("adamw", ConvNet(), 1e-2),
        ("adam", LeNet(), 1e-3),
        ("adam", LeNet(norm="batch"), 1e-2),
        ("adam", nn.GroupNorm(1, 2), 1e-2),
        ("adam", VGG(norm="batch", hidden_units=8, width_ratio=16), 3e-3),
        ("adam", nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), 1e-3),
        ("sgd", LeNet(norm="batch"), 1e-1),
        (torch.optim.SGD, LeNet(), 1e-2),
        (torch.optim.NAdam, LeNet(norm="batch"), 2e-3),
        (torch.optim.Adagrad, LeNet(norm="batch"), 1e-2),
    ],
    ids=str,
)
def test_learning_rates(optimizer, module, lr):
    assert default_lr(optimizer, module) == pytest.approx(lr)
    assert default_lr(optimizer, module, is_trained=True) <= lr


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:60], y[:60]


def test_what_was_taken_is_told_and_saved(digits, tmp_path):
    clf = CNNClassifier(max_epochs=2, module_params={"width_ratio": 8}, random_state=0)
    clf.fit(*digits)
    assert (clf.lr_, clf.batch_size_, clf.max_epochs_) == (1e-2, 32, 2)
    assert (clf.lr, clf.batch_size) == ("auto", "auto")
    assert max(epoch["lr"] for epoch in clf.history_) <= clf.lr_
    clf.save(tmp_path / "model.skcnn")
    loaded = skcnn.load(tmp_path / "model.skcnn")
    assert (loaded.lr_, loaded.batch_size_, loaded.max_epochs_) == (1e-2, 32, 2)
    clf.partial_fit(*digits)
    assert clf.max_epochs_ == 1


def test_copies_do_not_change_the_plan(digits):
    X, y = digits
    clf = LeNetClassifier(random_state=0, batch_size=64).fit(np.concatenate([X, X]), [*y, *y])
    weighted = LeNetClassifier(random_state=0, batch_size=64).fit(X, y, np.full(len(X), 2))
    assert clf.n_epochs_ == weighted.n_epochs_ == plan(len(X)).max_epochs
    assert weights_of(clf) == weights_of(weighted)


def test_validation_data_are_used_where_they_are_given(digits):
    X, y = digits
    clf = LeNetClassifier(batch_size=40, random_state=0)
    assert "valid_acc" not in clf.fit(X[:40], y[:40]).history_[0]
    clf.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert "valid_acc" in clf.history_[0]
    assert clf.net_.max_epochs == plan(40).max_epochs


@pytest.mark.parametrize("name", ["lr", "batch_size", "max_epochs", "early_stopping", "patience"])
def test_other_words_than_auto_are_refused(name, digits):
    with pytest.raises(ValueError, match=names(name, "automatic")):
        LeNetClassifier(**{name: "automatic"}).fit(*digits)


@pytest.mark.parametrize("Classifier", [LeNetClassifier, VGGClassifier, ResNetClassifier])
def test_normalisation_is_the_default(Classifier):
    """But for weights of a network without any."""
    rows = Classifier().summary((1, 28, 28), n_classes=3).summary_list
    assert any(isinstance(row.module, nn.BatchNorm2d) for row in rows)
    if Classifier is LeNetClassifier:
        plain = LeNet(n_classes=3).state_dict()
        rows = Classifier(weights=plain).summary((1, 28, 28), n_classes=3).summary_list
        assert not any(isinstance(row.module, nn.BatchNorm2d) for row in rows)
