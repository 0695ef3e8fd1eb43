"""Labels of any type and in any column: each comes back as it was given."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.messages import mentions

from skcnn import LeNetClassifier
from skcnn._labels import check_labels, encode_labels, label_array
from skcnn.inspection import evaluate

IDS = [2**53, 2**53 + 1, 7]  # of which floats make two
WORDS = ["bag", "été", "coat"]


def with_arrow(values):
    """Column of pandas whose values are of Arrow."""
    pa = pytest.importorskip("pyarrow")
    return pd.Series(values, dtype=pd.ArrowDtype(pa.array(values).type))


def nullable(values):
    return pd.Series(values).convert_dtypes(convert_integer=type(values[0]) is int)


COLUMNS = {
    "list": list,
    "tuple": tuple,
    "objects": lambda values: np.array(values, dtype=object),
    "NumPy scalars": lambda values: list(np.array(values)),
    "nullable": nullable,
    "nullable array": lambda values: nullable(values).array,
    "nullable index": lambda values: pd.Index(nullable(values)),
    "nullable table": lambda values: pd.DataFrame({"y": nullable(values)}),
    "categories": lambda values: pd.Series(values, dtype="category"),
    "Categorical": pd.Categorical,
    "pandas and Arrow": with_arrow,
    "Arrow": lambda values: pytest.importorskip("pyarrow").array(values),
    "Arrow chunks": lambda values: pytest.importorskip("pyarrow").chunked_array([values]),
    "polars": lambda values: pytest.importorskip("polars").Series(values),
    "polars table": lambda values: pytest.importorskip("polars").DataFrame({"y": values}),
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    "values", [IDS, WORDS, [True, False, True], [1.0, 2.0, 0.0], [-3, 0, 5]], ids=str
)
def test_labels_are_what_they_were(column, values):
    y = check_labels(COLUMNS[column](values), 3, "Est")
    assert y.tolist() == values
    assert all(
        isinstance(label, type(value)) for label, value in zip(y.tolist(), values, strict=True)
    )
    classes = np.unique(y)
    assert classes[encode_labels(y, classes, "Est")].tolist() == values


@pytest.mark.parametrize(
    "y",
    [
        np.array([2**64 - 1, 2**64 - 2, 0], dtype=np.uint64),
        np.array([2**63 + 1, 2**63, 0], dtype=object),
        np.array([1, 2, 3], dtype=np.int8),
        np.array(["2020-01-01", "2021-01-01", "2020-01-01"], dtype="datetime64[D]"),
        np.array([1, 2, 3], dtype=">i4"),
        np.array(WORDS, dtype=np.dtypes.StringDType()),
        torch.tensor([2**53, 2**53 + 1, 7]),
        [torch.tensor(2**53 + 1), torch.tensor(2), torch.tensor(3)],
        pd.Series(pd.date_range("2020-01-01", periods=3)),
        pd.Series([1, 2, 3], dtype="UInt8"),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_labels_of_rarer_types_are_what_they_were(y):
    given = [label.item() if isinstance(label, torch.Tensor) else label for label in y]
    found = check_labels(y, 3, "Est")
    assert all(a == b for a, b in zip(found, given, strict=True))
    assert len(np.unique(found)) == len(set(given))


@pytest.mark.parametrize(
    ("y", "row"),
    [
        (pd.Series([1, None, 3], dtype="Int64"), 1),
        (pd.Series([True, False, None], dtype="boolean"), 2),
        (pd.Series([None, "a", "b"]), 0),
        (pd.Series(["a", None, "b"], dtype="string"), 1),
        (pd.Series(["a", "b", None], dtype="category"), 2),
        (pd.Series(pd.to_datetime(["2020-01-01", None, None])), 1),
        (["a", None, "b"], 1),
        (["a", "b", float("nan")], 2),
        ([1, np.nan, 3], 1),
        (np.array([np.nan, 1.0, 2.0]), 0),
        (np.array(["2020-01-01", "NaT", "2020-01-01"], dtype="datetime64[D]"), 1),
        ([pd.NA, 1, 2], 0),
        ([1, pd.NaT, 2], 1),
        (torch.tensor([0.0, 1.0, torch.nan]), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_missing_label_is_named_by_its_row(y, row):
    with pytest.raises(ValueError, match=mentions("y_val", row)):
        check_labels(y, 3, "Est", "y_val")


@pytest.mark.parametrize(
    ("y", "kinds"),
    [
        ([(1, 2), (3, 4)], ["tuple"]),
        ([[1], [2, 3]], ["list"]),
        ([Decimal(1), Decimal(2)], ["Decimal"]),
        ([datetime.date(2020, 1, 1)] * 2, ["date"]),
        (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), ["Timestamp"]),
        ([b"a", b"b"], ["bytes"]),
        (np.array([b"a", b"b"]), ["bytes_"]),
        ([1, "a"], ["int", "str"]),
        ([True, 2], ["bool", "int"]),
        ([np.True_, 2], [type(np.True_).__name__, "int"]),
        ([2**64, 1], ["int"]),
        ([2**63, -1], ["int"]),
        ([2**53 + 1, 1.0], ["float", "int"]),
        ([1 + 2j, 3], ["complex", "int"]),
    ],
    ids=str,
)
def test_labels_that_no_array_holds_as_they_are_refused(y, kinds):
    with pytest.raises(ValueError, match=mentions("y", kinds)):
        check_labels(y, 2, "Est")


def test_equal_numbers_of_other_types_are_the_same_label():
    classes = np.array([0, 2**53, 2**53 + 1])
    for y in (np.array([2**53 + 1, 0], np.uint64), label_array([2**53 + 1, 0])):
        assert encode_labels(y, classes, "Est").tolist() == [2, 0]
    assert encode_labels(np.array([0.0]), classes, "Est").tolist() == [0]
    for unknown in (np.array([2**53 + 2], np.uint64), np.array(["0"]), np.array([0.5])):
        with pytest.raises(ValueError, match=mentions("Est", unknown.tolist())):
            encode_labels(unknown, classes, "Est")


@pytest.mark.parametrize(
    "values", [IDS, WORDS, [True, False, True]], ids=["ids", "words", "booleans"]
)
def test_a_classifier_gives_back_nullable_labels(clothes, values):
    X, codes = (part[:60] for part in clothes)
    y = pd.Series(values)[codes % 3].convert_dtypes()
    clf = LeNetClassifier(max_epochs=1, batch_size=32, random_state=0)
    clf.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    assert clf.classes_.tolist() == sorted(set(values))
    assert set(clf.predict(X).tolist()) <= set(values)
    assert clf.score(X, y) == np.mean(clf.predict(X) == np.array(y.tolist()))
    assert evaluate(clf, X, y).accuracy == clf.score(X, y)
    first = LeNetClassifier(batch_size=32, random_state=0)
    first.partial_fit(X[:40], y[:40], classes=pd.Series(values).convert_dtypes().unique())
    assert first.partial_fit(X[40:], y[40:]).classes_.tolist() == clf.classes_.tolist()
    with pytest.raises(ValueError, match=mentions("y", 3)):
        clf.score(X[:5], [*y[:3].tolist(), None, y.iloc[4]])
