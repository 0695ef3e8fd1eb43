"""The command line: what each command prints and writes, and how it ends when things go wrong."""

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.messages import mentions
from PIL import Image

import skcnn
from skcnn.command import _predict, main
from skcnn.command._networks import NETWORKS, make_classifier
from skcnn.datasets import load_image_folder
from skcnn.exceptions import ModelFileError
from skcnn.inspection import evaluate


@pytest.fixture(scope="module")
def photos(tmp_path_factory, tops_and_bags):
    """Folder of train, val and test, each with grey images of two classes, wider than high."""
    root = tmp_path_factory.mktemp("command") / "photos"
    X, y = tops_and_bags
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        part = "test" if i >= 160 else "val" if i >= 120 else "train"
        path = root / part / ("top" if label == 0 else "bag") / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(image, ((0, 0), (4, 8)))).save(path)
    (root / "train" / "bag" / "cut.png").write_bytes(path.read_bytes()[:200])
    (root / "train" / "notes.txt").touch()
    return root


@pytest.fixture(scope="module")
def trained(photos):
    """Path of a model that the command trained, and what it printed."""
    model = photos.parent / "model.skcnn"
    arguments = ["train", photos, "--out", model, "--network", "lenet", "--skip-bad", "--seed", 0]
    arguments += ["--lr", 5e-3, "--batch-size", 16, "--epochs", 3, "--device", "cpu"]
    arguments += ["--plot", photos.parent / "curves.png", "--set", "norm=batch"]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        assert main([*map(str, arguments)]) == 0
        printed = sys.stdout.buffer.getvalue().decode()
    return model, printed


@pytest.fixture
def model(trained):
    return trained[0]


@pytest.fixture
def run(capsys):
    """Function that runs a command, and returns its status, output and lines of errors."""

    def run(*arguments):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as ended:
            status = ended.code
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


def files_of(photos, part="test"):
    return sorted(map(str, (photos / part).glob("*/*.png")))


def has_line(lines, *words):
    """Whether one of the lines has all these words."""
    return any(re.search(mentions(*words), line) for line in lines)


def rows_of(out):
    return list(csv.DictReader(io.StringIO(out)))


def expected(model, paths):
    """What Python says of the images: labels, and probabilities as the command rounds them."""
    probabilities = skcnn.load(model).predict_proba(paths)
    labels = skcnn.load(model).classes_[probabilities.argmax(axis=1)]
    return list(zip(labels, probabilities.max(axis=1).round(6), strict=True))


# train -------------------------------------------------------------------------------------------


