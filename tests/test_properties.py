"""What holds for any input and from any thread: the right answer, or a named error."""

import contextlib
import copy
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.exceptions import AmbiguousImageShapeWarning
from skcnn.training.devices import cpu_threads

pytestmark = pytest.mark.trains

# The same examples in every run, that a failure is one of a change and not of the day;
# tests/stress/any_input.py tries others, and many more.
FEW = settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
)


# Any input --------------------------------------------------------------------------------------


def linear(in_channels, n_classes, input_size):
    """A network to which every pixel matters, and its place."""
    height, width = input_size
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * height * width, n_classes))


def quick():
    return CNNClassifier(
        module=linear, max_epochs=1, early_stopping=False, n_threads=1, random_state=0
    )


# Shape of an image in X → (C, H, W); None: no image.
SHAPES = {
    (5, 4): (1, 5, 4),
    (1, 1): (1, 1, 1),
    (4, 4, 1): (1, 4, 4),
    (1, 5, 2): (1, 5, 2),
    (5, 2, 3): (3, 5, 2),
    (3, 5, 2): (3, 5, 2),
    (5, 2, 4): (4, 5, 2),
    (3, 5, 3): (3, 3, 5),  # with a warning
    (9,): (1, 3, 3),
    (12,): (3, 2, 2),  # with a warning
    (7,): (1, 1, 7),
    (5, 6, 2): None,
    (2, 2, 3, 1): None,
    (4, 0): None,
}
DTYPES = ["u1", "i1", "<u2", ">i2", "i4", "i8", "f2", "f4", ">f4", "f8", "?", "O"]
BAD_DTYPES = ["c8", "M8[s]", "U3"]


def as_it_is(X):
    return X


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def every_other_row(X):
    return np.repeat(X, 2, axis=0)[::2]


def backwards(X):
    return np.flip(np.flip(X).copy())


def in_a_frame(X):
    return pd.DataFrame(X) if X.ndim == 2 else pd.Series(list(X))


def in_a_tensor(X):
    if X.dtype == object:
        X = X.astype(float)
    if X.dtype.kind in "MU":
        return X
    return torch.from_numpy(X.astype(X.dtype.newbyteorder("=")))


CONTAINERS = [
    as_it_is,
    np.asfortranarray,
    read_only,
    every_other_row,
    backwards,
    list,
    np.ndarray.tolist,
    in_a_frame,
    in_a_tensor,
]
# Names of two or three classes, in the order in which they sort.
NAMES = [
    np.array([-3, 0, 7]),
    np.array([-1, 0, 1], dtype=np.int8),
    np.array([0, 3, 200], dtype=np.uint8),
    np.array([1, 2, 3], dtype=">i4"),
    np.array([0.0, 1.0, 2.0]),
    np.array(["T-shirt", "bag", "été"]),
    np.array(["a", "b b", "c"], dtype=object),
    np.array([1, 5, 9], dtype=object),
    np.array([False, True]),
]
BAD_NAMES = [
    np.array([0.25, 0.5, 1.75]),
    np.array([0.0, np.nan, 1.0]),
    np.array([0.0, np.inf, 1.0]),
    np.array([1, "a", "b"], dtype=object),
    np.array([True, 2, 3], dtype=object),
    np.array([None, "a", "b"], dtype=object),
    np.array([(1, 2), (3, 4), None], dtype=object)[:2],
    np.array([b"a", b"b"]),
    np.array([1j, 2j]),
    np.array([4]),
]


def in_a_column(y):
    return y[:, None]


def in_categories(y):
    return pd.Series(pd.Categorical(y.astype(y.dtype.newbyteorder("="))))


def in_a_tensor_if_numbers(y):
    return torch.tensor(y.tolist()) if y.dtype.kind in "iufb" else y


LABEL_CONTAINERS = [
    as_it_is,
    np.ndarray.tolist,
    read_only,
    backwards,
    pd.Series,
    in_a_column,
    in_categories,
    in_a_tensor_if_numbers,
]


