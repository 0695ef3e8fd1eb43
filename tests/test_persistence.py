"""Saved classifiers: nothing lost, nothing silent, nothing executed."""

import errno
import functools
import gzip
import io
import json
import os
import pickle
import random
import re
import resource
import stat
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.messages import mentions, names
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochScoring
from stress.damage_files import flipped
from stress.fuzz_load import Target, mutate, packed, sealed, unpacked, unsealed
from torch import nn
from torch.optim.lr_scheduler import StepLR

import skcnn
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
from skcnn._files import write_sealed
from skcnn._plain_json import decode, encode, from_text, to_text
from skcnn._saving import _read_pixel_scale
from skcnn.datasets import load_fashion_mnist_mini
from skcnn.exceptions import (
    ModelFileError,
    ModelVersionWarning,
    UnsavedParameterWarning,
    ValueRangeWarning,
)
from skcnn.inspection import plot_history

DATA = Path(__file__).parent / "data"
TRAINING = {"max_epochs": 1, "early_stopping": False, "random_state": 0, "n_threads": 1}
TINY = {"blocks": ((1, 2),), "hidden_units": 4}


class OwnNet(nn.Module):
    """What makes networks hard to keep: shared weights, odd types, a buffer outside the state."""

    def __init__(self, in_channels, n_classes, width=2):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=1)
        self.third.weight = self.second.weight
        self.head = nn.Linear(width, n_classes)
        # As drop rates are often made: needs values, which tensors on "meta" do not have.
        self.rates = [rate.item() for rate in torch.linspace(1, 2, 3)]
        self.register_buffer("mask", torch.ones(28, 28), persistent=False)
        self.register_buffer("offset", torch.full((2,), 0.1, dtype=torch.bfloat16))
        self.first.bias.requires_grad_(False)

    def forward(self, x):
        x = self.third(self.second(self.first(x * self.mask))) * self.rates[1]
        return self.head(x.mean(dim=(2, 3))) + self.offset.float().sum()


def make_net(n_classes, width=2):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=9), nn.Flatten(), nn.Linear(9 * width, n_classes)
    )


@pytest.fixture(scope="module")
def images(tops_and_bags):
    X, y = tops_and_bags
    return X[:40], (y[:40] > 0).astype(int)


@pytest.fixture(scope="module")
def tiny(images):
    """Fitted classifier of 3 kB: not to be changed."""
    return VGGClassifier(**TRAINING, **TINY, image_size=2, norm="batch").fit(*images)


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.skcnn"
    tiny.save(path)
    return path.read_bytes()


def loaded(clf, folder, **options):
    clf.save(folder / "model.skcnn")
    return skcnn.load(folder / "model.skcnn", **options)


def same_bytes(a, b, X):
    return (
        a.predict_proba(X).tobytes() == b.predict_proba(X).tobytes()
        and a.transform(X).tobytes() == b.transform(X).tobytes()
    )


# Saved and loaded --------------------------------------------------------------------------------

SMALL = {
    "alexnet": AlexNetClassifier(**TRAINING, width_ratio=16),
    "cnn": CNNClassifier(**TRAINING, module="squeezenet1_1", image_size=32),
    "googlenet": GoogLeNetClassifier(**TRAINING, width_ratio=16),
    "inception": InceptionV3Classifier(**TRAINING, width_ratio=16),
    "lenet": LeNetClassifier(**TRAINING, norm="batch"),
    "nin": NiNClassifier(**TRAINING, width_ratio=16),
    "resnet": ResNetClassifier(**TRAINING, width_ratio=16),
    "vgg": VGGClassifier(**TRAINING, **TINY),
}
LABELS = {
    "strings": np.array(["bag", "großes T-Shirt 👕"]),
    "objects": np.array(["bag", "top"], dtype=object),
    "bytes": np.array([0, 255], dtype=np.uint8),
    "negative": np.array([-128, 127], dtype=np.int8),
    "big-endian": np.array([3, 2**40], dtype=">i8"),
    "floats": np.array([-1.0, 3.0], dtype=np.float32),
    "booleans": np.array([False, True]),
    "dates": np.array(["2024-02-29", "2025-01-01"], dtype="datetime64[D]"),
}
IN_A_FRESH_PROCESS = """
import hashlib, pathlib, sys, numpy as np, skcnn
folder = pathlib.Path(sys.argv[1])
X = np.load(folder / "X.npy")
for path in sorted(folder.glob("*.skcnn")):
    clf = skcnn.load(path)
    print(path.stem, clf.predict_proba(X).tobytes().hex(), clf.classes_.dtype.str, end=" ")
    print(repr(clf.predict(X).tolist()).encode().hex(), end=" ")
    written = path.read_bytes()
    clf.save(path)
    print(path.read_bytes() == written)
"""


