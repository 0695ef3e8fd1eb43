"""Canonical batches: whatever the container and layout, the same pixels come out."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from skcnn.exceptions import AmbiguousImageShapeWarning, ValueRangeWarning
from skcnn.images import (
    ArrayImages,
    DatasetImages,
    PixelRange,
    as_array,
    check_finite,
    dataset_labels,
    infer_layout,
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
        ((10,), None, (1, 1, 10), False),
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
    with pytest.warns(AmbiguousImageShapeWarning, match="last"):
        layout = infer_layout(row_shape, None, "Est")
    assert (layout.shape, layout.channels_last) == (shape, True)


@pytest.mark.parametrize(
    ("row_shape", "image_shape", "message"),
    [
        ((64,), (8, 9), r"multiply to the number of features of X, 64; got \(8, 9\) = 72"),
        ((64,), (64,), r"must be \(H, W\), \(C, H, W\) or \(H, W, C\)"),
        ((64,), (8.0, 8), "in positive integers"),
        ((64,), (-8, -8), "in positive integers"),
        ((28, 28), (14, 56), r"shape of the images in X, \(28, 28\); got \(14, 56\)"),
        ((5, 7, 2), None, "must have 1, 3 or 4 channels"),
        ((50,), (5, 2, 5), "must have 1, 3 or 4 channels"),
        ((2, 5, 7, 3), None, "got 5 dimensions instead"),
        ((0, 28), None, "at least one pixel"),
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
        (None, "got None instead"),
        ("photos/", "got 'photos/' instead.*for a folder, what .*load_image_folder gives"),
        ({"a": 1}, "got {'a': 1} instead"),
        ([], "got an empty list"),
        ([[[1, 2], [3, 4]], [[1, 2]]], "nested lists of several lengths"),
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


def test_bytes_and_floats_together_are_refused():
    mixed = [np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)]
    for images in (mixed, mixed[::-1]):
        with pytest.raises(ValueError, match="must all be uint8, or none; got .* for image 1"):
            as_array(images)
        pairs = DatasetImages(
            list(zip(images, [0, 1], strict=True)), infer_layout((4, 4), None, "")
        )
        with pytest.raises(ValueError, match="must all be uint8, or none; got .* for image 1"):
            pairs.read(slice(0, 2))


def test_tensors_that_numpy_does_not_have():
    X = torch.rand(2, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(as_array(X), X.detach().float())


def test_ragged_images_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 7, 3\) for image 0 and \(5, 6, 3\) for image 2"):
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
    assert dataset_labels(pairs).tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"\(image, label\) pairs"):
        dataset_labels(torch.utils.data.TensorDataset(torch.from_numpy(X)))


def test_scan_agrees_with_numpy_over_chunks(monkeypatch):
    monkeypatch.setattr("skcnn.images._scan._CHUNK_PIXELS", 2 * 5 * 7 * 3)
    X = colour_images(7)
    scan = scan_images(source(X))
    rows = np.array([0, 2, 2, 5])
    mean, std = scan.mean_and_std(rows)
    # The scan divides by 255 in float32, as networks see the pixels; NumPy here in float64.
    np.testing.assert_allclose(mean, X[rows].mean(axis=(0, 1, 2)) / 255, rtol=1e-6)
    np.testing.assert_allclose(std, X[rows].std(axis=(0, 1, 2)) / 255, rtol=1e-6)
    assert scan.pixel_range == PixelRange(X.min() / 255, X.max() / 255, True)


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
    ("value", "what"), [(np.nan, "NaN"), (-np.inf, "infinity"), (1e39, "too large for")]
)
def test_bad_pixels_are_named(value, what):
    X = np.zeros((9, 4, 4))
    X[6, 2, 1] = value
    with pytest.raises(ValueError, match=f"Input X_val contains .*{what}.* first in image 6"):
        scan_images(source(X), "X_val")
    with pytest.raises(ValueError, match="first in image 106"):
        check_finite(source(X).read(slice(None)), 100)


BYTES, FLOAT_BYTES, UNIT, STANDARDISED = (
    PixelRange(0.0, 1.0, True),
    PixelRange(0.0, 255.0, False),
    PixelRange(0.0, 1.0, False),
    PixelRange(-2.1, 2.4, False),
)


@pytest.mark.parametrize(
    ("fitted", "seen", "message"),
    [
        (FLOAT_BYTES, UNIT, "these lie in 0–1: the predictions are probably wrong"),
        (FLOAT_BYTES, BYTES, "these lie in 0–1: the predictions are probably wrong"),
        (UNIT, FLOAT_BYTES, "reach 255: the predictions are probably wrong"),
        (BYTES, FLOAT_BYTES, "reach 255: the predictions are probably wrong"),
        (BYTES, UNIT, "taken as already divided by 255"),
    ],
)
def test_another_scale_is_a_named_warning(fitted, seen, message):
    with pytest.warns(ValueRangeWarning, match=message):
        seen.warn_if_unlike(fitted)


@pytest.mark.parametrize(
    ("fitted", "seen"),
    [
        *((same, same) for same in (BYTES, FLOAT_BYTES, UNIT, STANDARDISED)),
        (UNIT, BYTES),
        (FLOAT_BYTES, PixelRange(0.0, 0.0, False)),  # a black image
        (STANDARDISED, PixelRange(0.1, 0.9, False)),
        (BYTES, PixelRange(0.1, 0.2, True)),
    ],
)
def test_a_likely_scale_is_no_warning(fitted, seen):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen.warn_if_unlike(fitted)
