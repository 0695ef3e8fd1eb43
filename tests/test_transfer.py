"""Trained weights: where they come from, what they fit, what is frozen, what they are worth."""

import hashlib
import http.server
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.messages import mentions, names
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from torch import nn
from torchvision import models

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
from skcnn.exceptions import AdaptedWeightsWarning
from skcnn.training.preprocessing import IMAGENET_STATISTICS, for_channels
from skcnn.transfer import find_head, load_weights, read_weights, set_frozen

# Every torchvision model whose weights fit one of the classifiers.
TWINS = {
    "alexnet": AlexNetClassifier(),
    **{f"vgg{depth}": VGGClassifier(depth=depth) for depth in (11, 13, 16, 19)},
    **{f"vgg{d}_bn": VGGClassifier(depth=d, norm="batch") for d in (11, 13, 16, 19)},
    "googlenet": GoogLeNetClassifier(),
    "inception_v3": InceptionV3Classifier(),
    **{f"resnet{depth}": ResNetClassifier(depth=depth) for depth in (18, 34, 50, 101, 152)},
}
# One a family, and a side, in pixels, for which it is quick.
FAMILIES = {
    "alexnet": 96,
    "vgg11": 64,
    "vgg11_bn": 64,
    "googlenet": 96,
    "inception_v3": 96,
    "resnet18": 64,
    "resnet50": 64,
}


def torchvision_model(name, **settings):
    """A model with random weights, the statistics of its batch normalisations included."""
    torch.manual_seed(0)
    if name in ("googlenet", "inception_v3"):
        settings = {"init_weights": False, **settings}  # drawing their own takes long
    module = models.get_model(name, weights=None, **settings).eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return module


@pytest.fixture(scope="session")
def resnet18():
    return torchvision_model("resnet18").state_dict()


@pytest.fixture(scope="session")
def lenet(clothes):
    """LeNet, fitted to ten classes of grey images."""
    X, y = clothes
    clf = LeNetClassifier(norm=None, lr=5e-3, max_epochs=8, batch_size=16, random_state=0)
    return clf.fit(X, y)