def test_all_classes_and_types_of_labels_predict_the_same_bytes_in_a_fresh_process(
    images, tmp_path
):
    X, y = images
    np.save(tmp_path / "X.npy", X[:5])
    expected = []
    for network, clf in SMALL.items():
        clf = clone(clf).fit(X, y)
        for kind, labels in LABELS.items():
            clf.classes_ = labels  # what a fit on labels[y] sets
            clf.save(tmp_path / f"{network}-{kind}.skcnn")
            predicted = repr(clf.predict(X[:5]).tolist()).encode().hex()
            probabilities = clf.predict_proba(X[:5]).tobytes().hex()
            line = (f"{network}-{kind}", probabilities, labels.dtype.str, predicted, "True")
            expected.append(" ".join(line))
    run = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"},
    )
    assert sorted(run.stdout.splitlines()) == sorted(expected)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_that_fit_took_keep_their_type(images, tmp_path, kind):
    X, y = images
    clf = VGGClassifier(**TRAINING, **TINY, image_size=2).fit(X, LABELS[kind][y])
    again = loaded(clf, tmp_path)
    assert again.classes_.dtype == clf.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))


def test_everything_that_pickling_keeps_comes_back(images, tmp_path):
    pd = pytest.importorskip("pandas")
    X, y = images
    table = pd.DataFrame(X.reshape(len(X), -1), columns=[f"pixel {i}" for i in range(784)])
    clf = VGGClassifier(
        **TRAINING | {"early_stopping": True, "max_epochs": np.int64(2)},
        **TINY,
        norm="batch",
        image_shape=[28, 28],
        lr=np.float32(1e-3),
        optimizer=torch.optim.RMSprop,
        lr_schedule=functools.partial(StepLR, step_size=3),
        class_weight={np.str_("a"): 1, "b": 1.5},
        freeze=("features",),
        device=torch.device("cpu"),
        ema=0.9,
    ).fit(table, np.array(["a", "b"])[y])
    clf.history_[0]["valid_loss"] = float("nan")
    clf.set_output(transform="pandas")
    again, pickled = loaded(clf, tmp_path), pickle.loads(pickle.dumps(clf))
    assert vars(again).keys() == vars(pickled).keys()
    for name, value in vars(pickled).items():
        if name == "_arguments":
            assert vars(again)[name] == value
        elif name not in ("net_", "lr_schedule"):
            assert repr(vars(again)[name]) == repr(value), name
            assert type(vars(again)[name]) is type(value), name
    assert again.lr_schedule.func is StepLR
    assert again.lr_schedule.keywords == {"step_size": 3}
    assert [p.requires_grad for p in again.module_.parameters()] == [
        p.requires_grad for p in clf.module_.parameters()
    ]
    assert type(again.net_.optimizer_) is torch.optim.RMSprop
    assert again.net_.arithmetic_ == clf.net_.arithmetic_
    for name, buffer in clf.net_.preprocessing_.named_buffers():
        assert torch.equal(again.net_.preprocessing_.get_buffer(name), buffer)
    pd.testing.assert_frame_equal(again.transform(table), clf.transform(table))


@pytest.mark.parametrize("step", ["write", "replace", "folder"])
def test_a_save_that_fails_leaves_the_old_file_and_one_that_does_not_the_new(
    tiny, images, tmp_path, monkeypatch, step
):
    path = tmp_path / "model.skcnn"
    path.write_bytes(b"old")
    fsync = os.fsync

    def fail_for(wanted):
        def failing(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (wanted == "folder"):
                raise OSError(errno.EIO, "Input/output error")
            return fsync(descriptor)

        return failing

    def fail(*args):
        raise OSError(errno.EIO, "Input/output error")

    if step == "replace":
        monkeypatch.setattr(os, "replace", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail_for(step))
    if step == "folder":  # after which the new file is in its place
        tiny.save(path)
        assert same_bytes(skcnn.load(path), tiny, images[0])
    else:
        with pytest.raises(OSError, match=mentions(path)):
            tiny.save(path)
        assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.skcnn"]


def test_a_loaded_classifier_does_what_a_fitted_one_does(images, tmp_path):
    X, y = images
    fitted = VGGClassifier(**TRAINING, **TINY, warm_start=True, freeze=1).fit(X, y)
    clf = loaded(fitted, tmp_path)
    assert repr(clf) == repr(fitted)
    assert clone(clf).get_params() == fitted.get_params()
    assert clf.score(X, y) == fitted.score(X, y)
    assert str(clf.summary()) == str(fitted.summary())
    assert plot_history(clf) is not None
    assert clf.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()
    assert same_bytes(pickle.loads(pickle.dumps(clf)), fitted, X)
    # An optimizer has no state before warm starts either.
    for network in (clf, fitted):
        network.set_params(freeze=None).fit(X, y)
    assert same_bytes(clf, fitted, X)
    assert clf.n_epochs_ == 2
    clf.partial_fit(X, y)
    assert clf.n_epochs_ == 3
    with pytest.raises(ValueError, match=mentions("'hidden_units'", 4, 5)):
        clf.set_params(hidden_units=5).fit(X, y)


def test_parameters_set_after_the_fit_come_back_beside_those_of_the_fit(images, tmp_path):
    X, _ = images
    fitted = VGGClassifier(**TRAINING, **TINY).fit(*images).set_params(hidden_units=9, lr=0.5)
    clf = loaded(fitted, tmp_path)
    assert (clf.hidden_units, clf.lr) == (9, 0.5)
    assert same_bytes(clf, fitted, X)


def test_loading_leaves_random_numbers_as_they_were(tiny_file, tmp_path):
    (tmp_path / "tiny").write_bytes(tiny_file)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    skcnn.load(tmp_path / "tiny")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]


