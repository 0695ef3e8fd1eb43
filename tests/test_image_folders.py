"""Folders and tables of images: what is loaded, what is refused, and what is told about it."""

import errno
import itertools
import os
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers.messages import mentions, names
from PIL import Image
from sklearn.model_selection import cross_val_score

from skcnn import ImageFiles, LeNetClassifier
from skcnn.datasets import load_image_folder, load_image_table
from skcnn.exceptions import AnimatedImageWarning, DuplicateFilesWarning, ImageFileError

SEEDS = itertools.count()


def put(root, *names):
    """Write a small grey image for each name, no two alike."""
    for name in names:
        pixels = np.random.default_rng(next(SEEDS)).integers(0, 256, (12, 12), dtype=np.uint8)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)


@pytest.fixture
def pets(tmp_path):
    """Folder of two classes, with three and two images."""
    root = tmp_path / "pets"
    put(root, "dog/b.png", "dog/a.PNG", "cat/2.png", "cat/10.bmp", "cat/kittens/1.tif")
    return root


def names_in(root, loaded):
    return [os.path.relpath(path, root) for path in loaded.filenames]


def ignored_in(root, loaded):
    return {os.path.relpath(path, root): why for path, why in loaded.report.ignored.items()}


def ignored_together(root, loaded):
    """Sets of what was ignored for the same reason."""
    reasons = {}
    for name, why in ignored_in(root, loaded).items():
        reasons.setdefault(why, set()).add(name)
    return sorted(reasons.values(), key=sorted)


# What is loaded --------------------------------------------------------------------------------


def test_a_folder_of_each_class(pets):
    loaded = load_image_folder(pets)
    names = ["cat/10.bmp", "cat/2.png", "cat/kittens/1.tif", "dog/a.PNG", "dog/b.png"]
    assert names_in(pets, loaded) == names
    assert loaded.target_names.tolist() == ["cat", "dog"]
    assert loaded.target.tolist() == [0, 0, 0, 1, 1]
    assert isinstance(loaded.data, ImageFiles)
    for image, name in zip(loaded.data, names, strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(pets / name)))
    assert loaded.data._cache.n_decoded.all()
    assert loaded.report == {
        "counts": {"cat": 3, "dog": 2},
        "skipped": {},
        "ignored": {},
        "duplicates": [],
    }


def test_it_can_be_fitted(pets):
    loaded = load_image_folder(pets, image_size=(28, 28), mode="RGB", resize="crop")
    assert loaded.data.shape == (5, 28, 28, 3)
    clf = LeNetClassifier(max_epochs=1, early_stopping=False, random_state=0)
    y = loaded.target_names[loaded.target]
    assert cross_val_score(clf, loaded.data, y, cv=2, error_score="raise").shape == (2,)
    assert set(clf.fit(loaded.data, y).predict(loaded.data)) <= {"cat", "dog"}


