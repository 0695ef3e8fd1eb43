"""The engine: where images are, how they are read, and in what arithmetic a network trains."""

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from helpers.fits import weights_of
from helpers.messages import mentions
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

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
from skcnn.exceptions import PrecisionError, SlowPrecisionWarning, ValueRangeWarning
from skcnn.images import ArrayImages, DatasetImages, TensorImages, infer_layout
from skcnn.networks import VGG, GoogLeNet, InceptionV3, LeNet, NiN, ResNet
from skcnn.training import arithmetic, devices, residency
from skcnn.training.arithmetic import Arithmetic, choose_arithmetic
from skcnn.training.batches import BatchIterator, LabelledImages, read_ahead
from skcnn.training.preprocessing import Preprocessing
from skcnn.training.reproducibility import generator_states
from skcnn.training.residency import make_resident

pytestmark = pytest.mark.trains

CPU = torch.device("cpu")
DEVICES = [CPU] + [torch.device("cuda")] * torch.cuda.is_available()
CONTIGUOUS = Arithmetic("float32", "contiguous")
CHANNELS_LAST = Arithmetic("float32", "channels_last")
BFLOAT16 = Arithmetic("bfloat16", "channels_last")


def quick(**params):
    defaults = {"lr": 5e-3, "batch_size": 25, "max_epochs": 3, "random_state": 0}
    return LeNetClassifier(**{**defaults, **params})


def labelled(X, y=None, **kwargs):
    images = ArrayImages(X, infer_layout(X.shape[1:], None, "Est"))
    y = np.zeros(len(X), dtype=int) if y is None else y
    return LabelledImages(images, np.arange(len(X)), y, **kwargs)


@pytest.fixture
def mapped(clothes, tmp_path):
    """Images and labels, the images in a file that is mapped into memory."""
    X, y = clothes
    np.save(tmp_path / "images.npy", X)
    return np.load(tmp_path / "images.npy", mmap_mode="r"), y


# Where images are --------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("side", [28, 40])
def test_resident_images_are_those_that_batches_would_have(clothes, device, side):
    X, y = clothes
    rows = np.array([5, 299, 5, 0, 17])
    weights = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    images = ArrayImages(X, infer_layout(X.shape[1:], None, "Est"))
    dataset = LabelledImages(images, rows, y[rows], weights)
    preprocessing = Preprocessing((side, side), np.array([0.3]), np.array([0.5])).to(device)
    resident = make_resident(dataset, preprocessing, device)
    positions = torch.tensor([4, 0, 2])
    before = dataset.batch(positions)
    batch = resident.batch(positions.to(device))
    assert torch.equal(batch[1].cpu(), before[1])
    assert torch.equal(batch.weights.cpu(), before.weights)
    expected = preprocessing(before[0].to(device))
    assert torch.equal(preprocessing(batch[0]), expected)
    if (device.type, side) == ("cpu", 28):
        assert resident is dataset  # nothing to gain
    else:
        assert isinstance(resident.images, TensorImages)
        assert resident.images.pixels.device.type == device.type
        assert len(resident.images) == 4  # row 5 once
        assert resident.images.pixels.dtype == (torch.uint8 if side == 28 else torch.float32)


def test_images_that_do_not_fit_stay_where_they_are(clothes, monkeypatch):
    X, _ = clothes
    dataset, preprocessing = labelled(X), Preprocessing((56, 56))
    needed = X.size * 4 * 4
    for free, fits in [(8 * needed, True), (8 * needed - 8, False)]:
        monkeypatch.setattr(residency, "free_memory", lambda device, free=free: free)
        assert (make_resident(dataset, preprocessing, CPU) is not dataset) == fits


