"""Files of search results, epochs as scores, and searches with a fixed validation set."""

import json
import os
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.messages import mentions, names
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import skcnn
from skcnn import LeNetClassifier
from skcnn.model_selection import (
    load_search_results,
    save_search_results,
    score_and_epochs,
    with_validation_set,
)


class Remembers(ClassifierMixin, BaseEstimator):
    """Takes any parameters; scores 0.5, or NaN and infinity where it is told to."""

    def __init__(self, a=None, b=None, value=0.5):
        self.a = a
        self.b = b
        self.value = value

    def fit(self, X, y):
        if self.value == "broken":
            raise ValueError("broken")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]

    def score(self, X, y):
        return self.value


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:200], y[:200]


def search_over(grid, **kwargs):
    return GridSearchCV(Remembers(), grid, cv=2, **kwargs).fit(np.zeros((8, 1)), [0, 1] * 4)


def read_back(search, tmp_path):
    return load_search_results(save_search_results(search, tmp_path / "results.json"))


def assert_same_results(table, search):
    expected = pd.DataFrame(search.cv_results_)
    assert list(table.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, check_exact=True)
    assert table["params"].tolist() == list(search.cv_results_["params"])
    assert table.attrs["best_index"] == search.best_index_
    assert table.attrs["best_params"] == search.best_params_


# Files -------------------------------------------------------------------------------------------

SVC_GRID = {"C": [0.1, 1, 10], "gamma": [1e-4, 1e-3]}
SEARCHES = {
    "grid": GridSearchCV(SVC(), SVC_GRID, cv=3, return_train_score=True),
    "conditional grid": GridSearchCV(
        SVC(), [{"kernel": ["linear"]}, {"kernel": ["rbf"], "gamma": [1e-4, 1e-3]}], cv=2
    ),
    "several scores": GridSearchCV(
        SVC(), SVC_GRID, cv=2, scoring=["accuracy", "neg_mean_absolute_error"], refit="accuracy"
    ),
    "random": RandomizedSearchCV(
        SVC(), {"C": np.geomspace(0.1, 10, 20)}, n_iter=4, cv=2, random_state=0
    ),
    "halving": HalvingGridSearchCV(SVC(), SVC_GRID, cv=2, min_resources=60, random_state=0),
    "random halving": HalvingRandomSearchCV(
        SVC(), SVC_GRID, n_candidates=6, cv=2, resource="max_iter", max_resources=30, random_state=0
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SEARCHES)
def test_results_come_back_as_they_were(name, digits, tmp_path):
    search = SEARCHES[name].fit(*digits)
    table = read_back(search, tmp_path)
    assert_same_results(table, search)
    assert table.attrs["search"] == type(search).__name__
    assert table.attrs["estimator"] == "SVC"
    assert table.attrs["refit_metric"] == ("accuracy" if name == "several scores" else "score")
    assert table.attrs["resource"] == getattr(search, "resource", None)
    versions = table.attrs["versions"]
    assert versions["skcnn"] == skcnn.__version__
    assert set(versions) == {"python", "skcnn", "scikit-learn", "torch"}
    if "halving" in name:
        assert set(table["iter"]) == set(range(search.n_iterations_))
        assert set(table["n_resources"]) == set(search.n_resources_)


def test_a_search_that_was_not_refitted(digits, tmp_path):
    search = GridSearchCV(SVC(), SVC_GRID, cv=2, refit=False).fit(*digits)
    assert_same_results(read_back(search, tmp_path), search)
    several = {"scoring": ["accuracy", "f1_macro"], "refit": False}
    table = read_back(GridSearchCV(SVC(), SVC_GRID, cv=2, **several).fit(*digits), tmp_path)
    for key in ("best_index", "best_params", "refit_metric"):
        assert table.attrs[key] is None


def named_function(x):
    return x


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (3, 3),
        (np.int64(3), 3),
        (2.5, 2.5),
        (np.float32(0.5), 0.5),
        (True, True),
        (np.False_, False),
        ("Zoë ü", "Zoë ü"),
        (None, None),
        ((1, (2, "a")), [1, [2, "a"]]),
        (np.arange(3), [0, 1, 2]),
        ({1: 0.5, "b": (None,)}, {"1": 0.5, "b": [None]}),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (torch.optim.Adam, "Adam"),
        (named_function, "named_function"),
        (SVC(C=2), "SVC(C=2)"),
        (partial(named_function, 1), "functools.partial(<function named_function>, 1)"),
    ],
)
def test_parameters_of_every_type(value, kept, tmp_path):
    table = read_back(search_over({"a": [value], "b": [1, 2]}), tmp_path)
    for params in table["params"]:
        assert params["a"] == kept
        assert type(params["a"]) is type(kept)
    assert table["param_a"].tolist() == [kept, kept]