def test_the_content_is_safetensors(tiny, tiny_file):
    tensors = safetensors.torch.load(unsealed(tiny_file))
    state = tiny.module_.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_device_that_is_not_here_becomes_auto(images, tmp_path):
    clf = VGGClassifier(**TRAINING, **TINY, image_size=2).fit(*images)
    clf.device = "cuda:77"
    clf.save(tmp_path / "model.skcnn")
    with pytest.warns(UnsavedParameterWarning, match=mentions("'cuda:77'", "device='auto'")):
        again = skcnn.load(tmp_path / "model.skcnn")
    assert again.device == "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = skcnn.load(tmp_path / "model.skcnn", device="cpu")
    assert (again.device, again.device_) == ("cpu", torch.device("cpu"))
    with pytest.raises(ValueError, match=names("device", "cuda:77")):
        skcnn.load(tmp_path / "model.skcnn", device="cuda:77")


# What no file can hold ---------------------------------------------------------------------------


def mirrored(x):
    return x.flip(-1)


def test_what_is_not_kept_is_named_at_both_ends(images, tmp_path):
    X, y = images
    clf = VGGClassifier(
        **TRAINING | {"random_state": np.random.RandomState(0)},
        **TINY,
        image_size=2,
        augment=mirrored,
        callbacks=[("own", EpochScoring("accuracy", lower_is_better=False, name="own"))],
        memory=None,
    ).fit(X, y)
    clf.set_params(memory="folder", weights="folder/weights.pt", lr_schedule=lambda optimizer: None)
    clf.history_[0]["own"] = object()
    clf.remark = "mine"
    lost = ["augment", "callbacks", "lr_schedule", "memory", "random_state", "weights"]
    everything = [*lost, "history_[...]['own']", "remark"]
    with pytest.warns(UnsavedParameterWarning) as at_saving:
        clf.save(tmp_path / "model.skcnn")
    with pytest.warns(UnsavedParameterWarning) as at_loading:
        again = skcnn.load(tmp_path / "model.skcnn")
    (saying_so,), (saying_so_again,) = at_saving, at_loading
    assert ", ".join(everything) in str(saying_so.message)
    assert repr(everything) in str(saying_so_again.message)
    assert saying_so.filename == saying_so_again.filename == __file__
    assert [getattr(again, name) for name in lost] == [None] * 2 + ["one_cycle"] + [None] * 3
    assert same_bytes(again, clf, X)
    assert not hasattr(again, "remark")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.save(tmp_path / "again.skcnn")


def test_a_folder_to_write_to_is_not_kept(tiny, tmp_path):
    clf = pickle.loads(pickle.dumps(tiny)).set_params(checkpoint_dir="folder")
    with pytest.warns(UnsavedParameterWarning, match=mentions("VGGClassifier", "checkpoint_dir")):
        clf.save(tmp_path / "model.skcnn")


def test_names_of_weights_are_kept(tiny, tmp_path):
    clf = pickle.loads(pickle.dumps(tiny)).set_params(weights="DEFAULT", memory=None)
    assert loaded(clf, tmp_path).weights == "DEFAULT"


def test_only_fitted_classifiers_of_skcnn_can_be_saved(tiny, tmp_path):
    with pytest.raises(NotFittedError):
        LeNetClassifier().save(tmp_path / "model.skcnn")

    class Own(VGGClassifier):
        pass

    own = Own()
    vars(own).update(vars(tiny))
    with pytest.raises(TypeError, match=mentions("Own", "CNNClassifier")):
        own.save(tmp_path / "model.skcnn")
    invalid = pickle.loads(pickle.dumps(tiny)).set_params(lr=-1)
    with pytest.raises(ValueError, match=names("lr", -1)):
        invalid.save(tmp_path / "model.skcnn")
    unusual = pickle.loads(pickle.dumps(tiny))
    unusual.classes_ = np.arange(2, dtype=np.longdouble)
    with pytest.raises(ValueError, match=mentions(np.dtype(np.longdouble))):
        unusual.save(tmp_path / "model.skcnn")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("what", ["object", "sparse", "complex"])
def test_a_state_that_is_no_usual_tensor_is_refused(images, tmp_path, what):
    class Unusual(nn.Sequential):
        def get_extra_state(self):
            return {
                "object": {"kept": 1},
                "sparse": torch.eye(2).to_sparse(),
                "complex": torch.zeros(2, dtype=torch.complex64),
            }[what]

        def set_extra_state(self, state):
            pass

    def make(n_classes):
        return Unusual(nn.Flatten(), nn.Linear(784, n_classes))

    clf = CNNClassifier(**TRAINING, module=make).fit(*images)
    with pytest.raises(ValueError, match=mentions("CNNClassifier", "'_extra_state'")):
        clf.save(tmp_path / "model.skcnn")


# Networks of the user's --------------------------------------------------------------------------


def test_a_network_of_the_users_comes_back(images, tmp_path):
    X, y = images
    clf = CNNClassifier(**TRAINING, module=OwnNet, module_params={"width": 3}).fit(X, y)
    again = loaded(clf, tmp_path, module=OwnNet)
    network = again.module_
    assert same_bytes(again, clf, X)
    assert network.third.weight is network.second.weight
    assert network.offset.dtype == torch.bfloat16
    assert not network.first.bias.requires_grad
    assert again.module is OwnNet
    again.partial_fit(X, y)


