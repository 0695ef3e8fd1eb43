"""The classifiers in use: real fits, real images, and what bad input gets."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.fits import weights_of
from helpers.messages import mentions, names
from PIL import Image
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import shuffle
from skorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torchvision.transforms import v2

from skcnn import AlexNetClassifier, CNNClassifier, LeNetClassifier
from skcnn.exceptions import AmbiguousImageShapeWarning, DivergenceError, ValueRangeWarning
from skcnn.inspection import evaluate

pytestmark = pytest.mark.trains

QUICK = {"lr": 5e-3, "batch_size": 32, "max_epochs": 4, "random_state": 0}


def quick(**params):
    return LeNetClassifier(**{**QUICK, **params})


def thorough(seed, **params):
    """Train long enough for easy images, whatever the seed and the rounding."""
    return quick(**{"batch_size": 16, "max_epochs": 8, "random_state": seed, **params})


class ListDataset(list, torch.utils.data.Dataset):
    """Pairs of (image, label) in a list."""


# Labels ---------------------------------------------------------------------------------------


@pytest.mark.learning
@pytest.mark.parametrize(
    "names",
    [
        np.array(["T-shirt", "bag"]),
        np.array(["T-shirt", "bag"], dtype=object),
        np.array([False, True]),
        np.array([-7, 3], dtype=np.int32),
        np.array([0.0, 1.0]),
    ],
    ids=lambda names: f"{names.dtype}",
)
def test_labels_of_any_type_come_back(names, seed, easy, check_learned):
    X, y = easy
    labels = names[y]
    clf = thorough(seed).fit(X, labels)
    assert clf.classes_.dtype == names.dtype
    assert clf.classes_.tolist() == names.tolist()
    predicted = clf.predict(X)
    assert predicted.dtype == names.dtype
    check_learned(np.mean(predicted == labels), 0.95)
    assert clf.score(X, labels) == np.mean(predicted == labels)


def test_numbers_in_an_object_column_are_numbers(tops_and_bags):
    X, y = tops_and_bags
    clf = quick(max_epochs=1).fit(X, pd.Series(y, dtype=object))
    assert clf.classes_.tolist() == [0, 8]
    for mixed, types in ((["a", 1], ["int", "str"]), ([True, 2], ["bool", "int"])):
        with pytest.raises(ValueError, match=mentions("y", types)):
            quick().fit(X[:2], np.array(mixed, dtype=object))


@pytest.mark.learning
def test_labels_with_gaps(clothes, seed, check_learned):
    X, y = clothes
    kept = np.isin(y, (1, 5, 8))
    clf = thorough(seed, batch_size=8, max_epochs=12).fit(X[kept], y[kept])
    assert clf.classes_.tolist() == [1, 5, 8]
    assert set(clf.predict(X)) == {1, 5, 8}
    check_learned(clf.score(X[kept], y[kept]), 0.8)


def test_renaming_labels_in_order_changes_nothing(tops_and_bags):
    X, y = tops_and_bags
    renamed = np.where(y == 0, "a", "b")
    a, b = quick().fit(X, y), quick().fit(X, renamed.tolist())
    assert a.predict_proba(X).tobytes() == b.predict_proba(X).tobytes()


# scikit-learn around it -------------------------------------------------------------------------


@pytest.mark.learning
def test_cross_val_score(seed, easy, check_learned):
    check_learned(cross_val_score(thorough(seed), *easy, cv=3).min(), 0.9)


@pytest.mark.learning
def test_pipeline_on_flat_standardised_rows(seed, check_learned):
    X, y = shuffle(*load_digits(return_X_y=True), random_state=seed)
    pipeline = make_pipeline(
        StandardScaler(), LeNetClassifier(lr=3e-3, batch_size=32, max_epochs=6, random_state=seed)
    )
    pipeline.fit(X[:1200], y[:1200])
    assert pipeline[-1].image_shape_ == (1, 8, 8)
    assert pipeline[-1].input_size_ == (12, 12)
    check_learned(pipeline.score(X[1200:], y[1200:]), 0.85)


@pytest.mark.learning
def test_features_for_another_classifier(seed, easy, check_learned):
    X, y = easy
    pipeline = make_pipeline(thorough(seed), SVC()).fit(X[:150], y[:150])
    check_learned(pipeline.score(X[150:], y[150:]), 0.9)
    frame = quick().set_output(transform="pandas").fit(X, y).transform(X)
    assert list(frame.columns[:2]) == ["lenetclassifier0", "lenetclassifier1"]


@pytest.mark.learning
def test_calibrated_and_voting(seed, easy, check_learned):
    X, y = easy
    calibrated = CalibratedClassifierCV(thorough(seed), cv=2).fit(X, y)
    check_learned(calibrated.score(X, y), 0.95)
    flat = X.reshape(len(X), -1)
    voting = VotingClassifier(
        [("cnn", thorough(seed)), ("linear", LogisticRegression(max_iter=200))], voting="soft"
    ).fit(flat, y)
    check_learned(voting.score(flat, y), 0.95)


def test_clone_of_a_fitted_classifier_is_unfitted_and_equal(tops_and_bags):
    X, y = tops_and_bags
    clf = quick().fit(X, y)
    again = clone(clf)
    assert not hasattr(again, "net_")
    assert again.get_params() == clf.get_params()
    assert again.fit(X, y).predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()


# Reproducibility ----------------------------------------------------------------------------------


def test_global_generators_are_left_as_they_were(tops_and_bags):
    X, y = tops_and_bags
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    clf = AlexNetClassifier(width_ratio=8, max_epochs=1, augment="standard", random_state=0)
    clf.fit(X[:40], y[:40]).predict(X)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]


def test_other_seeds_give_other_networks(tops_and_bags):
    X, y = tops_and_bags
    a, b = (quick(random_state=seed).fit(X, y).predict_proba(X) for seed in (0, 1))
    assert np.abs(a - b).max() > 1e-3


def test_random_state_none_follows_numpy(tops_and_bags):
    X, y = tops_and_bags
    np.random.seed(0)  # noqa: NPY002
    a, b = (quick(random_state=None).fit(X, y).predict_proba(X) for _ in range(2))
    np.random.seed(0)  # noqa: NPY002
    again = quick(random_state=None).fit(X, y).predict_proba(X)
    assert a.tobytes() == again.tobytes() != b.tobytes()


# Parameters -------------------------------------------------------------------------------------


@pytest.mark.learning
@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "lr": 0.02, "momentum": 0.9},
        {"optimizer": "adamw", "weight_decay": 0.01},
        {"optimizer": torch.optim.NAdam},
        {"lr_schedule": "one_cycle"},
        {"lr_schedule": None},
        {"lr_schedule": partial(StepLR, step_size=2)},
        {"early_stopping": False},
        {"normalize": False},
        {"augment": "standard"},
        {"augment": lambda images: images + 0.05 * torch.randn_like(images)},
        {"augment": "strong"},
        {"augment": v2.RandomAffine(10)},
        {"augment": nn.Sequential(nn.Identity())},
        {"augment": ["resized_crop", "rotation"], "image_size": 20},
        {"mixing": "mixup"},
        {"mixing": "cutmix"},
        {"ema": 0.9},
        {"tta": True, "augment": "standard"},
        {"label_smoothing": 0.1},
        {"class_weight": "balanced"},
        {"class_weight": {0: 2.0, 1: 1.0}},
        {"image_size": 20},
        {"norm": "batch"},
        {"activation": "sigmoid", "pooling": "avg", "norm": "batch"},
        {"padding": 0, "n_threads": 1},
    ],
    ids=" ".join,
)
def test_parameters_train(params, seed, easy, check_learned):
    X, y = easy
    clf = thorough(seed, **params).fit(X[:150], y[:150])
    check_learned(clf.score(X[150:], y[150:]), 0.85)
    assert clf.n_epochs_ <= clf.max_epochs
    if not clf.early_stopping:
        assert clf.n_epochs_ == clf.best_epoch_ == clf.max_epochs
        assert "valid_acc" not in clf.history_[-1]


def test_mirror_averaged_prediction(tops_and_bags):
    X, y = tops_and_bags
    clf = quick().fit(X, y)
    one_sided = clf.predict_log_proba(X)
    mirrored = clf.predict_log_proba(X[:, :, ::-1])
    clf.set_params(tta=True)  # without a new fit
    proba = clf.predict_proba(X)
    assert proba.tobytes() == clf.predict_proba(X[:, :, ::-1]).tobytes()
    expected = np.exp((one_sided + mirrored) / 2)
    # The mean of the logits is taken in float32 there, of their float64 log-softmax here.
    np.testing.assert_allclose(proba, expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_an_average_that_forgets_at_once_is_the_network(tops_and_bags):
    X, y = tops_and_bags
    plain, averaged, slow = (quick(ema=ema).fit(X, y) for ema in (None, 0.0, 0.99))
    assert averaged.predict_proba(X).tobytes() == plain.predict_proba(X).tobytes()
    assert slow.predict_proba(X).tobytes() != plain.predict_proba(X).tobytes()


@pytest.mark.parametrize("backend", ["inductor", "aot_eager"])
def test_compiled_training_predicts_as_the_plain_module(tops_and_bags, backend, monkeypatch):
    if backend == "inductor" and os.environ.get("ATEN_CPU_CAPABILITY") == "default":
        pytest.skip("torch 2.14 then generates C++ that no compiler takes")
    if backend == "inductor" and not torch.backends.mkldnn.enabled:
        pytest.skip("torch 2.14 then expects convolutions in another layout than its own kernel's")
    X, y = tops_and_bags
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    # Batches of one size and no validation, so that one graph is compiled.
    params = {"batch_size": 50, "early_stopping": False, "max_epochs": 3, "random_state": 0}
    clf = CNNClassifier(module=tiny_net, compile=True, **params).fit(X, y)
    plain = CNNClassifier(module=tiny_net, **params).fit(X, y)
    # The compiler sums in another order, which three epochs of Adam amplify.
    np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X), atol=0.05)
    assert clf.history_[-1]["train_loss"] < clf.history_[0]["train_loss"]
    again = pickle.loads(pickle.dumps(clf))
    assert again.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()


def tiny_net(in_channels, n_classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 5, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(72, n_classes),
    )


class RefusesOne(nn.Sequential):
    """A network that does not take a single image."""

    def __init__(self, in_channels, n_classes):
        super().__init__(nn.Flatten(), nn.Linear(784 * in_channels, n_classes))

    def forward(self, x):
        if len(x) == 1:
            raise RuntimeError("one image")
        return super().forward(x)


def test_what_cannot_take_a_single_image_predicts_several(tops_and_bags):
    X, y = tops_and_bags
    clf = CNNClassifier(module=RefusesOne, max_epochs=1, random_state=0).fit(X, y)
    np.testing.assert_allclose(
        clf.predict_proba(X[:3]), clf.predict_proba(X)[:3], rtol=0, atol=1e-6
    )


@pytest.mark.learning
def test_class_weight_counts(tops_and_bags, seed, check_learned):
    X, y = tops_and_bags
    X, y = X[:60], np.random.default_rng(0).permutation(y[:60])  # nothing to learn but the odds
    odds = partial(thorough, seed, norm=None, label_smoothing=0.0, early_stopping=False)
    shares = [
        np.mean(odds(class_weight={0: weight, 8: 1.0}).fit(X, y).predict(X) == 0)
        for weight in (1e-3, 1e3)
    ]
    check_learned(1 - shares[0], 0.8)
    check_learned(shares[1], 0.8)


def test_weights_stand_for_copies(tops_and_bags):
    X, y = tops_and_bags
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    weighted = quick().fit(X, y, sample_weight=weights)
    repeated = quick().fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert weighted.predict_proba(X).tobytes() == repeated.predict_proba(X).tobytes()
    fractional = quick().fit(X, y, sample_weight=weights / 3 + 0.1)
    assert fractional.score(X, y) > 0.9


@pytest.mark.parametrize("weights", [{0: -5.0}, {0: 0, 8: 0}, {0: np.nan}, {0: np.inf}], ids=str)
def test_bad_class_weights(weights, tops_and_bags):
    with pytest.raises(ValueError, match=names("class_weight", weights)):
        quick(class_weight=weights).fit(*tops_and_bags)


def test_validation_data_of_ones_own(tops_and_bags):
    X, y = tops_and_bags
    clf = quick(patience=1, max_epochs=20, lr=1e-6).fit(
        X[:100], y[:100], X_val=X[100:], y_val=np.where(y[100:] == 0, 8, 0)
    )
    # The validation labels are swapped: what helps in training hurts there.
    assert clf.n_epochs_ < 20
    for given, missing in (({"X_val": X}, "y_val=None"), ({"y_val": y}, "X_val=None")):
        with pytest.raises(ValueError, match=mentions("X_val", "y_val", missing)):
            quick().fit(X, y, **given)
    with pytest.raises(ValueError, match=mentions("y_val", "LeNetClassifier", [7])):
        quick().fit(X, y, X_val=X[:2], y_val=[0, 7])


def test_warm_start_goes_on(tops_and_bags):
    X, y = tops_and_bags
    clf = quick(warm_start=True, early_stopping=False, max_epochs=2).fit(X, y)
    first = clf.history_[-1]["train_loss"]
    clf.set_params(lr=1e-4).fit(X, y)
    assert [epoch["epoch"] for epoch in clf.history_] == [1, 2, 3, 4]
    assert clf.n_epochs_ == 4
    assert clf.history_[2]["train_loss"] < first
    with pytest.raises(ValueError, match=mentions("'norm'", "'auto'", None)):
        clf.set_params(norm=None).fit(X, y)
    cold = clone(clf).set_params(warm_start=False).fit(X, y)
    assert cold.n_epochs_ == 2


@pytest.mark.learning
def test_partial_fit_learns_in_pieces(seed, easy, check_learned):
    X, y = easy
    y = 8 * y
    clf = thorough(seed, lr=2e-3)
    clf.partial_fit(X[:20], np.zeros(20, dtype=int), classes=[0, 8])  # one class so far
    assert clf.classes_.tolist() == [0, 8]
    for _ in range(6):
        for start in range(0, 200, 50):
            clf.partial_fit(X[start : start + 50], y[start : start + 50])
    assert clf.n_epochs_ == 25
    assert {epoch["lr"] for epoch in clf.history_} == {2e-3}
    check_learned(clf.score(X, y), 0.9)
    with pytest.raises(ValueError, match=mentions("y", "LeNetClassifier", [3])):
        clf.partial_fit(X[:2], [0, 3])
    with pytest.raises(ValueError, match=names("classes", [0, 3])):
        clf.partial_fit(X[:2], [0, 8], classes=[0, 3])
    with pytest.raises(ValueError, match=mentions("LeNetClassifier", 2, 1)):
        quick().partial_fit(X[:2], [0, 0])


def test_partial_fit_keeps_the_optimizers_memory(tops_and_bags):
    """Two epochs of one batch each, by partial_fit, are the same steps as by fit."""
    X, y = tops_and_bags
    settings = {"batch_size": 256, "lr_schedule": None, "early_stopping": False, "max_epochs": 2}
    settings["norm"] = None  # batch normalisation amplifies the rounding
    fitted = quick(**settings).fit(X, y)
    partly = quick(**settings).partial_fit(X, y).partial_fit(X, y)
    # Other seeds give other orders of the rows, and so other rounding of the sums over a batch;
    # an optimizer that forgets is further off.
    np.testing.assert_allclose(partly.predict_proba(X), fitted.predict_proba(X), atol=1e-4)


def test_callbacks_are_heard_and_kept(tops_and_bags):
    class Counter(Callback):
        def initialize(self):
            self.n_batches_ = 0
            return self

        def on_batch_end(self, net, training, **kwargs):
            self.n_batches_ += training

    X, y = tops_and_bags
    counter = Counter()
    clf = quick(callbacks=[("counter", counter)], early_stopping=False).fit(X, y)
    assert counter.n_batches_ == 4 * 7
    assert dict(clf.net_.callbacks_)["counter"] is counter


def test_verbosity(tops_and_bags, capsys):
    X, y = tops_and_bags
    quick(max_epochs=2).fit(X, y)
    assert capsys.readouterr() == ("", "")
    quick(max_epochs=2, verbose=1).fit(X, y)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2" in err
    assert "valid_acc" in err
    quick(max_epochs=2, verbose=2, early_stopping=False).fit(X, y)
    out, _ = capsys.readouterr()
    assert len(out.splitlines()) == 5  # the arithmetic, two of the head, one for each epoch
    assert "train_acc" in out


def test_torch_dataset(tops_and_bags):
    X, y = tops_and_bags
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X[:, None].copy()), torch.from_numpy(y))
    clf = quick().fit(pairs)
    assert clf.image_shape_ == (1, 28, 28)
    assert clf.predict(pairs).tolist() == clf.predict(X[:, None]).tolist()
    assert clf.score(pairs) == clf.score(X[:, None], y)
    assert len(evaluate(clf, pairs, 8 - y).mistakes) > 0


def test_pil_images_and_data_frames(tops_and_bags):
    X, y = tops_and_bags
    pil = [Image.fromarray(image) for image in X]
    of_arrays, of_pil = quick().fit(X, y), quick().fit(pil, y)
    assert of_pil.predict_proba(pil).tobytes() == of_arrays.predict_proba(X).tobytes()
    frame = pd.DataFrame(X.reshape(len(X), -1), columns=[f"pixel{i}" for i in range(784)])
    clf = quick().fit(frame, pd.Series(y))
    assert clf.feature_names_in_[3] == "pixel3"
    assert clf.predict_proba(frame).tobytes() == of_arrays.predict_proba(X).tobytes()
    assert clf.score(frame, y) == of_arrays.score(X, y)


@pytest.mark.learning
def test_colour_images_and_resizing(seed, check_learned):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.integers(0, 60, (120, 20, 30, 3), dtype=np.uint8)
    X[y == 1, :, :, 2] += 150  # blue
    clf = thorough(seed).fit(X, y)
    assert clf.image_shape_ == (3, 20, 30)
    assert clf.input_size_ == (20, 30)
    check_learned(clf.score(X, y), 0.95)
    small = AlexNetClassifier(width_ratio=8, max_epochs=1, batch_size=16).fit(X[:40], y[:40])
    assert small.input_size_ == (67, 67)


def test_torchvision_by_name(tops_and_bags):
    X, y = tops_and_bags
    clf = CNNClassifier(
        module="squeezenet1_1", lr=1e-3, batch_size=16, max_epochs=3, early_stopping=False
    ).fit(X[:60], y[:60])
    assert clf.input_size_ == (64, 64)  # of 28, little would be left
    assert clf.predict(X).shape == (200,)
    assert clf.transform(X[:3]).shape == (3, 512)
    assert clf.set_params(image_size=28, max_epochs=1).fit(X[:60], y[:60]).input_size_ == (28, 28)


# What bad input gets ------------------------------------------------------------------------------

BAD_PARAMETERS = [
    {"optimizer": "adamm"},
    {"optimizer": int},
    {"lr_schedule": "linear"},
    {"precision": "float16"},
    {"device": "gpu"},
    {"augment": "weak"},
    {"augment": ["mirror", "weak"]},
    {"augment": ("mirror", None)},
    {"class_weight": "even"},
    {"lr": -0.1},
    {"lr": float("nan")},
    {"batch_size": 0},
    {"batch_size": 1.5},
    {"max_epochs": 0},
    {"patience": 0},
    {"validation_fraction": 1.0},
    {"momentum": 1.0},
    {"label_smoothing": 1},
    {"image_size": 11},
    {"image_shape": (14, 14)},
    {"n_threads": 0},
    {"callbacks": "EpochTimer"},
    {"callbacks": [3]},
    {"random_state": "zero"},
    {"padding": 1},
    {"norm": "layer"},
]


@pytest.mark.parametrize("params", BAD_PARAMETERS, ids=str)
def test_bad_parameters(params, tops_and_bags):
    ((name, value),) = params.items()
    if name in ("augment", "callbacks") and not isinstance(value, str):
        value = value[-1]  # the bad one of the list
    clf = quick(**params)
    with pytest.raises(ValueError, match=names(name, value)):
        clf.fit(*tops_and_bags)
    assert not hasattr(clf, "classes_")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("optimizer", {"adam", "adamw", "sgd"}),
        ("lr_schedule", {"cosine", "one_cycle"}),
        ("precision", {"auto", "float32", "bfloat16"}),
        ("device", {"auto", "cpu", "cuda"}),
        ("augment", {"standard"}),
        ("class_weight", {"balanced"}),
        ("norm", {"batch"}),
    ],
)
def test_errors_list_what_is_allowed(name, allowed, tops_and_bags):
    with pytest.raises(ValueError, match=names(name, "no such")) as raised:
        quick(**{name: "no such"}).fit(*tops_and_bags)
    assert all(repr(value) in str(raised.value) for value in allowed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for what this machine must not have")
def test_absent_cuda(tops_and_bags):
    with pytest.raises(ValueError, match=names("device", "cuda")):
        quick(device="cuda").fit(*tops_and_bags)


def with_pixel(X, value):
    X = X.astype(float)
    X[5, 3, 3] = value
    return X


BAD_INPUT = [
    (lambda X, y: (with_pixel(X, np.nan), y), mentions("X", "NaN", 5)),
    (lambda X, y: (with_pixel(X, np.inf), y), mentions("X", "infinity", 5)),
    (lambda X, y: (with_pixel(X, 1e60), y), mentions("X", "float32", 5)),
    (lambda X, y: (X, np.zeros(len(X))), mentions("LeNetClassifier", 2, 1)),
    (lambda X, y: (X, y[:-1]), mentions("y", 199, 200)),
    (lambda X, y: (X, None), mentions("y", None)),
    (lambda X, y: (X, np.linspace(0, 1, len(X))), mentions("continuous")),
    (lambda X, y: (X, np.where(y == 0, np.nan, y)), mentions("y", "NaN")),
    (lambda X, y: ([*X[:9], X[9][:20]], y[:10]), mentions("X", (28, 28), 0, (20, 28), 9)),
    (lambda X, y: (X[:0], y[:0]), mentions("LeNetClassifier", 0, (0, 28, 28))),
    (lambda X, y: (X[:, :0], y), mentions("X", (0, 28))),
    (lambda X, y: (X[0, 0], y[:28]), mentions("2D", "1D")),
    (lambda X, y: (X.astype(str), y), "could not convert|numeric"),  # of scikit-learn
    (lambda X, y: (X[..., None, None], y), mentions("X", "(n, H, W)", 5)),
    (lambda X, y: (np.stack([X, X], axis=-1), y), mentions(1, 3, 4, (28, 28, 2))),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_INPUT, ids=range(len(BAD_INPUT)))
def test_bad_input(spoil, message, tops_and_bags):
    clf = quick()
    with pytest.raises(ValueError, match=message):
        clf.fit(*spoil(*tops_and_bags))
    assert not hasattr(clf, "net_")


def test_sparse_input(tops_and_bags):
    X, y = tops_and_bags
    with pytest.raises(TypeError, match="Sparse data was passed"):
        quick().fit(sparse.csr_array(X.reshape(len(X), -1)), y)


def test_bad_weights(tops_and_bags):
    X, y = tops_and_bags
    with pytest.raises(ValueError, match=mentions("'sample_weight'", 200)):
        quick().fit(X, y, sample_weight=np.zeros(len(X)))
    with pytest.raises(ValueError, match=mentions("'sample_weight'", 200)):
        quick().fit(X, y, sample_weight=-np.ones(len(X)))
    with pytest.raises(ValueError, match=mentions("LeNetClassifier", 2, 1)):
        quick().fit(X, y, sample_weight=y)


def test_predict_demands_what_fit_saw(tops_and_bags):
    X, y = tops_and_bags
    clf = quick().fit(X, y)
    for other, got in [
        (X[:, :20], (20, 28)),
        (X.reshape(len(X), -1)[:, 1:], (783,)),
        (np.stack([X] * 3, axis=-1), (28, 28, 3)),
    ]:
        with pytest.raises(ValueError, match=mentions("X", (28, 28), 784, got)):
            clf.predict(other)
    with pytest.raises(ValueError, match=mentions("X", "NaN", 5)):
        clf.predict(with_pixel(X, np.nan))
    flat = quick().fit(X.reshape(len(X), -1), y)
    with pytest.raises(ValueError, match=mentions("X", 783, "LeNetClassifier", 784)):
        flat.predict(X.reshape(len(X), -1)[:, 1:])
    with pytest.raises(ValueError, match=mentions("LeNetClassifier", 0, (0, 28, 28))):
        clf.predict(X[:0])
    with pytest.raises(ValueError, match=mentions((28,), "X[None]")):
        clf.predict(X[0])


def test_another_scale_is_a_named_warning_wherever_images_arrive(tops_and_bags):
    X, y = tops_and_bags
    clf = quick(max_epochs=1).fit(X, y)
    centred = quick(max_epochs=1).fit(X / 127.5 - 1, y)
    floats = quick(max_epochs=1).fit(X / 255, y)
    pairs = [(clf, X / 255), (clf, X / 127.5 - 1), (floats, X), (floats, X / 127.5 - 1)]
    pairs += [(centred, X), (centred, X.astype(float)), (centred, X / 255)]
    for fitted, other in pairs:
        with pytest.warns(ValueRangeWarning) as caught:
            fitted.predict(other)
        assert caught[0].filename == __file__
    for method in (clf.predict_proba, clf.transform, lambda images: clf.score(images, y)):
        with pytest.warns(ValueRangeWarning):
            method(X / 255)
    with pytest.warns(ValueRangeWarning, match=mentions("X_val")):
        quick(max_epochs=1).fit(X / 255, y, X_val=X, y_val=y)
    for estimator in (quick(), quick(warm_start=True, max_epochs=1)):
        train = estimator.fit if estimator.warm_start else estimator.partial_fit
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)  # fits are short
            train(X / 255, y)
        with pytest.warns(ValueRangeWarning):
            train(X, y)
        with warnings.catch_warnings():  # it has seen both by now
            warnings.simplefilter("error")
            estimator.predict(X)


TYPES = {
    "int64": lambda X: X.astype(np.int64),
    "float64": lambda X: X.astype(np.float64),
    "float32": lambda X: X.astype(np.float32),
    "big-endian": lambda X: X.astype(">u2"),
    "Fortran order": lambda X: np.asfortranarray(X.astype(float)),
    "tensor": lambda X: torch.from_numpy(X.astype(np.int32)),
    "table": lambda X: pd.DataFrame(X.reshape(len(X), -1)).astype("int64"),
    "Series of arrays": lambda X: pd.Series(list(X.astype(float))),
    "mixed list": lambda X: [*X[:3], *X[3:].astype(np.float32)],
    "Dataset": lambda X: [(image, 0) for image in X.astype(float)],
}


@pytest.mark.parametrize("largest", [255, 16, 1])
def test_equal_numbers_give_equal_fits_and_predictions(clothes, largest):
    """Whatever their type, and whatever the type of those that fit saw."""
    X, y = (part[:60] for part in clothes)
    X = (X // (256 // (largest + 1))).astype(np.uint8)
    fit = partial(quick(max_epochs=1, image_size=32, augment="standard").fit, y=y)
    expected = fit(X)
    probabilities = expected.predict_proba(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # fits are short
        for name, convert in TYPES.items():
            same = convert(X)
            if name == "Dataset":
                same = ListDataset(same)
                assert expected.predict_proba(same).tobytes() == probabilities.tobytes()
                continue
            assert expected.predict_proba(same).tobytes() == probabilities.tobytes(), name
            clf = fit(same)
            assert weights_of(clf) == weights_of(expected), name
            assert clf.predict_proba(X).tobytes() == probabilities.tobytes(), name


def test_resampled_tables_and_bytes_are_on_one_scale(tops_and_bags):
    """What oversampling gives, floats a little off the whole numbers, predicts bytes as well."""
    X, y = tops_and_bags
    rows = X.reshape(len(X), -1)
    noise = np.random.default_rng(0).normal(0, 2, rows.shape)
    for training in (rows + noise, np.clip(rows + noise, 0, 255)):
        clf = quick(max_epochs=5).fit(training, y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert clf.score(rows, y) > 0.8


def test_a_minmax_scaler_is_no_other_scale(clothes):
    X, y = clothes
    rows = X.reshape(len(X), -1)
    model = make_pipeline(MinMaxScaler(), quick(max_epochs=1)).fit(rows[:100], y[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(rows[100:])
        model.predict(rows[100:101])


@pytest.mark.parametrize("channels", [None, 3])
def test_rows_of_as_many_numbers_are_folded_as_fit_does(clothes, channels):
    X, y = (part[:60] for part in clothes)
    if channels:
        X = np.stack([X, X // 2, 255 - X], axis=-1)
    rows = X.reshape(len(X), -1)
    clf = quick(max_epochs=1).fit(X, y, X_val=rows, y_val=y)
    expected = clf.predict_proba(X)
    assert clf.predict(np.zeros((1, clf.n_features_in_))).shape == (1,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same in (rows, pd.DataFrame(rows), torch.from_numpy(rows.copy()), rows.tolist()):
            assert clf.predict_proba(same).tobytes() == expected.tobytes()
        assert clf.transform(rows).tobytes() == clf.transform(X).tobytes()
        assert clf.score(rows, y) == clf.score(X, y)
    by_rows, by_images = (evaluate(clf, images, y).confusion_matrix for images in (rows, X))
    assert by_rows.tolist() == by_images.tolist()
    by_rows, by_images = (copy.deepcopy(clf).partial_fit(images, y) for images in (rows, X))
    assert weights_of(by_rows) == weights_of(by_images)
    of_rows = quick(max_epochs=1, image_shape=X.shape[1:]).fit(rows, y)
    assert of_rows.predict_proba(X).tobytes() == of_rows.predict_proba(rows).tobytes()
    for wrong in (rows[:, 1:], rows[:, :28], rows.reshape(len(X), 1, -1)):
        for fitted in (clf, of_rows):
            with pytest.raises(ValueError, match=mentions("LeNetClassifier", rows.shape[1])):
                fitted.predict(wrong)


def test_columns_that_make_no_image_are_said_so(tops_and_bags):
    X, y = tops_and_bags
    rows = X.reshape(len(X), -1)
    more = np.c_[rows, y]  # as a chain of classifiers does
    for made in (rows[:, :700], more):
        with pytest.warns(
            AmbiguousImageShapeWarning, match=mentions("X", made.shape[1], "image_shape")
        ):
            quick(max_epochs=1).fit(made, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # fits are short
        quick(max_epochs=1, image_shape=(20, 35)).fit(rows[:, :700], y)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "transform", "score"]
)
def test_not_fitted(method, tops_and_bags):
    X, y = tops_and_bags
    arguments = (X, y) if method == "score" else (X,)
    with pytest.raises(NotFittedError):
        getattr(quick(), method)(*arguments)
    with pytest.raises(NotFittedError):
        quick().summary()


@pytest.mark.learning
def test_a_last_batch_of_one_row_does_not_break_batch_normalisation(seed, easy, check_learned):
    X, y = easy
    clf = thorough(seed, norm="batch", early_stopping=False, batch_size=16).fit(X[:65], y[:65])
    check_learned(clf.score(X, y), 0.8)
    with pytest.raises(ValueError, match=mentions("'batch_size'", 2, 1)):
        quick(norm="batch", batch_size=1).fit(X, y)


def interrupting(hook):
    def interrupt(self, net, **kwargs):
        signal.default_int_handler(signal.SIGINT, None)  # as Ctrl-C does

    return type("Interrupting", (Callback,), {hook: interrupt})()


def test_an_interrupt_stops_a_fit_and_a_search_and_loses_nothing(tops_and_bags):
    X, y = tops_and_bags
    clf = quick().fit(X, y)
    before = clf.predict_proba(X).tobytes()
    clf.set_params(callbacks=[interrupting("on_batch_end")])
    for call in (clf.fit, clf.partial_fit, clf.set_params(warm_start=True).fit):
        with pytest.raises(KeyboardInterrupt):
            call(X, y)
        assert clf.predict_proba(X).tobytes() == before
    fits = []

    class Counting(Callback):
        def on_train_begin(self, net, **kwargs):
            fits.append(1)

    search = GridSearchCV(
        quick(callbacks=[Counting(), interrupting("on_epoch_end")]), {"lr": [1e-3, 1e-2]}, cv=2
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert len(fits) == 1


def test_a_failed_fit_changes_nothing(tops_and_bags):
    X, y = tops_and_bags
    clf = quick().fit(X, y)
    state = dict(vars(clf))
    with pytest.raises(ValueError, match=mentions("X", "NaN", 5)):
        clf.fit(with_pixel(X, np.nan)[:, :20], np.array(["a", "b"] * 100))
    assert vars(clf) == state
    with pytest.raises(DivergenceError):
        clf.set_params(lr=1e38, optimizer="sgd").fit(X, y)
    assert clf.net_ is state["net_"]


class Returning(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


def test_module_errors_come_before_training(tops_and_bags):
    X, y = tops_and_bags
    for module, message in [
        ("resnet81", mentions("'module'", "'resnet81'", "resnet18")),
        (lambda: nn.Flatten(), mentions("'module'", 2, (2, 784))),
        (lambda: Returning({"out": 1}), mentions("'module'", 2, "dict")),
        (lambda: nn.Linear(3, 2).requires_grad_(False), mentions("'module'", "requires_grad")),
        (lambda in_channels: nn.Linear(3, 2), mentions(1, "28 × 28", "'image_size'")),
    ]:
        with pytest.raises(ValueError, match=message):
            CNNClassifier(module=module).fit(X, y)
    with pytest.raises(ValueError, match=names("module", 18)):
        CNNClassifier(module=18).fit(X, y)


INTERRUPTED = """
import signal
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback
from skcnn import LeNetClassifier
from skcnn.datasets import load_fashion_mnist_mini

class Announce(Callback):
    def on_epoch_begin(self, net, **kwargs):
        print("training", flush=True)

# Where the tests run in the background, the shell has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
clf = LeNetClassifier(max_epochs=500, early_stopping=False, callbacks=[Announce()])
GridSearchCV(clf, {"lr": [1e-3, 1e-4]}, cv=2, error_score=0).fit(X, y)
print("finished")
"""


def test_ctrl_c_stops_a_search():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "training\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    assert "finished" not in out
