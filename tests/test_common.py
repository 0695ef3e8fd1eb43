"""One contract over every classifier: scikit-learn's checks, and what they do not ask."""

import copy
import pickle
import warnings
from collections import Counter
from functools import partial
from unittest import SkipTest

import numpy as np
import pytest
import sklearn
import torch
from helpers.images import dim_and_bright
from sklearn.base import clone, is_classifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import estimator_checks
from torch import nn

from skcnn import (
    AlexNetClassifier,
    CNNClassifier,
    GoogLeNetClassifier,
    InceptionV3Classifier,
    LeNetClassifier,
    NiNClassifier,
    ResNetClassifier,
    VGGClassifier,
)
from skcnn.transfer import find_head


class TinyNet(nn.Sequential):
    """One convolution with batch normalisation, and a linear layer."""

    def __init__(self, in_channels, n_classes, width=16):
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((2, 4)),
            nn.Flatten(),
            nn.Linear(8 * width, n_classes),
        )


# Of scikit-learn's checks, those that ask for an accuracy, and so for longer training.
ASK_FOR_ACCURACY = {
    "check_classifiers_train",
    "check_classifiers_classes",
    "check_class_weight_classifiers",
}
# Enough training for them, with room for any seed and any rounding: nothing is set aside, since the
# best epoch of fifteen images may be one of the first.
LONG = {"batch_size": 16, "early_stopping": False}
LEARNING = [
    LeNetClassifier(lr=1e-2, max_epochs=10, **LONG),
    AlexNetClassifier(width_ratio=8, dropout=0, lr=2e-3, max_epochs=5, **LONG),
    VGGClassifier(width_ratio=16, hidden_units=64, dropout=0, lr=3e-3, max_epochs=8, **LONG),
    NiNClassifier(width_ratio=8, dropout=0, lr=3e-3, max_epochs=8, **LONG),
    GoogLeNetClassifier(
        width_ratio=8, dropout=0, lr=1e-2, batch_size=32, max_epochs=9, early_stopping=False
    ),
    InceptionV3Classifier(
        width_ratio=8, dropout=0, lr=1e-2, batch_size=32, max_epochs=8, early_stopping=False
    ),
    ResNetClassifier(width_ratio=8, lr=5e-3, max_epochs=6, **LONG),
    CNNClassifier(module=TinyNet, lr=1e-2, max_epochs=8, **LONG),
]
SHORT = {"max_epochs": 2, "batch_size": 16}
# For the checks that ask for none, and are met by any training at all.
CHECKED = [
    LeNetClassifier(**SHORT),
    AlexNetClassifier(width_ratio=16, dropout=0, **SHORT),
    VGGClassifier(width_ratio=16, hidden_units=64, dropout=0, **SHORT),
    NiNClassifier(width_ratio=16, dropout=0, **SHORT),
    GoogLeNetClassifier(width_ratio=16, dropout=0, max_epochs=1, batch_size=32),
    InceptionV3Classifier(width_ratio=32, dropout=0, max_epochs=1, batch_size=32),
    ResNetClassifier(width_ratio=16, max_epochs=1, batch_size=32),
    CNNClassifier(module=TinyNet, **SHORT),
]
# For quick fits of real images.
QUICK = [
    LeNetClassifier(lr=3e-3, batch_size=32, max_epochs=3, random_state=0),
    AlexNetClassifier(width_ratio=8, lr=2e-3, batch_size=16, max_epochs=2, random_state=0),
    VGGClassifier(
        width_ratio=8, hidden_units=64, lr=3e-3, batch_size=16, max_epochs=2, random_state=0
    ),
    NiNClassifier(width_ratio=8, lr=3e-3, batch_size=8, max_epochs=2, random_state=0),
    GoogLeNetClassifier(
        width_ratio=8, image_size=16, lr=1e-2, batch_size=16, max_epochs=2, random_state=0
    ),
    InceptionV3Classifier(
        width_ratio=8, dropout=0, image_size=16, lr=1e-2, batch_size=8, max_epochs=2, random_state=0
    ),
    ResNetClassifier(width_ratio=8, lr=1e-2, batch_size=16, max_epochs=2, random_state=0),
    CNNClassifier(module=TinyNet, lr=1e-2, batch_size=32, max_epochs=3, random_state=0),
]