def test_a_dataset_is_asked_for_its_images_every_time(clothes):
    X, y = clothes
    source = TensorDataset(torch.from_numpy(X[:, None].copy()), torch.from_numpy(y).long())
    images = DatasetImages(source, infer_layout((1, 28, 28), None, "Est"))
    dataset = LabelledImages(images, np.arange(len(X)), y)
    assert make_resident(dataset, Preprocessing((56, 56)), CPU) is dataset


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_images_to_crop_are_not_resized_before(clothes, device):
    preprocessing = Preprocessing((56, 56)).to(device)
    resident = make_resident(labelled(clothes[0]), preprocessing, device, resize=False)
    assert resident.batch(torch.arange(2).to(resident.targets.device))[0].shape[2:] == (28, 28)


def test_resizing_once_changes_no_byte(clothes):
    X, y = clothes
    once, each_time = (
        quick(image_size=32, data_device=place).fit(X, y) for place in ("auto", "cpu")
    )
    assert weights_of(once) == weights_of(each_time)
    assert once.history_[-1]["valid_loss"] == each_time.history_[-1]["valid_loss"]


def test_a_memory_mapped_array_gives_the_same_fit(clothes, mapped, tmp_path):
    in_memory = quick(augment="standard").fit(*clothes)
    X, y = mapped
    clf = quick(augment="standard").fit(X, y)
    assert weights_of(clf) == weights_of(in_memory)
    assert clf.predict_proba(X).tobytes() == in_memory.predict_proba(clothes[0]).tobytes()
    np.save(tmp_path / "floats.npy", X / np.float32(255))
    with pytest.warns(ValueRangeWarning) as caught:
        clf.predict(np.load(tmp_path / "floats.npy", mmap_mode="r"))
    assert caught[0].filename == __file__


def test_only_mapped_arrays_are_read_ahead(clothes, mapped):
    def reader(X):
        threads = []
        dataset = labelled(X)
        read = dataset.images.read
        dataset.images.read = lambda rows: threads.append(threading.current_thread()) or read(rows)
        list(BatchIterator(dataset, 100, shuffle=True))
        return {thread is threading.main_thread() for thread in threads}

    assert reader(clothes[0]) == {True}
    assert reader(mapped[0]) == reader(np.asarray(mapped[0])[10:]) == {False}


def test_changes_to_a_private_map_are_not_lost(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((50, 64, 64), dtype=np.uint8))
    X = np.load(tmp_path / "images.npy", mmap_mode="c")
    X[7] = 3
    images = labelled(np.asarray(X)[5:]).images
    for _ in range(2):
        assert images.read(slice(0, 45))[2].unique().tolist() == [3]


@pytest.mark.skipif(not hasattr(__import__("mmap"), "MADV_DONTNEED"), reason="needs madvise")
def test_pages_that_were_read_are_let_go(tmp_path):
    psutil = pytest.importorskip("psutil")
    np.save(tmp_path / "images.npy", np.ones((2000, 128, 128), dtype=np.uint8))  # 33 MB
    images = labelled(np.load(tmp_path / "images.npy", mmap_mode="r")).images
    process = psutil.Process()
    before = process.memory_info().rss
    for start in range(0, 2000, 100):
        images.read(slice(start, start + 100))
    assert process.memory_info().rss - before < 10e6


def test_reading_ahead_keeps_order_and_errors():
    made = []

    def items():
        for i in range(5):
            made.append(threading.current_thread())
            yield i
        raise OSError("the disk is gone")

    received = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in read_ahead(items()):
            received.append(item)
    assert received == list(range(5))
    assert threading.main_thread() not in made
    before = threading.active_count()
    for item in read_ahead(iter(range(100))):
        if item == 3:
            break
    assert threading.active_count() <= before + 1


# Compiled training -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch_size"), [(129, 128), (10, 3), (7, 7), (5, 8), (130, 32)])
def test_equal_batches_leave_no_row_out(n, batch_size):
    X = np.arange(n, dtype=np.float32).reshape(n, 1, 1)
    iterator = BatchIterator(labelled(X, np.arange(n)), batch_size, shuffle=True, equal=True)
    batches = [targets.tolist() for _, targets in iterator]
    assert len(batches) == len(iterator)
    assert len({len(batch) for batch in batches}) == 1
    assert len(batches[0]) <= batch_size
    seen = [row for batch in batches for row in batch]
    assert set(seen) == set(range(n))
    assert len(seen) - n < len(iterator)
    assert all(len(set(batch)) == len(batch) for batch in batches)


