"""Canonical batches: whatever the container and layout, the same pixels come out."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.messages import mentions, names
from PIL import Image
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skcnn.exceptions import AmbiguousImageShapeWarning, ValueRangeWarning
from skcnn.images import (
    ArrayImages,
    DatasetImages,
    ScaleComparison,
    as_array,
    dataset_labels,
    image_extremes,
    infer_layout,
    pixel_divisor,
    scan_images,
)


def source(X, image_shape=None):
    return ArrayImages(X, infer_layout(X.shape[1:], image_shape, "Est"))


def colour_images(n=6, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("row_shape", "image_shape", "shape", "channels_last"),
    [
        ((28, 28), None, (1, 28, 28), False),
        ((5, 7), (5, 7), (1, 5, 7), False),
        ((5, 7), (1, 5, 7), (1, 5, 7), False),
        ((5, 7, 3), None, (3, 5, 7), True),
        ((3, 5, 7), None, (3, 5, 7), False),
        ((5, 7, 1), None, (1, 5, 7), True),
        ((4, 5, 7), None, (4, 5, 7), False),
        ((64,), None, (1, 8, 8), False),
        ((10,), (1, 10), (1, 1, 10), False),
        ((70,), (10, 7), (1, 10, 7), False),
        ((105,), (3, 5, 7), (3, 5, 7), False),
        ((105,), (5, 7, 3), (3, 5, 7), True),
    ],
)
def test_layout(row_shape, image_shape, shape, channels_last):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layout = infer_layout(row_shape, image_shape, "Est")
    assert (layout.shape, layout.channels_last) == (shape, channels_last)


@pytest.mark.parametrize(("row_shape", "shape"), [((3, 9, 3), (3, 3, 9)), ((75,), (3, 5, 5))])
def test_ambiguous_layout_is_channels_last_and_said_so(row_shape, shape):
    named = row_shape if len(row_shape) > 1 else row_shape[0]
    with pytest.warns(AmbiguousImageShapeWarning, match=mentions(named)):
        layout = infer_layout(row_shape, None, "Est")
    assert (layout.shape, layout.channels_last) == (shape, True)


@pytest.mark.parametrize("n_features", [2, 10, 700, 785])
def test_rows_that_make_no_square_are_said_so(n_features):
    with pytest.warns(AmbiguousImageShapeWarning, match=mentions(n_features, "image_shape")):
        layout = infer_layout((n_features,), None, "Est")
    assert layout.shape == (1, 1, n_features)


@pytest.mark.parametrize(
    ("row_shape", "image_shape", "same", "other"),
    [
        (
            (5, 7),
            None,
            [(5, 7), (35,), (5, 7, 1), (1, 5, 7)],
            [(7, 5), (36,), (5, 7, 3), (5, 1, 7)],
        ),
        ((5, 7, 1), None, [(5, 7), (35,), (1, 5, 7)], [(7, 5)]),
        ((35,), (5, 7), [(5, 7), (35,), (5, 7, 1)], [(7, 5), (1, 35)]),
        ((5, 7, 3), None, [(5, 7, 3), (105,)], [(3, 5, 7), (5, 21), (1, 105)]),
        ((105,), (3, 5, 7), [(3, 5, 7), (105,)], [(5, 7, 3)]),
    ],
)
def test_the_same_images_in_other_rows(row_shape, image_shape, same, other):
    layout = infer_layout(row_shape, image_shape, "Est")
    images = np.random.default_rng(0).random((4, *row_shape))
    expected = ArrayImages(images, layout).read(slice(None))
    for shape in same:
        rows = ArrayImages(images.reshape(4, *shape), layout.for_rows(shape))
        assert torch.equal(rows.read(slice(None)), expected)
    assert all(layout.for_rows(shape) is None for shape in other)


@pytest.mark.parametrize(
    ("row_shape", "image_shape", "message"),
    [
        ((64,), (8, 9), mentions("'image_shape'", 64, (8, 9), 72)),
        ((64,), (64,), names("image_shape", (64,))),
        ((64,), (8.0, 8), names("image_shape", (8.0, 8))),
        ((64,), (-8, -8), names("image_shape", (-8, -8))),
        ((28, 28), (14, 56), mentions("'image_shape'", (28, 28), (14, 56))),
        ((5, 7, 2), None, mentions(1, 3, 4, (5, 7, 2))),
        ((50,), (5, 2, 5), mentions(1, 3, 4, (5, 2, 5))),
        ((2, 5, 7, 3), None, mentions("X", "(n, H, W)", 5)),
        ((0, 28), None, mentions("X", (0, 28))),
    ],
)
def test_no_layout(row_shape, image_shape, message):
    with pytest.raises(ValueError, match=message):
        infer_layout(row_shape, image_shape, "Est")


def test_every_container_gives_the_same_batch():
    X = colour_images()
    expected = torch.from_numpy(X).permute(0, 3, 1, 2)
    pil = [Image.fromarray(image) for image in X]
    containers = {
        "channels last": X,
        "channels first": np.ascontiguousarray(np.moveaxis(X, 3, 1)),
        "a view": X[:, ::-1][:, ::-1],
        "Fortran order": np.asfortranarray(X),
        "tensor": torch.from_numpy(X),
        "list of arrays": list(X),
        "tuple of tensors": tuple(torch.from_numpy(X)),
        "list of PIL images": pil,
        "Series of PIL images": pd.Series(pil),
        "column of arrays": pd.DataFrame({"image": list(X)}),
    }
    for name, container in containers.items():
        batch = source(as_array(container)).read(slice(0, 6))
        assert batch.dtype == torch.uint8, name
        assert torch.equal(batch, expected), name
    for order, flat in [((5, 7, 3), X), ((3, 5, 7), np.moveaxis(X, 3, 1))]:
        assert torch.equal(source(flat.reshape(6, -1), order).read(torch.arange(6)), expected)


def test_other_things_pass_through_unchanged():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    for X in (frame, frame["a"], np.zeros((2, 3))):
        assert as_array(X) is X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (None, mentions("X", None)),
        ("photos/", mentions("X", "'photos/'", "skcnn.datasets.load_image_folder")),
        ({"a": 1}, mentions("X", {"a": 1})),
        ([], mentions("X", 0)),
        ([[[1, 2], [3, 4]], [[1, 2]]], mentions("X", "shape")),
    ],
)
def test_what_is_no_image(X, message):
    with pytest.raises(ValueError, match=message):
        as_array(X)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", ()), ("1", ()), ("P", (3,)), ("CMYK", (3,)), ("LA", (4,))]
)
def test_pil_modes(mode, channels):
    images = [Image.fromarray(image).convert(mode) for image in colour_images(2)]
    assert as_array(images).shape == (2, 5, 7, *channels)
    assert as_array(images).dtype == np.uint8


def test_equal_numbers_of_several_types_are_equal_images():
    image = np.arange(16).reshape(4, 4)
    mixed = [image.astype(dtype) for dtype in (np.uint8, np.float32, np.int64, np.float64)]
    for images in (mixed, mixed[::-1]):
        pairs = DatasetImages(
            list(zip(images, range(4), strict=True)), infer_layout((4, 4), None, "")
        )
        for batch in (source(as_array(images)).read(slice(0, 4)), pairs.read(slice(0, 4))):
            assert batch.dtype == torch.float32
            assert all(torch.equal(one, batch[0]) for one in batch)


def test_tensors_that_numpy_does_not_have():
    X = torch.rand(2, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(as_array(X), X.detach().float())


def test_ragged_images_are_refused():
    with pytest.raises(ValueError, match=mentions("X", (5, 7, 3), 0, (5, 6, 3), 2)):
        as_array([np.zeros((5, 7, 3)), np.zeros((5, 7, 3)), np.zeros((5, 6, 3))])


def test_reading_never_touches_the_input(tmp_path):
    X = colour_images().astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    for array in (X.copy(), np.load(tmp_path / "X.npy", mmap_mode="r")):
        for rows in (slice(0, 4), torch.tensor([3, 1])):
            source(array).read(rows).fill_(-1)
        np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize("dtype", [">f4", ">u2", "f8", "f2", "i8", "?"])
def test_other_dtypes_become_float32(dtype):
    X = (colour_images() > 128).astype(dtype)
    batch = source(X).read(slice(None))
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1), X.astype(np.float32))


def test_dataset():
    X = colour_images()
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(6) % 2)
    images = DatasetImages(pairs, infer_layout(X.shape[1:], None, "Est"))
    assert torch.equal(images.read(torch.tensor([4, 2])), source(X).read(torch.tensor([4, 2])))
    assert torch.equal(images.read(slice(4, 9)), source(X).read(slice(4, 9)))
    assert dataset_labels(pairs) == [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match=mentions("X", "y", "(image, label)", 0)):
        dataset_labels(torch.utils.data.TensorDataset(torch.from_numpy(X)))


def test_scan_agrees_with_numpy_over_chunks(monkeypatch):
    monkeypatch.setattr("skcnn.images._scan._CHUNK_PIXELS", 2 * 5 * 7 * 3)
    X = colour_images(7)
    scan = scan_images(source(X))
    rows = np.array([0, 2, 2, 5])
    mean, std = scan.mean_and_std(rows)
    np.testing.assert_allclose(mean, X[rows].mean(axis=(0, 1, 2)) / 255, rtol=1e-6)
    np.testing.assert_allclose(std, X[rows].std(axis=(0, 1, 2)) / 255, rtol=1e-6)
    assert scan.scale.divisor == 255
    assert (scan.scale.low, scan.scale.high) == (X.min() / 255, X.max() / 255)


def test_scan_is_exact_far_from_zero():
    X = np.random.default_rng(0).normal(1e4, 1.0, (50, 6, 6)).astype(np.float32)
    mean, std = scan_images(source(X)).mean_and_std(np.arange(50))
    np.testing.assert_allclose(mean, X.astype(np.float64).mean(), rtol=1e-12)
    np.testing.assert_allclose(std, X.astype(np.float64).std(), rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e-12])
def test_a_constant_channel_is_not_divided_by_zero(value):
    _, std = scan_images(source(np.full((4, 3, 3), value))).mean_and_std(np.arange(4))
    assert std == [1.0]


def test_equal_images_have_equal_keys_and_others_do_not():
    X = colour_images(40)
    X[7] = X[3]
    keys = scan_images(source(X)).keys
    assert keys[7] == keys[3]
    assert len(np.unique(keys)) == 39
    same_pixels = [X / 255.0, (X / 255.0).astype(np.float32), np.moveaxis(X, 3, 1)]
    for same in same_pixels:
        np.testing.assert_array_equal(scan_images(source(same)).keys, keys)
    signed_zeros = np.array([[[0.0, -0.0]], [[-0.0, 0.0]]])
    assert len(np.unique(scan_images(source(signed_zeros)).keys)) == 1


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "NaN"), (-np.inf, "infinity"), (1e39, "float32")]
)
def test_bad_pixels_are_named(value, what):
    X = np.zeros((9, 4, 4))
    X[6, 2, 1] = value
    with pytest.raises(ValueError, match=mentions("X_val", what, 6)):
        scan_images(source(X), "X_val")
    with pytest.raises(ValueError, match=mentions("X", 106)):
        image_extremes(source(X).read(slice(None)), 100)


# The scale of pixels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "divisor"),
    [(0, 255, 255), (3, 17, 255), (0, 16, 1), (0, 1, 1), (-1, 255, 1), (0, 256, 1), (0, 0, 1)],
)
def test_numbers_set_the_divisor(low, high, divisor):
    assert pixel_divisor(low, high) == divisor
    types = ["f8", "f4", "i8", *(["u1"] if 0 <= low <= high <= 255 else [])]
    for dtype in types:
        X = np.array([[[low, high]]] * 3, dtype=dtype)
        assert scan_images(source(X)).scale.divisor == divisor


def test_dark_images_first_do_not_set_the_divisor(monkeypatch):
    monkeypatch.setattr("skcnn.images._scan._CHUNK_PIXELS", 4)
    X = np.array([[[0, 5]], [[0, 9]], [[0, 200]], [[1, 2]], [[3, 4]]] * 2)
    expected = scan_images(source(X[::-1]))
    scan = scan_images(source(X))
    assert scan.scale == expected.scale
    assert scan.keys.tolist() == expected.keys[::-1].tolist()
    not_bytes = scan_images(source(np.concatenate([X + 200, [[[-1, 0]]]])))
    assert not_bytes.scale.divisor == 1


def of_equal_numbers(X):
    """Images of whole numbers below 256 as all types that hold them, and in both orders."""
    for dtype in ("u1", "i2", "u2", "i4", "i8", "u8", "f4", "f8", ">f4", ">i2"):
        yield X.astype(dtype)
    yield np.asfortranarray(X)
    yield np.asfortranarray(X.astype(float))


@pytest.mark.parametrize("largest", [1, 16, 255])
def test_equal_numbers_give_equal_scans(largest):
    X = np.random.default_rng(0).integers(0, largest + 1, (20, 4, 5))
    X[0, 0, 0] = largest
    expected = scan_images(source(X), digest=True)
    for same in of_equal_numbers(X):
        scan = scan_images(source(same), digest=True)
        assert scan.scale._replace(is_uint8=False) == expected.scale
        assert scan.digest == expected.digest
        for found, right in zip(scan[1:4], expected[1:4], strict=True):
            assert found.tobytes() == right.tobytes()


def test_the_digest_tells_other_images_apart():
    X = colour_images()
    others = [X[::-1], X ^ 1, np.moveaxis(X, 3, 1).reshape(X.shape), X / 255, X[:, :, :6], X[:5]]
    digests = {scan_images(source(images), digest=True).digest for images in [X, *others]}
    assert len(digests) == 7


def standardised(X):
    return (X - 73.0) / 90.0


SCALES = {
    "0–255": lambda X: X,
    "0–1": lambda X: X / 255,
    "-1–1": lambda X: X / 127.5 - 1,
    "standardised": standardised,
}


def is_unlike(fitted, X):
    scale = scan_images(source(fitted)).scale
    comparison = ScaleComparison(scale)
    for image in np.array_split(X, max(1, len(X) // 20)):
        batch = ArrayImages(image, infer_layout(X.shape[1:], None, ""), scale.divisor).read(
            slice(None)
        )
        comparison.add(batch, *image_extremes(batch))
    return comparison.differs


@pytest.mark.parametrize("later", SCALES)
@pytest.mark.parametrize("fitted", SCALES)
def test_another_scale_is_told_from_a_few_images(clothes, fitted, later):
    if {fitted, later} == {"-1–1", "standardised"}:
        return  # too alike
    X = clothes[0]
    for n in (8, 50):
        for dtype in (np.float32, *([np.uint8] if later == "0–255" else [])):
            images = SCALES[later](X[200 : 200 + n]).astype(dtype)
            assert is_unlike(SCALES[fitted](X[:200]), images) == (fitted != later)


@pytest.mark.parametrize(
    ("fitted", "later"), [("0–1", "0–255"), ("-1–1", "0–255"), ("0–255", "0–1"), ("0–255", "-1–1")]
)
def test_another_scale_is_told_from_one_image(clothes, fitted, later):
    X = clothes[0]
    for i in range(200, 220):
        assert is_unlike(SCALES[fitted](X[:200]), SCALES[later](X[i : i + 1]))


@pytest.mark.parametrize("scale", SCALES)
def test_images_like_those_of_fit_are_no_alarm(clothes, scale):
    X, y = clothes
    rng = np.random.default_rng(0)
    to_scale = SCALES[scale]
    for n_fitted in (200, 20):
        for n in (1, 2, 5, 30):
            for _ in range(10):
                assert not is_unlike(to_scale(X[:n_fitted]), to_scale(rng.choice(X, n)))
        for label in np.unique(y):
            assert not is_unlike(to_scale(X[:n_fitted]), to_scale(X[y == label]))


ODD = {
    "black": lambda X: X * 0,
    "white": lambda X: X * 0 + 255,
    "dark": lambda X: X // 8,
    "bright": lambda X: np.minimum(X * 4.0, 255),
    "washed out": lambda X: 128 + X / 2,
    "inverted": lambda X: 255 - X,
    "noisy": lambda X: X + np.random.default_rng(0).normal(0, 20, X.shape),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("scale", SCALES)
def test_single_odd_images_are_no_alarm(clothes, scale, odd):
    X = clothes[0]
    for i in range(10):
        assert not is_unlike(SCALES[scale](X[:200]), SCALES[scale](ODD[odd](X[i : i + 1])))


@pytest.mark.parametrize("scaler", [MinMaxScaler, StandardScaler])
def test_rows_scaled_by_column_are_no_alarm(clothes, scaler):
    rows = clothes[0].reshape(len(clothes[0]), -1)
    scaler = scaler().fit(rows[:100])
    fitted, later = scaler.transform(rows[:100]), scaler.transform(rows[100:])
    assert later.min() < fitted.min() or later.max() > fitted.max()
    assert not is_unlike(fitted, later)
    assert not any(is_unlike(fitted, row[None]) for row in later[:50])
    assert is_unlike(fitted, rows[100:])


def test_a_scan_compares_with_an_earlier_one():
    X = colour_images()
    fitted = scan_images(source(X)).scale
    for images in (X / 255, X * 255.0):
        with pytest.warns(ValueRangeWarning, match="X_val"):
            scan_images(source(images).divided_by(255.0), "X_val", fitted=fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = scan_images(source(X.astype(float)).divided_by(255.0), fitted=fitted)
    assert scan.scale._replace(is_uint8=True) == fitted
