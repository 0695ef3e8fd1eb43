"""Images on disk: the right pixels, each decoded once, and an error that names every bad file."""

import contextlib
import errno
import io
import os
import pickle
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.images import write_pngs
from helpers.messages import mentions, names
from PIL import Image
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
    learning_curve,
    train_test_split,
)
from sklearn.utils import _safe_indexing, indexable, resample, shuffle

from skcnn import ImageFiles, LeNetClassifier
from skcnn.exceptions import AnimatedImageWarning, ImageFileError
from skcnn.images import FileImages, _decoding, infer_layout
from skcnn.inspection import plot_mistakes


def save(folder, name, image, **options):
    path = folder / name
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def photograph(height=24, width=40):
    """A smooth colour picture without any symmetry, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    channels = (x * 255 / width, y * 255 / height, (x + 2 * y) * 255 / (width + 2 * height))
    return np.stack(channels, axis=-1).astype(np.uint8)


def decoded(path, **options):
    (image,) = ImageFiles([path], **options)
    return image


@pytest.fixture(scope="module")
def files(tops_and_bags, tmp_path_factory):
    """60 images of clothes as PNG files; their pixels; their labels."""
    X, y = tops_and_bags[0][:60], tops_and_bags[1][:60]
    folder = tmp_path_factory.mktemp("clothes")
    return write_pngs(folder, X), X, y


def quick(**params):
    return LeNetClassifier(**{"max_epochs": 2, "lr": 5e-3, "random_state": 0, **params})


# An array of images -------------------------------------------------------------------------------


MASK = np.arange(60) % 7 == 0
KEYS = [slice(3, 40, 5), slice(None, None, -1), slice(7, 7), MASK, list(MASK), [5, -1, 5]]
KEYS += [np.array([8, 3]), torch.tensor([8, 3]), (np.array([8, 3]), ...), (MASK, ...)]


def test_it_is_indexed_as_the_array_is(files):
    paths, X, _ = files
    images = ImageFiles(paths)
    assert (images.shape, images.ndim, images.dtype) == (X.shape, X.ndim, X.dtype)
    assert (len(images), images.nbytes, images.mode) == (len(X), X.nbytes, "L")
    assert images.paths == [str(path) for path in paths]
    for key in KEYS:
        assert isinstance(images[key], ImageFiles)
        assert images[key].shape == X[key].shape
        np.testing.assert_array_equal(images[key], X[key])
    assert images[[]].shape == (0, 28, 28)
    for key in (0, -1, np.int64(7)):
        assert isinstance(images[key], np.ndarray)
        np.testing.assert_array_equal(images[key], X[key])
    np.testing.assert_array_equal(images[10:50][MASK[10:50]][1], X[10:50][MASK[10:50]][1])
    np.testing.assert_array_equal(list(images), X)
    assert np.asarray(images, dtype=np.float32).dtype == np.float32
    assert "(60, 28, 28)" in repr(images)


@pytest.mark.parametrize("key", [60, -61, [1, 60], (0, 1), None, ..., "a", 1.5, [[0, 1]]])
def test_what_is_no_index(files, key):
    with pytest.raises(IndexError):
        ImageFiles(files[0])[key]


def test_items_can_be_written_to_and_change_nothing(files):
    images = ImageFiles(files[0])
    images[0].fill(7)
    np.asarray(images).fill(7)
    np.testing.assert_array_equal(images, files[1])
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(images, copy=False)


def test_only_what_is_asked_for_is_decoded(files):
    images = ImageFiles(files[0])
    assert not images._cache.n_decoded.any()
    _ = images[4], images[5:9].decode(), images[[2, 4]].decode()
    assert np.flatnonzero(images._cache.n_decoded).tolist() == [2, 4, 5, 6, 7, 8]
    assert images._cache.n_decoded.max() == 1


@pytest.mark.parametrize(
    "wrap",
    [
        *(tuple, iter, pd.Series, pd.DataFrame, np.array),
        lambda paths: [str(path) for path in paths],
        lambda paths: np.array(paths)[:, None],
    ],
)
def test_paths_come_in_any_sequence(files, wrap):
    np.testing.assert_array_equal(ImageFiles(wrap(files[0][:3])), files[1][:3])


def test_relative_paths_outlive_a_change_of_folder(files, monkeypatch, tmp_path):
    monkeypatch.chdir(files[0][0].parent)
    images = ImageFiles(["3.png"])
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(images[0], files[1][3])


# Where scikit-learn takes an array ----------------------------------------------------------------


def test_splitters_and_samplers_take_it(files):
    paths, X, y = files
    images = ImageFiles(paths)
    assert indexable(images, y)[0] is images
    np.testing.assert_array_equal(_safe_indexing(images, [3, 1]), X[[3, 1]])
    for function in (train_test_split, shuffle, resample):
        kept, expected = (function(data, y, random_state=0) for data in (images, X))
        assert isinstance(kept[0], ImageFiles)
        for part, array in zip(kept, expected, strict=True):
            np.testing.assert_array_equal(part, array)


@pytest.mark.parametrize("small", [True, False])
def test_a_fit_on_files_is_the_fit_on_the_array(files, small, monkeypatch):
    if not small:
        monkeypatch.setattr("skcnn.images._sources._SMALL_CACHE", 0)
    paths, X, y = files
    images = ImageFiles(paths)
    source = FileImages(images[::-1], infer_layout(X.shape[1:], None, ""))
    assert source.is_mapped is not small
    assert torch.equal(source.read(slice(5, 9))[:, 0], torch.from_numpy(X[::-1][5:9].copy()))
    order = np.random.default_rng(0).permutation(60)
    on_files = quick().fit(images[order], y[order], X_val=images[:20], y_val=y[:20])
    on_array = quick().fit(X[order], y[order], X_val=X[:20], y_val=y[:20])
    for method in ("predict_proba", "predict", "transform"):
        expected = getattr(on_array, method)(X)
        for clf in (on_files, on_array):
            np.testing.assert_array_equal(getattr(clf, method)(images), expected)
    assert on_files.score(images, y) == on_array.score(X, y)
    assert on_files.partial_fit(images, y).score(X, y) == on_array.partial_fit(X, y).score(X, y)


def test_cross_validation_on_files_is_that_on_the_array(files):
    paths, X, y = files
    clf = quick(max_epochs=1)
    images = ImageFiles(paths)
    scores, expected = (cross_val_score(clf, data, y, cv=2) for data in (images, X))
    np.testing.assert_array_equal(scores, expected)
    curve, expected = (
        learning_curve(clf, data, y, cv=2, train_sizes=[0.5, 1.0]) for data in (images, X)
    )
    np.testing.assert_array_equal(curve[2], expected[2])


@pytest.mark.xdist_group("workers")
def test_a_parallel_search_decodes_every_file_once(files):
    paths, X, y = files
    collection = ImageFiles(paths)
    grid = {"lr": [1e-3, 5e-3]}
    search, expected = (
        GridSearchCV(quick(), grid, cv=2, n_jobs=2, error_score="raise").fit(data, y)
        for data in (collection, X)
    )
    for name in ("mean_test_score", "split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
    assert (collection._cache.n_decoded == 1).all()


def test_memory_takes_a_fit_on_files_for_that_on_the_array(files, tmp_path):
    paths, X, y = files
    on_files = quick(memory=tmp_path).fit(ImageFiles(paths), y)
    kept = sorted(tmp_path.rglob("*"))
    on_array = quick(memory=tmp_path).fit(X, y)
    assert sorted(tmp_path.rglob("*")) == kept
    np.testing.assert_array_equal(on_files.predict_proba(X), on_array.predict_proba(X))
    quick(memory=tmp_path).fit(ImageFiles(paths[::-1]), y)
    assert sorted(tmp_path.rglob("*")) != kept


def test_mistakes_are_drawn_from_files(files):
    clf = quick(max_epochs=1).fit(ImageFiles(files[0]), files[2])
    wrong = np.where(files[2] == 0, 8, 0)
    assert plot_mistakes(clf, ImageFiles(files[0]), wrong).figure_ is not None


# One cache for all --------------------------------------------------------------------------------


def test_threads_that_want_the_same_files_decode_them_once(files):
    images = ImageFiles(files[0])
    start = threading.Barrier(4)

    def decode(part):
        start.wait()
        images[part].decode()

    parts = (slice(None), slice(None, None, -1), slice(10, 50), slice(20, None))
    threads = [threading.Thread(target=decode, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (images._cache.n_decoded == 1).all()
    np.testing.assert_array_equal(images, files[1])


def test_what_is_decoded_needs_its_file_no_more(tmp_path):
    path = save(tmp_path, "x.png", photograph())
    images = ImageFiles([path]).decode()
    path.unlink()
    np.testing.assert_array_equal(images[0], photograph())


def test_a_pickled_copy_shares_the_cache_while_there_is_one(files):
    images = ImageFiles(files[0])
    content = pickle.dumps(images[5:10])
    copy = pickle.loads(content)
    assert copy.paths == images[5:10].paths
    copy.decode()
    assert np.flatnonzero(images._cache.n_decoded).tolist() == list(range(5, 10))
    del images
    np.testing.assert_array_equal(copy, files[1][5:10])
    late = pickle.loads(content)
    np.testing.assert_array_equal(late, files[1][5:10])


def test_a_copy_goes_on_when_the_cache_is_removed(files):
    images = ImageFiles(files[0])
    copy = pickle.loads(pickle.dumps(images))
    copy[:5].decode()
    del images
    np.testing.assert_array_equal(copy, files[1])


def test_the_maker_removes_the_cache_at_its_exit_and_no_fork_of_it(files):
    code = f"""
        import os, sys
        from skcnn import ImageFiles
        images = ImageFiles([{str(files[0][0])!r}]).decode()
        folder = images._cache._folder
        if os.fork() == 0:
            sys.exit()
        os.wait()
        assert (folder / "pixels").exists()
        print(folder)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "skcnn-images-" in done.stdout
    assert not Path(done.stdout.strip()).exists()