@st.composite
def inputs(draw, bad=False):
    """Images and labels, and the plain arrays of both; with `bad`, one thing that is not allowed.

    The plain ones are uint8 or float32, and codes from 0.
    """
    spoilt = draw(st.sampled_from(["shape", "dtype", "names"])) if bad else None
    is_image = {shape: size is not None for shape, size in SHAPES.items()}
    shape = draw(st.sampled_from([s for s in SHAPES if is_image[s] == (spoilt != "shape")]))
    dtype = np.dtype(draw(st.sampled_from(BAD_DTYPES if spoilt == "dtype" else DTYPES)))
    names = draw(st.sampled_from(BAD_NAMES if spoilt == "names" else NAMES))
    wrap = draw(st.sampled_from(CONTAINERS))
    n = draw(st.integers(len(names), 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.integers(0, 2 if dtype.kind == "b" else 128, (n, *shape)).astype(dtype)
    if dtype.kind == "U":
        X = np.char.add("#", X)  # what reads as a number is taken as one in a frame
    if dtype.kind == "f":
        X = X / dtype.type(draw(st.sampled_from([1, 255])))
    codes = np.concatenate([np.arange(len(names)), rng.integers(0, len(names), n - len(names))])
    y = draw(st.sampled_from(LABEL_CONTAINERS))(names[codes])
    # In nested lists, bytes are numbers as any other.
    is_uint8 = dtype == np.uint8 and wrap is not np.ndarray.tolist
    plain = None if bad else X.astype(np.uint8 if is_uint8 else np.float32)
    return wrap(X), y, plain, codes, names


@contextlib.contextmanager
def only_named_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (AmbiguousImageShapeWarning, ConvergenceWarning, DataConversionWarning):
            warnings.simplefilter("ignore", expected)
        yield


def check_right_answer(X, y, plain, codes, names):
    """Network, predictions and labels are those of plain arrays; X and y stay as they are."""
    X_before, y_before = copy.deepcopy((X, y))
    with only_named_warnings():
        clf = quick().fit(X, y)
        proba, predicted = clf.predict_proba(X), clf.predict(X)
        expected = quick().fit(plain, codes)
    assert clf.image_shape_ == SHAPES[plain.shape[1:]]
    assert clf.classes_.tolist() == names.tolist()
    assert proba.tobytes() == expected.predict_proba(plain).tobytes()
    assert predicted.tolist() == names[proba.argmax(axis=1)].tolist()
    np.testing.assert_array_equal(_content(X), _content(X_before))
    np.testing.assert_array_equal(_content(y), _content(y_before))


def check_named_error(X, y):
    clf = quick()
    with only_named_warnings(), pytest.raises((ValueError, TypeError)) as caught:
        clf.fit(X, y)
    assert type(caught.value) in (ValueError, TypeError)
    assert len(str(caught.value)) > 20
    assert not hasattr(clf, "classes_")


def _content(values):
    return np.array(np.asarray(values).tolist())  # a Series may hold arrays


@pytest.mark.parametrize("wrap", LABEL_CONTAINERS)
def test_labels_in_any_container(wrap):
    X = np.random.default_rng(0).integers(0, 256, (9, 5, 4), dtype=np.uint8)
    for names in NAMES:
        codes = np.arange(9) % len(names)
        check_right_answer(X, wrap(names[codes]), X, codes, names)
    for names in BAD_NAMES:
        check_named_error(X, wrap(names[np.arange(9) % len(names)]))


@FEW
@given(inputs())
def test_any_images_and_labels_get_the_right_answer(case):
    check_right_answer(*case)


@FEW
@given(inputs(bad=True))
def test_what_is_no_labelled_image_gets_a_named_error(case):
    X, y, *_ = case
    check_named_error(X, y)


# Any thread -------------------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    """Two CPU threads for torch, whatever the environment says."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def of_a_new_thread():
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(torch.get_num_threads).result()


@pytest.mark.parametrize("n_threads", [None, 1])
def test_eight_threads_predict_what_one_does(clothes, n_threads, request):
    if n_threads is not None:
        request.getfixturevalue("two_threads")
    before = torch.get_num_threads()
    X, y = clothes
    clf = LeNetClassifier(norm="batch", max_epochs=1, random_state=0).fit(X[:100], y[:100])
    clf.set_params(n_threads=n_threads)
    requests = [X[start : start + 1 + start % 20] for start in range(100)]
    expected = [clf.predict_proba(images).tobytes() for images in requests]
    start = threading.Barrier(8)

    def predict_all(k):
        start.wait()
        order = np.random.default_rng(k).permutation(len(requests))
        return {i: clf.predict_proba(requests[i]).tobytes() for i in order}

    with ThreadPoolExecutor(8) as executor:
        for found in executor.map(predict_all, range(8)):
            assert [found[i] for i in range(100)] == expected
    assert torch.get_num_threads() == of_a_new_thread() == before


def test_each_thread_has_its_number_of_cpu_threads(two_threads):
    """Whatever the order in which they come and go; torch gives new ones what was set last."""
    found = {}
    entered, leaves = threading.Event(), threading.Event()

    def first():
        with cpu_threads(1):
            entered.set()
            leaves.wait()
            found["first"] = torch.get_num_threads()
        found["first, after"] = torch.get_num_threads()

    def second():
        with cpu_threads(None):
            found["as it is"] = torch.get_num_threads()
        with cpu_threads(3):
            leaves.set()
            other.join()
            found["second"] = torch.get_num_threads()
        found["second, after"] = torch.get_num_threads()

    other = threading.Thread(target=first)
    other.start()
    entered.wait()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(second).result()
    assert found == {
        "as it is": 2,
        "first": 1,
        "first, after": 2,
        "second": 3,
        "second, after": 2,
    }
    assert torch.get_num_threads() == of_a_new_thread() == 2