@pytest.fixture(scope="session")
def colours(clothes):
    """60 colour images of two classes, (60, 28, 28, 3) uint8."""
    X, y = clothes
    X = np.stack([X[:60], 255 - X[:60], X[:60] // 2], axis=-1)
    return X, np.where(y[:60] < 5, "low", "high")


# The networks are torchvision's ----------------------------------------------------------------


@pytest.mark.parametrize("name", TWINS)
def test_layers_are_named_and_shaped_as_in_torchvision(name):
    with torch.device("meta"):
        theirs = torchvision_model(name).state_dict()
        ours, _ = TWINS[name]._make_module((3, 224, 224), 1000, theirs)
    theirs = {n: entry.shape for n, entry in theirs.items() if not n.lower().startswith("aux")}
    assert {n: entry.shape for n, entry in ours.state_dict().items()} == theirs
    assert TWINS[name]._torchvision_name() == name


@pytest.mark.parametrize(("name", "side"), FAMILIES.items())
def test_logits_equal_those_of_torchvision(name, side):
    theirs = torchvision_model(name)
    state = theirs.state_dict()
    assert len(state) > 10
    ours, size = TWINS[name]._make_module((3, side, side), 1000, state)
    assert size == (side, side)
    adapted = load_weights(ours, state, ours.head_name, "X")
    left_out = {"googlenet": ["aux1 and aux2: left out"], "inception_v3": ["AuxLogits: left out"]}
    assert adapted == left_out.get(name, [])
    X = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        expected = theirs(X)
        logits = ours.eval()(X)
    assert expected.std() > 0
    assert torch.equal(logits, expected)  # to the byte


def test_frozen_features_equal_those_of_torchvision(colours):
    X, y = colours
    theirs = torchvision_model("resnet18")
    clf = ResNetClassifier(
        weights=theirs.state_dict(),
        freeze="features",
        normalize="imagenet",
        image_size=64,
        max_epochs=2,
        random_state=0,
    )
    with pytest.warns(AdaptedWeightsWarning, match=mentions("fc", 1000, 2)):
        clf.fit(X, y)
    theirs.fc = nn.Identity()
    batch = torch.from_numpy(X[:16]).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET_STATISTICS)
    batch = nn.functional.interpolate(batch / 255, (64, 64), mode="bilinear", antialias=True)
    with torch.inference_mode():
        expected = theirs((batch - mean) / std)
    # Here divided by the spread, there multiplied by its inverse: float32 rounds otherwise, and
    # the 18 layers carry that on.
    np.testing.assert_allclose(clf.transform(X[:16]), expected, rtol=1e-4, atol=1e-5)


# Where weights come from -----------------------------------------------------------------------


def saved(state, folder, kind):
    path = folder / f"weights.{kind}"
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pth", "pt"])
@pytest.mark.parametrize("as_str", [True, False])
def test_a_file_is_as_good_as_the_state_dict(lenet, clothes, tmp_path, kind, as_str):
    X, y = clothes
    state = lenet.module_.state_dict()
    path = saved(state, tmp_path, kind)
    settings = {"max_epochs": 1, "random_state": 0, "lr": 1e-4}
    expected = LeNetClassifier(weights=state, **settings).fit(X, y).predict_proba(X)
    clf = LeNetClassifier(weights=str(path) if as_str else path, **settings).fit(X, y)
    assert clf.predict_proba(X).tobytes() == expected.tobytes()


@pytest.mark.learning
def test_training_goes_on_from_the_weights(lenet, clothes, seed, check_learned):
    X, y = clothes
    settings = {"max_epochs": 1, "lr": 1e-6, "early_stopping": False, "random_state": seed}
    clf = LeNetClassifier(weights=lenet.module_.state_dict(), **settings).fit(X, y)
    assert clf.score(X, y) == pytest.approx(lenet.score(X, y), abs=0.05)
    check_learned(clf.score(X, y) - LeNetClassifier(**settings).fit(X, y).score(X, y), 0.2)
    incremental = LeNetClassifier(weights=lenet.module_.state_dict(), lr=1e-6).partial_fit(X, y)
    assert incremental.score(X, y) == pytest.approx(lenet.score(X, y), abs=0.05)


def test_the_weights_given_are_not_written_to(lenet, clothes):
    X, y = clothes
    state = lenet.module_.state_dict()
    before = {name: entry.clone() for name, entry in state.items()}
    LeNetClassifier(weights=state, max_epochs=1, random_state=0).fit(X, y)
    assert all(torch.equal(state[name], before[name]) for name in state)


class Payload:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


HOSTILE = {
    "pickle.pth": lambda path, trace: path.write_bytes(pickle.dumps(Payload(trace))),
    "payload.pth": lambda path, trace: torch.save({"a": Payload(trace)}, path),
    "module.pth": lambda path, trace: torch.save(nn.Linear(2, 2), path),
    "checkpoint.pth": lambda path, trace: torch.save({"state_dict": {"a": torch.ones(1)}}, path),
    "number.pth": lambda path, trace: torch.save({"a": torch.ones(1), "epoch": 3}, path),
    "list.pth": lambda path, trace: torch.save([torch.ones(1)], path),
    "nothing.pth": lambda path, trace: torch.save({}, path),
    "nan.pth": lambda path, trace: torch.save({"a": torch.tensor([1.0, np.nan])}, path),
    "page.pth": lambda path, trace: path.write_text("<html>Not found</html>"),
    "text.pth": lambda path, trace: path.write_text("root:x:0:0:root:/root:/bin/sh\n"),
    "empty.pth": lambda path, trace: path.write_bytes(b""),
    "page.safetensors": lambda path, trace: path.write_text("<html>Not found</html>"),
    "empty.safetensors": lambda path, trace: path.write_bytes(b""),
    "short.safetensors": lambda path, trace: (
        save_file({"a": torch.ones(99)}, path),
        path.write_bytes(path.read_bytes()[:-9]),
    ),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_anything_but_tensors_is_refused(name, tmp_path):
    path, trace = tmp_path / name, tmp_path / "executed"
    HOSTILE[name](path, trace)
    with pytest.raises(ValueError, match=mentions("'weights'", "LeNet", path)) as raised:
        read_weights(path, None, "LeNet")
    assert "weights_only" not in str(raised.value)
    assert not trace.exists()


def test_a_checkpoint_that_holds_more_says_which_part_to_give(tmp_path):
    path = saved({"state_dict": {"a": torch.ones(1)}}, tmp_path, "pth")
    with pytest.raises(ValueError, match=mentions("'weights'", path, "state['state_dict']")):
        read_weights(path, None, "LeNet")


@pytest.mark.parametrize("path", [Path("weights"), "nowhere/weights", "weights.safetensors"])
def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match=names("weights", str(path))):
        read_weights(path, "resnet18", "ResNet")


@pytest.mark.parametrize(
    ("clf", "weights", "named"),
    [
        (ResNetClassifier(), "IMAGENET1K_V3", ["'IMAGENET1K_V3'", "IMAGENET1K_V1"]),
        (
            ResNetClassifier(),
            models.VGG11_Weights.DEFAULT,
            ["'VGG11_Weights.IMAGENET1K_V1'", "resnet18"],
        ),
        (ResNetClassifier(), "resnet50", ["'resnet50'", "resnet18"]),
        (
            ResNetClassifier(),
            "ResNet50_Weights.IMAGENET1K_V1",
            ["'ResNet50_Weights.IMAGENET1K_V1'", "resnet18"],
        ),
        (CNNClassifier(module="resnet19"), "DEFAULT", ["'module'", "'resnet19'", "resnet18"]),
        (CNNClassifier(module="resnet18"), "IMAGNET", ["'IMAGNET'", "resnet18", "IMAGENET1K_V1"]),
        (ResNetClassifier(conv_bias=True), "DEFAULT", ["'DEFAULT'"]),
        *[
            (with_stem(stem="small"), "DEFAULT", ["'DEFAULT'"])
            for with_stem in (GoogLeNetClassifier, InceptionV3Classifier, ResNetClassifier)
        ],
        (AlexNetClassifier(variant="full"), "DEFAULT", ["'DEFAULT'"]),
        (VGGClassifier(blocks=[(1, 8)]), "DEFAULT", ["'DEFAULT'"]),
        (GoogLeNetClassifier(variant="paper"), "DEFAULT", ["'DEFAULT'"]),
        (LeNetClassifier(), "DEFAULT", ["'DEFAULT'"]),
        (NiNClassifier(), "DEFAULT", ["'DEFAULT'"]),
    ],
)
def test_unknown_names_of_torchvision(clf, weights, named, clothes):
    X, y = clothes
    named = named if "'module'" in named else ["'weights'", type(clf).__name__, *named]
    with pytest.raises(ValueError, match=mentions(*named)):
        clone(clf).set_params(weights=weights).fit(X, y)


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch, resnet18):
    """torchvision's entry for ResNet-18, its file on a local server; and torch's own folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    path = saved(resnet18, folder, "pth")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(folder / f"resnet18-{digest[:8]}.pth")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: Files(*args, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = models.ResNet18_Weights.IMAGENET1K_V1
    url = f"http://127.0.0.1:{server.server_port}/{path.name}"
    monkeypatch.setattr(entry.value, "url", url)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    yield entry, path, tmp_path / "hub" / "checkpoints" / path.name
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("form", ["enum", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT", "resnet18"])
def test_weights_of_torchvision_are_downloaded_once(published, resnet18, form):
    entry, source, kept = published
    weights = entry if form == "enum" else form
    trained = read_weights(weights, "resnet18", "ResNet")
    assert kept.read_bytes() == source.read_bytes()
    source.unlink()
    again = read_weights(weights, "resnet18", "ResNet")
    for name, value in resnet18.items():
        assert torch.equal(trained.state[name], value)
        assert torch.equal(again.state[name], value)
    assert trained.statistics == IMAGENET_STATISTICS


def test_weights_of_torchvision_come_with_their_normalisation(published, colours):
    X, y = colours
    base = ResNetClassifier(weights="DEFAULT", max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdaptedWeightsWarning)
        clf = clone(base).fit(X, y)
        off = clone(base).set_params(normalize=False).fit(X, y)
        grey = clone(base).fit(X[..., 0], y)
    mean, scale = (
        getattr(clf.net_.preprocessing_, name).flatten().numpy() for name in ("mean", "scale")
    )
    # Kept in float32, whose digits end at 6e-8, and inverted twice.
    np.testing.assert_allclose((mean, 1 / scale), IMAGENET_STATISTICS, rtol=1e-6)
    assert clf.module_.conv1.kernel_size == (7, 7)  # stem="auto" follows the weights
    assert off.net_.preprocessing_.mean is None
    assert grey.net_.preprocessing_.scale.shape == (1, 1, 1)


@pytest.mark.parametrize("network", [GoogLeNetClassifier, InceptionV3Classifier, ResNetClassifier])
def test_the_stem_follows_the_size_and_before_it_the_weights(network):
    """Up to 40 pixels "small"; but weights must meet the layers that they were trained in."""
    clf = network(width_ratio=16)

    def stem_of(side, weights=None):
        return clf._network_arguments((1, side, side), 2, weights)["stem"]

    assert [stem_of(side) for side in (8, 40, 41, 224)] == ["small", "small", *["imagenet"] * 2]
    for stem, side in (("small", 224), ("imagenet", 28)):
        assert clf.set_params(stem=stem)._network_arguments((1, side, side), 2)["stem"] == stem
        with torch.device("meta"):
            weights = clf._make_module((1, 28, 28), 2)[0].state_dict()
        clf.set_params(stem="auto")
        assert stem_of(side, weights) == stem


def test_without_network_the_message_says_where_to_put_the_file(published, colours):
    X, y = colours
    _, source, kept = published
    source.unlink()
    clf = ResNetClassifier(weights="DEFAULT")
    with pytest.raises(OSError, match=mentions("'weights'", 404, kept, source.name)):
        clf.fit(X, y)
    assert not hasattr(clf, "net_")
    assert not any(kept.parent.iterdir())


def test_a_damaged_download_is_refused(published):
    _, source, kept = published
    whole = source.read_bytes()
    source.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(OSError, match=mentions("'weights'", "hash", kept)):
        read_weights("DEFAULT", "resnet18", "ResNet")
    assert not kept.exists()
    kept.write_bytes(whole[:1000])
    with pytest.raises(OSError, match=mentions("'weights'", kept, "SHA-256")):
        read_weights("DEFAULT", "resnet18", "ResNet")


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_statistics_of_models_that_transform_their_input(name, monkeypatch, tmp_path):
    path = saved({"a": torch.ones(1)}, tmp_path, "pth")
    monkeypatch.setattr("skcnn.transfer.weights._downloaded", lambda url, owner: path)
    mean, std = read_weights("DEFAULT", name, "X").statistics
    # What torchvision's model does to images that were normalised with the statistics of ImageNet.
    theirs = models.get_model(name, weights=None, init_weights=False, transform_input=True)
    pixels = torch.rand(1, 3, 4, 4)
    m, s = (torch.tensor(values)[:, None, None] for values in IMAGENET_STATISTICS)
    expected = theirs._transform_input((pixels - m) / s)
    m, s = (torch.tensor(values)[:, None, None] for values in (mean, std))
    torch.testing.assert_close((pixels - m) / s, expected)


# What weights fit ------------------------------------------------------------------------------


def small_resnet(in_channels=3, n_classes=4):
    torch.manual_seed(1)
    clf = ResNetClassifier(width_ratio=8)
    return clf._make_module((in_channels, 32, 32), n_classes)[0].eval()


@pytest.mark.parametrize(
    ("channels_then", "channels_now"), [(3, 1), (1, 3), (1, 4), (3, 4), (4, 3), (4, 1)]
)
def test_grey_images_give_the_same_features_in_any_channels(channels_then, channels_now):
    then, now = small_resnet(channels_then), small_resnet(channels_now)
    adapted = load_weights(now, then.state_dict(), "fc", "X")
    assert adapted == [f"conv1: from {channels_then} to {channels_now} channels"]
    grey = torch.rand(2, 1, 32, 32)

    def image(n_channels):  # the fourth channel, alpha, of opaque images is 0 after normalisation
        alpha = torch.zeros(2, n_channels // 4, 32, 32)
        return torch.cat([grey.expand(-1, min(n_channels, 3), -1, -1), alpha], dim=1)

    with torch.inference_mode():
        expected, got = then(image(channels_then)), now(image(channels_now))
    # The sum over the channels is taken before the convolution or after: float32, 18 layers.
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_another_number_of_classes_leaves_the_head_as_it_is():
    then, now = small_resnet(n_classes=7), small_resnet(n_classes=4)
    head = now.fc.weight.clone()
    assert load_weights(now, then.state_dict(), "fc", "X") == [
        "fc: new, at random, from 7 to 4 classes"
    ]
    assert torch.equal(now.fc.weight, head)
    assert torch.equal(now.layer4[1].conv2.weight, then.layer4[1].conv2.weight)
    assert load_weights(now, small_resnet(n_classes=4).state_dict(), "fc", "X") == []


def test_no_warning_where_nothing_was_adapted(lenet, clothes):
    X, y = clothes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # fits are short
        LeNetClassifier(weights=lenet.module_.state_dict(), max_epochs=1).fit(X, y)


def test_the_head_of_nin_is_its_last_block():
    def nin(n_classes):
        return NiNClassifier(width_ratio=16)._make_module((1, 67, 67), n_classes)[0]

    then, now = nin(7), nin(4)
    adapted = load_weights(now, then.state_dict(), now.head_name, "X")
    assert adapted == ["classifier: new, at random, from 7 to 4 classes"]
    assert torch.equal(now.features[0][0].weight, then.features[0][0].weight)


def test_weights_that_differ_are_listed_and_none_is_loaded():
    module = small_resnet()
    before = {name: entry.clone() for name, entry in module.state_dict().items()}
    state = small_resnet().state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(8, 8, 5, 5)
    state["more"] = torch.zeros(1)
    del state["layer2.0.bn1.weight"], state["layer2.0.bn1.bias"], state["bn1.num_batches_tracked"]
    shapes = ["'layer1.0.conv1.weight'", (8, 8, 5, 5), (8, 8, 3, 3)]
    message = mentions("'weights'", 4, *shapes, "'layer2.0.bn1.weight'", "'more'", 1)
    with pytest.raises(ValueError, match=message):
        load_weights(module, state, "fc", "ResNetClassifier")
    assert all(torch.equal(module.state_dict()[name], before[name]) for name in before)


def test_an_estimator_keeps_its_fit_when_new_weights_do_not_fit(lenet, clothes, resnet18):
    X, y = clothes
    clf = clone(lenet).fit(X, y)
    proba = clf.predict_proba(X)
    with pytest.raises(ValueError, match=mentions("'weights'", "LeNetClassifier", 132)):
        clf.set_params(weights=resnet18).fit(X, y)
    assert clf.predict_proba(X).tobytes() == proba.tobytes()
    with pytest.raises(ValueError, match=mentions("'weights'", "LeNetClassifier", None)):
        clf.set_params(warm_start=True).fit(X, y)


def test_a_module_is_no_state_dict(clothes):
    with pytest.raises(ValueError, match=mentions("'weights'", "Linear", "state_dict()")):
        LeNetClassifier(weights=nn.Linear(2, 2)).fit(*clothes)


def test_vgg_takes_weights_of_its_own_size_and_those_of_torchvision():
    own = VGGClassifier(width_ratio=16)
    module, _ = own._make_module((1, 64, 64), 3)
    again, _ = own._make_module((1, 64, 64), 3, module.state_dict())
    assert isinstance(again.avgpool, nn.Identity)
    assert load_weights(again, module.state_dict(), again.head_name, "X") == []
    with pytest.raises(
        ValueError, match=mentions("'weights'", "'classifier.0.weight'", (4096, 128), (4096, 32))
    ):
        small, _ = own._make_module((1, 32, 32), 3, module.state_dict())
        load_weights(small, module.state_dict(), small.head_name, "X")


@pytest.mark.parametrize("variant", ["full", "torchvision"])
@pytest.mark.parametrize("width_ratio", [4, 16])
def test_alexnet_of_any_width_knows_the_form_of_its_weights(variant, width_ratio):
    own = AlexNetClassifier(variant=variant, width_ratio=width_ratio)
    module, _ = own._make_module((1, 67, 67), 3)
    auto = AlexNetClassifier(width_ratio=width_ratio)
    again, _ = auto._make_module((1, 67, 67), 3, module.state_dict())
    assert load_weights(again, module.state_dict(), again.head_name, "X") == []


def test_repr_clone_and_pickle_bear_a_state_dict(resnet18):
    clf = ResNetClassifier(weights=resnet18)
    assert repr(clf) == "ResNetClassifier(weights=<mapping of 122 entries>)"
    assert "122 entries" in clf._repr_html_()
    for copy in (clone(clf), pickle.loads(pickle.dumps(clf))):
        assert all(torch.equal(copy.weights[name], resnet18[name]) for name in resnet18)


def test_showing_a_state_dict_formats_no_tensor(resnet18, monkeypatch):
    clf = ResNetClassifier(weights=resnet18)

    def format_tensor(tensor, **kwargs):
        raise AssertionError("this takes seconds")

    monkeypatch.setattr(torch.Tensor, "__repr__", format_tensor)
    for shown in (
        clf,
        clone(clf),
        clone(clf).set_params(weights=resnet18),
        make_pipeline(clf),
        GridSearchCV(clf, {"lr": [1e-3]}),
        GridSearchCV(make_pipeline(clf), {"resnetclassifier__lr": [1e-3]}),
        pickle.loads(pickle.dumps(clf)),
    ):
        assert "122 entries" in repr(shown)
        assert "122 entries" in shown._repr_html_()
    assert clf.weights is resnet18


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_statistics_for_channels(n_channels):
    mean, std = for_channels(IMAGENET_STATISTICS, n_channels)
    assert mean.shape == std.shape == (n_channels,)
    if n_channels == 1:
        assert (mean, std) == (pytest.approx(0.449, abs=1e-3), pytest.approx(0.226, abs=1e-3))
    else:
        assert mean[:3].tolist() == list(IMAGENET_STATISTICS[0])
        assert [*mean[3:], *std[3:]] == [0, 1][: 2 * (n_channels - 3)]
    with pytest.raises(ValueError, match=mentions("'normalize'", 2)):
        for_channels(IMAGENET_STATISTICS, 2)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_wrapped_modules_have_the_same_weights(prefix):
    state = small_resnet().state_dict()
    wrapped = {f"{prefix}{name}": value for name, value in state.items()}
    assert read_weights(wrapped, None, "X").state.keys() == state.keys()


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2, 2, device="meta"),
        torch.ones(2, 2).to_sparse(),
    ],
    ids=["meta", "sparse"],
)
def test_tensors_without_plain_values_are_refused(value):
    with pytest.raises(ValueError, match=mentions("'weights'", "'a'")):
        read_weights({"a": value}, None, "X")


def test_whole_numbers_are_no_weights():
    state = {name: value.long() for name, value in small_resnet().state_dict().items()}
    with pytest.raises(ValueError, match=mentions("'weights'", "'conv1.weight'", "torch.int64")):
        load_weights(small_resnet(), state, "fc", "X")


def test_versions_of_layers_are_kept(tmp_path):
    """MNASNet reads the version of its state dict from its metadata."""
    theirs = models.mnasnet0_5(num_classes=3)
    for weights in (theirs.state_dict(), saved(theirs.state_dict(), tmp_path, "safetensors")):
        ours = models.mnasnet0_5(num_classes=3)
        assert load_weights(ours, read_weights(weights, None, "X").state, "classifier.1", "X") == []
        assert torch.equal(ours.layers[0].weight, theirs.layers[0].weight)


def test_the_order_of_entries_does_not_matter(tmp_path):
    theirs = torchvision_model("vgg11").state_dict()
    for weights in (dict(reversed(theirs.items())), saved(theirs, tmp_path, "safetensors")):
        state = read_weights(weights, "vgg11", "X").state
        with torch.device("meta"):
            module, _ = VGGClassifier()._make_module((3, 32, 32), 1000, state)
        assert module.classifier[0].in_features == 7 * 7 * 512


def test_a_file_of_torchvision_is_known_by_its_name(resnet18, tmp_path):
    entry = models.ResNet18_Weights.IMAGENET1K_V1
    path = saved(resnet18, tmp_path, "pth").rename(tmp_path / Path(entry.url).name)
    assert read_weights(path, "resnet18", "X").statistics == IMAGENET_STATISTICS
    assert read_weights(path, "resnet34", "X").statistics is None


def test_the_same_weights_may_come_again_where_training_goes_on(colours):
    X, y = colours
    clf, state = fitted_and_before(None, colours, warm_start=True)
    for weights in (dict(state), pickle.loads(pickle.dumps(state)), None):
        clf.set_params(weights=weights).fit(X, y)
    clf.set_params(warm_start=False, weights=state).fit(X, y).set_params(warm_start=True)
    other = {**state, "fc.bias": state["fc.bias"] + 1}
    message = mentions("'weights'", "<mapping of 122 entries>")
    with pytest.raises(ValueError, match=message) as error:
        clf.set_params(weights=other).fit(X, y)
    assert len(str(error.value)) < 500


# What makes the logits -------------------------------------------------------------------------


class HeadFirst(nn.Module):
    """The head is registered first, a layer is not used, and the last to run has no matrix."""

    def __init__(self):
        super().__init__()
        self.head, self.conv = nn.Linear(4, 2), nn.Conv2d(1, 4, 3)
        self.norm, self.unused = nn.BatchNorm1d(2), nn.Linear(9, 9)

    def forward(self, x):
        return self.norm(self.head(self.conv(x).relu().mean((2, 3))))


def test_the_head_is_the_last_layer_to_run():
    module = HeadFirst()
    assert find_head(module, (1, 8, 8)) == "head"
    assert module.training
    assert not module.norm.running_mean.any()
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_a_head_needs_a_layer_with_a_matrix():
    with pytest.raises(ValueError, match=mentions("Flatten")):
        find_head(nn.Flatten(), (1, 8, 8))


def test_a_parametrised_head():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.utils.parametrizations.weight_norm(module[3])
    assert find_head(module, (1, 8, 8)) == "3"


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("squeezenet1_1", "classifier.1"), ("mobilenet_v3_small", "classifier.3")],
)
def test_heads_of_torchvision(name, head):
    assert find_head(models.get_model(name, weights=None), (3, 64, 64)) == head


# What is frozen --------------------------------------------------------------------------------


def fitted_and_before(freeze, colours, **params):
    """A narrow ResNet fitted with `freeze`, and the weights from which it started."""
    X, y = colours
    state = small_resnet(n_classes=2).state_dict()
    clf = ResNetClassifier(
        width_ratio=8, weights=state, freeze=freeze, max_epochs=2, random_state=0, **params
    )
    return clf.fit(X, y), state


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("features", {"fc"}),
        ("layer*", {"conv1", "bn1", "fc"}),
        ("layer1", {"conv1", "bn1", "layer2", "layer3", "layer4", "fc"}),
        (["conv1", "bn1", "layer[1-3]"], {"layer4", "fc"}),
        (1, {"layer1", "layer2", "layer3", "layer4", "fc"}),
        (5, {"layer2", "layer3", "layer4", "fc"}),
    ],
)
def test_what_is_frozen_stays_to_the_byte(freeze, trained, colours):
    clf, before = fitted_and_before(freeze, colours, weight_decay=0.1)
    after = clf.module_.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert changed == trained  # running statistics too


def test_unfreezing_through_warm_start(colours):
    X, y = colours
    clf, before = fitted_and_before("features", colours)
    head = clf.module_.fc.weight.clone()
    clf.set_params(freeze=None, warm_start=True, lr=1e-3).fit(X, y)
    after = clf.module_.state_dict()
    assert not torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])
    assert not torch.equal(after["fc.weight"], head)
    clf.set_params(freeze="layer1").fit(X, y)
    again = clf.module_.state_dict()
    assert torch.equal(again["layer1.0.conv1.weight"], after["layer1.0.conv1.weight"])


@pytest.mark.learning
def test_the_head_alone_learns_on_features_learned_before(
    lenet, tops_and_bags, seed, check_learned
):
    X, y = tops_and_bags
    clf = LeNetClassifier(weights=lenet.module_.state_dict(), freeze="features", random_state=seed)
    clf.set_params(lr=1e-2, batch_size=8, max_epochs=20, early_stopping=False)
    with pytest.warns(AdaptedWeightsWarning, match=mentions("classifier.4", 10, 2)):
        clf.fit(X[:50], y[:50])
    check_learned(clf.score(X[50:], y[50:]), 0.9)


def test_what_a_user_froze_stays_frozen(colours):
    X, y = colours
    module = small_resnet(n_classes=2)
    module.conv1.weight.requires_grad_(False)
    clf = CNNClassifier(module=module, freeze="layer1", max_epochs=1, warm_start=True).fit(X, y)
    clf.set_params(freeze=None).fit(X, y)
    frozen = {n for n, parameter in clf.module_.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1.weight"}


@pytest.mark.parametrize(
    ("freeze", "named"),
    [
        ("layer9", ["layer4", "conv1", "fc"]),
        ([], ["conv1", "bn1", "layer1", "fc"]),
        ("*", ["freeze='features'", "fc"]),
        (99, [21]),
        (True, ["'features'"]),
        (["fc", 3], ["'features'"]),
        (0, []),
    ],
)
def test_freezing_nothing_or_everything_is_an_error(freeze, named, colours):
    with pytest.raises(ValueError, match=mentions("'freeze'", repr(freeze), *named)):
        fitted_and_before(freeze, colours)


def test_freezing_the_last_layer_too_is_an_error():
    module = small_resnet()
    n_layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in module.modules())
    frozen = set_frozen(module, n_layers - 1, "fc", "X")
    assert {n.split(".")[0] for n, p in module.named_parameters() if p.requires_grad} == {"fc"}
    assert len(frozen.norms) == 20
    with pytest.raises(ValueError, match=names("freeze", n_layers)):
        set_frozen(module, n_layers, "fc", "X")


@pytest.mark.parametrize(
    ("freeze", "parameters", "norms"),
    [
        (1, ["1.weight", "1.bias"], ["0", "2"]),
        ("features", ["1.weight", "1.bias"], ["0", "2", "4"]),
        ("[12]", ["1.weight", "1.bias"], ["2"]),
    ],
)
def test_normalisation_without_parameters_is_held_too(freeze, parameters, norms):
    module = nn.Sequential(
        nn.BatchNorm2d(1, affine=False),
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2, affine=False),
        nn.Conv2d(2, 2, 3),
        nn.BatchNorm2d(2, affine=False),
    )
    assert set_frozen(module, freeze, "3", "X") == (parameters, norms)


def test_statistics_are_held_where_the_user_froze_the_parameters(colours):
    X, y = colours
    module = small_resnet(n_classes=2)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith("fc"))
    clf = CNNClassifier(module=module, freeze="features", max_epochs=1).fit(X, y)
    assert torch.equal(clf.module_.bn1.running_mean, module.bn1.running_mean)
    clf = CNNClassifier(module=module, max_epochs=1).fit(X, y)  # nothing was asked for
    assert not torch.equal(clf.module_.bn1.running_mean, module.bn1.running_mean)


def test_another_network_forgets_what_was_frozen(colours):
    X, y = colours
    clf = ResNetClassifier(
        depth=34, width_ratio=16, freeze="features", max_epochs=1, random_state=0
    ).fit(X, y)
    clf.set_params(depth=18, freeze=None).fit(X, y)
    assert all(parameter.requires_grad for parameter in clf.module_.parameters())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_unfreezing_between_calls_of_partial_fit(optimizer, colours):
    X, y = colours
    clf = ResNetClassifier(width_ratio=16, optimizer=optimizer, freeze="features", random_state=0)
    clf.partial_fit(X, y).partial_fit(X, y)
    before = clf.module_.conv1.weight.clone()
    clf.set_params(freeze=None).partial_fit(X, y)
    assert not torch.equal(clf.module_.conv1.weight, before)


# What features are worth -----------------------------------------------------------------------


@pytest.mark.learning
@pytest.mark.parametrize("last", [SVC(), KNeighborsClassifier(3)])
def test_features_feed_another_classifier_inside_a_search(last, seed, easy, check_learned):
    X, y = easy
    network = ResNetClassifier(width_ratio=8, batch_size=16, max_epochs=2, random_state=seed)
    grid = {"resnetclassifier__features_layer": [None, "layer3"]}
    search = GridSearchCV(make_pipeline(network, last), grid, cv=2, error_score="raise")
    search.fit(X, y)
    check_learned(search.best_score_, 0.85)
    n_features = [64, 32][search.best_params_["resnetclassifier__features_layer"] == "layer3"]
    names = search.best_estimator_[0].get_feature_names_out()
    assert names.tolist() == [f"resnetclassifier{i}" for i in range(n_features)]


def test_features_of_a_named_layer(lenet, clothes):
    X, _ = clothes
    clf = pickle.loads(pickle.dumps(lenet)).set_params(features_layer="classifier.3")
    features = clf.transform(X)
    assert features.shape == (300, 84)
    assert (features >= 0).all()  # after ReLU: what the head takes
    assert features.tobytes() == lenet.transform(X).tobytes()
    clf.set_params(features_layer="features.0")
    assert clf.transform(X).shape == (300, 6)
    clf.set_params(features_layer="clasifier.3")
    with pytest.raises(
        ValueError, match=mentions("'features_layer'", "'clasifier.3'", "classifier.3")
    ):
        clf.transform(X)
    with pytest.raises(ValueError, match=names("features_layer", "clasifier.3")):
        clone(clf).fit(*clothes)


def test_the_head_is_looked_for_once(clothes, monkeypatch):
    X, y = clothes
    clf = CNNClassifier(module="squeezenet1_1", max_epochs=1, early_stopping=False)
    clf.fit(X[:16], y[:16])
    looked = []

    def find(*args):
        looked.append(args)
        return find_head(*args)

    monkeypatch.setattr("skcnn._prediction.find_head", find)
    features = [clf.transform(X[:3]) for _ in range(3)]
    assert len(looked) == 1
    assert features[0].tobytes() == features[2].tobytes()


class Odd(nn.Module):
    """A layer that is called by keyword, one that gives a dict, and one in another order."""

    def __init__(self):
        super().__init__()
        self.keyword, self.dict, self.transposed = nn.Linear(72, 4), AsDict(), nn.Identity()

    def forward(self, x):
        x = self.dict(x.flatten(1))["x"]
        x = self.transposed(x.T).T
        return self.keyword(input=x)


class AsDict(nn.Module):
    def forward(self, x):
        return {"x": x}


def test_layers_without_features_are_named(clothes):
    X = np.random.default_rng(0).random((40, 8, 9))
    clf = CNNClassifier(module=Odd(), early_stopping=False, max_epochs=1)
    clf.fit(X, np.arange(40) % 4)
    assert clf.transform(X).shape == (40, 72)
    for name, got in {"dict": 40, "transposed": (72, 40)}.items():
        with pytest.raises(ValueError, match=mentions(repr(name), got, "'features_layer'")):
            clf.set_params(features_layer=name).transform(X[:40])


def test_a_network_is_copied_while_another_thread_looks_at_its_layers(lenet, clothes):
    X, _ = clothes
    clf = pickle.loads(pickle.dumps(lenet))
    expected = clf.transform(X).tobytes()
    stop = threading.Event()
    results = []

    def look():
        while not stop.is_set():
            results.append(clf.transform(X).tobytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(30):
            pickle.loads(pickle.dumps(clf))
    finally:
        stop.set()
        thread.join()
    assert set(results) == {expected}


# What a network looks like ---------------------------------------------------------------------


def test_layer_shapes_of_a_network_that_is_not_fitted():
    table = VGGClassifier(depth=11, norm=None).layer_shapes((224, 224))
    convolutions = table[table["type"] == "Conv2d"]
    assert convolutions["output_shape"].tolist() == [
        (64, 224, 224),
        (128, 112, 112),
        *[(256, 56, 56)] * 2,
        *[(512, 28, 28)] * 2,
        *[(512, 14, 14)] * 2,
    ]
    assert table["n_parameters"].sum() == 128_806_154
    assert table["layer"].iloc[-1] == "classifier.6"
    # One multiplication for each of 512 × 3 × 3 weights at 512 × 14 × 14 places, and the biases.
    assert convolutions["multiply_adds"].iloc[-1] == 512 * 14 * 14 * (512 * 9 + 1)
    summary = ResNetClassifier().summary((3, 224, 224), n_classes=1000)
    assert summary.total_params == 11_689_512
    assert summary.total_mult_adds == pytest.approx(1.81e9, rel=0.01)  # as torchvision states


def test_layer_shapes_of_a_fitted_network(lenet):
    table = lenet.layer_shapes()
    assert table["layer"].iloc[[0, -1]].tolist() == ["features.0", "classifier.4"]
    assert table["n_parameters"].sum() == lenet.summary().total_params
    larger = lenet.layer_shapes((64, 64))
    assert larger["output_shape"].iloc[-1] == (10,)
    assert larger["output_shape"].iloc[0] == (6, 64, 64)
    state = torch.get_rng_state()
    lenet.layer_shapes((64, 64))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "googlenet", "resnet18"])
def test_layer_shapes_are_those_of_the_weights(name):
    """Whether they are there, or would have to be downloaded."""
    theirs = torchvision_model(name, **({"aux_logits": False} if name == "googlenet" else {}))
    n_parameters = sum(parameter.numel() for parameter in theirs.parameters())
    for weights in (theirs.state_dict(), "DEFAULT"):
        clf = clone(TWINS[name]).set_params(weights=weights)
        assert clf.layer_shapes((3, 64, 64), n_classes=1000)["n_parameters"].sum() == n_parameters


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "squeezenet1_1"])
def test_layer_shapes_count_every_parameter_once(name):
    clf = CNNClassifier(module=name)
    table = clf.layer_shapes((3, 224, 224))
    theirs = models.get_model(name, weights=None, num_classes=10)
    assert table["n_parameters"].sum() == sum(p.numel() for p in theirs.parameters())


def test_layer_shapes_of_a_layer_that_runs_twice():
    layer = nn.Linear(64, 64)
    module = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(64, 2))
    table = CNNClassifier(module=module).layer_shapes((8, 8), n_classes=2)
    assert table["n_parameters"].tolist() == [0, 64 * 65, 0, 0, 65 * 2]


def test_summary_needs_a_fit_or_a_size():
    with pytest.raises(NotFittedError):
        ResNetClassifier().summary()
    for size in ((28,), (0, 28, 28), (1.5, 2), "ab", 28):
        with pytest.raises(ValueError, match=names("input_size", size)):
            ResNetClassifier().layer_shapes(size)
    for n_classes in (0, 1, 2.5, "a", True):
        with pytest.raises(ValueError, match=names("n_classes", n_classes)):
            ResNetClassifier().layer_shapes((28, 28), n_classes=n_classes)
    with pytest.raises(ValueError, match=mentions("'image_size'", 75, 74)):
        InceptionV3Classifier(image_size=74).summary((28, 28))
