"""Paths of images where images are expected: the same results, and each file decoded once."""

import errno
import os
import pickle
import shutil
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.images import write_pngs
from helpers.messages import mentions
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcnn
from skcnn import ImageFiles, LeNetClassifier
from skcnn._paths import paths_in
from skcnn.exceptions import ImageFileError
from skcnn.images import _cache, _reopening, open_paths
from skcnn.inspection import evaluate, plot_confusion_matrix, plot_mistakes
from skcnn.model_selection import with_validation_set

CONTAINERS = {
    "list of str": lambda paths: [str(path) for path in paths],
    "tuple of Path": tuple,
    "list of bytes": lambda paths: [bytes(path) for path in paths],
    "array of bytes": lambda paths: np.array([bytes(path) for path in paths]),
    "array of str": lambda paths: np.array([str(path) for path in paths]),
    "array of objects": lambda paths: np.array(paths, dtype=object),
    "array of one column": lambda paths: np.array(paths, dtype=object)[:, None],
    "Series": lambda paths: pd.Series([str(path) for path in paths], index=range(7, 67)),
    "Series of objects": lambda paths: pd.Series(paths, dtype=object),
    "Series of strings": lambda paths: pd.Series(map(str, paths), dtype="string"),
    "DataFrame of one column": lambda paths: pd.DataFrame({"path": paths}),
}


@pytest.fixture(scope="module")
def clothes_on_disk(tops_and_bags, tmp_path_factory):
    """60 images of clothes as PNG files; their pixels; their labels."""
    X, y = tops_and_bags[0][:60], tops_and_bags[1][:60]
    folder = tmp_path_factory.mktemp("clothes")
    return write_pngs(folder, X), X, y


@pytest.fixture
def kept(monkeypatch):
    """A cache for files to come that holds none yet."""
    monkeypatch.setattr(_reopening, "_kept", _reopening.KeptPixels())
    return _reopening._kept


@pytest.fixture
def decoded(monkeypatch, kept):
    """Names of the files that are decoded from now on, as often as they are."""
    names, decode_image = [], _cache.decode_image

    def noting(path, *args):
        names.append(Path(path).name)
        return decode_image(path, *args)

    monkeypatch.setattr(_cache, "decode_image", noting)
    return names


