"""ONNX models: onnxruntime gives the probabilities of predict_proba, for any number of images."""

import json
import sys

import numpy as np
import pytest
import torch
from helpers.messages import mentions, names
from sklearn.exceptions import NotFittedError
from torch import nn

from skcnn import (
    AlexNetClassifier,
    CNNClassifier,
    GoogLeNetClassifier,
    InceptionV3Classifier,
    LeNetClassifier,
    NiNClassifier,
    ResNetClassifier,
    VGGClassifier,
)
from skcnn.training.preprocessing import Preprocessing, resizing_matrices

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Float32 is rounded to 6e-8, in every layer anew: a hundred times that is room for the deepest. A
# step of the preprocessing that is left out, or out of order, changes probabilities by far more.
TOLERANCE = 1e-5


def linear(n_classes=2):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, n_classes))


def colours(X):
    return np.stack([X, 255 - X, X // 2], axis=-1)


# Each network once, and each way that images come and are prepared.
CASES = {
    "enlarged": (LeNetClassifier(image_size=32), lambda X: X),
    "smallest": (AlexNetClassifier(width_ratio=8), lambda X: X),
    "colours": (VGGClassifier(width_ratio=32, hidden_units=16, image_size=32), colours),
    "floats in 0–255": (LeNetClassifier(), lambda X: X.astype(np.float32)),
    "dark bytes": (LeNetClassifier(), lambda X: X // 16),
    "floats": (NiNClassifier(width_ratio=16), lambda X: X / np.float32(50) - 1),
    "channels first": (
        GoogLeNetClassifier(width_ratio=16),
        lambda X: np.moveaxis(colours(X), -1, 1),
    ),
    "flat": (InceptionV3Classifier(width_ratio=32), lambda X: X.reshape(len(X), -1)),
    "mirrored": (ResNetClassifier(width_ratio=16, tta=True), lambda X: X[:, :, 3:]),
    "reduced": (
        CNNClassifier(module="squeezenet1_1", image_size=24, normalize=False),
        lambda X: X,
    ),
}


def fitted(estimator, X, y):
    return estimator.set_params(max_epochs=1, early_stopping=False, random_state=0).fit(X, y)


@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_those_of_predict_proba(name, clothes, tmp_path):
    estimator, prepare = CASES[name]
    X, y = clothes
    X, names = prepare(X), np.array([f"class {i}" for i in range(10)])
    clf = fitted(estimator, X[:40], names[y[:40]])
    path = clf.export_onnx(str(tmp_path / "model.onnx"))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path)
    for n in (1, 3, 100):
        (found,) = session.run(["probabilities"], {"images": X[:n]})
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, clf.predict_proba(X[:n]), rtol=0, atol=TOLERANCE)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == clf.classes_.tolist()
    assert tuple(json.loads(metadata["image_shape"])) == clf.image_shape_
    assert metadata.keys() == {"classes", "image_shape", "skcnn_version"}


@pytest.mark.parametrize("size", [(28, 28), (20, 41), (64, 5), (1, 1), (3, 100)])
def test_two_matrices_resize(size):
    x = torch.rand(2, 3, 28, 28)
    rows, columns = resizing_matrices((28, 28), size)
    # Other sums of the same up to 28 × 28 float32 products.
    torch.testing.assert_close(rows @ x @ columns, Preprocessing(size)(x), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def clf(clothes):
    X, y = clothes
    return fitted(CNNClassifier(module=linear), X[:40], y[:40] % 2)


def test_bad_paths(clf, tmp_path):
    path = tmp_path / "nowhere" / "model.onnx"
    with pytest.raises(FileNotFoundError, match=names("path", str(path))):
        clf.export_onnx(path)
    with pytest.raises(IsADirectoryError, match=names("path", str(tmp_path))):
        clf.export_onnx(tmp_path)
    with pytest.raises(NotFittedError):
        CNNClassifier(module=linear).export_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


class OfOneBatch(nn.Module):
    """Makes a constant of the size of the batch that it is traced with."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__()
        self.linear = nn.Linear(784, n_classes)

    def forward(self, x):
        return self.linear(x.flatten(1)) + torch.zeros(int(x.shape[0]), 1)


def test_a_network_of_one_size_of_batch_is_refused(clothes, tmp_path):
    X, y = clothes
    clf = fitted(CNNClassifier(module=OfOneBatch), X[:40], y[:40])
    with pytest.raises(ValueError, match=mentions("CNNClassifier", "OfOneBatch")):
        clf.export_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_labels_may_be_any_text(clothes, tmp_path):
    X, y = clothes
    labels = np.array(["\ud800", "é"], object)[y[:40] % 2]
    clf = fitted(CNNClassifier(module=linear), X[:40], labels)
    session = onnxruntime.InferenceSession(clf.export_onnx(tmp_path / "model.onnx"))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == clf.classes_.tolist()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_extra_is_named(clf, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=mentions(package, "'skcnn[onnx]'")):
        clf.export_onnx(tmp_path / "model.onnx")


class Branching(nn.Module):
    """What it computes depends on the values of its input."""

    def __init__(self):
        super().__init__()
        self.network = linear()

    def forward(self, x):
        return self.network(x if x.sum() > 1e9 else -x)


class Drawing(nn.Module):
    """It draws random numbers in predictions too."""

    def __init__(self):
        super().__init__()
        self.network = linear()

    def forward(self, x):
        return self.network(x + torch.rand_like(x))


@pytest.mark.parametrize(
    ("module", "named"),
    [(Branching, ["Branching", "ONNX"]), (Drawing, [1e-4, "ONNX"])],
    ids=["Branching", "Drawing"],
)
def test_a_network_that_cannot_be_expressed(module, named, clothes, tmp_path):
    X, y = clothes
    clf = fitted(CNNClassifier(module=module), X[:40], y[:40] % 2)
    (tmp_path / "model.onnx").write_text("older")
    with pytest.raises(ValueError, match=mentions("CNNClassifier", *named)):
        clf.export_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 1