def name_of(estimator):
    return type(estimator).__name__


def name_of_check(check):
    while isinstance(check, partial):
        check = check.func
    return check.__name__


def run_checks(estimator, names):
    """Run the checks of scikit-learn that have these names; return how many ran.

    A check that fails raises, and so does one that is skipped, but for want of a package or of a
    setting of SciPy.
    """
    n_run = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for checked, check in estimator_checks.estimator_checks_generator(estimator):
            if name_of_check(check) not in names:
                continue
            try:
                check(checked)
            except SkipTest:
                assert name_of_check(check) == "check_array_api_input"
            else:
                n_run += 1
    return n_run


def checks_of(estimator):
    """Names of all checks that scikit-learn runs on it, each as often as it is run."""
    generated = estimator_checks.estimator_checks_generator(estimator)
    return Counter(name_of_check(check) for _, check in generated)


@pytest.mark.parametrize("estimator", CHECKED, ids=name_of)
def test_all_checks_of_scikit_learn_pass(estimator, record_property):
    """All but those that ask for an accuracy, which the next test runs."""
    checks, of_mlp = checks_of(estimator), checks_of(MLPClassifier())
    (learning,) = (other for other in LEARNING if type(other) is type(estimator))
    assert checks_of(learning) == checks
    n_run = run_checks(estimator, set(checks) - ASK_FOR_ACCURACY)
    n_left = sum(checks[name] for name in ASK_FOR_ACCURACY)
    record_property(
        "summary",
        f"scikit-learn {sklearn.__version__}: {n_run} checks pass on {name_of(estimator)}, and "
        f"{n_left} more ask for an accuracy; MLPClassifier has {of_mlp.total()}",
    )
    assert n_run + n_left >= of_mlp.total() - of_mlp["check_array_api_input"] > 50


@pytest.mark.learning
@pytest.mark.parametrize("estimator", LEARNING, ids=name_of)
def test_checks_that_ask_for_accuracy_pass(estimator, seed, check_learned, monkeypatch, tmp_path):
    set_random_state, accuracy_score = (
        estimator_checks.set_random_state,
        estimator_checks.accuracy_score,
    )
    accuracies = []

    def measure(y, y_pred):
        accuracies.append(accuracy_score(y, y_pred))
        return accuracies[-1]

    monkeypatch.setattr(estimator_checks, "accuracy_score", measure)
    monkeypatch.setattr(
        estimator_checks, "set_random_state", partial(set_random_state, random_state=seed)
    )
    # Of the twelve long fits on the same few images, given as arrays, lists and files, those that
    # must equal another are read from the kept one; the quickest networks do train them all.
    if not isinstance(estimator, LeNetClassifier | CNNClassifier):
        estimator = clone(estimator).set_params(memory=tmp_path)
    assert run_checks(estimator, ASK_FOR_ACCURACY) == 5
    check_learned(min(accuracies), 0.83)  # what check_classifiers_train asks for


@pytest.fixture(scope="module")
def fits():
    return {}


@pytest.fixture
def fitted(estimator, tops_and_bags, fits):
    """The classifier, fitted once for all tests that leave it as it is."""
    name = name_of(estimator)
    if name not in fits:
        fits[name] = clone(estimator).fit(*tops_and_bags)
    return fits[name]