def test_without_the_check_nothing_is_decoded(pets):
    shutil.copy(pets / "cat/2.png", pets / "dog/copy.png")
    (pets / "cat/2.png").write_bytes((pets / "cat/2.png").read_bytes()[:-40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_image_folder(pets, check=False)
    assert not loaded.data._cache.n_decoded.any()
    with pytest.raises(ImageFileError, match=mentions("cat/2.png")):
        LeNetClassifier().fit(loaded.data, loaded.target)


@pytest.mark.parametrize("subset", ["train", "test", "val"])
def test_subsets(tmp_path, subset):
    for part in ("train", "test", "val"):
        put(tmp_path, f"{part}/cat/1.png", f"{part}/dog/1.png", f"{part}/dog/2.png")
    # A class of the training images alone: the others keep their numbers.
    put(tmp_path, "train/bat/1.png", "extra/1.png", "notes.png")
    loaded = load_image_folder(tmp_path, subset=subset)
    assert loaded.target_names.tolist() == ["bat", "cat", "dog"]
    assert loaded.target.tolist() == ([0] if subset == "train" else []) + [1, 2, 2]
    assert all(name.startswith(subset) for name in names_in(tmp_path, loaded))
    assert ignored_together(tmp_path, loaded) == [{"extra"}, {"notes.png"}]


def test_some_classes_and_some_images(pets):
    put(pets, "eel/1.png")
    loaded = load_image_folder(pets, classes=("eel", "cat"), max_per_class=2)
    assert names_in(pets, loaded) == ["cat/10.bmp", "cat/2.png", "eel/1.png"]
    assert loaded.target_names[loaded.target].tolist() == ["cat", "cat", "eel"]
    assert loaded.report.counts == {"cat": 2, "eel": 1}


def test_what_is_no_image_is_listed_and_not_guessed(pets):
    put(pets, "loose.png", "dog/.hidden.png", ".git/x.png", "dog/.cache/x.png")
    for name in ("dog/Thumbs.db", "dog/notes.txt", "dog/noname", "dog/._a.jpg"):
        (pets / name).write_text("no image")
    loaded = load_image_folder(pets)
    assert len(loaded.data) == 5
    assert ignored_together(pets, loaded) == [
        {".git", "dog/.hidden.png", "dog/.cache", "dog/._a.jpg"},
        {"dog/Thumbs.db", "dog/notes.txt", "dog/noname"},
        {"loose.png"},
    ]


def test_odd_names_work(tmp_path):
    classes = ["a b", "it's", 'say "x"', "two\nlines", "\u00e9\u4e2d", "\udcff", "-rf"]
    put(tmp_path, *(f"{name}/{name}.png" for name in classes))
    loaded = load_image_folder(tmp_path)
    assert loaded.target_names[loaded.target].tolist() == sorted(classes)
    assert names_in(tmp_path, loaded) == [f"{name}/{name}.png" for name in sorted(classes)]


def test_a_thousand_classes(tmp_path):
    put(tmp_path, *(f"n{i:04}/x.png" for i in range(1000)))
    loaded = load_image_folder(str(tmp_path), image_size=4)
    assert loaded.data.shape == (1000, 4, 4)
    assert loaded.target.tolist() == list(range(1000))


# Links -----------------------------------------------------------------------------------------


def test_links_lead_to_nothing_that_is_read_anyway(pets):
    (pets / "cat/loop").symlink_to(pets)
    (pets / "cat/itself").symlink_to(pets / "cat")
    (pets / "cat/dogs").symlink_to(pets / "dog")
    (pets / "cat/dog.png").symlink_to(pets / "dog/b.png")
    (pets / "dog/x.png").symlink_to("x.png")
    (pets / "a dog").symlink_to("dog")
    loaded = load_image_folder(pets, on_error="skip")
    assert len(loaded.data) == 5
    links = {"cat/loop", "cat/itself", "cat/dogs", "cat/dog.png", "a dog"}
    assert ignored_together(pets, loaded) == [links]
    assert not any("follow_links" in why for why in ignored_in(pets, loaded).values())
    assert list(loaded.report.skipped) == [str(pets / "dog/x.png")]
    (pets / "cat/dogs").unlink()
    chosen = load_image_folder(pets, classes=["cat", "dog"], on_error="skip")
    assert names_in(pets, chosen) == names_in(pets, loaded)


def test_a_class_that_is_left_out_does_not_come_back_by_a_link(pets):
    put(pets, "eel/1.png")
    (pets / "cat/eels").symlink_to(pets / "eel")
    loaded = load_image_folder(pets, classes=["cat", "dog"])
    assert len(loaded.data) == 5
    ((name, why),) = ignored_in(pets, loaded).items()
    assert name == "cat/eels"
    assert "follow_links" not in why


def test_links_out_of_the_root_are_followed_on_request(pets, tmp_path):
    put(tmp_path, "pool/x.png", "pool/more/y.png", "eels/z.png")
    (tmp_path / "pool/back").symlink_to(pets)
    (pets / "cat/pool").symlink_to(tmp_path / "pool")
    (pets / "cat/again.png").symlink_to(tmp_path / "pool/x.png")
    (pets / "eel").symlink_to(tmp_path / "eels")
    inside = load_image_folder(pets)
    assert len(inside.data) == 5
    assert sorted(ignored_in(pets, inside)) == ["cat/again.png", "cat/pool", "eel"]
    assert all("follow_links=True" in why for why in inside.report.ignored.values())

    loaded = load_image_folder(pets, follow_links=True)
    assert loaded.report.counts == {"cat": 5, "dog": 2, "eel": 1}
    assert names_in(pets, loaded)[:2] == ["cat/10.bmp", "cat/2.png"]
    real = [os.path.realpath(path) for path in loaded.filenames]
    assert len(set(real)) == len(real)
    assert "cat/pool/back" in ignored_in(pets, loaded)


def test_a_link_to_what_is_above_reads_the_rest_of_it(pets, tmp_path):
    put(tmp_path, "beside/1.png")
    (pets / "dog/notes.txt").touch()
    (pets / "cat/up").symlink_to(tmp_path)
    loaded = load_image_folder(pets, follow_links=True)
    assert loaded.report.counts == {"cat": 4, "dog": 2}
    assert list(ignored_in(pets, loaded)) == ["dog/notes.txt"]


def test_a_folder_within_may_be_linked_once(pets):
    put(pets, "dog/young/1.png")
    put(pets, ".pool/x.png")
    (pets / "cat/pool").symlink_to(pets / ".pool")
    (pets / "dog/pool").symlink_to(pets / ".pool")
    loaded = load_image_folder(pets)
    assert loaded.report.counts == {"cat": 4, "dog": 3}
    assert "follow_links" not in ignored_in(pets, loaded)["dog/pool"]


# The same file twice ---------------------------------------------------------------------------


def test_the_same_file_in_two_classes(pets):
    shutil.copy(pets / "cat/2.png", pets / "dog/copy.png")
    shutil.copy(pets / "dog/a.PNG", pets / "dog/twin.png")  # in one class: that is no matter
    message = mentions("cat/2.png", "dog/copy.png")
    with pytest.warns(DuplicateFilesWarning, match=message) as caught:
        loaded = load_image_folder(pets)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert loaded.report.duplicates == [[str(pets / "cat/2.png"), str(pets / "dog/copy.png")]]
    assert len(loaded.data) == 7


@pytest.mark.parametrize("subset", ["train", "test"])
def test_the_same_file_in_train_and_test(tmp_path, subset):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    shutil.copy(tmp_path / "train/cat/1.png", tmp_path / "test/cat/9.png")
    put(tmp_path, "val/cat/1.png", "val/dog/1.png")
    shutil.copy(tmp_path / "val/cat/1.png", tmp_path / "val/dog/9.png")
    message = mentions(1, "train/cat/1.png", "test/cat/9.png")
    with pytest.warns(DuplicateFilesWarning, match=message) as caught:
        loaded = load_image_folder(tmp_path, subset=subset)
    assert len(caught) == 1
    pair = {str(tmp_path / "train/cat/1.png"), str(tmp_path / "test/cat/9.png")}
    assert [set(group) for group in loaded.report.duplicates] == [pair]


# Bad files -------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


def test_bad_files_are_errors_or_skipped_and_listed(pets):
    put(pets, "dog/cut.png", "cat/cut.png")
    cut(pets / "dog/cut.png")
    cut(pets / "cat/cut.png")
    (pets / "dog/page.jpg").write_text("<html>")
    (pets / "dog/empty.gif").touch()
    (pets / "dog/nowhere.png").symlink_to("gone.png")
    os.mkfifo(pets / "dog/pipe.png")
    with pytest.raises(ImageFileError, match=mentions(4, "empty.gif")) as raised:
        load_image_folder(pets, check=False)
    assert len(raised.value.reasons) == 4
    with pytest.raises(ImageFileError, match=mentions(6)) as raised:
        load_image_folder(pets)
    reasons = raised.value.reasons
    assert len(reasons) == 6
    loaded = load_image_folder(pets, on_error="skip")
    names = ["cat/10.bmp", "cat/2.png", "cat/kittens/1.tif", "dog/a.PNG", "dog/b.png"]
    assert names_in(pets, loaded) == names
    skipped = {os.path.relpath(path, pets): why for path, why in loaded.report.skipped.items()}
    assert sorted(skipped) == [
        *("cat/cut.png", "dog/cut.png", "dog/empty.gif", "dog/nowhere.png"),
        *("dog/page.jpg", "dog/pipe.png"),
    ]
    assert all(skipped.values())
    assert loaded.report.skipped == reasons
    assert loaded.target.tolist() == [0, 0, 0, 1, 1]
    assert loaded.report.counts == {"cat": 3, "dog": 2}
    assert (loaded.data._cache.n_decoded[loaded.data._rows] == 1).all()


def test_bad_files_are_named_before_sizes_that_differ(pets):
    Image.new("L", (9, 9)).save(pets / "cat/small.png")
    (pets / "dog/empty.png").touch()
    with pytest.raises(ImageFileError) as raised:
        load_image_folder(pets)
    assert list(raised.value.reasons) == [str(pets / "dog/empty.png")]
    message = mentions("'image_size'", "9 × 9", "cat/small.png")
    with pytest.raises(ValueError, match=message):
        load_image_folder(pets, on_error="skip")


def test_one_damaged_file_stops_the_load(pets):
    cut(pets / "cat/2.png")
    with pytest.raises(ImageFileError, match=mentions("cat/2.png", "on_error='skip'")) as raised:
        load_image_folder(pets)
    assert list(raised.value.reasons) == [str(pets / "cat/2.png")]


def test_animated_files_are_a_warning_at_the_call(pets):
    frames = [Image.new("L", (12, 12), value) for value in (10, 200)]
    frames[0].save(pets / "cat/moving.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(AnimatedImageWarning, match=mentions("moving.gif")) as caught:
        load_image_folder(pets, mode="L")
    assert caught[0].filename == __file__


def test_a_folder_that_may_not_be_read(pets, monkeypatch):
    put(pets, "dog/secret/1.png")
    secret = str(pets / "dog/secret")
    scandir = os.scandir

    def refuse(path):
        if path == secret:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageFileError) as raised:
        load_image_folder(pets)
    assert raised.value.reasons == {secret: "Permission denied"}
    loaded = load_image_folder(pets, on_error="skip")
    assert loaded.report.skipped == {secret: "Permission denied"}
    assert len(loaded.data) == 5
    (pets / "cat/empty.png").touch()
    with pytest.raises(ImageFileError) as raised:
        load_image_folder(pets)
    assert set(raised.value.reasons) == {secret, str(pets / "cat/empty.png")}
    shutil.rmtree(pets / "dog")
    put(pets, "dog/secret/1.png")
    with pytest.raises(ImageFileError) as raised:
        load_image_folder(pets)
    assert raised.value.reasons == {secret: "Permission denied"}


# Folders that are none -------------------------------------------------------------------------


def test_no_class_folder(tmp_path):
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(ValueError, match=mentions("'root'", repr(str(tmp_path)), 2, "1.png")):
        load_image_folder(tmp_path)


def test_one_class(tmp_path):
    put(tmp_path, "cat/1.png")
    with pytest.raises(ValueError, match=mentions("'root'", repr(str(tmp_path)), 1, "('cat')")):
        load_image_folder(tmp_path)


def test_an_empty_class_folder(pets):
    (pets / "eel").mkdir()
    (pets / "eel/readme.txt").touch()
    with pytest.raises(ValueError, match=mentions("('eel')", "eel/readme.txt", "classes=")):
        load_image_folder(pets)
    assert len(load_image_folder(pets, classes=["cat", "dog"]).data) == 5


def test_no_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=mentions(2, "('cat', 'dog')")):
        load_image_folder(tmp_path)


@pytest.mark.parametrize("damage", [cut, lambda path: path.write_bytes(b"")])
def test_a_class_of_bad_images_alone(pets, damage):
    put(pets, "eel/1.png")
    damage(pets / "eel/1.png")
    with pytest.raises(ValueError, match=mentions("('eel')", "eel/1.png", "classes=")):
        load_image_folder(pets, on_error="skip")


def test_bad_images_alone(tmp_path):
    put(tmp_path, "cat/1.png", "dog/1.png")
    for path in tmp_path.glob("*/1.png"):
        path.write_text("<html>")
    with pytest.raises(ImageFileError, match=mentions(2)) as raised:
        load_image_folder(tmp_path, on_error="skip")
    assert len(raised.value.reasons) == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"root": "nowhere"}, names("root", "nowhere")),
        ({"root": None}, names("root", None)),
        ({"subset": "valid"}, names("subset", "valid")),
        ({"subset": "test"}, mentions("'subset'", "'test'", "('cat', 'dog')")),
        ({"classes": "cat"}, names("classes", "cat")),
        ({"classes": ["cat", "cow"]}, names("classes", ["cat", "cow"])),
        ({"classes": ["cat"]}, names("classes", ["cat"])),
        ({"classes": [["cat"]]}, names("classes", [["cat"]])),
        ({"max_per_class": True}, names("max_per_class", True)),
        ({"max_per_class": 0}, names("max_per_class", 0)),
        ({"on_error": "ignore"}, names("on_error", "ignore")),
        ({"check": "no"}, names("check", "no")),
        ({"follow_links": "x"}, names("follow_links", "x")),
        ({"verbose": None}, names("verbose", None)),
        ({"image_size": -1}, names("image_size", -1)),
    ],
)
def test_bad_parameters(pets, params, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(**{"root": pets, **params})


def test_a_split_folder_is_not_taken_for_classes(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    with pytest.raises(ValueError, match=mentions("'subset'", None, "('test', 'train')")):
        load_image_folder(tmp_path)
    loaded = load_image_folder(tmp_path, classes=["train", "test"])
    assert loaded.target.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("train", "validation"), ["('train', 'validation')"]),
        (("train", "test"), ["('test', 'train')"]),
        (("Train", "Test"), ["('Test', 'Train')"]),
        (("training", "testing"), ["('testing', 'training')"]),
        (("train", "extra"), ["('train')", "('extra', 'train')"]),
        (("train",), ["('train')"]),
        (("valid", "cat", "dog"), ["('valid')", "('cat', 'dog', 'valid')"]),
    ],
    ids=",".join,
)
def test_folders_named_like_subsets_are_no_classes(tmp_path, folders, found):
    for name in folders:
        put(tmp_path, f"{name}/cat/1.png", f"{name}/dog/1.png")
    with pytest.raises(ValueError, match=mentions("'subset'", None, *found)) as raised:
        load_image_folder(tmp_path)
    assert ("subset='train'" in str(raised.value)) == ("train" in folders)