def test_the_cache_goes_with_the_last_that_needs_it(files):
    images = ImageFiles(files[0])
    part, folder = images[:3], images._cache._folder
    del images
    assert folder.exists()
    del part
    assert not folder.exists()


@pytest.mark.parametrize("decoding", [False, True])
def test_a_disk_without_room_is_an_error(files, decoding):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    images = ImageFiles(files[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=mentions("TMPDIR", "image_size")) as caught:
            images.decode() if decoding else ImageFiles(files[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    np.testing.assert_array_equal(images, files[1])


def test_a_disk_that_is_too_small_is_an_error_before_anything_is_decoded(files, monkeypatch):
    images = ImageFiles(files[0])
    free = 10 * 28 * 28
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(OSError, match=mentions("TMPDIR", "image_size", "4.7e-05 GB")) as caught:
        images.decode()
    assert caught.value.errno == errno.ENOSPC
    assert not images._cache.n_decoded.any()
    np.testing.assert_array_equal(images[:10], files[1][:10])


@pytest.mark.parametrize("image_size", [10**5, (10**6, 90)])
def test_an_image_size_that_fills_the_memory_is_refused(files, image_size):
    message = mentions("'image_size'", 89478485, *np.ravel(image_size), "max_pixels")
    with pytest.raises(ValueError, match=message):
        ImageFiles(files[0], image_size)


def test_an_image_size_that_is_meant_is_taken(files):
    # Nothing is decoded here, and a hole in a file takes no room.
    assert ImageFiles(files[0][:1], (10**6, 90), max_pixels=10**8).nbytes == 9 * 10**7


def test_a_lack_of_memory_is_no_fault_of_a_file(files, monkeypatch):
    def fail(*args):
        raise MemoryError

    images = ImageFiles(files[0][:3])
    with monkeypatch.context() as patch:
        patch.setattr("skcnn.images._cache.decode_image", fail)
        with pytest.raises(MemoryError, match=mentions("0.png", "28 × 28", "image_size")):
            images.decode()
    np.testing.assert_array_equal(images, files[1][:3])
    monkeypatch.setattr("skcnn.images._files.read_header", fail)
    with pytest.raises(MemoryError):
        ImageFiles(files[0])


def test_progress_is_shown_when_it_is_asked_for(files, capsys):
    paths, _, y = files
    ImageFiles(paths).decode()
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match=names("verbose", "no")):
        ImageFiles(paths).decode(verbose="no")
    ImageFiles(paths).decode(verbose=True)
    assert "60/60" in capsys.readouterr().err
    quick(max_epochs=1, verbose=2).fit(ImageFiles(paths), y)
    assert "Decoding: 100%" in capsys.readouterr().err


# Right pixels -------------------------------------------------------------------------------------

# Orientation → what turns the upright picture into the one that is stored.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("image_size", [None, (10, 30)])
def test_eight_orientations_give_the_same_pixels(tmp_path, suffix, image_size):
    # Of uniform blocks, which JPEG keeps as they are whichever way they are turned.
    grey = photograph(3, 5)[:, :, 0].repeat(8, axis=0).repeat(8, axis=1)
    upright = Image.fromarray(np.stack([grey] * 3, axis=-1))
    paths = []
    for orientation, method in STORED_AS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if method is None else upright.transpose(method)
        options = {"lossless": True} if suffix == "webp" else {"quality": 100}
        paths.append(save(tmp_path, f"{orientation}.{suffix}", stored, exif=exif, **options))
    X = np.asarray(ImageFiles(paths, image_size=image_size))
    assert X.shape == (8, *(image_size or (24, 40)), 3)
    assert (X[0] == X).all()
    if image_size is None:
        np.testing.assert_array_equal(X[0], upright)


@pytest.mark.parametrize("name", ["ramp.png", "ramp.tiff", "ramp.pgm"])
def test_a_ramp_of_16_bits_stays_one(tmp_path, name):
    ramp = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    pixels = decoded(save(tmp_path, name, ramp))
    np.testing.assert_array_equal(pixels, np.arange(256).repeat(256).reshape(256, 256))


def png(width, height, depth, colour_type, content, **chunks):
    """A PNG file of any kind, in bytes."""
    header = b"".join(n.to_bytes(4) for n in (width, height)) + bytes([depth, colour_type, 0, 0, 0])
    parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(content), "IEND": b""}
    chunks = (
        len(data).to_bytes(4) + kind.encode() + data + zlib.crc32(kind.encode() + data).to_bytes(4)
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_ramp_of_16_bits_in_colour_stays_one(tmp_path):
    values = np.linspace(0, 65535, 50, dtype=np.uint16)
    content = b"\0" + values.repeat(3).astype(">u2").tobytes()
    (tmp_path / "x.png").write_bytes(png(50, 1, 16, 2, content))
    np.testing.assert_array_equal(decoded(tmp_path / "x.png")[0, :, 0], values >> 8)


def test_pixels_of_the_other_kinds(tmp_path):
    colour, grey = Image.fromarray(photograph()), Image.fromarray(photograph()).convert("L")
    expected = {
        "bits.png": (grey.convert("1"), np.asarray(grey.convert("1")) * np.uint8(255)),
        "palette.png": (colour.quantize(16), np.asarray(colour.quantize(16).convert("RGB"))),
        "palette.gif": (colour.quantize(16), np.asarray(colour.quantize(16).convert("RGB"))),
        "colour.bmp": (colour, np.asarray(colour)),
        "colour.ppm": (colour, np.asarray(colour)),
        "cmyk.tif": (colour.convert("CMYK"), np.asarray(colour)),
    }
    for name, (image, pixels) in expected.items():
        np.testing.assert_array_equal(decoded(save(tmp_path, name, image)), pixels, name)
    # JPEG loses a little at its best quality too, and the colours of YCC and CMYK are rounded.
    cmyk = decoded(save(tmp_path, "cmyk.jpg", colour.convert("CMYK"), quality=100))
    np.testing.assert_allclose(cmyk, photograph(), atol=4)
    ycc = decoded(save(tmp_path, "colour.jpg", colour, quality=100, subsampling=0))
    np.testing.assert_allclose(ycc, photograph(), atol=4)


def test_what_is_transparent_is_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0], pixels[0, :, 3] = 200, (0, 51, 255)
    colour = save(tmp_path, "colour.png", pixels)
    assert decoded(colour).tolist() == [[[255, 255, 255], [244, 204, 204], [200, 0, 0]]]
    assert decoded(colour, mode="RGBA").tolist() == pixels.tolist()
    grey = save(tmp_path, "grey.png", Image.fromarray(pixels[:, :, [0, 3]], mode="LA"))
    assert decoded(grey).tolist() == [[255, 244, 200]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for name in ("palette.gif", "palette.png"):
        path = save(tmp_path, name, palette, transparency=0)
        assert decoded(path).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    # One colour that stands for nothing.
    named = png(2, 1, 8, 2, bytes([0, 1, 2, 3, 4, 5, 6]), tRNS=bytes([0, 1, 0, 2, 0, 3]))
    (tmp_path / "named.png").write_bytes(named)
    assert decoded(tmp_path / "named.png").tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_what_is_transparent_in_16_bits_is_laid_over_white(tmp_path):
    # One grey that stands for nothing, beside one of the same upper byte.
    named = png(3, 1, 16, 0, bytes([0, 5, 7, 5, 8, 90, 0]), tRNS=bytes([5, 7]))
    (tmp_path / "named.png").write_bytes(named)
    assert decoded(tmp_path / "named.png").tolist() == [[255, 5, 90]]
    opacity = decoded(tmp_path / "named.png", mode="RGBA")[0, :, 3]
    assert opacity.tolist() == [0, 255, 255]
    # Grey and opacity; 20 % of 200, on white.
    pairs = np.array([[200, 0], [200, 51], [200, 255]], dtype=">u2") * 257
    grey = png(3, 1, 16, 4, b"\0" + pairs.astype(">u2").tobytes())
    (tmp_path / "grey.png").write_bytes(grey)
    assert decoded(tmp_path / "grey.png").tolist() == [[255, 244, 200]]


def test_one_mode_for_the_collection(tmp_path):
    grey = save(tmp_path, "grey.png", photograph()[:, :, 0])
    colour = save(tmp_path, "colour.png", photograph())
    assert ImageFiles([grey, grey]).shape == (2, 24, 40)
    X = ImageFiles([grey, colour])
    assert (X.mode, X.shape) == ("RGB", (2, 24, 40, 3))
    np.testing.assert_array_equal(X[0], np.stack([photograph()[:, :, 0]] * 3, axis=-1))
    # Pillow computes the luma in fixed point.
    luma = (photograph() @ [0.299, 0.587, 0.114]).round()
    np.testing.assert_allclose(decoded(colour, mode="L"), luma, atol=1)
    assert (decoded(grey, mode="RGBA")[:, :, 3] == 255).all()


def test_the_first_frame_is_taken_and_said_so(tmp_path):
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    paths = [
        save(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
        for name in ("a.gif", "b.tiff", "c.png")
    ]
    X = ImageFiles(paths, mode="L")
    with pytest.warns(AnimatedImageWarning, match=mentions("a.gif", "b.tiff", "c.png")) as caught:
        X.decode()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (np.asarray(X) == 10).all()
    photo = save(tmp_path, "d.jpg", frames[0], format="MPO", save_all=True, append_images=frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (decoded(photo) == 10).all()


# Sizes --------------------------------------------------------------------------------------------


def test_squash(tmp_path):
    path = save(tmp_path, "x.png", photograph())
    bilinear = Image.fromarray(photograph()).resize((10, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decoded(path, image_size=(12, 10)), bilinear)
    assert decoded(path, image_size=7).shape == (7, 7, 3)


@pytest.mark.parametrize(
    ("shape", "image_size", "crop_pct", "part"),
    [
        ((24, 40), 24, 1.0, np.s_[:, 8:32]),
        ((40, 24), 24, 1.0, np.s_[8:32, :]),
        ((40, 80), 20, 0.5, np.s_[10:30, 30:50]),
        ((40, 40), (10, 20), 0.5, np.s_[15:25, 10:30]),
        ((24, 40), (24, 40), 1.0, np.s_[:, :]),
    ],
)
def test_crop(tmp_path, shape, image_size, crop_pct, part):
    path = save(tmp_path, "x.png", photograph(*shape))
    cropped = decoded(path, image_size=image_size, resize="crop", crop_pct=crop_pct)
    np.testing.assert_array_equal(cropped, photograph(*shape)[part])


def test_crop_is_resizing_the_shorter_side_then_cropping(tmp_path):
    path = save(tmp_path, "x.png", photograph(90, 150))
    short = Image.fromarray(photograph(90, 150)).resize((67, 40), Image.Resampling.BILINEAR)
    expected = np.asarray(short)[4:36, 17:49].astype(int)
    cropped = decoded(path, image_size=32, resize="crop", crop_pct=0.8).astype(int)
    assert np.abs(cropped - expected).max() <= 3
    assert decoded(path, image_size=300, resize="crop").shape == (300, 300, 3)


@pytest.mark.parametrize(("shape", "side"), [((96, 59), 227), ((29, 96), 224)])
def test_a_crop_of_all_there_is_survives_rounding(tmp_path, shape, side):
    path = save(tmp_path, "x.png", photograph(*shape))
    assert decoded(path, image_size=side, resize="crop", crop_pct=1.0).shape == (side, side, 3)


@pytest.mark.parametrize("side", [40, 100, 300])
def test_a_large_jpeg_is_decoded_at_less_than_its_size_without_loss(tmp_path, side):
    blocks = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = save(tmp_path, "x.jpg", blocks.repeat(8, axis=0).repeat(8, axis=1), quality=95)
    with Image.open(path) as image:
        whole = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(decoded(path, image_size=side) - whole).mean()
    assert difference < 5
    assert (difference > 0) == (side == 40)


def test_sizes_that_differ(tmp_path):
    paths = [save(tmp_path, f"{n}.png", photograph(n, 9)) for n in (5, 5, 6, 7)]
    message = mentions("'image_size'", "5 × 9", "5.png", "6 × 9", "6.png")
    with pytest.raises(ValueError, match=message):
        ImageFiles(paths)
    assert ImageFiles(paths, image_size=5).shape == (4, 5, 5, 3)
    assert ImageFiles([save(tmp_path, "one.png", photograph(1, 1))]).shape == (1, 1, 1, 3)


@pytest.mark.parametrize("name", ["large.png", "large.tiff"])
def test_an_image_beyond_the_limit_is_refused_unless_the_limit_is_raised(tmp_path, name):
    limit = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path, name, Image.new("1", (12_000, 10_000), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = mentions(name, "12000 × 10000", "max_pixels=89478485")
        with pytest.raises(ImageFileError, match=message):
            ImageFiles([path], image_size=4)
        with pytest.raises(ImageFileError, match=mentions(name, "max_pixels=1000")):
            ImageFiles([path], max_pixels=1000)
        image = decoded(path, image_size=4, max_pixels=120_000_000)
    assert (image == 255).all()
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_many_threads_hold_no_more_than_there_is_room_for(tmp_path):
    Image.new("RGB", (5000, 5000)).save(tmp_path / "large.png", compress_level=1)
    code = f"""
        from pathlib import Path
        from skcnn import ImageFiles
        from skcnn.images import _cache, _decoding

        def peak():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))

        _cache._n_cores = lambda: 6
        _decoding._decoded_at_once = _decoding._Room(5000**2)  # one image, of 100 MB in Pillow
        path = {str(tmp_path / "large.png")!r}
        images = [ImageFiles([path] * n, image_size=8) for n in (1, 8)]
        before = peak()
        images[0].decode()
        one = peak()
        images[1].decode()
        print(one - before, peak() - before)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    one, many = map(float, done.stdout.split())
    assert 90 < one < many < 1.5 * one


def test_what_an_image_is_resized_to_needs_room_too(tmp_path, monkeypatch):
    room = _decoding._Room(100)
    monkeypatch.setattr(_decoding, "_decoded_at_once", room)
    asked = []
    room_for = room.room_for
    room.room_for = lambda n_pixels: asked.append(n_pixels) or room_for(n_pixels)
    path = save(tmp_path, "x.png", photograph(4, 5))
    for side in (3, 8):
        decoded(path, image_size=side)
    assert asked == [20, 64]


def test_a_bomb_takes_no_memory(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(50_000, 50_000, 8, 2, bytes(10**7)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageFileError, match=mentions("bomb.png", "50000 × 50000")):
        ImageFiles([tmp_path / "bomb.png"], image_size=8, mode="L").decode()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


# Bad files ----------------------------------------------------------------------------------------


def content_of(suffix, **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, suffix, **options)
    return file.getvalue()


BAD = {
    "cut.jpg": lambda path: path.write_bytes(content_of("JPEG")[:-400]),
    "cut.png": lambda path: path.write_bytes(content_of("PNG")[:-400]),
    "cut.gif": lambda path: path.write_bytes(content_of("GIF")[:-400]),
    "cut.bmp": lambda path: path.write_bytes(content_of("BMP")[:-400]),
    "cut.tiff": lambda path: path.write_bytes(content_of("TIFF")[:-400]),
    "cut.webp": lambda path: path.write_bytes(content_of("WEBP")[:-400]),
    "start.jpg": lambda path: path.write_bytes(content_of("JPEG")[:20]),
    "page.jpg": lambda path: path.write_text("<!DOCTYPE html><html><body>Not found"),
    "empty.png": lambda path: path.touch(),
    "._x.jpg": lambda path: path.write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(50)),
    "drawing.eps": lambda path: Image.new("RGB", (4, 4)).save(path),
    "folder.png": lambda path: path.mkdir(),
    "gone.png": lambda path: None,
    "link.png": lambda path: path.symlink_to("nowhere"),
    "pipe.png": os.mkfifo,
    "float.tiff": lambda path: Image.new("F", (40, 40)).save(path),
    "int32.tiff": lambda path: Image.new("I", (40, 40)).save(path),
    "bad 'name'\n\"ö\udcff.png": lambda path: path.touch(),
}


@pytest.mark.parametrize("name", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("options", [{}, {"image_size": 8, "mode": "RGB"}])
def test_a_bad_file_is_named(tmp_path, name, options):
    good = save(tmp_path, "good.png", photograph(40, 40))
    BAD[name](tmp_path / name)
    with pytest.raises(ImageFileError) as raised:
        ImageFiles([good, tmp_path / name], **options).decode()
    assert list(raised.value.reasons) == [str(tmp_path / name)]
    assert repr(str(tmp_path / name)) in str(raised.value)
    reason = raised.value.reasons[str(tmp_path / name)]
    assert reason
    exists = (tmp_path / name).exists()
    assert (reason == os.strerror(errno.ENOENT)) == (not exists)


def test_a_damaged_file_stops_a_fit_before_it_trains(files, tmp_path):
    paths, _, y = files
    BAD["cut.png"](tmp_path / "cut.png")
    X = ImageFiles([*paths[:-1], tmp_path / "cut.png"], image_size=28, mode="L")
    clf = quick()
    with pytest.raises(ImageFileError) as caught:
        clf.fit(X, y)
    assert list(caught.value.reasons) == [str(tmp_path / "cut.png")]
    assert not hasattr(clf, "net_")
    assert clf.fit(X[:-1], y[:-1]).score(X[:-1], y[:-1]) >= 0


def test_all_bad_files_are_counted_and_the_error_travels(files, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path in paths[1:]:
        path.touch()
    paths[0].write_bytes(content_of("PNG")[:-400])
    with pytest.raises(ImageFileError, match=mentions(7)) as raised:
        ImageFiles(paths)
    assert list(raised.value.reasons) == [str(path) for path in paths[1:]]
    assert sum(str(path) in str(raised.value) for path in paths) == 5
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (str(copy), copy.reasons) == (str(raised.value), raised.value.reasons)


@pytest.mark.parametrize("change", ["gone", "rewritten", "touched", "a pipe"])
def test_a_file_that_changes_before_it_is_decoded_is_named(tmp_path, change):
    first, second = (save(tmp_path, name, photograph()) for name in ("a.png", "b.png"))
    X = ImageFiles([first, second])
    if change == "gone":
        second.unlink()
    elif change == "rewritten":
        save(tmp_path, "b.png", photograph()[::-1])
    elif change == "a pipe":
        second.unlink()
        os.mkfifo(second)  # which would be waited for, for ever
    else:
        os.utime(second, ns=(0, 0))
    with pytest.raises(ImageFileError) as caught:
        X.decode()
    ((path, reason),) = caught.value.reasons.items()
    assert path == str(second)
    assert (reason == os.strerror(errno.ENOENT)) == (change == "gone")
    np.testing.assert_array_equal(X[0], photograph())


def test_a_file_that_may_not_be_read_is_named(tmp_path_factory):
    path = save(tmp_path_factory.mktemp("secret"), "x.png", photograph())
    path.chmod(0)
    with unprivileged(), pytest.raises(ImageFileError) as caught:
        ImageFiles([path], image_size=4, mode="L").decode()
    assert caught.value.reasons == {str(path): os.strerror(errno.EACCES)}


@contextlib.contextmanager
def unprivileged():
    """Be nobody, where the tests run as root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_odd_names_work(tmp_path):
    names = [
        "a b.png",
        "it's.png",
        'a "quote".png',
        "two\nlines.png",
        "\u00e9\u4e2d.png",
        "\udcff.png",
    ]
    paths = [save(tmp_path, name, photograph()) for name in names]
    assert (np.asarray(ImageFiles(paths)) == photograph()).all()
    assert (np.asarray(ImageFiles([os.fsencode(path) for path in paths])) == photograph()).all()


@pytest.mark.parametrize(
    ("paths", "params", "message"),
    [
        ("x.png", {}, mentions("'paths'", "'x.png'", "load_image_folder")),
        (Path("x"), {}, names("paths", Path("x"))),
        (None, {}, names("paths", None)),
        ([], {}, names("paths", [])),
        ([np.zeros((2, 2))], {}, mentions("'paths'", "array([[0., 0.],", 0)),
        (["x.png", None], {}, mentions("'paths'", None, 1)),
        (["x.png", ""], {}, mentions("'paths'", "''", 1)),
        ([b"\x89PNG\0\0" * 99], {}, r"'paths'.* b'\\x89PNG\S{,60} "),
        ({"a.png": 0}, {}, names("paths", {"a.png": 0})),
        (
            pd.DataFrame({"a": ["x"], "b": ["y"]}),
            {},
            mentions("'paths'", "a  b", "load_image_table"),
        ),
        (np.array([["x", "y"]]), {}, mentions("'paths'", "array(['x', 'y']")),
        (["x.png"], {"image_size": 0}, names("image_size", 0)),
        (["x.png"], {"image_size": (3, 4, 5)}, names("image_size", (3, 4, 5))),
        (["x.png"], {"image_size": 2.5}, names("image_size", 2.5)),
        (["x.png"], {"image_size": True}, names("image_size", True)),
        (["x.png"], {"mode": "CMYK"}, names("mode", "CMYK")),
        (["x.png"], {"resize": "pad"}, names("resize", "pad")),
        (["x.png"], {"crop_pct": 0}, names("crop_pct", 0)),
        (["x.png"], {"max_pixels": -1}, names("max_pixels", -1)),
    ],
)
def test_bad_parameters(paths, params, message):
    with pytest.raises(ValueError, match=message):
        ImageFiles(paths, **params)


def test_no_image_is_no_input(files):
    paths, _, y = files
    clf = quick(max_epochs=1)
    with pytest.raises(ValueError, match=mentions("X", 0)):
        clf.fit(ImageFiles(paths)[:0], y[:0])
    clf.fit(ImageFiles(paths), y)
    with pytest.raises(ValueError, match=mentions("X", (28, 28), (20, 20))):
        clf.predict(ImageFiles(paths, image_size=20))


def test_its_hash_names_what_is_read_and_how(files, tmp_path):
    path = save(tmp_path, "x.png", photograph())
    code = f"""
        import joblib
        from skcnn import ImageFiles
        images = ImageFiles({[str(path) for path in files[0]]!r})
        print(joblib.hash(images), joblib.hash(images.decode()[::2]))
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    images = ImageFiles(files[0])
    assert done.stdout.split() == [joblib.hash(images), joblib.hash(images[::2])]
    names = {joblib.hash(ImageFiles([path], **{name: value})) for name, value in HASHED}
    os.utime(path, ns=(0, 0))
    names.add(joblib.hash(ImageFiles([path])))
    assert len(names) == len(HASHED) + 1


HASHED = [("mode", None), ("mode", "L"), ("image_size", 20), ("max_pixels", 10_000)]