def test_compiled_training_compiles_once(clothes, monkeypatch):
    X, y = clothes
    compiled = []

    def backend(graph, inputs):
        compiled.append([tuple(x.shape) for x in inputs if isinstance(x, torch.Tensor)])
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compile_(module, backend=backend))
    torch.compiler.reset()
    # 270 and 269 images to train on: batches of 67 and 68, if they were not made equal.
    for n in (300, 299):
        before = len(compiled)
        quick(compile=True, batch_size=80, max_epochs=2).fit(X[:n], y[:n])
        assert len(compiled) == before + 1
        torch.compiler.reset()


# Arithmetic --------------------------------------------------------------------------------------


def choose(module, side, precision="auto", native=True, channels=1, amx=True):
    """Arithmetic of a network for square images, on a CPU with bfloat16 or without."""
    capabilities = {"avx512_bf16": True, "amx_bf16": amx}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: native)
        monkeypatch.setattr(arithmetic, "cpu_capabilities", lambda: capabilities)
        return choose_arithmetic(module, (channels, side, side), precision=precision, device=CPU)


def small_network(width, stride=1, **settings):
    """A network whose work is in one layer of some width, without a channel to begin with."""
    return nn.Sequential(
        nn.Conv2d(1, width, 1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride, padding=1, **settings),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 2),
    )


@pytest.mark.parametrize(
    ("module", "side", "expected"),
    [
        (LeNet(norm="batch"), 28, (CONTIGUOUS, CONTIGUOUS)),
        (small_network(8), 16, (CONTIGUOUS, CONTIGUOUS)),
        (small_network(16), 16, (CHANNELS_LAST, CHANNELS_LAST)),
        (small_network(24), 16, (BFLOAT16, CHANNELS_LAST)),
        (NiN(width_ratio=4, input_size=(67, 67)), 67, (BFLOAT16, CHANNELS_LAST)),
        (InceptionV3(width_ratio=4, input_size=(75, 75)), 75, (CHANNELS_LAST, CHANNELS_LAST)),
        (small_network(64, groups=64), 16, (CONTIGUOUS, CONTIGUOUS)),  # 64 layers of one channel
        (VGG(width_ratio=4, input_size=(32, 32)), 32, (BFLOAT16, CHANNELS_LAST)),
        (GoogLeNet(width_ratio=4, input_size=(32, 32)), 32, (CHANNELS_LAST, CHANNELS_LAST)),
        (ResNet(width_ratio=4, stem="small"), 28, (BFLOAT16, CHANNELS_LAST)),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 4, (CONTIGUOUS, CONTIGUOUS)),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 2)),
            8,
            (Arithmetic("bfloat16", "contiguous"), CONTIGUOUS),
        ),
        (nn.Identity(), 8, (CONTIGUOUS, CONTIGUOUS)),
    ],
)
def test_rule(module, side, expected):
    assert (choose(module, side), choose(module, side, native=False)) == expected
    for native, best in zip((True, False), expected, strict=True):
        for precision in ("float32", "bfloat16"):  # a precision that is given is obeyed
            choice = choose(module, side, precision, native)
            assert choice == (precision, best.memory_format)