def test_a_subset_behind_a_link_is_not_missing_without_a_word(tmp_path, pets):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/train").symlink_to(pets)
    message = mentions("'subset'", "'train'", "root/train", "follow_links=True")
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path / "root", subset="train")
    images = load_image_folder(tmp_path / "root", subset="train", follow_links=True)
    assert len(images.data) == 5


def test_a_class_may_have_the_name_of_a_subset(tmp_path):
    put(tmp_path, "train/1.png", "plane/1.png", "plane/jets/1.png")
    assert load_image_folder(tmp_path).target_names.tolist() == ["plane", "train"]


def test_a_subset_without_classes(tmp_path):
    put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/1.png", "test2/9.png")
    remedies = ["load_image_table", "skcnn.ImageFiles"]
    message = mentions("'subset'", "'test'", "('cat', 'dog')", "test/1.png", *remedies)
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path, subset="test")
    put(tmp_path, "test/eel/1.png")
    message = mentions("'subset'", "'test'", "('cat', 'dog')", "('eel')")
    with pytest.raises(ValueError, match=message):
        load_image_folder(tmp_path, subset="test", classes=["cat", "dog"])


# Tables ----------------------------------------------------------------------------------------


@pytest.fixture
def table(pets):
    """DataFrame of five images, with paths relative to `pets`."""
    files = ["dog/b.png", "cat/2.png", "dog/a.PNG", "cat/10.bmp", "cat/kittens/1.tif"]
    return pd.DataFrame({"file": files, "pet": [7, 3, 7, 3, 3], "age": 1.5}, index=list("abcde"))


