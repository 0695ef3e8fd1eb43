"""The engine: where images are, how they are read, and in what arithmetic a network trains."""

import contextlib
import json
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.exceptions import SlowPrecisionWarning, ValueRangeWarning
from skcnn.images import ArrayImages, DatasetImages, TensorImages, infer_layout
from skcnn.networks import LeNet
from skcnn.training import arithmetic, devices, residency
from skcnn.training.arithmetic import Arithmetic, Trial, by_rule, choose_arithmetic
from skcnn.training.batches import BatchIterator, LabelledImages, read_ahead
from skcnn.training.preprocessing import Preprocessing
from skcnn.training.residency import make_resident

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


def weights_of(clf):
    return b"".join(value.numpy().tobytes() for value in clf.module_.state_dict().values())


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
    with pytest.warns(ValueRangeWarning, match="already divided") as caught:
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
    assert {len(batch) for batch in batches} == {iterator.n_rows}
    assert iterator.n_rows <= batch_size
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


@pytest.fixture
def timing(no_timing, monkeypatch, tmp_path):
    """Allow fits that are long enough to time some steps, with nothing on record."""
    monkeypatch.setattr(arithmetic, "_SHARE_OF_FIT", 0.03)
    monkeypatch.setattr(arithmetic._Record, "_of_process", {})
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.fixture
def try_steps(timing, monkeypatch):
    """Make a `try_step` of given seconds per candidate, which notes what was tried."""
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: True)

    def make(outcomes):
        def try_step(candidate):
            try_step.tried.append(candidate)
            outcome = outcomes[candidate]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome if isinstance(outcome, Trial) else Trial(outcome, 2.3, 1.0)

        try_step.tried = []
        return try_step

    return make


def choose(try_step, module=None, **changes):
    settings = {
        "precision": "auto",
        "device": CPU,
        "n_steps": 1000,
        "batch_shape": (128, 28, 28),
        "reproducible": True,
    }
    return choose_arithmetic(module or LeNet(), try_step, **{**settings, **changes})


def forget():
    """Be another process."""
    arithmetic._Record._of_process.clear()


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((1.0, 0.9, 0.3), BFLOAT16),
        ((1.0, 0.9, 1.2), CHANNELS_LAST),
        ((1.0, 1.1, 8.0), CONTIGUOUS),
        ((1.0, 0.98, 0.99), CONTIGUOUS),  # no more than noise
        ((1.0, 0.9, Trial(0.3, 2.4, 1.0)), CHANNELS_LAST),  # another loss
        ((1.0, 0.9, Trial(0.3, 2.31, 1.1)), BFLOAT16),  # no other than rounding
        ((1.0, 0.9, Trial(0.3, 2.3, 1.5)), CHANNELS_LAST),  # other gradients
        ((1.0, 0.9, Trial(0.3, float("nan"), 1.0)), CHANNELS_LAST),
        ((1.0, RuntimeError("view size is not compatible"), 0.3), BFLOAT16),
        ((RuntimeError("the network is broken"), 0.9, 0.3), CONTIGUOUS),
    ],
)
def test_the_fastest_that_agrees_is_chosen(try_steps, outcomes, expected):
    try_step = try_steps(dict(zip((CONTIGUOUS, CHANNELS_LAST, BFLOAT16), outcomes, strict=True)))
    choice, how = choose(try_step)
    assert choice == expected
    if isinstance(outcomes[0], Exception):
        assert "the network is broken" in how
    else:
        assert "contiguous 1000.0 ms" in how


@pytest.mark.parametrize("n_steps", [1, 199, 200, 299, 300, 499, 500, 10_000])
def test_timing_takes_at_most_three_percent_of_the_steps(try_steps, n_steps):
    try_step = try_steps({CONTIGUOUS: 1.0, CHANNELS_LAST: 1.0, BFLOAT16: 1.0})
    choose(try_step, n_steps=n_steps)
    assert len(try_step.tried) <= 0.03 * n_steps
    assert (len(try_step.tried) > 0) == (n_steps >= 200)