@pytest.mark.parametrize(
    ("limit", "native"),
    [(None, True), ("", True), ("AVX512_CORE_BF16", True), ("AVX512_CORE", False), ("AVX2", False)],
)
def test_bfloat16_is_not_native_where_onednn_may_not_use_it(monkeypatch, limit, native):
    monkeypatch.setattr(devices, "cpu_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert devices.has_bfloat16(CPU) == native


def test_other_devices_get_what_suits_all():
    meta = torch.device("meta")
    for precision, used in [("auto", "float32"), ("bfloat16", "bfloat16")]:
        choice = choose_arithmetic(LeNet(), (1, 28, 28), precision=precision, device=meta)
        assert choice == (used, "contiguous")


@pytest.mark.parametrize(
    ("layer", "side", "idle"),
    [
        (nn.Conv2d(32, 32, 3, stride=2, padding=1), 1, True),
        (nn.Conv2d(32, 32, 3, stride=2, padding=1), 3, False),
        (nn.Conv2d(32, 32, 3, stride=3, padding=1), 2, True),
        (nn.Conv2d(32, 32, 2, stride=2, padding=1), 1, True),
        (nn.Conv2d(32, 32, 2, stride=2, padding=1), 3, False),
        (nn.Conv2d(32, 32, 3, stride=2, padding="valid"), 3, False),
        (nn.Conv2d(32, 32, 3, stride=2, padding=2, dilation=2), 1, True),
        (nn.Conv2d(32, 32, 3, stride=(1, 2), padding=1), 1, True),
        (nn.Conv2d(32, 32, (1, 7), stride=2, padding=(0, 3)), 3, True),
        (nn.Conv2d(32, 32, (1, 7), stride=2, padding=(0, 3)), 7, False),
        (nn.Conv2d(32, 32, 3, padding=1), 1, False),  # without a stride, oneDNN is right
        (nn.Conv2d(32, 32, 3, padding="same"), 1, False),
        (nn.Conv2d(32, 32, 3, stride=2, padding=1, padding_mode="circular"), 4, False),
        (nn.ConvTranspose2d(32, 32, 3, stride=2, padding=1), 1, True),
        (nn.ConvTranspose2d(32, 32, 3, stride=2, padding=1), 3, False),
    ],
    ids=str,
)
def test_bfloat16_is_not_for_layers_whose_kernels_reach_beyond_their_maps(layer, side, idle):
    expected = "float32" if idle else "bfloat16"
    assert choose(layer, side, channels=32) == (expected, "channels_last")


@pytest.mark.parametrize(("side", "wrong"), [(1, True), (2, False), (3, False)])
def test_where_all_shapes_were_tried_those_that_are_wrong_are_excluded(side, wrong):
    layer = nn.Conv2d(32, 32, 3, stride=2, padding=1)
    expected = "float32" if wrong else "bfloat16"
    assert choose(layer, side, channels=32, amx=False) == (expected, "channels_last")


def test_functions_that_a_network_calls_count_as_layers():
    class Functional(nn.Module):
        def __init__(self, stride):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(32, 32, 3, 3))
            self.stride = stride

        def forward(self, x):
            return functional.conv2d(x, weight=self.weight, stride=self.stride, padding=1)

    assert choose(Functional(1), 1, channels=32) == BFLOAT16
    assert choose(Functional(2), 1, channels=32) == CHANNELS_LAST


@pytest.mark.parametrize(("channels", "format_"), [(8, "contiguous"), (16, "channels_last")])
def test_points_with_a_stride_on_few_channels_are_contiguous(channels, format_):
    """In channels-last, oneDNN of torch 2.14 crashes in their backward pass, with two threads."""
    layers = nn.Sequential(nn.Conv2d(channels, 32, 1, stride=2), nn.Conv2d(32, 32, 3, padding=1))
    assert choose(layers, 28, channels=channels).memory_format == format_