def test_a_buffer_outside_the_state_comes_back_with_its_values(images, tmp_path):
    X, y = images
    clf = CNNClassifier(**TRAINING, module=OwnNet).fit(X, y)
    clf.module_.mask[:14] = 0
    assert same_bytes(loaded(clf, tmp_path, module=OwnNet), clf, X)


def test_the_layout_of_weights_comes_back(images, tmp_path):
    X, y = images
    clf = CNNClassifier(**TRAINING, module=OwnNet).fit(X, y)
    vgg = VGGClassifier(**TRAINING, **TINY).fit(X, y)
    for fitted, module in ((clf, OwnNet), (vgg, None)):
        fitted.module_.to(memory_format=torch.channels_last)
        again = loaded(fitted, tmp_path, module=module)
        strides = [p.stride() for p in fitted.module_.parameters()]
        assert [p.stride() for p in again.module_.parameters()] == strides
        assert same_bytes(again, fitted, X)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (make_net, make_net),
        (make_net, lambda n_classes: make_net(n_classes)),
        (make_net, make_net(2)),
        (make_net(2), make_net(2)),
    ],
    ids=["function", "another function", "instance for a function", "instance"],
)
def test_functions_and_instances_make_networks_too(images, tmp_path, module, given):
    clf = CNNClassifier(**TRAINING, module=module).fit(*images)
    untouched = [p.clone() for p in given.parameters()] if isinstance(given, nn.Module) else []
    assert same_bytes(loaded(clf, tmp_path, module=given), clf, images[0])
    for before, after in zip(untouched, given.parameters() if untouched else (), strict=True):
        assert torch.equal(before, after)


def test_parameters_of_a_network_may_be_layers_of_torch(images, tmp_path):
    params = {"norm_layer": functools.partial(nn.BatchNorm2d, eps=1e-3), "width_mult": 0.25}
    clf = CNNClassifier(**TRAINING, module="mobilenet_v2", module_params=params, image_size=32).fit(
        *images
    )
    again = loaded(clf, tmp_path)
    assert again.module_.features[0][1].eps == 1e-3
    assert same_bytes(again, clf, images[0])


class Activated(nn.Sequential):
    """Has the same tensors with any activation."""

    def __init__(self, n_classes, activation=None):
        super().__init__(nn.Flatten(), activation or nn.ReLU(), nn.LazyLinear(n_classes))
        self[2](torch.zeros(1, 28 * 28))


def test_a_network_of_parameters_that_no_file_holds_needs_an_instance(images, tmp_path):
    X, y = images
    clf = CNNClassifier(**TRAINING, module=Activated, module_params={"activation": nn.Tanh()})
    clf.fit(X, y)
    remedy = "skcnn.load(path, module=...)"
    with pytest.warns(UnsavedParameterWarning, match=mentions("module_params", remedy)):
        clf.save(tmp_path / "model")
    with pytest.raises(
        ModelFileError, match=mentions(tmp_path / "model", "'module_params'", "module")
    ):
        skcnn.load(tmp_path / "model", module=Activated)
    with pytest.warns(UnsavedParameterWarning):
        again = skcnn.load(tmp_path / "model", module=Activated(2, nn.Tanh()))
    assert same_bytes(again, clf, X)


def test_a_module_that_is_missing_wrong_or_not_needed_is_an_error(images, tiny, tmp_path):
    path = tmp_path / "model.skcnn"
    clf = CNNClassifier(**TRAINING, module=make_net, module_params={"width": 3}).fit(*images)
    clf.save(path)
    for module, named in (
        (None, ["'make_net'", "skcnn.load(path, module=...)"]),
        (OwnNet, ["OwnNet", "'0.bias'"]),
        (lambda n_classes: make_net(n_classes), ["TypeError", "'width'"]),
        (lambda width, n_classes: make_net(n_classes), ["'0.weight'", (3, 1, 3, 3), (2, 1, 3, 3)]),
        (lambda width: nn.Identity(), ["Identity"]),
        ("resnet18", ["TypeError", "'width'"]),
        (7, ["'module'", 7]),
    ):
        with pytest.raises(ModelFileError, match=mentions(path, *named)):
            skcnn.load(path, module=module)
    tiny.save(path)
    with pytest.raises(ModelFileError, match=mentions(path, "'module'", OwnNet, None)):
        skcnn.load(path, module=OwnNet)


# Where files go ----------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tiny, tmp_path, monkeypatch):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            tiny.save(path)
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]
    tiny.save(os.fspath(path))
    assert skcnn.load(os.fspath(path)).hidden_units == 4