def test_a_table_keeps_its_order_and_labels(pets, table, monkeypatch):
    loaded = load_image_table(table, "file", "pet", root=pets, mode="L")
    assert names_in(pets, loaded) == table["file"].tolist()
    assert loaded.target_names[loaded.target].tolist() == table["pet"].tolist()
    np.testing.assert_array_equal(loaded.data[1], np.asarray(Image.open(pets / "cat/2.png")))
    assert loaded.report.counts == {3: 3, 7: 2}
    monkeypatch.chdir(pets)
    assert load_image_table(table, "file", "pet").filenames[0] == str(pets / "dog/b.png")
    table["file"] = [pets / name for name in table["file"]]
    assert names_in(pets, load_image_table(table, "file", "pet", root="elsewhere"))


def test_a_csv_file_is_the_table_in_it(pets, table):
    put(pets, 'odd, "name"\n\u00e9\udcff.png')
    table.loc["f"] = ['odd, "name"\n\u00e9\udcff.png', 3, 0.0]
    table.to_csv(pets / "t.csv", index=False, errors="surrogateescape")
    loaded = load_image_table(pets / "t.csv", "file", "pet")
    assert names_in(pets, loaded) == table["file"].tolist()
    assert loaded.target_names[loaded.target].tolist() == ["7", "3", "7", "3", "3", "3"]
    assert len(load_image_table(str(pets / "t.csv"), "file", "pet", root=pets).data) == 6