def test_a_single_channel_whose_stride_leads_to_one_column_is_contiguous():
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 32, (1, 3), stride=(1, 2))  # oneDNN misreads it in channels-last
    for module, side in ((layer, 3), (nn.Conv2d(1, 32, 3, stride=2), 5)):
        wide = nn.Sequential(module, nn.Conv2d(32, 64, 1))
        expected = "contiguous" if side == 3 else "channels_last"
        for precision in ("auto", "float32", "bfloat16"):
            assert choose(wide, side, precision).memory_format == expected


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_where_the_rule_takes_bfloat16_the_gradients_are_those_of_float32(kernel, side):
    torch.manual_seed(0)
    for stride, padding in itertools.product((1, 2, 3, 4), range(kernel)):
        if side + 2 * padding < kernel:
            continue
        layer = nn.Conv2d(32, 32, kernel, stride, padding=padding)
        if choose(layer, side, channels=32) != BFLOAT16:
            continue
        x = torch.randn(8, 32, side, side)
        gradients = []
        for precision, memory_format in (CONTIGUOUS, BFLOAT16):
            layer.to(memory_format=arithmetic.MEMORY_FORMATS[memory_format]).zero_grad()
            # What lies in memory before must not matter: oneDNN may leave it there.
            del [torch.full((n,), float("nan")) for n in (10**3, 10**4, 10**5) for _ in range(9)][:]
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                y = layer(x.contiguous(memory_format=arithmetic.MEMORY_FORMATS[memory_format]))
            y.float().square().sum().backward()
            gradients.append(layer.weight.grad.clone())
        error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
        assert error < 0.05, (stride, padding)


def test_choosing_leaves_no_trace():
    class Careless(LeNet):
        """Draws at each pass, and counts them."""

        def __init__(self):
            super().__init__(norm="batch")
            self.register_buffer("n_passes", torch.zeros(()))

        def forward(self, x):
            self.n_passes += 1
            return super().forward(x + torch.rand(()) + np.random.normal())  # noqa: NPY002

    module = Careless().train()
    before = pickle.dumps([module.state_dict(), [m.training for m in module.modules()]])
    generators = generator_states(CPU)
    choose(module, 28)
    assert pickle.dumps([module.state_dict(), [m.training for m in module.modules()]]) == before
    assert str(generator_states(CPU)) == str(generators)
    assert torch.equal(generator_states(CPU)["torch"], generators["torch"])
    assert all(p.grad is None and p.is_contiguous() for p in module.parameters())


class Uncopyable(LeNet):
    def __deepcopy__(self, memo):
        raise TypeError("there is only one")


class Unautocast(nn.Module):
    """A network that writes its maps into a tensor of float32."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 32, 1), nn.Conv2d(32, 32, 3))

    def forward(self, x):
        maps = torch.zeros(len(x), 32, 26, 26)
        maps[torch.arange(len(x))] = self.layers(x)
        return maps.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Viewing(), CONTIGUOUS),
        (lambda: Uncopyable(), CONTIGUOUS),
        (lambda: nn.Linear(3, 3), CONTIGUOUS),  # does not run
        (lambda: Unautocast(), CHANNELS_LAST),
    ],
    ids=["viewing", "uncopyable", "broken", "one precision"],
)
def test_networks_that_run_in_one_arithmetic_alone(make, expected):
    assert choose(make(), 28) == expected


def train_in(monkeypatch, choice):
    monkeypatch.setattr("skcnn.training.net.choose_arithmetic", lambda *args, **kwargs: choice)


def test_training_in_another_memory_format(clothes, monkeypatch, capsys):
    X, y = clothes
    train_in(monkeypatch, CHANNELS_LAST)
    clf = quick(max_epochs=10, norm="batch", early_stopping=False, verbose=2).fit(X, y)
    assert (clf.precision_, clf.memory_format_) == CHANNELS_LAST
    assert "float32 channels_last" in capsys.readouterr().out
    assert clf.score(X, y) > 0.9
    assert all(parameter.is_contiguous() for parameter in clf.module_.parameters())
    again = pickle.loads(pickle.dumps(clf))
    assert again.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()
    # The optimizer's averages, laid out as the weights were, go on.
    loss = clf.history_[-1]["train_loss"]
    clf.set_params(lr=1e-4).partial_fit(X, y)
    assert clf.history_[-1]["train_loss"] < loss + 0.1


def test_layouts_agree(clothes, monkeypatch):
    X, y = clothes
    losses = []
    for choice in (CONTIGUOUS, CHANNELS_LAST):
        train_in(monkeypatch, choice)
        clf = quick(max_epochs=1, norm="batch", early_stopping=False, lr=1e-4).fit(X, y)
        assert clf.memory_format_ == choice.memory_format
        losses.append(clf.history_[0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # an epoch amplifies the rounding


FRESH_FITS = """
import hashlib
from skcnn import VGGClassifier
from skcnn.datasets import load_fashion_mnist_mini
X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
default = VGGClassifier(width_ratio=4, image_size=32, hidden_units=64, max_epochs=1, random_state=0)
random = VGGClassifier(
    width_ratio=32, hidden_units=16, batch_size=16, max_epochs=2, augment="standard", random_state=3
)
for clf in default, random:
    clf.fit(X[:100], y[:100])
    weights = [value.numpy().tobytes() for value in clf.module_.state_dict().values()]
    weights.append(clf.predict_proba(X[:50]).tobytes())
    digest = hashlib.sha256(b"".join(weights)).hexdigest()
    print(clf.precision_, clf.memory_format_, digest, end=" ")