def test_a_full_disk_is_an_error_that_names_the_file(tiny, tmp_path):
    path = tmp_path / "model"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=mentions(path)) as failure:
            tiny.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (failure.value.errno, failure.value.filename) == (errno.EFBIG, str(path))
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_writer_left_goes_with_the_next_file_of_the_name(tiny, tmp_path):
    for name in ("model.1-ab.partial", "model.2-cd.partial", "another.1-ab.partial"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / "model.2-cd.partial")  # of one that writes now
    tiny.save(tmp_path / "model")
    left = {"model", "model.2-cd.partial", "another.1-ab.partial"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_names_may_be_as_long_as_they_may(tiny, tmp_path):
    tiny.save(tmp_path / ("é" * 127))
    assert skcnn.load(tmp_path / ("é" * 127)).hidden_units == 4


def test_what_could_not_be_loaded_is_not_written(images, tiny, tmp_path):
    X, y = images
    labels = np.array(["a" * 10**5, *map(str, range(1, len(y)))])  # 0.4 MB, each of them
    wide = VGGClassifier(**TRAINING, **TINY, image_size=2).fit(X, labels)
    wordy = pickle.loads(pickle.dumps(tiny))
    wordy.history_[0]["values"] = [0] * 1_999_990
    for clf, named in ((wide, "<U100000"), (wordy, 2_000_000)):
        with pytest.raises(ValueError, match=mentions(named)):
            clf.save(tmp_path / "model")
    assert not [*tmp_path.iterdir()]


def test_a_path_of_another_type_is_named():
    for path in (None, 3, b"model"):
        with pytest.raises(TypeError, match=names("path", path)):
            skcnn.load(path)


def test_links_and_permissions_stay(tiny, tmp_path):
    (tmp_path / "folder").mkdir()
    path, link = tmp_path / "folder" / "model.skcnn", tmp_path / "link"
    link.symlink_to(path)
    tiny.save(link)
    umask = os.umask(0)
    os.umask(umask)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o600)
    tiny.save(link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (".", IsADirectoryError),
        ("pipe", OSError),
        ("nowhere/model.skcnn", FileNotFoundError),
        ("", TypeError),
        ("a\0b", ValueError),
        (None, TypeError),
        (b"model", TypeError),
    ],
)
def test_no_file_is_written_where_none_can_be(tiny, tmp_path, monkeypatch, path, error):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(error, match=names("path", path)) as refused:
        tiny.save(path)
    assert type(refused.value) is error
    assert os.listdir() == ["pipe"]


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reasons = set()
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelFileError, match=mentions(path)) as refused:
            skcnn.load(path)
        reasons.add(refused.value.reason)
    assert len(reasons) == 1  # not what is wrong with the content, which nobody looked at
    with pytest.raises(FileNotFoundError):
        skcnn.load(tmp_path / "missing.skcnn")


# Damaged files -----------------------------------------------------------------------------------


def test_every_truncation_and_every_changed_byte_is_refused(tiny_file, tmp_path):
    """Every tenth byte beyond the checksum; tests/stress/damage_files.py leaves out none."""
    positions = [*range(100), *range(100, len(tiny_file), 10)]
    for data in (*(tiny_file[:n] for n in positions), *flipped(tiny_file, positions)):
        (tmp_path / "damaged").write_bytes(data)
        with pytest.raises(ModelFileError):
            skcnn.load(tmp_path / "damaged")
    (tmp_path / "damaged").write_bytes(tiny_file + b"x")
    with pytest.raises(ModelFileError):
        skcnn.load(tmp_path / "damaged")


def test_a_newer_format_is_refused_by_name(tiny_file, tmp_path):
    path = tmp_path / "newer.skcnn"
    write_sealed(path, "skcnn model 2", b"what is to come")
    with pytest.raises(ModelFileError, match=mentions(path, 2, 1)):
        skcnn.load(path)


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.ModelVersionWarning")
def test_the_file_of_version_1_loads_for_ever():
    """Written when version 1 was new, and never again."""
    X, _ = load_fashion_mnist_mini(subset="test", return_X_y=True)
    expected = json.loads((DATA / "model_v1.json").read_text())
    clf = skcnn.load(DATA / "model_v1.skcnn")
    # Other machines and versions of torch round otherwise; these are differences of logits near 1.
    np.testing.assert_allclose(clf.predict_proba(X[:4]), expected["probabilities"], atol=1e-5)
    assert clf.classes_.tolist() == expected["classes"]
    # It says only that bytes were divided: so are equal numbers of other types.
    assert (clf.predict_proba(X[:4].astype(float)) == clf.predict_proba(X[:4])).all()
    schedule = clf.lr_schedule
    assert (schedule.func, schedule.keywords) == (StepLR, {"step_size": 4})
    clf.set_params(lr_schedule="cosine")
    defaults_then = {
        "early_stopping": True,
        "label_smoothing": 0.0,
        "lr_schedule": "cosine",
        "optimizer": "adam",
        "patience": 6,
        "weight_decay": 0.0,
    }
    assert clf.get_params() == {
        **VGGClassifier().get_params(),
        **defaults_then,
        **decode(expected["params"], 10_000),
    }
    assert (clf.lr_, clf.batch_size_, clf.max_epochs_) == (0.005, 32, 8)


@pytest.mark.parametrize(
    ("pixel_range", "divisor"),
    [((0.0, 1.0, True), 255), ((0.0, 255.0, False), 1), ((-1.0, 1.0, False), 1)],
)
def test_a_file_that_names_no_divisor_divides_bytes_alone(pixel_range, divisor):
    assert _read_pixel_scale(pixel_range).divisor == divisor


@pytest.mark.parametrize("largest", [255, 16])
def test_the_scale_of_pixels_is_kept(clothes, largest, tmp_path):
    X, y = (part[:40] for part in clothes)
    X = X // (256 // (largest + 1))
    clf = LeNetClassifier(max_epochs=1, batch_size=32, random_state=0).fit(X.astype(int), y)
    clf.save(tmp_path / "model.skcnn")
    expected = clf.predict_proba(X)
    for again in (skcnn.load(tmp_path / "model.skcnn"), pickle.loads(pickle.dumps(clf))):
        for same in (X, X.astype(float)):
            assert again.predict_proba(same).tobytes() == expected.tobytes()
        with pytest.warns(ValueRangeWarning):
            again.predict(X / 255)