def test_none_and_what_a_candidate_does_not_have_are_told_apart(tmp_path):
    table = read_back(search_over([{"a": [None, "x"]}, {"b": ["y"]}]), tmp_path)
    assert table["param_a"].tolist()[:2] == [None, "x"]
    assert np.isnan(table["param_a"][2])
    assert np.isnan(table["param_b"][0])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_scores_that_are_no_numbers(tmp_path):
    with pytest.warns(FitFailedWarning):
        search = search_over({"value": [0.5, "broken", float("inf"), -float("inf")]})
    path = save_search_results(search, tmp_path / "results.json")

    def refuse(literal):
        raise AssertionError(literal)

    json.loads(path.read_text(), parse_constant=refuse)
    table = load_search_results(path)
    for name in ("mean_test_score", "split1_test_score", "std_test_score", "rank_test_score"):
        assert_array_equal(table[name], search.cv_results_[name])
        assert table[name].dtype.kind in "fi"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = save_search_results(search_over({"a": [1]}), str(tmp_path / "results.json"))
    before = path.read_bytes()

    def fail(*args):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="no space left"):
            save_search_results(search_over({"a": [2]}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    save_search_results(search_over({"a": [2]}), path)
    assert load_search_results(path)["param_a"].tolist() == [2]


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(NotFittedError, match=mentions("GridSearchCV", "save_search_results")):
        save_search_results(GridSearchCV(SVC(), SVC_GRID), path)
    for other in (SVC().fit([[0], [1]], [0, 1]), pd.DataFrame(), None):
        with pytest.raises(TypeError, match=mentions("'search'", type(other).__name__)):
            save_search_results(other, path)
    missing = tmp_path / "missing" / "results.json"
    with pytest.raises(FileNotFoundError, match=names("path", str(missing))):
        save_search_results(search_over({"a": [1]}), missing)
    assert not list(tmp_path.iterdir())


def test_files_that_are_refused(tmp_path):
    path = save_search_results(search_over({"a": [1, 2]}), tmp_path / "results.json")
    text = path.read_text()
    record = json.loads(text)
    later = json.dumps(record | {"format_version": 2})
    without_params = json.dumps(record | {"candidates": [{}]})
    for content, cause in (
        (text[: len(text) // 2].encode(), json.JSONDecodeError),
        (b"\x89PNG\xff", UnicodeDecodeError),
        (b"[1, 2]", type(None)),
        (b'{"format": "of something else"}', type(None)),
        (without_params.encode(), KeyError),
        (json.dumps(record | {"candidates": []}).encode(), IndexError),
        (json.dumps(record | {"candidates": None}).encode(), TypeError),
        (b'{"format": "skcnn search results"}', KeyError),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=names("path", str(path))) as caught:
            load_search_results(path)
        assert type(caught.value.__cause__) is cause
    path.write_text(later)
    with pytest.raises(ValueError, match=mentions(repr(str(path)), 2, 1)):
        load_search_results(path)
    with pytest.raises(FileNotFoundError):
        load_search_results(tmp_path / "missing.json")


# Epochs ------------------------------------------------------------------------------------------


def test_epochs_are_among_the_results(clothes, tmp_path):
    X, y = clothes
    flat = FunctionTransformer(np.reshape, kw_args={"shape": (-1, 784)})
    for estimator, step in (
        (LeNetClassifier(batch_size=32, random_state=0), ""),
        (make_pipeline(flat, LeNetClassifier(batch_size=32, random_state=0)), "lenetclassifier__"),
    ):
        search = GridSearchCV(
            estimator.set_params(**{f"{step}early_stopping": False}),
            {f"{step}max_epochs": [1, 2]},
            cv=2,
            scoring=score_and_epochs,
            refit="score",
        ).fit(X[:100], y[:100])
        table = read_back(search, tmp_path)
        assert_same_results(table, search)
        assert table["split1_test_n_epochs"].tolist() == [1, 2]
        assert table["mean_test_best_epoch"].tolist() == [1, 2]
        accuracy = np.mean(search.predict(X[100:]) == y[100:])
        assert search.score(X[100:], y[100:]) == accuracy


def test_the_best_epoch_is_not_the_last(clothes):
    X, y = clothes
    clf = LeNetClassifier(lr=5e-3, batch_size=32, max_epochs=12, patience=2, random_state=0)
    scores = score_and_epochs(clf.fit(X, y), X, y)
    assert scores == {
        "score": clf.score(X, y),
        "n_epochs": len(clf.history_),
        "best_epoch": clf.best_epoch_,
    }
    assert scores["best_epoch"] < scores["n_epochs"]


def test_epochs_need_a_classifier_of_skcnn(digits):
    for estimator in (GaussianNB().fit(*digits), make_pipeline(StandardScaler(), GaussianNB())):
        with pytest.raises(TypeError, match=mentions("'estimator'", "GaussianNB")):
            score_and_epochs(estimator, *digits)


def test_epochs_of_a_search_by_halving(clothes, tmp_path):
    search = HalvingGridSearchCV(
        LeNetClassifier(batch_size=32, early_stopping=False, random_state=0),
        {"lr": [1e-3, 5e-3]},
        resource="max_epochs",
        max_resources=2,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(*(part[:100] for part in clothes))
    table = read_back(search, tmp_path)
    assert_same_results(table, search)
    assert table["n_resources"].tolist() == [1, 1, 2]
    assert table.attrs["resource"] == "max_epochs"
    assert search.best_estimator_.n_epochs_ == 2


# Validation set ----------------------------------------------------------------------------------


def test_a_search_trains_on_one_set_and_tests_on_the_other(clothes):
    X, y = clothes
    X_all, y_all, cv = with_validation_set(X[:150], y[:150], X[200:], y[200:])
    assert_array_equal(X_all, np.concatenate([X[:150], X[200:]]))
    assert_array_equal(y_all, np.concatenate([y[:150], y[200:]]))
    ((train, test),) = cv.split()
    assert_array_equal(train, np.arange(150))
    assert_array_equal(test, np.arange(150, 250))

    clf = LeNetClassifier(batch_size=32, max_epochs=1, early_stopping=False, random_state=0)
    search = GridSearchCV(clf, {"lr": [1e-3, 5e-3]}, cv=cv, refit=False).fit(X_all, y_all)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        alone = clf.set_params(**params).fit(X[:150], y[:150])
        assert alone.score(X[200:], y[200:]) == score


CONTAINERS = {
    "array": np.asarray,
    "read-only": lambda X: np.broadcast_to(X, X.shape),
    "tensor": torch.tensor,
    "list of arrays": list,
    "list of PIL images": lambda X: [Image.fromarray(image) for image in X],
    "nested lists": lambda X: X.tolist(),
    "frame of rows": lambda X: pd.DataFrame(X.reshape(len(X), -1)),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_sets_in_any_container(name, clothes):
    X, y = clothes[0][:20], clothes[1][:20]
    inside = CONTAINERS[name]
    labels = pd.Series if name == "frame of rows" else torch.as_tensor
    X_all, y_all, _ = with_validation_set(inside(X[:12]), labels(y[:12]), inside(X[12:]), y[12:])
    assert isinstance(X_all, np.ndarray)
    assert_array_equal(X_all.reshape(X.shape), X)
    assert_array_equal(y_all, y)
    if name != "nested lists":
        assert X_all.dtype == np.uint8


def test_a_memory_mapped_set_is_read(clothes, tmp_path):
    X, y = clothes
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    X_all, _, _ = with_validation_set(mapped[:200], y[:200], mapped[200:], y[200:])
    assert_array_equal(X_all, X)
    assert type(X_all) is np.ndarray


def test_labels_stay_what_they_are(clothes):
    X = clothes[0][:4]
    for labels in (["ä", "bb"], [True, False], [0.5, 1.5], [1, 2]):
        y = np.array(labels)
        _, y_all, _ = with_validation_set(X[:2], y, X[2:], pd.Series(labels))
        assert y_all.tolist() == labels * 2
    _, y_all, _ = with_validation_set(X[:2], np.array([1, 2], np.uint8), X[2:], [3, 4])
    assert y_all.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(9)}, mentions("'X'", "'y'", 10, (9,))),
        ({"y_val": np.zeros((5, 1))}, mentions("'X_val'", "'y_val'", 5, (5, 1))),
        ({"X_val": np.zeros((0, 8, 8)), "y_val": []}, mentions("'X_val'", "'y_val'", 0, (0,))),
        ({"X_val": np.zeros((5, 8, 9))}, mentions("'X_val'", (8, 8), (8, 9))),
        ({"X_val": np.zeros((5, 64))}, mentions("'X_val'", (8, 8), (64,))),
        ({"X_val": np.full((5, 8, 8), 255, np.uint8)}, mentions("'X_val'", 0, 255)),
        ({"y_val": list("abcde")}, mentions("'y_val'", "float64", "object")),
        ({"y": np.zeros(10, int)}, mentions("'y_val'", "int64", "float64")),
        (
            {"X": torch.utils.data.TensorDataset(torch.zeros(10, 8, 8))},
            mentions("'X'", "TensorDataset"),
        ),
    ],
)
def test_sets_that_do_not_fit_together(change, message):
    sets = {"X": np.zeros((10, 8, 8)), "y": np.zeros(10)}
    sets |= {"X_val": np.zeros((5, 8, 8)), "y_val": np.zeros(5)}
    with pytest.raises(ValueError, match=message):
        with_validation_set(**(sets | change))


def test_sets_of_one_scale_may_be_of_several_types(clothes):
    X, y = clothes
    X_all, *_ = with_validation_set(X[:20], y[:20], X[20:30].astype(float), y[20:30])
    assert_array_equal(X_all, X[:30])