@pytest.mark.trains
@pytest.mark.parametrize("estimator", QUICK, ids=name_of)
class TestContract:
    def test_is_a_classifier(self, estimator):
        assert is_classifier(estimator)

    def test_init_only_assigns(self, estimator):
        sentinels = {name: object() for name in estimator.get_params()}
        assert vars(type(estimator)(**sentinels)) == sentinels

    @pytest.mark.learning
    def test_learns(self, estimator, seed, check_learned):
        X, y = dim_and_bright(seed=seed)
        clf = clone(estimator).set_params(max_epochs=6, batch_size=8, early_stopping=False)
        clf.set_params(random_state=seed).fit(X[:96], y[:96])
        check_learned(clf.score(X[96:], y[96:]), 0.9)

    def test_keeps_what_it_learned(self, fitted):
        clf = fitted
        assert clf.classes_.tolist() == [0, 8]
        assert clf.image_shape_ == (1, 28, 28)
        assert clf.n_features_in_ == 784
        assert clf.module_ is clf.net_.module_
        assert clf.device_.type in ("cpu", "cuda", "mps")
        assert clf.precision_ in ("float32", "bfloat16")
        assert [epoch["epoch"] for epoch in clf.history_] == list(range(1, clf.n_epochs_ + 1))
        assert 1 <= clf.best_epoch_ <= clf.n_epochs_
        names = ("train_loss", "train_acc", "valid_loss", "valid_acc", "lr", "dur")
        for epoch in clf.history_:
            assert all(isinstance(epoch[name], float) for name in names)
            assert set(names) | {"epoch"} == set(epoch)
        assert "Conv2d" in str(clf.summary())

    def test_the_best_epoch_is_kept(self, estimator, tops_and_bags):
        X, y = tops_and_bags
        clf = clone(estimator).set_params(patience=1, max_epochs=4)
        clf.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
        kept = clf.history_[clf.best_epoch_ - 1]
        assert kept["valid_acc"] == max(epoch["valid_acc"] for epoch in clf.history_)
        assert clf.score(X[100:], y[100:]) == pytest.approx(kept["valid_acc"])

    def test_pickle_changes_no_byte(self, fitted, tops_and_bags):
        X, _ = tops_and_bags
        again = pickle.loads(pickle.dumps(fitted))
        assert again.predict_proba(X).tobytes() == fitted.predict_proba(X).tobytes()
        assert again.module_ is again.net_.module_

    def test_company_does_not_matter(self, fitted, tops_and_bags):
        X, _ = tops_and_bags
        X = np.concatenate([X, X[:90]])  # more than a batch, and no multiple of one
        assert len(X) > fitted.net_.prediction_rows
        order = np.random.default_rng(0).permutation(len(X))
        proba = fitted.predict_proba(X)
        assert proba[order].tobytes() == fitted.predict_proba(X[order]).tobytes()
        others = np.where(np.arange(len(X))[:, None, None] < 70, X, 255 - X)
        assert proba[:70].tobytes() == fitted.predict_proba(others)[:70].tobytes()
        features = fitted.transform(X)
        assert features[order].tobytes() == fitted.transform(X[order]).tobytes()
        # In requests of another size: what is promised is 1e-6, and every byte if deterministic.
        strict = copy.copy(fitted).set_params(deterministic=True)
        proba_strict = strict.predict_proba(X)
        for n in (1, 2, 12, 17, 70):
            few = fitted.predict_proba(X[:n])
            np.testing.assert_allclose(few, proba[:n], rtol=0, atol=1e-6)
            assert strict.predict_proba(X[:n]).tobytes() == proba_strict[:n].tobytes()

    def test_only_the_set_of_images_matters(self, estimator, tops_and_bags):
        """Not their order, nor what holds them: the very same network comes out."""
        X, y = (values[:60] for values in tops_and_bags)
        estimator = clone(estimator).set_params(max_epochs=1)
        order = np.random.default_rng(0).permutation(len(X))
        expected = clone(estimator).fit(X, y).predict_proba(X)
        shuffled = clone(estimator).fit(X[order], y[order]).predict_proba(X)
        assert shuffled.tobytes() == expected.tobytes()
        for images in (X / 255.0, X[..., None], X[:, None], torch.from_numpy(X.copy()), list(X)):
            proba = clone(estimator).fit(images, list(y)).predict_proba(images)
            assert proba.tobytes() == expected.tobytes()

    def test_features(self, fitted, tops_and_bags):
        X, _ = tops_and_bags
        features = fitted.transform(X)
        assert features.shape == (len(X), len(fitted.get_feature_names_out()))
        head = fitted.module_.get_submodule(find_head(fitted.module_, fitted.image_shape_))
        if not isinstance(head, nn.Linear):
            assert isinstance(fitted, NiNClassifier)  # a block of convolutions, before the average
            assert features.shape[1] == head[0].in_channels
            return
        # The head on all rows at once rounds its float32 sums otherwise: hence 1e-6.
        with torch.no_grad():
            logits = head(torch.from_numpy(features)).double()
        torch.testing.assert_close(
            logits.softmax(1).numpy(), fitted.predict_proba(X), atol=1e-6, rtol=0
        )