print()
"""


def test_a_fresh_process_trains_the_same_networks(tmp_path, capsys):
    """With empty cache folders, beside a process that is busy: this one.

    The fits are one with default settings, and one that draws numbers wherever it can; the global
    generators of a fresh process, its hashes and what ran in it before are others.
    """
    if not torch.backends.mkldnn.enabled:
        pytest.skip("oneDNN is switched off in this process, and would not be in a fresh one")
    folders = {name: str(tmp_path / name) for name in ("TORCH_HOME", "XDG_CACHE_HOME")}
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **folders}
    fresh = subprocess.Popen(
        [sys.executable, "-c", FRESH_FITS], env=environment, stdout=subprocess.PIPE, text=True
    )
    while fresh.poll() is None:
        exec(FRESH_FITS, {})
    results = {*capsys.readouterr().out.splitlines(), *fresh.communicate()[0].splitlines()}
    assert fresh.returncode == 0
    assert len(results) == 1


class Viewing(nn.Module):
    """A network that takes its maps to be contiguous, as many do."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 5, stride=4)
        self.head = nn.Linear(4 * 6 * 6, n_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().view(len(x), -1))


def test_a_network_that_cannot_be_laid_out_otherwise_trains(clothes):
    X, y = clothes
    clf = CNNClassifier(module=Viewing, max_epochs=1, random_state=0)
    assert clf.fit(X, y).memory_format_ == "contiguous"


class WrongProduct(torch.autograd.Function):
    """A product whose gradients, in bfloat16, are wrong where `wrong` says."""

    @staticmethod
    def forward(ctx, x, weight, wrong):
        ctx.save_for_backward(x, weight)
        ctx.wrong = wrong if x.dtype == torch.bfloat16 else None
        return x @ weight.T * (2 if ctx.wrong == "output" else 1)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        of_input, of_weight = gradient @ weight, gradient.T @ x
        if ctx.wrong == "weight":
            of_weight[0] = float("nan")
        if ctx.wrong == "input":
            of_input *= 1.5
        return of_input, of_weight, None