def test_bad_files_of_a_table(pets, table):
    cut(pets / "cat/2.png")
    (pets / "cat/10.bmp").unlink()
    with pytest.raises(ImageFileError, match=mentions("cat/10.bmp", "cat/2.png")) as raised:
        load_image_table(table, "file", "pet", root=pets)
    assert raised.value.reasons[str(pets / "cat/10.bmp")] == os.strerror(errno.ENOENT)
    loaded = load_image_table(table, "file", "pet", root=pets, on_error="skip")
    assert names_in(pets, loaded) == ["dog/b.png", "dog/a.PNG", "cat/kittens/1.tif"]
    assert loaded.target.tolist() == [1, 1, 0]
    assert len(loaded.report.skipped) == 2


def test_the_same_file_under_two_labels(pets, table):
    table.loc["f"] = ["cat/2.png", 7, 0.0]
    with pytest.warns(DuplicateFilesWarning, match=r"(?s)cat/2\.png'.*cat/2\.png'"):
        loaded = load_image_table(table, "file", "pet", root=pets)
    assert loaded.target.tolist() == [1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ("path", "pet"), mentions("'path_column'", "('file', 'pet', 'age')", "'path'")),
        ({}, ("file", "label"), names("target_column", "label")),
        ({}, ("age", "pet"), mentions("'path_column'", "'age'", 1.5, 0)),
        ({"pet": 1}, ("file", "pet"), mentions("'target_column'", "'pet'", "1 (1)")),
        (
            {"pet": [1, "a", 1, 1, 1]},
            ("file", "pet"),
            mentions("'target_column'", "'pet'", "'str'"),
        ),
        (
            {"pet": [np.zeros(2)] * 5},
            ("file", "pet"),
            mentions("'target_column'", "'pet'", "ndarray"),
        ),
        ({"pet": [1, 2, np.nan, 1, 1]}, ("file", "pet"), mentions("nan", "'pet'", 2)),
        ({"file": ["a", None, "b", "c", "d"]}, ("file", "pet"), mentions("'file'", 1)),
        ({"file": ["a", "b", "", "c", "d"]}, ("file", "pet"), mentions("''", "'file'", 2)),
        ({"pet": ["a", "b", "a", "", "b"]}, ("file", "pet"), mentions("''", "'pet'", 3)),
        (
            {"pet": pd.array([1, 2, 1, 2, None], "Int64")},
            ("file", "pet"),
            mentions("<NA>", "'pet'", 4),
        ),
        ({}, ("file", "file"), names("target_column", "file")),
    ],
)
def test_bad_tables(pets, table, change, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_image_table(table.assign(**change), *arguments, root=pets)


def test_paths_of_a_table_may_be_bytes(pets, table):
    table["file"] = list(map(os.fsencode, table["file"]))
    assert len(load_image_table(table, "file", "pet", root=pets).data) == 5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"root": 3}, names("root", 3)),
        ({"check": "no"}, names("check", "no")),
        ({"verbose": 2}, names("verbose", 2)),
    ],
)
def test_bad_parameters_of_a_table(table, params, message):
    with pytest.raises(ValueError, match=message):
        load_image_table(table, "file", "pet", **params)