def test_other_versions_are_named(tiny_file, tmp_path):
    path = tmp_path / "other.skcnn"
    path.write_bytes(with_values(tiny_file, versions={"torch": "1.0", "skcnn": "\x1b[2J"}))
    with pytest.warns(ModelVersionWarning, match=mentions("torch", "'1.0'")) as warned:
        skcnn.load(path)
    assert re.search(mentions("scikit-learn", "'unknown'"), str(warned[0].message))
    assert "\x1b" not in str(warned[0].message)


# Hostile files -----------------------------------------------------------------------------------


def with_values(file, **values):
    """Whole file that says something else of its classifier."""
    header, description, data = unpacked(unsealed(file))
    return sealed(packed(header, json.dumps({**json.loads(description), **values}), data))


def with_text(file, old, new):
    header, description, data = unpacked(unsealed(file))
    assert old in description
    return sealed(packed(header, description.replace(old, new, 1), data))


def with_param(file, name, value):
    params = json.loads(unpacked(unsealed(file))[1])["params"]
    return with_values(file, params={**params, name: value})


def with_argument(file, name, value):
    network = json.loads(unpacked(unsealed(file))[1])["network"]
    return with_values(file, network={**network, name: value})


def with_tensor(file, name, **stated):
    header, description, data = unpacked(unsealed(file))
    header[name] = {**header.get(name, {}), **stated}
    return sealed(packed(header, description, data))


def with_header(file, text, length=None):
    text = text if isinstance(text, bytes) else text.encode()
    return sealed((length or len(text)).to_bytes(8, "little") + text)


def torchvision_file(file, module, **params):
    return with_values(
        file,
        **{"class": "CNNClassifier"},
        params={"module": module, "module_params": params},
        fitted_params={"module": module, "module_params": params},
        network={"in_channels": 1, "n_classes": 2, "input_size": {"$tuple": [32, 32]}},
    )