class WrongLinear(nn.Linear):
    wrong = None

    def forward(self, x):
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else x.dtype
        return WrongProduct.apply(x.to(dtype), self.weight.to(dtype), self.wrong)


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.SlowPrecisionWarning")
@pytest.mark.parametrize(
    ("wrong", "name"), [("weight", "2.weight"), ("input", "2"), ("output", "2"), (None, None)]
)
def test_wrong_gradients_in_bfloat16_are_an_error_that_names_them(tops_and_bags, wrong, name):
    X, y = tops_and_bags
    layers = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 16),
        WrongLinear(16, 16),
        nn.ReLU(inplace=True),
        nn.Linear(16, 2),
    )
    layers[2].wrong = wrong
    clf = CNNClassifier(module=layers, precision="bfloat16", max_epochs=1, random_state=0)
    if wrong is None:
        assert clf.fit(X, y).precision_ == "bfloat16"
        return
    with pytest.raises(
        PrecisionError, match=mentions("'precision'", "'bfloat16'", repr(name))
    ) as caught:
        clf.fit(X, y)
    assert caught.value.name == name
    assert not hasattr(clf, "classes_")
    assert clf.set_params(precision="float32").fit(X, y).precision_ == "float32"


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.SlowPrecisionWarning")
def test_gradients_that_are_known_to_be_unset_are_an_error(clothes):
    X, y = clothes
    clf = ResNetClassifier(width_ratio=8, stem="imagenet", image_size=8, max_epochs=1)
    assert clf.fit(X[:50], y[:50]).precision_ == "float32"
    with pytest.raises(PrecisionError, match=mentions("'precision'", "'layer3.0.conv1.weight'")):
        clf.set_params(precision="bfloat16").fit(X[:50], y[:50])


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.SlowPrecisionWarning")
@pytest.mark.parametrize(
    "clf",
    [
        LeNetClassifier(norm="batch"),
        LeNetClassifier(activation="sigmoid", pooling="avg"),
        AlexNetClassifier(variant="small", norm="lrn", image_size=67),
        VGGClassifier(width_ratio=8, hidden_units=64, image_size=32),
        NiNClassifier(width_ratio=8, image_size=67),
        GoogLeNetClassifier(width_ratio=8, image_size=32),
        InceptionV3Classifier(width_ratio=8, image_size=75),
        ResNetClassifier(depth=50, width_ratio=8, stem="small"),
    ],
    ids=lambda clf: type(clf).__name__,
)
def test_rounding_is_no_error_and_the_comparison_leaves_no_trace(clothes, clf, monkeypatch):
    X, y = clothes
    clf.set_params(precision="bfloat16", max_epochs=1, batch_size=10, random_state=0)
    compared = weights_of(clf.fit(X[:30], y[:30]))
    monkeypatch.setattr("skcnn.training.net.check_gradients", lambda *args: None)
    assert weights_of(clf.fit(X[:30], y[:30])) == compared


@pytest.mark.learning
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_bfloat16_trains_as_well(device, seed, easy, check_learned):
    X, y = easy
    settings = {"batch_size": 16, "max_epochs": 8, "device": device, "random_state": seed}
    slow = not devices.has_bfloat16(device)
    with pytest.warns(SlowPrecisionWarning) if slow else contextlib.nullcontext():
        clf = quick(precision="bfloat16", **settings).fit(X[:150], y[:150])
    assert clf.precision_ == "bfloat16"
    check_learned(clf.score(X[150:], y[150:]), 0.9)
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}
    plain = quick(precision="float32", **settings).fit(X[:150], y[:150])
    assert weights_of(plain) != weights_of(clf)


# Errors ------------------------------------------------------------------------------------------


class Greedy(Viewing):
    """A network that wants more memory than there is."""

    def forward(self, x):
        if self.training:
            x = x + torch.empty(2**50, device=x.device)[0]
        return super().forward(x)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_out_of_memory(tops_and_bags, device):
    X, y = tops_and_bags
    clf = CNNClassifier(module=Greedy, batch_size=33, device=device)
    remedies = mentions("batch_size", 33, "image_size", "on_oom='split'", "data_device='cpu'")
    with pytest.raises(MemoryError, match=remedies) as caught:
        clf.fit(X, y)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not hasattr(clf, "classes_")
    fitted = CNNClassifier(module=Viewing, max_epochs=1).fit(X, y)
    before = fitted.predict_proba(X)
    with pytest.raises(MemoryError):
        fitted.set_params(module=Greedy).fit(X, y)
    assert fitted.predict_proba(X).tobytes() == before.tobytes()


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), devices.out_of_memory_explained(1):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