def test_train_says_what_it_found_and_how_good_it_became(photos, trained):
    model, printed = trained
    clf = skcnn.load(model)
    assert clf.norm == "batch"
    assert clf.get_params()["verbose"] == 0
    lines = printed.splitlines()
    assert has_line(lines, "train", 120, 2, "bag", "top")
    assert has_line(lines, "notes.txt")
    assert has_line(lines, "cut.png")
    assert has_line(lines, "lenet", "28 × 28", "L")
    test = load_image_folder(photos, subset="test", **clf.file_options_)
    accuracy = clf.score(test.data, test.target_names[test.target])
    assert clf.history_[-1]["train_loss"] < clf.history_[0]["train_loss"]
    assert has_line(lines, "test accuracy", f"{accuracy:.4f}", 40)
    assert (photos.parent / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_val_decides_which_epoch_is_kept(photos, trained):
    model, printed = trained
    clf = skcnn.load(model)
    val = load_image_folder(photos, subset="val", **clf.file_options_)
    accuracy = clf.score(val.data, val.target_names[val.target])
    kept = [clf.best_epoch_, clf.n_epochs_, "validation accuracy", f"{accuracy:.4f}"]
    assert has_line(printed.splitlines(), *kept)


def test_a_folder_of_classes_alone(photos, run, tmp_path):
    arguments = ["--network", "lenet", "--epochs", 1, "--max-per-class", 8, "--image-size", 16]
    arguments += ["--resize", "squash", "--mode", "RGB", "--set", "early_stopping=False"]
    status, out, errors = run("train", photos / "test", "--out", tmp_path / "m", *arguments)
    assert status == 0
    assert any("train_acc" in line for line in errors)
    assert "\x1b" not in "".join(errors)  # colours, which no file has a use for
    assert has_line(out.splitlines(), 16, 2, "bag 8", "top 8")
    assert "training accuracy" in out
    assert "validation accuracy" not in out
    assert "test accuracy" not in out
    clf = skcnn.load(tmp_path / "m")
    assert clf.image_shape_ == (3, 16, 16)
    assert clf.file_options_["resize"] == "squash"


def test_a_damaged_file_stops_training(photos, run, tmp_path):
    status, _, errors = run("train", photos, "--out", tmp_path / "m", "--network", "lenet")
    assert status == 1
    assert len(errors) == 2
    assert "cut.png" in errors[0]
    assert "--skip-bad" in errors[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "{exists}"], ["--out", "'{exists}'", "--force"]),
        (["--out", "{root}"], ["--out", "'{root}'"]),
        (["--out", "{root}/none/m"], ["--out", "'{root}/none'"]),
        (["--out", "m", "--plot", "{exists}"], ["--plot", "'{exists}'", "--force"]),
        (["--out", "m", "--network", "resnet19"], ["'resnet19'", "resnet18"]),
        (
            ["--out", "m", "--network", "nin", "--set", "widthratio=4"],
            ["--set", "'widthratio'", "width_ratio"],
        ),
        (["--out", "m", "--set", "width_ratio"], ["--set", "NAME=VALUE", "'width_ratio'"]),
        (["--out", "m", "--lr", "-1"], ["'lr'", "-1.0"]),
        (["--out", "m", "--augment", "mirror,flip"], ["'augment'", "'flip'"]),
        (["--out", "m", "--image-size", "0"], ["--image-size", "'0'"]),
        (["--out", "m", "--weights", "none.pth"], ["'weights'", "'none.pth'"]),
        (["--out", "m.png", "--plot", "./m.png"], ["--plot", "'m.png'", "--out"]),
        (
            ["--out", "m", "--weights", "{exists}", "--plot", "{exists}", "--force"],
            ["--plot", "'{exists}'", "--weights"],
        ),
        (["--out", "{image}", "--force"], ["--out", "'{image}'", "DIR"]),
        (["--out", "/dev/null"], ["--out", "'/dev/null'"]),
        (["--out", "m" * 256], ["--out", os.strerror(errno.ENAMETOOLONG)]),
        (["--out", "m", "--plot", "m.xyz"], ["--plot", "'m.xyz'", ".png"]),
        (["--out", "m", "--crop-pct", "2"], ["--crop-pct", "'2'"]),
        (["--out", "m", "--network", "lenet", "--device", "x"], ["'device'", "'x'"]),
        (["--out", "m", "--network", "lenet", "--device", "cuda:99"], ["'device'", "'cuda:99'"]),
        (["--out", "m", "--network", "lenet", "--freeze", "99"], ["'freeze'", "99"]),
        (["--out", "m", "--network", "lenet", "--memory", "{exists}"], ["'memory'", "'{exists}'"]),
        ([], ["--out"]),
    ],
)
def test_wrong_arguments_end_it_before_any_work(
    photos, run, tmp_path, monkeypatch, arguments, named
):
    def refuse(*args, **kwargs):
        raise AssertionError("images were read")

    monkeypatch.setattr("skcnn.command._folders.load_image_folder", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists").write_text("of value")
    image = photos / "train" / "bag" / "cut.png"
    before = image.read_bytes()
    places = {"root": tmp_path, "exists": tmp_path / "exists", "image": image}
    status, out, errors = run("train", photos, *(word.format(**places) for word in arguments))
    assert status == 2
    assert not out
    assert (tmp_path / "exists").read_text() == "of value"
    assert image.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
    assert has_line(errors[-1:], *(word.format(**places) for word in named)), errors


def test_a_folder_that_is_none(run, tmp_path):
    status, _, errors = run("train", tmp_path / "none", "--out", tmp_path / "m")
    assert status == 2
    assert has_line(errors[-1:], "DIR", repr(str(tmp_path / "none")))
    status, _, errors = run("train", "x" * 300, "--out", tmp_path / "m")
    assert status == 2
    assert errors[-1].endswith("File name too long")
    status, _, errors = run("train", tmp_path, "--out", tmp_path / "m", "--network", "lenet")
    assert status == 1
    assert len(errors) == 1
    assert has_line(errors, "'root'", repr(str(tmp_path)))


def linked(photos, root, folders):
    """Folders that have an image each, of the class that is given for each."""
    for folder, label in folders.items():
        (root / folder).mkdir(parents=True)
        image = next((photos / "test" / label).iterdir())
        os.link(image, root / folder / "1.png")
    return root


def test_classes_that_are_not_trained_on_are_refused(photos, run, tmp_path):
    folders = {"train/bag": "bag", "train/top": "top", "val/bag": "bag", "test/bags": "bag"}
    root = linked(photos, tmp_path / "photos", folders)
    status, _, errors = run("train", root, "--out", tmp_path / "m", "--network", "lenet")
    assert status == 1
    assert has_line([line.replace(f"{root}/", "") for line in errors], "'val'", "top")
    assert has_line(errors[-1:], f"'{root}/test'", "bag", "top", "bags")
    assert not (tmp_path / "m").exists()


def test_a_disk_that_is_full(photos, run, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("skcnn._saving.write_model", fail)
    arguments = ["--network", "lenet", "--epochs", 1, "--max-per-class", 8]
    arguments += ["--memory", tmp_path / "fits"]
    status, _, errors = run("train", photos / "test", "--out", tmp_path / "m", *arguments)
    assert status == 1
    assert "--memory" in errors[-2]
    assert errors[-1].startswith(f"skcnn: error: {tmp_path / 'm'}: ")
    assert "No space left on device" in errors[-1]


# predict -----------------------------------------------------------------------------------------


def test_another_process_predicts_what_python_does(photos, model):
    paths = files_of(photos)[::-1]
    command = [sys.executable, "-m", "skcnn", "predict", str(model), *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    rows = rows_of(done.stdout)
    assert [row["file"] for row in rows] == paths
    found = [(row["label"], float(row["probability"])) for row in rows]
    assert found == expected(model, paths)


def test_top_k(photos, model, run):
    paths = files_of(photos)[:3]
    status, out, _ = run("predict", model, *paths, "--top-k", 5)
    assert status == 0
    for row, (label, probability) in zip(rows_of(out), expected(model, paths), strict=True):
        assert (row["label"], float(row["probability"])) == (label, probability)
        assert {row["label"], row["label_2"]} == {"bag", "top"}
        # Each is rounded to six digits.
        assert float(row["probability_2"]) == pytest.approx(1 - probability, abs=2e-6)
    status, out, _ = run("predict", model, *paths, "--top-k", 2, "--format", "jsonl")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["file"] for line in lines] == paths
    assert [(line["label"], line["probability"]) for line in lines] == expected(model, paths)
    assert [len(line["others"]) for line in lines] == [1, 1, 1]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_any_name_of_a_file_comes_back(photos, model, run, tmp_path, file_format):
    names = [b'two\nlines, "quoted".png', "café 東京.png".encode(), b"\xff\xfe.png"]
    paths = [os.fsdecode(os.path.join(os.fsencode(tmp_path), name)) for name in names]
    for path in paths:
        os.link(files_of(photos)[0], path)
    output = tmp_path / "labels"
    status, out, _ = run("predict", model, *paths, "--format", file_format, "--output", output)
    assert (status, out) == (0, "")
    if file_format == "csv":
        with open(output, newline="", encoding="utf-8", errors="surrogateescape") as file:
            found = [row["file"] for row in csv.DictReader(file)]
    else:
        found = [json.loads(line)["file"] for line in output.read_bytes().splitlines()]
        assert "東京".encode() in output.read_bytes()
    assert found == paths


def test_bad_files_are_told_of_and_the_others_predicted(photos, model, run, tmp_path):
    good = files_of(photos)[:2]
    damaged, missing = str(photos / "train" / "bag" / "cut.png"), str(tmp_path / "none.png")
    status, out, errors = run("predict", model, good[0], missing, damaged, missing, good[1])
    assert status == 1
    assert [row["file"] for row in rows_of(out)] == good
    named = [line.rsplit(": ", 1)[0] for line in errors]
    assert named == [f"skcnn: error: {path}" for path in (missing, damaged, missing)]


def test_names_on_standard_input(photos, model, run, monkeypatch):
    paths = files_of(photos)[:3]
    for end, options in ("\n", []), ("\r\n", []), ("\0", ["-0"]):
        stdin = io.TextIOWrapper(io.BytesIO(end.join([*paths[1:], ""]).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, _ = run("predict", model, paths[0], "-", *options)
        assert status == 0
        assert [row["file"] for row in rows_of(out)] == paths


def test_a_folder_stands_for_its_images(photos, model, run, monkeypatch):
    monkeypatch.setattr("skcnn.command._predict._AT_ONCE", 7)  # several batches
    status, out, errors = run("predict", model, photos / "test")
    assert status == 0
    rows = rows_of(out)
    assert [row["file"] for row in rows] == files_of(photos)
    found = [(row["label"], float(row["probability"])) for row in rows]
    assert found == expected(model, files_of(photos))
    assert not errors
    _, _, errors = run("predict", model, photos / "train")
    assert has_line(errors, 1, "notes.txt")


def test_a_carriage_return_may_belong_to_a_name(photos, model, run, tmp_path, monkeypatch):
    path = tmp_path / "1.png\r"
    os.link(files_of(photos)[0], path)
    for stdin, status in (os.fsencode(path), 0), (b"no\tne\r\n\r\n", 1):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        ended, _, errors = run("predict", model, "-")
        assert ended == status
    assert errors == ["skcnn: error: no\\tne: No such file or directory"]


def test_links_out_of_a_folder_are_followed_on_request(photos, model, run, tmp_path):
    for label in ("bag", "top"):
        (tmp_path / label).symlink_to(photos / "test" / label)
    status, out, errors = run("predict", model, tmp_path)
    assert (status, rows_of(out)) == (0, [])
    assert "--follow-links" in errors[0]
    _, out, _ = run("predict", model, tmp_path, "--follow-links")
    assert len(rows_of(out)) == 40
    _, out, _ = run("evaluate", model, tmp_path, "--follow-links", "--json")
    assert json.loads(out)["n_images"] == 40


def test_output_is_whole_or_as_it_was(photos, model, run, tmp_path, monkeypatch):
    predict, batches = _predict._predict, []

    def fail_at_second(classifier, names, k):
        batches.append(names)
        if len(batches) == 2:
            raise MemoryError
        return predict(classifier, names, k)

    monkeypatch.setattr(_predict, "_AT_ONCE", 2)
    monkeypatch.setattr(_predict, "_predict", fail_at_second)
    output = tmp_path / "labels.csv"
    output.write_text("before")
    output.chmod(0o640)
    arguments = ["predict", model, *files_of(photos)[:3], "--output", output, "--force"]
    assert run(*arguments)[0] == 1
    assert output.read_text() == "before"
    assert run(*arguments)[0] == 0
    assert len(rows_of(output.read_text())) == 3
    assert output.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_output_that_cannot_be_written_is_named(photos, model, run, monkeypatch):
    image = files_of(photos)[0]
    status, _, errors = run("predict", model, image, "--output", "/dev/full")
    assert (status, errors) == (1, ["skcnn: error: /dev/full: No space left on device"])
    for arguments in ["predict", model, image], ["summary", model], ["evaluate", model, photos]:
        with open("/dev/full", "w") as full, monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", full)
            status, _, errors = run(*arguments)
        assert (status, errors) == (1, ["skcnn: error: standard output: No space left on device"])


def test_closed_streams(photos, model, run, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", None)
        status, out, _ = run("predict", model, files_of(photos)[0], "none.png")
    assert status == 1
    assert len(rows_of(out)) == 1
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None)
        status, _, errors = run("predict", model, files_of(photos)[0])
    assert status == 2
    assert "standard output" in errors[-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["predict", "{model}", "{image}", "--output", "{model}"],
            ["--output", "'{model}'", "MODEL"],
        ),
        (["predict", "{model}", "{image}", "--output", "{link}"], ["--output", "'{link}'", "FILE"]),
        (
            ["predict", "{model}", "{root}", "--output", "{image}"],
            ["--output", "'{image}'", "FILE"],
        ),
        (["predict", "{model}", ""], ["FILE", "''"]),
        (
            ["evaluate", "{model}", "{root}", "--mistakes", "{model}"],
            ["--mistakes", "'{model}'", "MODEL"],
        ),
        (
            ["evaluate", "{model}", "{root}", "--mistakes", "{link}"],
            ["--mistakes", "'{link}'", "DIR"],
        ),
        (
            ["evaluate", "{model}", "{root}", "--mistakes", "m", "--confusion-matrix", "m"],
            ["--mistakes", "'m'", "--confusion-matrix"],
        ),
        (
            ["evaluate", "{model}", "{root}", "--confusion-matrix", "m.foo"],
            ["--confusion-matrix", "'m.foo'", ".png"],
        ),
    ],
)
def test_no_output_takes_the_place_of_another_file(
    photos, model, run, tmp_path, monkeypatch, arguments, named
):
    monkeypatch.chdir(tmp_path)
    image = linked(photos, tmp_path, {"photos/bag": "bag"}) / "photos" / "bag" / "1.png"
    (tmp_path / "link").symlink_to(image)
    places = {"model": model, "root": tmp_path / "photos", "image": image}
    places["link"] = tmp_path / "link"
    before = model.read_bytes(), image.read_bytes(), sorted(tmp_path.iterdir())
    words = [word.format(**places) for word in arguments]
    status, out, errors = run(*words, *["--force"] * (words[-1] != ""))
    assert (status, out) == (2, "")
    assert has_line(errors[-1:], *(word.format(**places) for word in named)), errors
    assert (model.read_bytes(), image.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_nobody_reads_on(photos, model):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "skcnn", "predict", str(model), *files_of(photos)]
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE)
    assert done.stderr == b""
    assert done.returncode == 141


# evaluate ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mislabelled(photos):
    """The test images, some of them in the wrong folder."""
    root = photos.parent / "mislabelled"
    for path in files_of(photos):
        label = os.path.basename(os.path.dirname(path))
        if path.endswith("5.png"):
            label = {"bag": "top", "top": "bag"}[label]
        (root / label).mkdir(parents=True, exist_ok=True)
        os.link(path, root / label / os.path.basename(path))
    return root


def test_evaluate_tells_the_mistakes_by_their_files(model, mislabelled, run, tmp_path, monkeypatch):
    table, matrix = tmp_path / "mistakes.csv", tmp_path / "matrix.png"
    options = ["--mistakes", table, "--confusion-matrix", matrix]
    status, out, _ = run("evaluate", model, mislabelled, *options)
    assert status == 0
    images = load_image_folder(mislabelled, **skcnn.load(model).file_options_)
    report = evaluate(skcnn.load(model), images.data, images.target_names[images.target])
    assert report.mistakes
    assert str(report) in out
    for mistake in report.mistakes[:3]:
        words = mistake.path, mistake.true_label, mistake.predicted_label
        assert has_line(out.splitlines(), *words)
    rows = rows_of(table.read_text())
    assert [row["file"] for row in rows] == [mistake.path for mistake in report.mistakes]
    monkeypatch.chdir(mislabelled.parent)
    _, out, _ = run("evaluate", model, mislabelled.name)
    shown = [line.strip() for line in out.splitlines()]
    assert any(line.startswith(os.path.relpath(rows[0]["file"])) for line in shown)
    assert float(rows[0]["probability"]) == pytest.approx(report.mistakes[0].probability, abs=1e-6)
    assert matrix.read_bytes()[:4] == b"\x89PNG"

    status, out, _ = run("evaluate", model, mislabelled, "--json")
    found = json.loads(out)
    assert found["accuracy"] == report.accuracy
    assert found["classes"]["top"]["recall"] == report.recall[1]
    assert found["confusion_matrix"] == report.confusion_matrix.tolist()
    assert [mistake["file"] for mistake in found["mistakes"]] == [row["file"] for row in rows]


def test_evaluate_measures_test_where_there_is_one(photos, model, run, trained):
    status, out, _ = run("evaluate", model, photos)
    assert status == 0
    accuracy = re.search(r"test accuracy: (\S+)", trained[1])[1]
    assert f"accuracy {accuracy}" in out


def test_evaluate_refuses_classes_that_the_model_does_not_know(photos, model, run, tmp_path):
    for i, name in enumerate(("shoe", "top")):
        (tmp_path / name).mkdir()
        os.link(files_of(photos)[-i], tmp_path / name / "1.png")
    status, out, errors = run("evaluate", model, tmp_path)
    assert (status, out) == (1, "")
    assert len(errors) == 1
    assert has_line(errors, "bag", "top", "shoe")


def test_folders_may_name_labels_that_are_no_strings(photos, run, tmp_path):
    images = load_image_folder(photos, subset="test")
    clf = skcnn.LeNetClassifier(max_epochs=1, early_stopping=False, random_state=0)
    clf.fit(images.data, images.target + 7).save(tmp_path / "model")
    for label, name in enumerate(("bag", "top")):
        (tmp_path / "photos" / str(label + 7)).mkdir(parents=True)
        os.link(
            photos / "test" / name / os.listdir(photos / "test" / name)[0],
            tmp_path / "photos" / str(label + 7) / "1.png",
        )
    status, out, errors = run("evaluate", tmp_path / "model", tmp_path / "photos", "--json")
    assert status == 0, errors
    assert set(json.loads(out)["classes"]) == {"7", "8"}


def test_names_that_are_no_text_do_not_break_lines_or_pictures(photos, run, tmp_path):
    names = np.array(["new\nline", "\x1b[2J\udcff"])
    images = load_image_folder(photos, subset="test")
    clf = skcnn.LeNetClassifier(max_epochs=1, early_stopping=False, random_state=0)
    clf.fit(images.data, names[images.target]).save(tmp_path / "model")
    # One of them in the wrong folder.
    folders = {f"photos/{names[0]}": "bag", f"photos/{names[1]}": "top"}
    root = linked(photos, tmp_path, folders) / "photos"
    os.link(root / names[0] / "1.png", root / names[1] / "2\t.png")
    matrix = tmp_path / "matrix.svg"
    status, out, errors = run("evaluate", tmp_path / "model", root, "--confusion-matrix", matrix)
    assert status == 0, errors
    assert matrix.exists()
    _, summary, _ = run("summary", tmp_path / "model")
    for text in (out, summary):
        assert "new\\nline" in text
        assert "\\x1b[2J\\xff" in text
        assert text.replace("\n", "").replace("…", "").isprintable()


def test_a_class_without_images(photos, model, run, tmp_path):
    linked(photos, tmp_path, {"top": "top"})
    (tmp_path / "bag").mkdir()
    status, _, errors = run("evaluate", model, tmp_path)
    assert status == 1
    assert has_line(errors[:1], "('bag')")


# summary -----------------------------------------------------------------------------------------


def test_summary_of_a_model_and_of_a_network(model, run):
    status, out, _ = run("summary", model)
    assert status == 0
    clf = skcnn.load(model)
    assert has_line(out.splitlines(), 2, "bag", "top")
    assert str(clf.summary()) in out
    status, out, _ = run("summary", "resnet18", "--image-size", 32, "--classes", 5)
    assert status == 0
    assert out.strip() == str(skcnn.ResNetClassifier().summary((3, 32, 32), 5))
    for name in ("none.skcnn", "./none"):
        status, _, errors = run("summary", name)
        assert status == 2
        assert repr(name) in errors[-1]
    status, _, errors = run("summary", "resnet19")
    assert status == 2
    assert has_line(errors[-1:], "'resnet19'", "resnet18")


def test_every_name_makes_its_network():
    names = {name: make_classifier(network) for name, network in NETWORKS.items()}
    assert names["vgg16_bn"]._torchvision_name() == "vgg16_bn"
    for name in ("resnet50", "vgg11", "googlenet", "inception_v3"):
        assert names[name]._torchvision_name() == name
    assert names["alexnet-small"].variant == "small"
    assert {type(clf).__name__ for clf in names.values()} == {
        name for name in skcnn.__all__ if name.endswith("Classifier")
    }


# However it ends ---------------------------------------------------------------------------------


def test_a_file_that_is_no_model(photos, run, tmp_path):
    path = tmp_path / "model"
    for content in (b"", b"no model at all"):
        path.write_bytes(content)
        status, out, errors = run("predict", path, files_of(photos)[0])
        assert (status, out) == (1, "")
        assert len(errors) == 1
        assert errors[0].startswith("skcnn: error: ")
    status, _, errors = run("predict", tmp_path / "none", files_of(photos)[0])
    assert status == 1
    assert errors == [f"skcnn: error: {tmp_path / 'none'}: No such file or directory"]
    with pytest.raises(ModelFileError):
        main(["predict", str(path), files_of(photos)[0], "--debug"])


def test_a_warning_is_a_line(model, run, tmp_path):
    frames = [Image.new("L", (28, 28), value) for value in (0, 255)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    status, out, errors = run("predict", model, tmp_path / "two.gif")
    assert status == 0
    assert len(rows_of(out)) == 1
    assert len(errors) == 1
    assert errors[0].startswith("skcnn: warning: ")
    assert "two.gif" in errors[0]


def test_a_fit_that_went_wrong_says_so_in_a_line(photos, run, tmp_path):
    dead = ["--lr", 1e-7, "--epochs", 1, "--set", "norm=None"]
    dead += ["--set", "activation=sigmoid", "--set", "pooling=avg"]
    arguments = ["train", photos, "--out", tmp_path / "model.skcnn", "--network", "lenet", *dead]
    status, _, errors = run(*arguments, "--skip-bad", "--device", "cpu", "--seed", 0)
    assert status == 0
    (line,) = (line for line in errors if "chance" in line)
    assert line.startswith("skcnn: warning: ")
    assert "--set norm=batch" in line


def test_ctrl_c(model, run, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("skcnn.command._summary.load", interrupt)
    assert run("summary", model) == (130, "", ["skcnn: error: interrupted"])


def test_an_error_that_nobody_thought_of_says_its_type(model, run, monkeypatch):
    def fail(path):
        raise KeyError("x")

    monkeypatch.setattr("skcnn.command._summary.load", fail)
    status, _, errors = run("summary", model)
    assert status == 1
    assert len(errors) == 1
    assert has_line(errors, "skcnn: error: KeyError: 'x'", "--debug")


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "summary"])
def test_help_teaches(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "examples:" in out
    assert f"python -m skcnn {command} " in out


def test_help_waits_for_nothing():
    code = (
        "import sys; from skcnn.command import main\n"
        "try: main(['train', '--help'])\n"
        "finally: assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version(run):
    assert run("--version") == (0, f"skcnn {skcnn.__version__}\n", [])