def quick(**params):
    return LeNetClassifier(**{"max_epochs": 2, "lr": 5e-3, "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted(clothes_on_disk):
    """Classifier that was fitted on the pixels."""
    _, X, y = clothes_on_disk
    return quick().fit(X, y)


# What holds paths ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
def test_paths_are_found_in_every_container(wrap, clothes_on_disk, fitted):
    paths, X, _ = clothes_on_disk
    held = wrap(paths)
    assert list(map(str, paths_in(held))) == list(map(str, paths))
    np.testing.assert_array_equal(fitted.predict_proba(held), fitted.predict_proba(X))


@pytest.mark.parametrize(
    "X",
    [
        None,
        "x.png",
        [],
        [1.5, 2.5],
        [np.zeros((2, 2))],
        np.zeros((3, 4)),
        np.zeros((3, 1)),
        np.array("x.png"),
        np.array([["a", "b"], ["c", "d"]]),
        np.array([1, None], dtype=object),
        torch.zeros(3, 4),
        pd.Series([1, 2]),
        pd.DataFrame({"pixel": [1, 2]}),
        pd.DataFrame({"path": ["a"], "age": [1]}),
    ],
    ids=lambda X: type(X).__name__,
)
def test_what_holds_no_paths(X):
    assert paths_in(X) is None


def test_images_that_are_encoded_in_memory_are_no_paths():
    with pytest.raises(ValueError, match=mentions("'paths'", r"'GIF89a\x00'", 0)):
        quick().fit([b"GIF89a\0", b"GIF89a\0"], [0, 1])


@pytest.mark.parametrize("missing", [None, np.nan, 3])
def test_a_row_without_a_path_is_named(missing):
    with pytest.raises(ValueError, match=mentions("X", missing, 1)):
        quick().fit(["a.png", missing], [0, 1])


# Fits and predictions -----------------------------------------------------------------------------


def test_a_fit_on_paths_is_the_fit_on_the_pixels(clothes_on_disk, fitted):
    paths, X, y = clothes_on_disk
    clf = quick().fit(pd.Series(paths), y)
    for method in ("predict_proba", "predict", "transform"):
        expected = getattr(fitted, method)(X)
        np.testing.assert_array_equal(getattr(clf, method)(paths), expected)
    assert clf.score(paths, y) == fitted.score(X, y)
    assert clf.image_shape_ == (1, 28, 28)
    assert clf.n_features_in_ == 1
    assert not hasattr(clf, "feature_names_in_")
    validated = quick().fit(paths, y, X_val=paths[:20], y_val=y[:20])
    expected = quick().fit(X, y, X_val=X[:20], y_val=y[:20])
    np.testing.assert_array_equal(validated.predict_proba(X), expected.predict_proba(X))
    on_paths, on_pixels = (quick().partial_fit(held, y).partial_fit(held, y) for held in (paths, X))
    np.testing.assert_array_equal(on_paths.predict_proba(X), on_pixels.predict_proba(X))


def test_files_of_several_sizes_need_a_size(clothes_on_disk, tmp_path):
    paths, _, y = clothes_on_disk
    Image.new("L", (40, 30), 99).save(tmp_path / "wide.png")
    mixed, y = [*paths, tmp_path / "wide.png"], [*y, 0]
    message = mentions("'image_size'", "28 × 28", "0.png", "30 × 40", "wide.png")
    with pytest.raises(ValueError, match=message):
        quick().fit(mixed, y)
    clf = quick(image_size=20).fit(mixed, y)
    assert clf.image_shape_ == (1, 20, 20)
    files = ImageFiles(mixed, image_size=20)
    np.testing.assert_array_equal(clf.predict_proba(mixed), clf.predict_proba(files))


def test_paths_at_predict_are_read_as_the_files_at_fit(clothes_on_disk, tmp_path):
    paths, X, y = clothes_on_disk
    options = {"image_size": (20, 24), "mode": "RGB", "resize": "crop", "crop_pct": 0.5}
    files = ImageFiles(paths, **options)
    assert files.options == {**options, "max_pixels": 89_478_485}
    clf = quick(max_epochs=1).fit(files, y)
    np.testing.assert_array_equal(clf.predict_proba(paths), clf.predict_proba(files))
    # Where fit resized nothing, predict does not either.
    Image.new("L", (40, 30), 99).save(tmp_path / "wide.png")
    clf.fit(paths, y)
    with pytest.raises(ValueError, match=mentions("X", (28, 28), (30, 40))):
        clf.predict([tmp_path / "wide.png"])
    # What is grey then is so now, and what is coloured.
    Image.fromarray(X[0]).convert("RGB").save(tmp_path / "colour.png")
    np.testing.assert_array_equal(
        clf.predict_proba([tmp_path / "colour.png"]), clf.predict_proba(paths[:1])
    )


def test_a_file_that_is_missing_stops_a_fit_and_a_prediction(clothes_on_disk, fitted):
    paths, _, y = clothes_on_disk
    clf = quick()
    reasons = {os.path.abspath("gone.png"): os.strerror(errno.ENOENT)}
    with pytest.raises(ImageFileError, match=mentions("gone.png")) as caught:
        clf.fit([*paths, "gone.png"], [*y, 0])
    assert caught.value.reasons == reasons
    assert vars(clf) == vars(quick())
    with pytest.raises(ImageFileError, match=mentions("gone.png")) as caught:
        fitted.predict(["gone.png"])
    assert caught.value.reasons == reasons


def test_a_saved_classifier_reads_paths_as_before(clothes_on_disk, tmp_path):
    paths, _, y = clothes_on_disk
    files = ImageFiles(paths, image_size=(20, 24), resize="crop", max_pixels=10_000)
    for held in (files, paths):
        clf = quick(max_epochs=1).fit(held, y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clf.save(tmp_path / "clf.skcnn")
        again = skcnn.load(tmp_path / "clf.skcnn")
        np.testing.assert_array_equal(again.predict_proba(paths), clf.predict_proba(paths))
        assert again.n_features_in_ == clf.n_features_in_
        assert "max_pixels" not in again.file_options_  # no file of a stranger may raise it


# With scikit-learn --------------------------------------------------------------------------------


def test_folds_of_paths_decode_every_file_once(clothes_on_disk, decoded):
    paths, X, y = clothes_on_disk
    scores = cross_val_score(quick(max_epochs=1), pd.Series(paths), y, cv=3)
    np.testing.assert_array_equal(scores, cross_val_score(quick(max_epochs=1), X, y, cv=3))
    assert sorted(decoded) == sorted(path.name for path in paths)
    search = GridSearchCV(quick(max_epochs=1), {"lr": [1e-3, 1e-2]}, cv=2)
    search.fit([str(path) for path in paths], y)
    assert len(decoded) == len(paths)


def test_eight_threads_predict_from_files_what_one_does(clothes_on_disk, fitted, kept):
    paths, X, _ = clothes_on_disk
    requests = [slice(start, start + 1 + start % 7) for start in range(50)]
    expected = [fitted.predict_proba(X[rows]).tobytes() for rows in requests]
    start = threading.Barrier(8)

    def predict_all(k):
        start.wait()
        order = np.random.default_rng(k).permutation(len(requests))
        return {i: fitted.predict_proba(paths[requests[i]]).tobytes() for i in order}

    with ThreadPoolExecutor(8) as executor:
        for found in executor.map(predict_all, range(8)):
            assert [found[i] for i in range(len(requests))] == expected


@pytest.mark.learning
def test_a_column_of_paths_beside_numbers(clothes_on_disk, seed, check_learned):
    paths, X, y = clothes_on_disk
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.normal(size=60), "path": list(map(str, paths))})
    clf = quick(random_state=seed, batch_size=8, max_epochs=10)
    columns = [("image", clf, ["path"]), ("rest", StandardScaler(), ["age"])]
    model = make_pipeline(ColumnTransformer(columns), LogisticRegression())
    model.fit(frame[:40], y[:40])
    check_learned(model.score(frame, y), 0.8)
    features = model[0].transform(frame)
    images = clone(clf).fit(X[:40], y[:40]).transform(X)
    np.testing.assert_array_equal(features[:, :-1], images)
    names = model[0].set_output(transform="pandas").transform(frame).columns
    assert names.tolist() == [*(f"image__lenetclassifier{i}" for i in range(84)), "rest__age"]
    assert model[0].named_transformers_["image"].feature_names_in_.tolist() == ["path"]
    assert len(cross_val_score(model, frame, y, cv=2, error_score="raise")) == 2


@pytest.mark.parametrize("column", ["path", ["path"]])
def test_a_column_that_is_handed_on(clothes_on_disk, fitted, column):
    paths, X, y = clothes_on_disk
    frame = pd.DataFrame({"age": 1.0, "path": list(map(str, paths))})
    pick = ColumnTransformer([("image", "passthrough", ["path"])])
    model = make_pipeline(pick, quick()).fit(frame, y)
    np.testing.assert_array_equal(model.predict_proba(frame), fitted.predict_proba(X))
    np.testing.assert_array_equal(fitted.predict_proba(frame[column]), fitted.predict_proba(X))


def test_a_validation_set_of_paths(clothes_on_disk):
    paths, _, y = clothes_on_disk
    X_all, y_all, cv = with_validation_set(paths[:40], y[:40], pd.Series(paths[40:]), y[40:])
    assert X_all.tolist() == paths
    search = GridSearchCV(quick(max_epochs=1), {"lr": [1e-3]}, cv=cv).fit(X_all, y_all)
    assert search.n_splits_ == 1


# Plots and reports --------------------------------------------------------------------------------


def test_mistakes_are_drawn_from_paths(clothes_on_disk, fitted, monkeypatch):
    paths, X, y = clothes_on_disk
    wrong = np.where(y == 0, 8, 0)
    expected = plot_mistakes(fitted, X, wrong)
    for held in (list(map(str, paths)), pd.DataFrame({"path": paths})):
        display = plot_mistakes(fitted, held, wrong)
        np.testing.assert_array_equal(display.images, expected.images)
        report = evaluate(fitted, held, wrong)
        np.testing.assert_array_equal(report.mistakes[0].image, expected.images[0])
        matrix = plot_confusion_matrix(fitted, held, y).confusion_matrix
        np.testing.assert_array_equal(matrix, plot_confusion_matrix(fitted, X, y).confusion_matrix)


def test_a_report_on_files_holds_none_of_their_images(clothes_on_disk, fitted):
    paths, X, y = clothes_on_disk
    wrong = np.where(y == 0, 8, 0)
    for held in (X, list(map(str, paths)), ImageFiles(paths)):
        mistakes = evaluate(fitted, held, wrong).mistakes
        pickled = pickle.dumps(mistakes)
        again = pickle.loads(pickled)[3]
        assert (X[again.index].tobytes() in pickled) == (held is X)
        np.testing.assert_array_equal(again.image, X[again.index])
        again.image[:] = 0  # a copy
        np.testing.assert_array_equal(again.image, X[again.index])


def test_large_photographs_are_drawn_smaller_in_their_own_proportions(tmp_path, clothes_on_disk):
    paths, _, y = clothes_on_disk
    clf = quick(max_epochs=1, image_size=20).fit(paths, y)
    for name, size in (("wide.png", (1024, 200)), ("small.png", (30, 20)), ("line.png", (2000, 1))):
        Image.new("L", size, 99).save(tmp_path / name)
    photographs = [tmp_path / name for name in ("wide.png", "small.png", "line.png")]
    wrong = np.where(clf.predict(photographs) == 0, 8, 0)
    display = plot_mistakes(clf, photographs, wrong, order="dataset")
    assert [image.shape for image in display.images] == [(100, 512), (20, 30), (1, 512)]


# What is kept for the next fit --------------------------------------------------------------------


def test_a_file_that_changed_is_decoded_again(clothes_on_disk, decoded, tmp_path):
    _, X, _ = clothes_on_disk
    path = tmp_path / "x.png"
    for image in X[:3]:
        Image.fromarray(image).save(path)
        np.testing.assert_array_equal(open_paths([path])[0], image)
        np.testing.assert_array_equal(open_paths([path, path])[1], image)
    assert len(decoded) == 3


def test_files_of_another_size_take_the_place_of_those_kept(clothes_on_disk, decoded):
    paths = clothes_on_disk[0][:4]
    first = open_paths(paths).decode()
    open_paths(paths, image_size=10).decode()
    assert len(decoded) == 8
    open_paths(paths[::-1], image_size=10).decode()
    assert len(decoded) == 8
    np.testing.assert_array_equal(first, clothes_on_disk[1][:4])  # for those that still have them
    open_paths(paths).decode()
    assert len(decoded) == 12


def test_no_more_is_kept_than_there_is_room_for(clothes_on_disk, decoded, monkeypatch):
    paths, X, _ = clothes_on_disk
    monkeypatch.setattr(_reopening, "_KEPT_BYTES", 5 * 4096)  # each counts as 4 kB at least
    for some in (paths[:3], paths[1:5], paths[:5]):
        open_paths(some).decode()
    assert len(decoded) == 5
    np.testing.assert_array_equal(open_paths(paths[3:8]), X[3:8])  # and they alone
    assert len(decoded) == 10
    np.testing.assert_array_equal(open_paths(paths[:6]), X[:6])  # too many
    assert len(decoded) == 16
    open_paths(paths[3:8]).decode()
    assert len(decoded) == 16


def test_what_is_kept_and_gone_is_made_anew(clothes_on_disk, decoded):
    paths, X, _ = clothes_on_disk
    folder = open_paths(paths[:4]).decode()._cache._folder
    shutil.rmtree(folder)
    np.testing.assert_array_equal(open_paths(paths[:6]), X[:6])


def test_a_fork_keeps_its_own(clothes_on_disk, kept):
    import multiprocessing

    paths, X, _ = clothes_on_disk
    before = open_paths(paths[:4]).decode()
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        others = pool.apply(read, (paths[2:8],))
    np.testing.assert_array_equal(others, X[2:8])
    assert len(kept._rows) == 4
    assert len(before._cache.n_decoded) == 4


def read(paths):
    return np.asarray(open_paths(paths))