def test_what_is_hopeless_is_tried_once(try_steps):
    try_step = try_steps({CONTIGUOUS: 1.0, CHANNELS_LAST: 0.9, BFLOAT16: 8.0})
    choose(try_step)
    assert try_step.tried.count(BFLOAT16) == 1
    assert try_step.tried.count(CONTIGUOUS) == try_step.tried.count(CHANNELS_LAST) > 1


@pytest.mark.parametrize(
    ("precision", "has_bfloat16", "module", "candidates"),
    [
        ("auto", True, LeNet(), [CONTIGUOUS, CHANNELS_LAST, BFLOAT16]),
        ("auto", False, LeNet(), [CONTIGUOUS, CHANNELS_LAST]),
        ("float32", True, LeNet(), [CONTIGUOUS, CHANNELS_LAST]),
        ("bfloat16", False, LeNet(), [Arithmetic("bfloat16", "contiguous"), BFLOAT16]),
        ("auto", False, nn.Linear(4, 2), []),
    ],
)
def test_candidates(try_steps, monkeypatch, precision, has_bfloat16, module, candidates):
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: has_bfloat16)
    try_step = try_steps(dict.fromkeys(candidates, 1.0))
    choice, _ = choose(try_step, module, precision=precision)
    assert set(try_step.tried) == set(candidates)
    assert choice == (candidates or [CONTIGUOUS])[0]


def test_a_choice_is_made_once_for_all_processes(try_steps):
    first = try_steps({CONTIGUOUS: 1.0, CHANNELS_LAST: 0.5, BFLOAT16: 0.9})
    assert choose(first)[0] == CHANNELS_LAST
    later = try_steps({CONTIGUOUS: 0.5, CHANNELS_LAST: 1.0, BFLOAT16: 0.9})
    assert choose(later)[0] == CHANNELS_LAST
    forget()
    choice, how = choose(later)
    assert choice == CHANNELS_LAST
    assert "on record" in how
    assert later.tried == []
    # Another size, layer, number of threads or precision is another question.
    assert choose(later, batch_shape=(128, 32, 32))[0] == CONTIGUOUS
    assert choose(later, LeNet(norm="batch"))[0] == CONTIGUOUS
    assert choose(later, precision="float32")[0] == CONTIGUOUS


def test_the_first_of_two_processes_is_right(try_steps, tmp_path):
    inner = try_steps({CONTIGUOUS: 1.0, CHANNELS_LAST: 0.5, BFLOAT16: 0.9})
    calls = []

    def overtaken(candidate):  # while this one is timing, another records its own choice
        if not calls:
            calls.append(candidate)
            choose(inner)
            forget()
        return Trial({BFLOAT16: 0.1}.get(candidate, 1.0), 2.3, 1.0)

    assert choose(overtaken)[0] == CHANNELS_LAST
    records = list(tmp_path.glob("hub/skcnn/*"))
    assert len(records) == 1
    assert json.loads(records[0].read_text())["choice"] == CHANNELS_LAST._asdict()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"choice": {"precision": "float8", "memory_format": "x"}}']
)
def test_a_damaged_record_is_made_anew(try_steps, tmp_path, content):
    try_step = try_steps({CONTIGUOUS: 1.0, CHANNELS_LAST: 0.5, BFLOAT16: 0.9})
    choose(try_step)
    (record,) = tmp_path.glob("hub/skcnn/*")
    whole = record.read_text()
    record.write_text(content)
    forget()
    assert choose(try_step)[0] == CHANNELS_LAST
    assert record.read_text() == whole


def test_without_a_record_a_seeded_fit_goes_by_rule(try_steps, tmp_path):
    (tmp_path / "hub").write_text("a file where a folder should be")
    outcomes = {CONTIGUOUS: 1.0, CHANNELS_LAST: 0.5, BFLOAT16: 0.9}
    unseeded = try_steps(outcomes)
    assert choose(unseeded, reproducible=False)[0] == CHANNELS_LAST
    n_tried = len(unseeded.tried)
    assert choose(unseeded, reproducible=False)[0] == CHANNELS_LAST
    assert len(unseeded.tried) == n_tried  # remembered
    seeded = try_steps(outcomes)
    choice, how = choose(seeded)
    assert choice == CONTIGUOUS
    assert "cannot be written" in how
    assert seeded.tried == []