def test_columns_of_one_name(pets, table):
    (pets / "t.csv").write_text("file,pet,pet\n1.png,cat,dog\n2.png,dog,cat\n")
    message = mentions("'target_column'", "('file', 'pet', 'pet')", "'pet'")
    with pytest.raises(ValueError, match=message):
        load_image_table(pets / "t.csv", "file", "pet")
    with pytest.raises(ValueError, match=message):
        load_image_table(table.set_axis(["file", "pet", "pet"], axis=1), "file", "pet")


def test_bad_tables_of_other_kinds(pets):
    (pets / "t.csv").write_text("file,pet\n1.png,cat\na,b.png,dog\n")
    with pytest.raises(ValueError, match=mentions(2, 3, 1)):
        load_image_table(pets / "t.csv", "file", "pet")
    with pytest.raises(ValueError, match=names("frame", [])):
        load_image_table([], "file", "pet")
    with pytest.raises(FileNotFoundError, match=mentions("nowhere.csv")):
        load_image_table(pets / "nowhere.csv", "file", "pet")
    (pets / "t.csv").write_text("file,pet\n1.png,cat\n2.png\n")
    with pytest.raises(ValueError, match=mentions(None, "'pet'", 1)):
        load_image_table(pets / "t.csv", "file", "pet")
    (pets / "t.csv").write_text("")
    with pytest.raises(ValueError, match=names("path_column", "file")):
        load_image_table(pets / "t.csv", "file", "pet")
