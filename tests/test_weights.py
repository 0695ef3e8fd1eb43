"""What sample weights and class weights mean: docs/weights.rst, line by line."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.messages import mentions
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import BaggingClassifier
from sklearn.utils import compute_class_weight
from skorch.callbacks import Callback
from torch import nn
from torch.nn import functional

import skcnn
from skcnn import CNNClassifier
from skcnn.training.mixing import make_mixing
from skcnn.training.splitting import canonical_rows

FEW = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
)

N_CLASSES = 3


def linear(in_channels, n_classes, input_size):
    """A network whose loss is convex."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36 * in_channels, n_classes))


def normed(in_channels, n_classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, n_classes),
    )


def small(**params):
    defaults = {"max_epochs": 2, "batch_size": 8, "lr": 0.01, "n_threads": 1, "random_state": 0}
    plain = {"module": linear, "label_smoothing": 0.0, "early_stopping": False}
    return CNNClassifier(**{**plain, **defaults, **params})


def images(n=24, seed=0):
    """Images of three classes, with their number in the brightness of a row of pixels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % N_CLASSES
    X = rng.normal(size=(n, 6, 6)).astype(np.float32)
    X[np.arange(n), y] += 2
    return X, y


X, Y = images()
NEW = images(20, seed=1)[0]


def fitted(w=None, *, X=X, y=Y, **params):
    return small(**params).fit(X, y, sample_weight=w)


def learned(*args, **kwargs):
    """Bytes of all that a fit learned, and of how it went."""
    clf = fitted(*args, **kwargs)
    history = [
        {name: value for name, value in epoch.items() if name != "dur"} for epoch in clf.history_
    ]
    return clf.predict_proba(NEW).tobytes(), history


PARAMS = st.fixed_dictionaries(
    {
        "early_stopping": st.booleans(),
        "class_weight": st.sampled_from([None, "balanced", {0: 0.3, 2: 5.0}]),
        "mixing": st.sampled_from([None, "mixup", "cutmix"]),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "normalize": st.booleans(),
        "module": st.sampled_from([linear, normed]),
    }
)
# No class is without an image that counts.
WEIGHT = st.one_of(st.sampled_from([1 / 3, 0.1, 1.0, 2.0, 7.0]), st.floats(1e-3, 1e3))
WEIGHTS = st.lists(WEIGHT, min_size=5, max_size=5).map(lambda w: np.resize(w, len(X)))
COUNTS = st.lists(st.integers(0, 4), min_size=7, max_size=7).map(
    lambda counts: np.array([1, 2, 3, *np.resize(counts, len(X) - 3)])
)


# Copies and scale ---------------------------------------------------------------------------------


@FEW
@given(counts=COUNTS, params=PARAMS, seed=st.integers(0, 9))
def test_weight_k_is_k_copies(counts, params, seed):
    order = np.random.default_rng(seed).permutation(counts.sum())
    copies = {"X": np.repeat(X, counts, axis=0)[order], "y": np.repeat(Y, counts)[order]}
    assert learned(counts, **params) == learned(**copies, **params)


@FEW
@given(w=WEIGHTS, params=PARAMS, power=st.floats(-250, 250))
def test_the_scale_of_weights_changes_nothing(w, params, power):
    assert learned(w, **params) == learned(w * 10**power, **params)


@FEW
@given(w=WEIGHTS, params=PARAMS, shares=st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_weights_of_copies_add_up(w, params, shares):
    part = w * np.resize(shares, len(w))
    halves = {"X": np.concatenate([X, X]), "y": np.concatenate([Y, Y])}
    assert learned(w, **params) == learned(np.concatenate([w - part, part]), **halves, **params)


@settings(FEW, max_examples=300)
@given(data=st.data())
def test_rounding_is_not_seen(data):
    """Weights come out the same, whatever their scale and however they were added up."""
    n = data.draw(st.integers(1, 4))
    element = st.one_of(st.integers(1, 1 << 26), st.floats(1e-6, 1e6))
    w = np.array(data.draw(st.lists(element, min_size=n, max_size=n)), dtype=float)
    scale = data.draw(st.one_of(st.floats(1e-200, 1e200), st.integers(1, 10**6), st.just(1 / 3)))
    k = data.draw(st.integers(1, 5))
    keys, targets = np.arange(n), np.zeros(n, dtype=int)
    once = canonical_rows(keys, targets, w).loss_weights()
    assert np.array_equal(once, canonical_rows(keys, targets, w * scale).loss_weights())
    copies = canonical_rows(np.tile(keys, k), np.tile(targets, k), np.tile(w * scale, k))
    assert np.array_equal(once, copies.loss_weights())


@pytest.mark.parametrize("scale", [10, 11, 0.1, 1e-300, 1e300])
def test_equal_weights_are_no_weights(scale):
    assert learned(np.full(len(X), scale), early_stopping=True) == learned(early_stopping=True)


# Continuity ---------------------------------------------------------------------------------------

SMOOTH = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "max_epochs": 3}


@FEW
@given(w=WEIGHTS, change=st.lists(st.floats(-1, 1), min_size=5, max_size=5))
def test_weights_that_hardly_differ_give_fits_that_hardly_differ(w, change):
    near = w * (1 + 1e-6 * np.resize(change[::-1], len(w)))
    one, other = (fitted(weights, **SMOOTH).predict_proba(NEW) for weights in (w, near))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("whole", [np.ones(len(X)), np.arange(len(X)) % 3 + 1.0], ids=["1", "123"])
def test_integer_weights_are_not_special(whole):
    one, other = (
        fitted(w, class_weight="balanced", **SMOOTH).predict_proba(NEW)
        for w in (whole, whole + 1e-6 * np.linspace(0, 1, len(X)))
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_weight_that_vanishes_is_that_of_an_image_left_out():
    w = np.ones(len(X))
    far = X.copy()
    far[5] = 1e4
    w[5] = 0
    left_out = fitted(w, X=far, batch_size=99, **SMOOTH).predict_proba(NEW)
    w[5] = 1e-15
    nearly = fitted(w, X=far, batch_size=99, **SMOOTH).predict_proba(NEW)
    np.testing.assert_allclose(left_out, nearly, atol=1e-4)


# The loss -----------------------------------------------------------------------------------------


def test_losses_and_accuracies_are_weighted_means():
    w = np.random.default_rng(0).uniform(0.1, 5, len(X))
    clf = fitted(w, lr=1e-12, batch_size=7, class_weight={0: 3.0}, max_epochs=1)
    logits = torch.from_numpy(np.log(clf.predict_proba(X)))
    losses = functional.cross_entropy(logits, torch.from_numpy(Y), reduction="none").numpy()
    w = w * np.where(Y == 0, 3.0, 1.0)
    assert clf.history_[0]["train_loss"] == pytest.approx(np.average(losses, weights=w), rel=1e-3)
    correct = clf.predict(X) == Y
    assert clf.history_[0]["train_acc"] == pytest.approx(np.average(correct, weights=w), rel=1e-5)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0}], ids=str)
def test_validation_weighs_classes_as_training_does(class_weight):
    """Balanced by the images of training, whatever the odds among those that validate."""
    kept = np.sort([*np.flatnonzero(Y == 0)[:2], *np.flatnonzero(Y != 0)])
    X_val, y_val = images(9, seed=2)
    clf = small(class_weight=class_weight, lr=1e-12, max_epochs=1)
    clf.fit(X[kept], Y[kept], X_val=X_val, y_val=y_val)
    logits = torch.from_numpy(np.log(clf.predict_proba(X_val)))
    losses = functional.cross_entropy(logits, torch.from_numpy(y_val), reduction="none").numpy()
    w = np.where(y_val == 0, 4.0 if class_weight == "balanced" else 3.0, 1.0)  # 2 images and 8
    epoch = clf.history_[0]
    assert epoch["valid_loss"] == pytest.approx(np.average(losses, weights=w), rel=1e-4)
    assert epoch["valid_acc"] == pytest.approx(np.average(clf.predict(X_val) == y_val, weights=w))


def test_one_step_is_that_of_the_weighted_mean():
    w = np.random.default_rng(0).uniform(0.1, 5, len(X))
    step = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "max_epochs": 1, "batch_size": 99}
    step["lr_schedule"] = None
    start = fitted(w, **{**step, "lr": 1e-12}).module_[1]
    end = fitted(w, **step).module_[1]
    mean = np.average(X.mean(axis=(1, 2)), weights=w)
    std = np.sqrt(np.average(((X - mean) ** 2).mean(axis=(1, 2)), weights=w))
    scaled = torch.from_numpy((X - mean) / std).float().flatten(1)
    weight = start.weight.detach().clone().requires_grad_(True)
    losses = functional.cross_entropy(
        scaled @ weight.T + start.bias.detach(), torch.from_numpy(Y), reduction="none"
    )
    (losses @ torch.from_numpy(w / w.sum()).float()).backward()
    torch.testing.assert_close(
        end.weight, weight.detach() - 0.5 * weight.grad, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixed_targets_carry_the_weights(name, smoothing):
    """The loss is -Σ T log p, T being mixed of the weighted targets, smoothed one by one."""
    torch.manual_seed(0)
    x, targets = torch.rand(12, 1, 6, 6), torch.arange(12) % N_CLASSES
    weights = torch.rand(12)
    weights[3:5] = 0  # neighbours, which are mixed with each other
    smoothed = functional.one_hot(targets, N_CLASSES) * (1 - smoothing) + smoothing / N_CLASSES
    log_p = torch.randn(12, N_CLASSES).log_softmax(1)
    net = small(label_smoothing=smoothing).fit(X, Y).net_
    for seed in range(5):
        torch.manual_seed(seed)
        _, expected = make_mixing(name, N_CLASSES).args[0](x, smoothed * weights[:, None])
        torch.manual_seed(seed)
        _, mixed, w = make_mixing(name, N_CLASSES)(x, targets, weights)
        loss = net.get_loss(log_p, mixed, weights=w)
        torch.testing.assert_close(loss, -(expected * log_p).sum(1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mixing", [None, "mixup", "cutmix"])
def test_balanced_classes_are_equally_likely_where_nothing_can_be_learned(mixing, smoothing):
    rng = np.random.default_rng(0)
    noise, y = rng.normal(size=(600, 6, 6)) / 100, (np.arange(600) % 10 == 0).astype(int)
    clf = fitted(
        X=noise,
        y=y,
        normalize=False,  # the biases alone can learn
        class_weight="balanced",
        mixing=mixing,
        label_smoothing=smoothing,
        max_epochs=15,
        batch_size=64,
        lr=0.02,
    )
    flat = clf.predict_proba(np.zeros((1, 6, 6)))[0, 1]
    assert 0.4 < flat < 0.6  # 0.1 without weights, 0.3 where mixing lost them


def test_no_weights_take_the_mean_of_plain_losses():
    clf = fitted(label_smoothing=0.1)
    logits, targets = torch.randn(5, N_CLASSES), torch.tensor([0, 1, 2, 1, 0])
    expected = functional.cross_entropy(
        logits, targets, label_smoothing=0.1, reduction="none"
    ).mean()
    assert torch.equal(clf.net_.get_loss(logits, targets), expected)


# Class weights ------------------------------------------------------------------------------------


@FEW
@given(
    w=st.one_of(st.none(), WEIGHTS), params=PARAMS, weights=st.lists(WEIGHT, min_size=3, max_size=3)
)
def test_a_class_weight_is_a_weight_of_each_of_its_images(w, params, weights):
    by_class = {**params, "class_weight": dict(enumerate(weights))}
    by_image = np.array(weights)[Y] * (1 if w is None else w)
    assert learned(w, **by_class) == learned(by_image, **{**params, "class_weight": None})


@FEW
@given(counts=COUNTS, params=PARAMS, scale=st.sampled_from([1, 0.1, 1 / 3]))
def test_balanced_counts_weights(counts, params, scale):
    weights = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(Y, counts))
    balanced = {**params, "class_weight": "balanced"}
    by_hand = {**params, "class_weight": dict(enumerate(weights))}
    assert learned(counts * scale, **balanced) == learned(counts, **by_hand)


def test_class_weights_are_those_of_scikit_learn():
    totals = np.array([20.0, 3.0, 1.0])
    w = np.empty(len(Y))
    for k, total in enumerate(totals):
        w[k == Y] = total / np.sum(k == Y)
    training = []
    fitted(w, class_weight="balanced", callbacks=[Rows(training)], max_epochs=1)
    assert training[0].weights is None  # all classes weigh the same, and so do all images


@pytest.mark.parametrize("names", [["0", "1", "2"], [0, 1, 2], [-1.0, 0.0, 7.0]], ids=str)
def test_class_weights_go_by_labels(names):
    y = np.array(names)[Y]
    given_ = fitted(y=y, class_weight={names[1]: 4.0, names[2]: 0.5})
    expected = fitted(np.array([1, 4.0, 0.5])[Y], y=y)
    assert given_.predict_proba(NEW).tobytes() == expected.predict_proba(NEW).tobytes()


@pytest.mark.parametrize(
    "weights",
    [
        {0: -1.0},
        {0: np.nan},
        {0: np.inf},
        {0: "heavy"},
        {0: None},
        {0: 0, 1: 0, 2: 0},
        {0: 1, 9: 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_invalid_class_weights(weights, call):
    named = [9] if 9 in weights else weights
    with pytest.raises(ValueError, match=mentions("'class_weight'", named)):
        getattr(small(class_weight=weights), call)(X, Y)


def test_a_class_without_weight_is_not_trained():
    w = np.where(Y == 1, 0.0, 1.0)
    assert learned(class_weight={1: 0.0}) == learned(w)
    assert learned(w, class_weight="balanced") == learned(w)
    kept = Y != 1
    with pytest.raises(ValueError, match=mentions("CNNClassifier", 2, 1)):
        small(class_weight={0: 0.0}).fit(X[kept], Y[kept])


# What is set aside --------------------------------------------------------------------------------


class Rows(Callback):
    """Note what trains and what validates, fit by fit."""

    changes_fit = False

    def __init__(self, training=None, validation=None):
        self.training, self.validation = training, validation

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        if len(net.history) == 1:
            if self.training is not None:
                self.training.append(dataset_train)
            if self.validation is not None:
                self.validation.append(set(dataset_valid.rows.tolist()))


def restored_by_pickle(clf, tmp_path):
    return pickle.loads(pickle.dumps(clf))


def restored_by_load(clf, tmp_path):
    clf.save(tmp_path / "model.skcnn")
    return skcnn.load(tmp_path / "model.skcnn", module=linear)


def as_it_is(clf, tmp_path):
    return clf


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.UnsavedParameterWarning")
@pytest.mark.parametrize("restored", [as_it_is, restored_by_pickle, restored_by_load])
@pytest.mark.parametrize(
    "random_state", [None, 3, np.random.RandomState(0)], ids=["None", "3", "generator"]
)
def test_warm_starts_validate_on_the_same_images(restored, random_state, tmp_path):
    def split(clf):
        seen = []
        clf.set_params(callbacks=[Rows(validation=seen)]).fit(X, Y)
        return seen[0]

    random_state = copy.copy(random_state)
    clf = small(early_stopping=True, random_state=random_state, warm_start=True, max_epochs=1)
    first = split(clf)
    clf = restored(clf.set_params(callbacks=None), tmp_path)
    clf.partial_fit(X, Y)
    assert all(split(clf) == first for _ in range(3))
    if random_state != 3:
        clf.set_params(warm_start=False)
        assert any(split(clf) != first for _ in range(5))  # drawn anew


@pytest.mark.parametrize("parameter", ["memory", "checkpoint_dir"])
def test_warm_starts_after_a_kept_fit_validate_on_its_images(parameter, tmp_path):
    splits = []
    for _ in range(2):
        clf = small(early_stopping=True, random_state=None, warm_start=True, max_epochs=1)
        clf.set_params(**{parameter: tmp_path / "first"}).fit(X, Y)  # the second time, kept
        clf.set_params(**{parameter: None}, callbacks=[Rows(validation=splits)]).fit(X, Y)
    assert splits[0] == splits[1]


def test_unbalanced_classes_are_validated():
    y = np.repeat(["a", "b", "c"], [90, 5, 5])
    many = images(100)[0]
    for seed in range(10):
        seen = []
        clf = small(early_stopping=True, random_state=seed, callbacks=[Rows(validation=seen)])
        clf.set_params(max_epochs=1).fit(many, y)
        assert set(y[list(seen[0])]) == {"a", "b", "c"}
        assert len(seen[0]) == 11


def test_an_image_of_two_labels_is_on_one_side():
    twice, y = np.concatenate([X, X[:12]]), np.concatenate([Y, (Y[:12] + 1) % 3])
    for seed in range(10):
        seen, trained = [], []
        clf = small(early_stopping=True, validation_fraction=0.4, random_state=seed, max_epochs=1)
        clf.set_params(callbacks=[Rows(trained, seen)]).fit(twice, y)
        assert not {i % 24 for i in seen[0]} & {i % 24 for i in trained[0].rows.tolist()}


# partial_fit --------------------------------------------------------------------------------------


def test_partial_fit_refuses_balanced():
    clf = small(class_weight="balanced")
    with pytest.raises(
        ValueError, match=mentions("'class_weight'", "'balanced'", "compute_class_weight")
    ):
        clf.partial_fit(X, Y)
    assert not hasattr(clf, "net_")
    weights = compute_class_weight("balanced", classes=np.unique(Y), y=Y)
    clf.set_params(class_weight=dict(zip(np.unique(Y), weights, strict=True))).partial_fit(X, Y)


STEP = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.01, "batch_size": 99}


def change(first, then, restored=as_it_is, tmp_path=None, **params):
    """How far a second call moves the weights."""
    clf = small(**STEP, **params).partial_fit(X, Y, sample_weight=first)
    clf = restored(clf, tmp_path)
    before = clf.module_[1].weight.detach().clone()
    clf.partial_fit(X, Y, sample_weight=then)
    return clf.module_[1].weight.detach() - before


@pytest.mark.parametrize("first", [None, 5.0, 1e-300, 1e300])
def test_chunks_count_by_their_weights(first):
    unit = 1.0 if first is None else first
    once, twice = (change(first, k * unit) for k in (1, 2))
    torch.testing.assert_close(twice, 2 * once, atol=1e-7, rtol=1e-3)
    if first == 5.0:  # no weights are weights of 1
        torch.testing.assert_close(change(first, None), once / 5, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("restored", [as_it_is, restored_by_pickle, restored_by_load])
def test_what_a_weight_of_one_means_is_kept(restored, tmp_path):
    expected = change(5.0, 15.0)
    assert torch.equal(change(5.0, 15.0, restored, tmp_path), expected)
    torch.testing.assert_close(expected, 3 * change(5.0, 5.0), atol=1e-7, rtol=1e-3)


@FEW
@given(w=WEIGHTS, power=st.floats(-100, 100))
def test_the_scale_of_all_chunks_changes_nothing(w, power):
    clfs = small(), small()
    for clf, scale in zip(clfs, (1, 10**power), strict=True):
        for weights in (w[:12], w[12:], 1 + w[::2]):
            clf.partial_fit(X[:12], Y[:12], sample_weight=weights * scale)
    assert clfs[0].predict_proba(NEW).tobytes() == clfs[1].predict_proba(NEW).tobytes()


def test_chunks_without_weights_are_those_of_weight_one():
    clfs = small(), small()
    for clf, weights in zip(clfs, (None, np.ones(len(X))), strict=True):
        for _ in range(3):
            clf.partial_fit(X, Y, sample_weight=weights)
    assert clfs[0].predict_proba(NEW).tobytes() == clfs[1].predict_proba(NEW).tobytes()


# Forms of weights ---------------------------------------------------------------------------------

W = np.arange(len(X)) % 4 + 1


@pytest.mark.parametrize(
    "weights",
    [
        W.tolist(),
        W.astype(np.float16),
        W.astype(">i2"),
        pd.DataFrame({"weight": W}, index=W)["weight"],
        pd.Series(W, dtype="Int64"),
        torch.from_numpy(W),
        torch.tensor(W, dtype=torch.bfloat16, requires_grad=True),
        W * 2**60,
        [int(w) * 2**70 for w in W],
    ],
    ids=[
        "list",
        "float16",
        "big endian",
        "column",
        "nullable",
        "tensor",
        "bfloat16",
        "2**60",
        "2**70",
    ],
)
def test_weights_of_any_type(weights):
    assert learned(weights) == learned(W)


def test_truth_values_choose_images():
    chosen = np.arange(len(X)) % 4 > 0
    assert learned(chosen) == learned(X=X[chosen], y=Y[chosen])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w * 0,
        lambda w: -w,
        lambda w: np.where(Y == 0, np.nan, w),
        lambda w: np.where(Y == 0, np.inf, w),
        lambda w: w[1:],
        lambda w: w[:, None],
        lambda w: w + 1j,
        lambda w: [10**400, *w[1:]],
        lambda w: ["heavy", *w[1:]],
        lambda w: [None, *w[1:]],
        lambda w: pd.Series(w, dtype="Int64").where(Y > 0),
        lambda w: float("nan"),
        lambda w: 0,
        lambda w: "balanced",
        lambda w: [],
    ],
)
@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_invalid_sample_weights(spoil, call):
    clf = small()
    with pytest.raises(ValueError, match=mentions("'sample_weight'")):
        getattr(clf, call)(X, Y, sample_weight=spoil(W))
    assert not hasattr(clf, "net_")


def test_weights_on_one_class_alone():
    with pytest.raises(ValueError, match=mentions("CNNClassifier", 2, 1)):
        fitted(np.where(Y == 0, 1.0, 0.0))


# Data in which there are copies -------------------------------------------------------------------

EASY, LABELS = images(60, seed=3)
TRAINED = {"max_epochs": 30, "batch_size": 16}


@pytest.mark.parametrize(
    ("module", "early_stopping"), [(linear, False), (linear, True), (normed, False)]
)
def test_copies_of_a_few_images_train(module, early_stopping):
    few = np.tile(np.arange(6), 50)
    clf = small(module=module, early_stopping=early_stopping, **TRAINED, patience=30)
    clf.set_params(max_epochs=100).fit(EASY[few], LABELS[few])
    assert clf.score(EASY[:6], LABELS[:6]) >= (0.5 if early_stopping else 1.0)


def test_oversampled_classes_train():
    rare = np.flatnonzero(LABELS == 0)[:4]
    over = [*np.flatnonzero(LABELS != 0), *np.tile(rare, 10)]
    clf = small(**TRAINED).fit(EASY[over], LABELS[over])
    assert clf.score(EASY, LABELS) > 0.6


def test_bootstraps_train():
    bagging = BaggingClassifier(small(**TRAINED), n_estimators=3, random_state=0)
    flat = EASY.reshape(len(EASY), -1)
    assert bagging.fit(flat, LABELS).score(flat, LABELS) > 0.6