def test_rules():
    assert by_rule("auto", CPU) == by_rule("float32", CPU) == CONTIGUOUS
    assert by_rule("bfloat16", CPU) == Arithmetic("bfloat16", "contiguous")


def long_enough(**params):
    """300 images, 11 batches of training, 143 epochs and so on: enough steps to time two."""
    return quick(max_epochs=13, patience=13, **params)


@pytest.fixture
def channels_last(timing, monkeypatch):
    """Let timing find channels-last the fastest."""
    monkeypatch.setattr(arithmetic, "has_bfloat16", lambda device: False)

    def slower_when_contiguous(self, module, x, targets, candidate):
        trial = real(self, module, x, targets, candidate)
        return trial._replace(seconds=1.0 if candidate == CONTIGUOUS else 0.5)

    from skcnn.training.net import ImageClassifierNet

    real = ImageClassifierNet._try_step
    monkeypatch.setattr(ImageClassifierNet, "_try_step", slower_when_contiguous)


def test_training_in_another_memory_format(clothes, channels_last, capsys):
    X, y = clothes
    plain = quick(max_epochs=4, norm="batch").fit(X, y)
    assert plain.memory_format_ == "contiguous"  # too short
    clf = long_enough(norm="batch", early_stopping=False, verbose=2).fit(X, y)
    assert (clf.precision_, clf.memory_format_) == CHANNELS_LAST
    assert "float32 channels_last (timed: float32 contiguous 1000.0 ms" in capsys.readouterr().out
    assert clf.score(X, y) > 0.95
    assert all(parameter.is_contiguous() for parameter in clf.module_.parameters())
    again = pickle.loads(pickle.dumps(clf))
    assert again.predict_proba(X).tobytes() == clf.predict_proba(X).tobytes()
    # The optimizer's averages, laid out as the weights were, go on.
    loss = clf.history_[-1]["train_loss"]
    clf.set_params(lr=1e-4).partial_fit(X, y)
    assert clf.history_[-1]["train_loss"] < loss + 0.1


def test_timing_leaves_no_trace_in_the_fit(clothes, channels_last):
    X, y = clothes
    clfs = [long_enough(augment="standard", norm="batch").fit(X, y) for _ in range(2)]
    assert weights_of(clfs[0]) == weights_of(clfs[1])  # timed, and from the record


def test_layouts_agree(clothes, channels_last):
    X, y = clothes
    params = {"norm": "batch", "early_stopping": False, "lr": 1e-3}
    clf = long_enough(**params).fit(X, y)
    short = [quick(max_epochs=n, **params, lr_schedule=None) for n in (1, 13)]
    losses = [each.fit(X, y).history_[0]["train_loss"] for each in short]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # an epoch amplifies the rounding
    assert clf.memory_format_ == short[1].memory_format_ != short[0].memory_format_


class Viewing(nn.Module):
    """A network that takes its maps to be contiguous, as many do."""

    def __init__(self, in_channels=1, n_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 5, stride=4)
        self.head = nn.Linear(4 * 6 * 6, n_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().view(len(x), -1))


def test_a_network_that_cannot_be_laid_out_otherwise_trains(clothes, channels_last):
    X, y = clothes
    clf = CNNClassifier(module=Viewing, max_epochs=13, batch_size=25, patience=13, random_state=0)
    assert clf.fit(X, y).memory_format_ == "contiguous"


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_bfloat16_trains_as_well(tops_and_bags, device):
    X, y = tops_and_bags
    slow = not devices.has_bfloat16(device)
    with pytest.warns(SlowPrecisionWarning) if slow else contextlib.nullcontext():
        clf = quick(max_epochs=5, precision="bfloat16", device=device).fit(X[:150], y[:150])
    assert clf.precision_ == "bfloat16"
    assert clf.score(X[150:], y[150:]) > 0.9
    assert {p.dtype for p in clf.module_.parameters()} == {torch.float32}
    plain = quick(max_epochs=5, precision="float32", device=device).fit(X[:150], y[:150])
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
    with pytest.raises(MemoryError, match=r"batch_size, which is 33.*data_device='cpu'") as caught:
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