class Executed:
    """What pickle would call."""

    def __init__(self, marker):
        self.marker = os.fspath(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def archive(kind, name, payload):
    content = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(content, "w") as file:
            file.writestr(name, payload)
    else:
        with tarfile.open(fileobj=content, mode="w") as file:
            entry = tarfile.TarInfo(name)
            entry.size = len(payload)
            file.addfile(entry, io.BytesIO(payload))
    return content.getvalue()


def torch_saved(value):
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def joblib_dumped(value):
    content = io.BytesIO()
    joblib.dump(value, content)
    return content.getvalue()


def numpy_saved(value):
    content = io.BytesIO()
    np.save(content, np.array([value], dtype=object), allow_pickle=True)
    return content.getvalue()


WEIGHT = "features.0.weight"
# Name → what makes the bytes of a file out of those of a valid one and of something to execute.
HOSTILE = {
    "empty": lambda file, bad: b"",
    "zeros": lambda file, bad: bytes(5000),
    "pickle": lambda file, bad: pickle.dumps(bad),
    "pickle of protocol 0": lambda file, bad: pickle.dumps(bad, protocol=0),
    "joblib": lambda file, bad: joblib_dumped(bad),
    "torch.save": lambda file, bad: torch_saved(bad),
    "array of objects": lambda file, bad: numpy_saved(bad),
    "compressed pickle": lambda file, bad: gzip.compress(pickle.dumps(bad)),
    "zip slip": lambda file, bad: archive("zip", "../executed", b"x"),
    "tar slip": lambda file, bad: archive("tar", "../executed", b"x"),
    "skops without schema": lambda file, bad: archive("zip", "schema.json", b"{}"),
    "script": lambda file, bad: f"#!/bin/sh\nmkdir {bad.marker}\n".encode(),
    "picture": lambda file, bad: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "JSON": lambda file, bad: b'{"class": "LeNetClassifier"}',
    "safetensors alone": lambda file, bad: unsealed(file),
    "first line alone": lambda file, bad: b"skcnn model 1\n",
    "fit of memory=": lambda file, bad: file.replace(b"skcnn model", b"skcnn fit", 1),
    "sealed pickle": lambda file, bad: sealed(pickle.dumps(bad)),
    "valid file, then a zip": lambda file, bad: file + archive("zip", "../executed", b"x"),
    "pickle, then a valid file": lambda file, bad: pickle.dumps(bad) + file,
    "no version": lambda file, bad: file.replace(b"model 1", b"model x", 1),
    "zip after the tensors": lambda file, bad: sealed(unsealed(file) + archive("zip", "a", b"x")),
    "header longer than the file": lambda file, bad: with_header(file, "{}", 2**63),
    "no header": lambda file, bad: sealed(bytes(8)),
    "header that is no JSON": lambda file, bad: with_header(file, pickle.dumps(bad, protocol=0)),
    "header in UTF-16": lambda file, bad: with_header(file, "{}".encode("utf-16")),
    "header that is a list": lambda file, bad: with_header(file, "[]"),
    "deep header": lambda file, bad: with_header(file, "[" * 100_000 + "]" * 100_000),
    "header of lists": lambda file, bad: with_header(file, "[" + "[]," * 2_000_000 + "[]]"),
    "number of many digits": lambda file, bad: with_header(file, '{"a": ' + "9" * 4000 + "}"),
    "NaN": lambda file, bad: with_header(file, '{"a": NaN}'),
    "infinity": lambda file, bad: with_header(file, '{"a": 1e999}'),
    "name twice": lambda file, bad: with_header(file, '{"a": 1, "a": 2}'),
    "no description": lambda file, bad: with_header(file, "{}"),
    "deep description": lambda file, bad: with_text(file, '"$tuple"', '"$tuple": ' + "[" * 10**5),
    "description of a tuple": lambda file, bad: sealed(packed({}, '{"$tuple": []}', b"")),
    "dotted class": lambda file, bad: with_values(file, **{"class": "this.s"}),
    "class of a module": lambda file, bad: with_values(file, **{"class": "os.system"}),
    "base class": lambda file, bad: with_values(file, **{"class": "ImageClassifier"}),
    "class that is a list": lambda file, bad: with_values(file, **{"class": ["LeNetClassifier"]}),
    "other class": lambda file, bad: with_values(file, **{"class": "LeNetClassifier"}),
    "function as optimizer": lambda file, bad: with_param(
        file, "optimizer", {"$class": "os.system"}
    ),
    "abstract optimizer": lambda file, bad: with_param(
        file, "optimizer", {"$class": "optim.Optimizer"}
    ),
    "function in a schedule": lambda file, bad: with_param(
        file, "lr_schedule", {"$partial": [{"$class": "builtins.eval"}, {"$tuple": ["1"]}, {}]}
    ),
    "partial of a value": lambda file, bad: with_param(
        file, "lr_schedule", {"$partial": ["eval", {"$tuple": []}, {}]}
    ),
    "unknown kind of value": lambda file, bad: with_param(file, "lr", {"$pickle": "gASVAAAA"}),
    "unknown parameter": lambda file, bad: with_param(file, "__class__", "this.s"),
    "parameter not allowed": lambda file, bad: with_param(file, "n_threads", -1),
    "too many threads": lambda file, bad: with_param(file, "n_threads", 10**6),
    "huge layer": lambda file, bad: with_argument(file, "hidden_units", 10**12),
    "layer beyond int64": lambda file, bad: with_argument(file, "hidden_units", 10**19),
    "layers without end": lambda file, bad: with_argument(
        file, "blocks", {"$tuple": [{"$tuple": [10**9, 2]}]}
    ),
    "huge input": lambda file, bad: with_argument(file, "input_size", {"$tuple": [2**30, 2**30]}),
    "unknown argument": lambda file, bad: with_argument(file, "device", "cuda"),
    "module of a path": lambda file, bad: torchvision_file(file, "this.s"),
    "module to download": lambda file, bad: torchvision_file(file, "resnet18", pretrained=True),
    "weights to download": lambda file, bad: torchvision_file(file, "resnet18", weights="DEFAULT"),
    "module without end": lambda file, bad: torchvision_file(
        file, "densenet121", block_config=[10**9]
    ),
    "huge module": lambda file, bad: torchvision_file(file, "vit_b_16", hidden_dim=12 * 10**6),
    "wide labels": lambda file, bad: with_values(
        file, classes={"$array": ["<U500000000", [2], ["a", "b"]]}
    ),
    "wide values": lambda file, bad: with_values(
        file, history=[{"a": {"$array": ["<U4000000", [1], ["a"]]}}] * 9
    ),
    "folder to write to": lambda file, bad: with_param(file, "memory", "folder"),
    "folder of checkpoints": lambda file, bad: with_param(file, "checkpoint_dir", "folder"),
    "file of weights": lambda file, bad: with_param(file, "weights", "/folder/pickle"),
    "no spread": lambda file, bad: with_values(
        file, statistics={"$tuple": [{"$array": ["<f8", [1], [value]]} for value in (0.5, 0.0)]}
    ),
    "labels without items": lambda file, bad: with_values(
        file, classes={"$array": ["<i8", [2**40], []]}
    ),
    "labels of objects": lambda file, bad: with_values(file, classes={"$array": ["|O", [1], [[]]]}),
    "labels of another type": lambda file, bad: with_values(
        file, classes={"$array": ["|V8", [2], [0, 1]]}
    ),
    "too many labels": lambda file, bad: with_values(
        file, classes={"$array": ["<i8", [3], [0, 1, 2]]}
    ),
    "no tensors": lambda file, bad: sealed(packed({}, unpacked(unsealed(file))[1], b"")),
    "tensor cut off": lambda file, bad: sealed(unsealed(file)[:-1]),
    "tensor of other bytes": lambda file, bad: with_tensor(file, WEIGHT, data_offsets=[0, 8]),
    "tensor before the data": lambda file, bad: with_tensor(file, WEIGHT, data_offsets=[-72, 0]),
    "tensor of many sides": lambda file, bad: with_tensor(file, WEIGHT, shape=[2**62] * 9),
    "tensor of a negative side": lambda file, bad: with_tensor(file, WEIGHT, shape=[-2, -9]),
    "tensor of half a side": lambda file, bad: with_tensor(file, WEIGHT, shape=[1.5]),
    "tensor of an unknown type": lambda file, bad: with_tensor(file, WEIGHT, dtype="F4096"),
    "tensor of another type": lambda file, bad: with_tensor(file, WEIGHT, dtype="I32"),
    "tensor of another shape": lambda file, bad: with_tensor(file, WEIGHT, shape=[1, 2, 3, 3]),
    "tensor under a strange name": lambda file, bad: with_tensor(
        file, "../executed", dtype="F32", shape=[0], data_offsets=[0, 0]
    ),
    "overlapping strides": lambda file, bad: with_values(
        file, strides={WEIGHT: {"$tuple": [0, 0, 0, 0]}}
    ),
    "huge strides": lambda file, bad: with_values(
        file, strides={WEIGHT: {"$tuple": [2**40, 9, 3, 1]}}
    ),
    "frozen layers that are not there": lambda file, bad: with_values(
        file, frozen={"$tuple": [["this.s"], []]}
    ),
    "images of another size": lambda file, bad: with_values(
        file, layout={"$tuple": [{"$tuple": [28, 28]}, {"$tuple": [1, 2, 2]}, False]}
    ),
    "other output": lambda file, bad: with_values(file, output={"transform": "this.s"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_and_nothing_is_executed(tiny_file, tmp_path, monkeypatch, kind):
    def refuse(*args, **kwargs):
        raise AssertionError("something was downloaded or executed")

    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "model.skcnn"
    path.write_bytes(HOSTILE[kind](tiny_file, Executed(tmp_path / "executed")))
    for module, name in ((pickle, "loads"), (pickle, "load"), (os, "system"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(ModelFileError, match=mentions(path)) as refused:
        skcnn.load(path)
    assert refused.value.reason
    assert len(str(refused.value)) < 1000
    assert refused.value.path == str(path)
    assert "this" not in sys.modules
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["folder", "model.skcnn"]


def test_a_file_of_holes_is_refused_at_once(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelFileError, match=mentions("'skcnn model'")):
        skcnn.load(tmp_path / "sparse")


def test_what_a_file_says_does_not_reach_the_terminal(tiny_file, tmp_path):
    (tmp_path / "model").write_bytes(with_param(tiny_file, "optimizer", "\x1b[2Jcleared\n"))
    with pytest.raises(ModelFileError) as refused:
        skcnn.load(tmp_path / "model")
    assert str(refused.value).isprintable()


def test_a_changed_file_is_refused_by_one_error_or_loads(tiny_file, tmp_path):
    """A short form of what tests/stress/fuzz_load.py does for hours."""
    target, rng = Target(tmp_path), random.Random(0)
    content = unsealed(tiny_file)
    for _ in range(300):
        target(mutate(content, rng))
    assert target.counts["refused"] > 100
    assert target.counts["loaded"] > 10


MEMORY_OF_LOADING = """
import resource, sys, skcnn
skcnn.load(sys.argv[1])  # what is loaded once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
skcnn.load(sys.argv[2])
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def test_loading_takes_less_memory_than_two_files(images, tiny, tmp_path):
    X, y = images
    tiny.save(tmp_path / "tiny.skcnn")
    large = VGGClassifier(**TRAINING, blocks=((1, 8),), hidden_units=4000).fit(X[:4], y[:4])
    large.save(tmp_path / "large.skcnn")
    command = [sys.executable, "-c", MEMORY_OF_LOADING]
    command += [str(tmp_path / "tiny.skcnn"), str(tmp_path / "large.skcnn")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1.5 * (tmp_path / "large.skcnn").stat().st_size


# Values ------------------------------------------------------------------------------------------

VALUES = [
    None, True, 0, -(2**63), 2**64 - 1, 0.1, -0.0, 5e-324, float("inf"), float("-inf"),
    float("nan"), "", "\ud800 é 👕 \x00", [], [[1, "a"], []], (), ((1, 2), [3]), {}, {"": 0},
    {"a": {"b": (1,)}},
    {"$tuple": 1}, {1: "a", "1": "b", (2, None): 0.5}, np.float32(0.1), np.int8(-128),
    np.str_("a"), np.bool_(True), np.datetime64("2024-02-29"), np.array(1.5),
    np.array([["a", "bcd"]]), np.array(["é", ""], dtype=object), np.array([], dtype=np.float16),
    np.array([np.nan, -0.0, np.inf]), np.array([2**64 - 1], dtype=np.uint64), torch.float16,
    np.array(["NaT", "2024-01-01T00:00"], dtype="<M8[25s]"), np.array([1, 2], dtype=">i2"),
    torch.device("cuda", 1), nn.ReLU, torch.optim.SGD, StepLR,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_values_come_back_as_they_were(value):
    text = to_text(encode(value))
    again = decode(from_text(text), len(text))
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    assert getattr(again, "dtype", None) == getattr(value, "dtype", None)


@pytest.mark.parametrize(
    "value",
    [
        object(), len, lambda: 0, b"a", {1}, 1j, 2**64, np.arange(2, dtype=np.longdouble),
        os.system, np.array(["a", None]), np.zeros(1, dtype="i4,i4"), torch.zeros(1),
        [(0, object())], OwnNet,
        type("Own", (dict,), {})(), functools.partial(len),
    ],
    ids=range(16),
)  # fmt: skip
def test_other_values_are_refused(value):
    # The list and the partial can be stored, their content cannot.
    kinds = {list: "object", np.ndarray: "array", functools.partial: type(len).__name__}
    with pytest.raises(TypeError, match=mentions(kinds.get(type(value), type(value).__name__))):
        encode(value)
