"""The engine's parts, each against what it promises."""

import copy
import math
import random
import signal
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from helpers.messages import mentions, names
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, Checkpoint, EpochScoring
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR
from torchvision import transforms as v1
from torchvision.transforms import v2

from skcnn import LeNetClassifier
from skcnn.callbacks import training_callbacks
from skcnn.exceptions import DivergenceError, NoValidationWarning
from skcnn.images import ArrayImages, infer_layout
from skcnn.training.augmentation import (
    EachImage,
    random_crop,
    random_cutout,
    random_light,
    random_mirror,
    random_resized_crop,
    random_rotation,
    resolve_augmentation,
    standard,
    strong,
)
from skcnn.training.averaging import WeightAverage
from skcnn.training.batches import BatchIterator, LabelledImages
from skcnn.training.devices import _free_in_containers, cpu_threads, resolve_device
from skcnn.training.mixing import make_mixing
from skcnn.training.net import ImageClassifierNet
from skcnn.training.optimizers import is_of_any_length, optimizer_settings, schedule_settings
from skcnn.training.preprocessing import Preprocessing
from skcnn.training.reproducibility import seeded_generators
from skcnn.training.splitting import canonical_rows, hold_out

pytestmark = pytest.mark.trains

CPU = torch.device("cpu")


def labelled(X, y, **kwargs):
    images = ArrayImages(X, infer_layout(X.shape[1:], None, "Est"))
    return LabelledImages(images, np.arange(len(X)), np.asarray(y), **kwargs)


# Batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch_size"), [(129, 128), (10, 3), (7, 7), (5, 8), (3, 1), (9, 2), (3, 2)]
)
def test_an_epoch_deals_every_row_once_into_even_batches(n, batch_size):
    X = np.arange(n, dtype=np.float32).reshape(n, 1, 1)
    iterator = BatchIterator(labelled(X, np.arange(n)), batch_size, shuffle=True)
    batches = list(iterator)
    sizes = [len(targets) for _, targets in batches]
    assert len(batches) == len(iterator)
    assert max(sizes) <= max(batch_size, 3 if batch_size == 2 else 0)
    assert min(sizes) > 1 or batch_size == 1
    assert n // max(sizes) <= len(batches) <= math.ceil(n / batch_size)
    assert max(sizes) - min(sizes) <= 1
    seen = torch.cat([targets for _, targets in batches])
    assert sorted(seen.tolist()) == list(range(n))
    assert torch.equal(torch.cat([images for images, _ in batches]).flatten(), seen.float())


def test_epochs_differ_and_validation_does_not():
    dataset = labelled(np.zeros((40, 2, 2)), np.arange(40))
    shuffled = BatchIterator(dataset, 40, shuffle=True)
    assert next(iter(shuffled))[1].tolist() != next(iter(shuffled))[1].tolist()
    assert next(iter(BatchIterator(dataset, 40, shuffle=False)))[1].tolist() == list(range(40))


def test_weights_follow_their_rows():
    X = np.arange(4.0).reshape(4, 1, 1)
    dataset = labelled(X, [0, 1, 0, 1], weights=np.array([1.0, 2.0, 3.0, 2.0]))
    batch = dataset.batch(torch.tensor([2, 0]))
    assert batch[0].flatten().tolist() == [2.0, 0.0]
    assert batch.weights.tolist() == [3.0, 1.0]


# Preprocessing and augmentation -----------------------------------------------------------------


def test_preprocessing_scales_resizes_and_normalises():
    X = torch.randint(0, 256, (50, 3, 9, 6), dtype=torch.uint8)
    pixels = X.double() / 255
    mean, std = pixels.mean((0, 2, 3)).numpy(), pixels.std((0, 2, 3), correction=0).numpy()
    out = Preprocessing((9, 6), mean, std)(X)  # in float32: zero and one within 1e-5
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert Preprocessing((13, 4))(X).shape == (50, 3, 13, 4)


def test_bytes_and_divided_floats_are_the_same_to_the_bit():
    X = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    as_floats = torch.from_numpy(X.numpy() / 255.0)
    assert torch.equal(Preprocessing((16, 16))(X), Preprocessing((16, 16))(as_floats.float()))


def test_a_device_that_cannot_resize_lets_the_cpu_do_it(monkeypatch):
    x = torch.rand(2, 3, 9, 6)
    expected = Preprocessing((5, 4))(x)
    interpolate, n_calls = nn.functional.interpolate, []

    def fail_first(*args, **kwargs):
        n_calls.append(1)
        if len(n_calls) == 1:  # as torch 2.6 does on MPS
            raise NotImplementedError("aten::_upsample_bilinear2d_aa.out for the MPS device")
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "interpolate", fail_first)
    assert torch.equal(Preprocessing((5, 4))(x), expected)
    assert len(n_calls) == 2


def test_preprocessing_leaves_its_input_alone():
    for dtype in (torch.uint8, torch.float32):
        X = torch.ones(2, 1, 4, 4, dtype=dtype)
        Preprocessing((4, 4), np.array([0.3]), np.array([2.0]))(X, augment=lambda x: x.mul_(1))
        assert (X == 1).all()


@pytest.mark.parametrize(
    ("augment", "got"),
    [
        (lambda x: x[..., 1:], (2, 1, 4, 3)),
        (lambda x: x[:1], (1, 1, 4, 4)),
        (lambda x: x.double(), "torch.float64"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_an_augmentation_that_changes_the_batch_is_named(augment, got):
    with pytest.raises(ValueError, match=mentions("'augment'", got)):
        Preprocessing((4, 4))(torch.zeros(2, 1, 4, 4), augment=augment)


def test_random_crop_shifts_every_image_by_its_own():
    torch.manual_seed(0)
    X = torch.rand(64, 2, 16, 24) + 1
    cropped = random_crop(X)
    shifts = set()
    for before, after in zip(X, cropped, strict=True):
        matches = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-3, 4)
            if torch.equal(after, _shifted(before, dy, dx))
        ]
        assert len(matches) == 1
        shifts.add(matches[0])
    assert len(shifts) > 20


def _shifted(image, dy, dx):
    padded = nn.functional.pad(image, (3, 3, 2, 2))
    return padded[:, 2 + dy : 2 + dy + 16, 3 + dx : 3 + dx + 24]


def test_random_mirror_mirrors_about_half():
    torch.manual_seed(0)
    X = torch.rand(400, 1, 3, 5)
    mirrored = random_mirror(X)
    n_mirrored = sum(
        torch.equal(after, before.flip(-1)) for before, after in zip(X, mirrored, strict=True)
    )
    n_kept = sum(torch.equal(after, before) for before, after in zip(X, mirrored, strict=True))
    assert n_mirrored + n_kept == 400
    assert 150 < n_mirrored < 250


def test_random_light_scales_every_image_by_its_own():
    torch.manual_seed(0)
    X = torch.rand(64, 1, 8, 8)
    lit = random_light(X)
    # Brightness scales mean and spread alike, contrast the spread alone.
    brightness = lit.mean((1, 2, 3)) / X.mean((1, 2, 3))
    contrast = lit.std((1, 2, 3)) / X.std((1, 2, 3)) / brightness
    for factor in (brightness, contrast):
        assert 0.6 <= factor.min() < 0.7
        assert 1.3 < factor.max() <= 1.4
    torch.testing.assert_close(lit, random_light_by_hand(X, brightness, contrast))


def random_light_by_hand(X, brightness, contrast):
    brightness, contrast = brightness[:, None, None, None], contrast[:, None, None, None]
    mean = X.mean((1, 2, 3), keepdim=True)
    return brightness * (mean + contrast * (X - mean))


def test_random_light_changes_saturation_of_colours_and_leaves_alpha():
    torch.manual_seed(0)
    X = torch.rand(32, 4, 5, 6)
    lit = random_light(X)
    assert torch.equal(lit[:, 3], X[:, 3])
    grey = X[:, :1].expand(-1, 3, -1, -1)
    lit = random_light(grey)
    torch.testing.assert_close(lit[:, 0], lit[:, 2])  # what has no colour gets none
    colours = random_light(X[:, :3])
    spread = [(x - x.mean(1, keepdim=True)).std((1, 2, 3)) for x in (X[:, :3], colours)]
    contrast = [x.mean(1).std((1, 2)) for x in (X[:, :3], colours)]
    saturation = (spread[1] / spread[0]) / (contrast[1] / contrast[0])
    assert 0.59 < saturation.min() < 0.75
    assert 1.25 < saturation.max() < 1.41


@pytest.mark.parametrize(("height", "width", "side"), [(16, 16, 8), (8, 20, 4)])
def test_random_cutout_blanks_a_square_of_every_image(height, width, side):
    torch.manual_seed(0)
    X = torch.rand(100, 3, height, width)
    cut = random_cutout(X)
    changed = (cut != X).any(1)
    assert changed.any((1, 2)).all()
    means = X.mean((1, 2, 3), keepdim=True).expand_as(X)
    assert torch.equal(cut.permute(0, 2, 3, 1)[changed], means.permute(0, 2, 3, 1)[changed])
    assert changed.sum((1, 2)).max() == side**2
    assert len(changed.flatten(1).unique(dim=0)) > 50


def with_positions(n, height, width):
    """Images of noise, with the row and the column of each pixel's centre as two more channels."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack([row, column]).expand(n, -1, -1, -1) + 0.5
    return torch.cat([torch.rand(n, 2, height, width), positions], dim=1)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (20, 36)])
def test_random_rotation_turns_every_image_by_its_own_angle(height, width):
    torch.manual_seed(0)
    X = with_positions(100, height, width)
    turned = random_rotation(X)
    # From one pixel to the next in a row, positions go on by cosine and sine of the angle.
    middle = turned[:, 2:, height // 2, width // 2 - 2 : width // 2 + 2]
    sin, cos = middle.diff(dim=2).mean(dim=2).T
    torch.testing.assert_close(sin**2 + cos**2, torch.ones(100))
    degrees = torch.atan2(sin, cos).rad2deg()
    assert -15 <= degrees.min() < -13
    assert 13 < degrees.max() <= 15
    for image, angle, expected in zip(X[:5], degrees.tolist(), turned, strict=False):
        reference = v2.functional.rotate(image, angle, v2.InterpolationMode.BILINEAR)
        # The angle is measured, to six digits; positions at the edges are steep.
        torch.testing.assert_close(expected, reference, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (24, 60)])
@pytest.mark.parametrize("size", [(16, 16), (64, 50)])
def test_random_resized_crop_takes_a_part_of_its_own_of_every_image(height, width, size):
    torch.manual_seed(0)
    X = with_positions(200, height, width)
    cropped = random_resized_crop(X, size)
    assert cropped.shape == (200, 4, *size)
    # In its middle, a crop's positions are on a straight line: they tell where it is.
    down, across = cropped[:, 2].mean(dim=2), cropped[:, 3].mean(dim=1)
    boxes = []
    for line, n in ((down, size[0]), (across, size[1])):
        first, last = n // 4, 3 * n // 4
        step = (line[:, last] - line[:, first]) / (last - first)
        boxes.append((line[:, first] - step * (first + 0.5)).round().int().tolist())
        boxes.append((step * n).round().int().tolist())
    top, heights, left, widths = boxes
    for image, crop, *box in zip(X, cropped, top, left, heights, widths, strict=True):
        reference = v2.functional.resized_crop(image, *box, list(size), antialias=True)
        torch.testing.assert_close(crop, reference)
    heights, widths = torch.tensor(heights), torch.tensor(widths)
    area, ratio = heights * widths / (height * width), widths / heights
    # 8 to 100 %, and 3/4 to 4/3, but that sides are whole numbers of pixels, 9 and more.
    assert 0.07 < area.min() < 0.2
    assert 0.55 < area.max() <= 1
    assert 0.67 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.5
    assert min(top) == min(left) == 0
    assert (torch.tensor(top) + heights).max() == height
    assert (torch.tensor(left) + widths).max() == width


def test_a_crop_of_a_long_and_narrow_image_is_what_there_is():
    torch.manual_seed(0)
    rows = torch.arange(50.0)[None, None, :, None].expand(20, -1, -1, 1)
    for X in (rows, rows.mT):
        cropped = random_resized_crop(X, (4, 6))
        assert cropped.shape == (20, 1, 4, 6)
        assert cropped.min() >= 0
        assert cropped.max() <= 49
        assert len(cropped.flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize(
    "augment", [standard, strong, random_rotation, lambda x: random_resized_crop(x, x.shape[2:])]
)
def test_augmentation_works_on_the_smallest_images(augment):
    assert augment(torch.rand(3, 1, 1, 2)).shape == (3, 1, 1, 2)
    assert augment(torch.rand(3, 4, 2, 1)).isfinite().all()


def test_a_crop_is_taken_before_images_lose_detail_and_others_follow_in_turn():
    crop, augment = resolve_augmentation([torch.sin, "resized_crop", "mirror", nn.Tanh()])
    assert crop is random_resized_crop
    torch.manual_seed(0)
    X = torch.randint(0, 256, (30, 1, 40, 40), dtype=torch.uint8)
    torch.manual_seed(1)
    prepared = Preprocessing((20, 20))(X, augment, crop)
    torch.manual_seed(1)
    expected = random_mirror(random_resized_crop(X / 255, (20, 20)).sin()).tanh()
    torch.testing.assert_close(prepared, expected)
    assert resolve_augmentation("resized_crop") == (random_resized_crop, None)
    assert resolve_augmentation([]) == resolve_augmentation(None) == (None, None)
    assert resolve_augmentation(["mirror"]) == (None, random_mirror)


FLIP = v2.RandomHorizontalFlip()


class Flips:
    """What users write: an object that holds a transform, or whose code makes one."""

    def __init__(self, *held):
        self.held = held

    def __call__(self, x):
        for change in self.held:
            x = change(x)
        return x


class MakesOne(Flips):
    def __call__(self, x):
        return v2.RandomHorizontalFlip()(x)


class FlipModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList([nn.Identity(), FLIP])

    def forward(self, x):
        return self.steps[1](self.steps[0](x))


def flip(x):
    return FLIP(x)


def make_closure(change):
    return lambda x: change(x)


@pytest.mark.parametrize(
    "augment",
    [
        FLIP,
        v2.Compose([FLIP]),
        v2.RandomApply([FLIP], p=1.0),
        v1.RandomHorizontalFlip(),
        v1.Compose([v1.RandomHorizontalFlip()]),
        nn.Sequential(FLIP),
        nn.Sequential(nn.Identity(), nn.Sequential(FLIP)),
        FlipModule(),
        [torch.abs, FLIP],
        [torch.abs, nn.Sequential(FLIP)],
        (torch.abs, lambda x: FLIP(x)),
        lambda x: FLIP(x),
        lambda x, change=FLIP: change(x),
        lambda x: v2.RandomHorizontalFlip()(x),
        lambda x: flip(x),
        flip,
        make_closure(FLIP),
        make_closure(nn.Sequential(FLIP)),
        make_closure(make_closure(FLIP)),
        partial(lambda change, x: change(x), FLIP),
        Flips(torch.abs, FLIP),
        Flips(Flips(nn.Sequential(FLIP))),
        Flips(FLIP).__call__,
        MakesOne(),
    ],
)
def test_transforms_of_torchvision_change_every_image_by_its_own(augment):
    _, augment = resolve_augmentation(augment)
    torch.manual_seed(0)
    X = torch.rand(1, 1, 3, 5).expand(100, -1, -1, -1)
    changed = augment(X)
    assert changed.shape == X.shape
    assert 30 < (changed == X).all((1, 2, 3)).sum() < 70


def test_other_callables_are_given_whole_batches():
    def shuffle(x):
        return x[torch.randperm(len(x))]

    for augment in (torch.sin, shuffle, lambda x: torch.roll(x, 1, dims=-1), Flips(shuffle)):
        assert resolve_augmentation(augment) == (None, augment)
    module = nn.Sequential(nn.Identity())
    assert resolve_augmentation(module) == (None, module.__call__)


def test_an_augmentation_that_changes_the_shape_is_an_error():
    with pytest.raises(ValueError, match=mentions("'augment'", (2, 1, 2, 2))):
        Preprocessing((4, 4))(torch.rand(2, 1, 4, 4), augment=EachImage(v2.CenterCrop(2)))


# Mixing and averaging -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_mixes_images_and_targets_in_the_same_shares(name):
    torch.manual_seed(0)
    # Image i has the value i everywhere, and is of class i.
    X = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 8, 8)
    seen = set()
    for _ in range(20):
        mixed, targets, weights = make_mixing(name, 6)(X, torch.arange(6), None)
        assert weights is None
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
        torch.testing.assert_close(mixed.mean((1, 2, 3)), targets @ torch.arange(6.0))
        seen.add(round(float(targets[0, 0]), 4))
    assert len(seen) >= 8
    assert make_mixing(None, 6) is None


def test_training_on_mixed_images():
    X, y = halves()
    mixed = []

    class Look(Callback):
        def on_batch_end(self, net, batch, training, loss, **kwargs):
            mixed.append((training, float(loss)))

    net = make_net(mixing=make_mixing("mixup", 2), callbacks=[Look()], max_epochs=1)
    net.fit(labelled(X, y), None)
    assert all(math.isfinite(loss) for _, loss in mixed)
    plain = make_net(max_epochs=1)
    plain.fit(labelled(X, y), None)
    assert net.history[0, "train_loss"] != plain.history[0, "train_loss"]


def test_the_average_follows_its_formula():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, affine=False))
    average = WeightAverage(network, 0.3)
    expected = None
    for t, value in enumerate([1.0, 5.0, -2.0, 4.0]):
        network[0].weight.data.fill_(value)
        network[1].running_mean.fill_(2 * value)
        network[1].num_batches_tracked += 1
        average.update()
        decay = min(0.3, (1 + t) / (10 + t))
        expected = value if t == 0 else decay * expected + (1 - decay) * value
    average.swap()
    assert network[0].weight.item() == pytest.approx(expected)
    assert network[1].running_mean.item() == pytest.approx(2 * expected)
    assert network[1].num_batches_tracked == 4
    average.swap()
    assert network[0].weight.item() == 4


def test_a_fit_ends_with_the_average_and_validates_it():
    X, y = halves()
    states = []

    class Keep(Callback):
        def on_batch_end(self, net, training, **kwargs):
            if training:
                states.append(copy.deepcopy(net.module_.state_dict()))

        def on_epoch_end(self, net, **kwargs):
            states.append(copy.deepcopy(net.module_.state_dict()))

    validation = labelled(X, y)
    net = make_net(
        average_decay=0.9,
        max_epochs=2,
        batch_size=16,
        callbacks=[Keep()],
        train_split=lambda dataset, y=None: (dataset, validation),
    )
    net.fit(labelled(X, y), None)
    name = next(iter(net.module_.state_dict()))
    steps = [state[name] for i, state in enumerate(states) if i % 5 < 4]  # four steps an epoch
    expected = steps[0]
    for t, weight in enumerate(steps[1:], start=1):
        decay = min(0.9, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(net.module_.state_dict()[name], expected)
    torch.testing.assert_close(states[-1][name], expected)  # what the epoch's callbacks see
    with torch.no_grad():
        loss = nn.functional.cross_entropy(
            net.infer(torch.from_numpy(X)[:, None]), validation.targets
        )
    assert net.history[-1, "valid_loss"] == pytest.approx(float(loss), rel=1e-5)


# Splitting --------------------------------------------------------------------------------------


def test_rows_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    keys, targets = rng.integers(0, 50, 200, dtype=np.uint64), rng.integers(0, 3, 200)
    shuffled = rng.permutation(200)
    a = canonical_rows(keys, targets, None)
    b = canonical_rows(keys[shuffled], targets[shuffled], None)
    for name in ("keys", "targets", "weights"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(keys[a.index], keys[shuffled][b.index])


def test_copies_are_merged_into_rows_that_weigh():
    keys, targets = np.array([7, 3, 7, 7, 3], dtype=np.uint64), np.array([0, 1, 0, 1, 1])
    rows = canonical_rows(keys, targets, None)
    assert list(zip(rows.keys, rows.targets, strict=True)) == [(7, 0), (3, 1), (7, 1)]
    assert rows.weights.tolist() == [1.0, 1.0, 0.5]
    assert rows.scale == 2.0
    np.testing.assert_allclose(rows.loss_weights(), [1.2, 1.2, 0.6], rtol=1e-6)
    assert rows.loss_weights(unit=1.0).tolist() == [2.0, 2.0, 1.0]


def test_rows_of_weight_zero_are_left_out():
    keys, targets = np.arange(4, dtype=np.uint64), np.array([0, 1, 0, 1])
    rows = canonical_rows(keys, targets, np.array([0.5, 0.0, 1.0, 3.0]))
    assert rows.index.tolist() == [0, 2, 3]
    np.testing.assert_allclose(rows.weights, [1 / 6, 1 / 3, 1], rtol=1e-6)
    rows = canonical_rows(keys, targets, None, class_weights=np.array([0.0, 2.0]))
    assert rows.index.tolist() == [1, 3]
    assert rows.loss_weights() is None


@pytest.mark.parametrize("scale", [1e-300, 0.3, 1, 11, 1e300])
def test_equal_weights_are_none(scale):
    rows = canonical_rows(np.arange(4), np.arange(4), np.full(4, scale))
    assert rows.weights is None
    assert rows.loss_weights() is None
    assert rows.scale == scale


@pytest.mark.filterwarnings("error")
def test_huge_and_tiny_weights_have_mean_one():
    keys, targets = np.arange(3), np.array([0, 1, 0])
    rows = canonical_rows(keys, targets, np.array([1e308, 1e308, 0.5e308]))
    assert rows.index.tolist() == [0, 2, 1]
    np.testing.assert_allclose(rows.loss_weights(), [1.2, 0.6, 1.2], rtol=1e-6)
    rows = canonical_rows(keys, targets, np.array([1e-300, 1e300, 1e300]))
    assert rows.index.tolist() == [0, 2, 1]  # none left out
    np.testing.assert_allclose(rows.loss_weights(), [0, 1.5, 1.5], atol=1e-6)
    tiny = canonical_rows(keys, targets, np.array([5e-324, 5e-324, 1e-323]))
    np.testing.assert_allclose(tiny.loss_weights(), [0.75, 1.5, 0.75], rtol=1e-6)


COUNTS = [(90, 5, 5), (97, 2, 1), (50, 50), (2, 2, 2), (3,) * 20, (14,) * 50, (1000, 1, 1, 9)]


@pytest.mark.filterwarnings("ignore::skcnn.exceptions.NoValidationWarning")
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.99])
def test_each_class_of_two_images_is_validated_and_trained(counts, fraction):
    counts = np.array(counts)
    targets = np.repeat(np.arange(len(counts)), counts)
    rng = np.random.default_rng(0)
    for seed in range(10):
        keys = rng.integers(1 << 63, size=len(targets), dtype=np.uint64)
        training, validation = hold_out(canonical_rows(keys, targets, None), fraction, seed)
        n_held_out = np.bincount(validation.targets, minlength=len(counts))
        assert (np.bincount(training.targets, minlength=len(counts)) >= 1).all()
        assert (n_held_out[counts > 1] >= 1).all()
        exact = fraction * counts
        fair = (counts > 1) & (exact >= 1) & (exact <= counts - 1)
        assert (np.abs(n_held_out - exact)[fair] <= 1).all()
        assert sorted([*training.index, *validation.index]) == list(range(len(targets)))


@pytest.mark.parametrize("split_seed", range(20))
def test_an_image_of_several_classes_stays_on_one_side(split_seed):
    rng = np.random.default_rng(split_seed)
    keys, targets = (
        rng.integers(0, 60, 200, dtype=np.uint64),
        rng.choice(4, 200, p=[0.6, 0.3] + [0.05] * 2),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoValidationWarning)
        training, validation = hold_out(canonical_rows(keys, targets, None), 0.2, split_seed)
    assert not set(training.keys) & set(validation.keys)
    assert set(training.targets) == set(targets)
    assert set(validation.targets) == {k for k in range(4) if len(set(keys[targets == k])) > 1}
    assert 8 <= len(set(validation.keys)) <= 20


def test_images_that_come_later_leave_the_others_on_their_side():
    rng = np.random.default_rng(0)
    keys, targets = rng.integers(1 << 63, size=1200, dtype=np.uint64), np.arange(1200) % 3
    _, before = hold_out(canonical_rows(keys[:1000], targets[:1000], None), 0.2, seed=0)
    _, after = hold_out(canonical_rows(keys, targets, None), 0.2, seed=0)
    known = after.keys[np.isin(after.keys, keys[:1000])]
    assert np.isin(known, before.keys).mean() > 0.85  # 0.2 where all are drawn anew
    _, other = hold_out(canonical_rows(keys, targets, None), 0.2, seed=1)
    assert np.isin(other.keys, after.keys).mean() < 0.4


def test_a_class_of_one_image_trains():
    rows = canonical_rows(np.arange(9, dtype=np.uint64), np.array([0] * 4 + [1] * 4 + [2]), None)
    with pytest.warns(NoValidationWarning, match=mentions("1 of 3")):
        training, validation = hold_out(rows, 0.9, seed=0)
    assert set(training.targets) == {0, 1, 2}
    assert set(validation.targets) == {0, 1}
    singles = canonical_rows(np.arange(3, dtype=np.uint64), np.arange(3), None)
    with pytest.warns(NoValidationWarning, match=mentions("3 of 3")):
        training, validation = hold_out(singles, 0.1, seed=0)
    assert validation is None
    assert len(training.index) == 3


# Optimizers, schedules, devices, generators ----------------------------------------------------


def test_optimizer_settings():
    settings = partial(optimizer_settings, momentum=0.8, weight_decay=0.1, device=CPU)
    assert settings("sgd") == (
        torch.optim.SGD,
        {"weight_decay": 0.1, "momentum": 0.8, "fused": True},
    )
    assert settings("adam") == (torch.optim.Adam, {"weight_decay": 0.1, "fused": True})
    assert settings(torch.optim.NAdam) == (torch.optim.NAdam, {"weight_decay": 0.1})
    assert settings(torch.optim.Rprop) == (torch.optim.Rprop, {})


def test_one_cycle_needs_its_length():
    with pytest.raises(ValueError, match=mentions("lr=0.1", "steps_per_epoch=None")):
        schedule_settings("one_cycle", lr=0.1, max_epochs=3, steps_per_epoch=None)


def test_a_schedule_that_needs_arguments_says_how_to_give_them():
    with pytest.raises(ValueError, match=mentions("'lr_schedule'", "StepLR", "step_size")):
        schedule_settings(StepLR, lr=None, max_epochs=3, steps_per_epoch=None)


@pytest.mark.parametrize(
    ("lr_schedule", "any_length"),
    [
        (None, True),
        ("cosine", False),
        ("one_cycle", False),
        (partial(StepLR, step_size=2), True),
        (ReduceLROnPlateau, True),
        (CosineAnnealingLR, False),
        (partial(CosineAnnealingLR, T_max=5), True),
        (partial(CosineAnnealingLR, eta_min=1e-5), False),
    ],
)
def test_a_schedule_of_any_length_is_one_that_is_not_told_the_length(lr_schedule, any_length):
    assert is_of_any_length(lr_schedule) == any_length
    if any_length and lr_schedule is not None:
        settings = [
            schedule_settings(lr_schedule, lr=0.1, max_epochs=n, steps_per_epoch=2) for n in (3, 7)
        ]
        assert settings[0] == settings[1]


def test_what_a_partial_schedule_is_given_reaches_it(clothes):
    plateau = partial(
        ReduceLROnPlateau, threshold=1e9, threshold_mode="abs", factor=0.5, patience=0
    )
    for lr_schedule, rates in (
        (partial(CosineAnnealingLR, T_max=1), [1e-3, 0, 1e-3]),
        (plateau, [1e-3, 1e-3, 5e-4]),
    ):
        clf = LeNetClassifier(lr=1e-3, lr_schedule=lr_schedule, max_epochs=3, random_state=0)
        clf.fit(*clothes)
        assert [epoch["lr"] for epoch in clf.history_] == pytest.approx(rates)


def test_unknown_and_absent_devices():
    with pytest.raises(ValueError, match=names("device", "gpu")):
        resolve_device("gpu", "Est")
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match=mentions("'device'", repr(absent), "device='auto'")):
        resolve_device(absent, "Est")
    with pytest.raises(ValueError, match=names("device", "meta")):
        resolve_device("meta", "Est")
    assert resolve_device(CPU, "Est") == resolve_device("cpu", "Est") == CPU


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_generators_are_seeded_and_put_back():
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002

    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    expected = draw()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    with seeded_generators(1, CPU):
        first = draw()
    with pytest.raises(ZeroDivisionError), seeded_generators(1, CPU):
        assert draw() == first
        raise ZeroDivisionError
    assert draw() == expected


# Callbacks and net --------------------------------------------------------------------------------


def make_net(module=None, n_epochs=4, lr=0.1, **kwargs):
    torch.manual_seed(0)
    module = module or nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    settings = {
        "preprocessing": partial(Preprocessing, (8, 8)),
        "criterion": nn.CrossEntropyLoss,
        "criterion__reduction": "none",
        "train_split": None,
        "callbacks": training_callbacks(max_epochs=n_epochs, early_stopping=False),
        "max_epochs": n_epochs,
        "batch_size": 16,
        "lr": lr,
        "verbose": 0,
        **kwargs,
    }
    return ImageClassifierNet(module, **settings)


def halves(n=64):
    """Images whose left or right half is lit; the label says which."""
    X, y = np.zeros((n, 8, 8), dtype=np.float32), np.arange(n) % 2
    X[y == 0, :, :4] = 1
    X[y == 1, :, 4:] = 1
    return X, y


def test_history_agrees_with_plain_skorch():
    """One full batch an epoch: the numbers do not depend on the order of the rows."""
    X, y = halves()
    ours = make_net(batch_size=64).fit(labelled(X, y), None)
    torch.manual_seed(0)
    theirs = NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        callbacks=training_callbacks(max_epochs=4, early_stopping=False),
        max_epochs=4,
        batch_size=64,
        lr=0.1,
        verbose=0,
    ).fit(X, y)
    for name in ("train_loss", "train_acc"):  # float32 sums in another order
        np.testing.assert_allclose(ours.history[:, name], theirs.history[:, name], rtol=1e-5)
    assert ours.history[-1, "train_acc"] == 1.0
    batches = ours.history[:, "batches", :, "train_loss"]
    assert [len(epoch) for epoch in batches] == [1] * 4
    assert all(isinstance(loss, float) for epoch in batches for loss in epoch)


def test_epoch_loss_is_the_mean_over_rows():
    X, y = halves(50)
    net = make_net(lr=0.0, batch_size=16, max_epochs=1, callbacks=None).fit(labelled(X, y), None)
    with torch.no_grad():
        logits = net.module_(torch.from_numpy(X)[:, None])
        expected = nn.functional.cross_entropy(logits, torch.from_numpy(y))
    assert net.history[-1, "train_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert sum(net.history[-1, "batches", :, "train_batch_size"]) == 50


def test_callbacks_of_skorch_hear_of_batches_and_score():
    class Listener(Callback):
        def on_batch_end(self, net, batch, training, loss, y_pred, **kwargs):
            heard.append((training, tuple(y_pred.shape), float(loss)))

        def on_grad_computed(self, net, named_parameters, **kwargs):
            gradients.append({name: p.grad.abs().max().item() for name, p in named_parameters})

    heard, gradients = [], []
    X, y = halves(32)
    scoring = EpochScoring("f1", name="train_f1", on_train=True, lower_is_better=False)
    net = make_net(callbacks=[Listener(), scoring], classes=[0, 1]).fit(labelled(X, y), None)
    assert heard[0][:2] == (True, (16, 2))
    assert len(heard) == 8
    assert [loss for _, _, loss in heard] == [
        loss for epoch in net.history[:, "batches", :, "train_loss"] for loss in epoch
    ]
    assert set(gradients[0]) == {"1.weight", "1.bias"}
    assert net.history[-1, "train_f1"] == 1.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.1 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]),
        (None, [0.1] * 4),
        (partial(StepLR, step_size=2, gamma=0.5), [0.1, 0.1, 0.05, 0.05]),
        (ReduceLROnPlateau, [0.1] * 4),
    ],
)
def test_learning_rates(schedule, expected):
    callbacks = training_callbacks(max_epochs=4, early_stopping=False, lr_schedule=schedule)
    X, y = halves()
    net = make_net(callbacks=callbacks).fit(labelled(X, y), None)
    np.testing.assert_allclose(net.history[:, "lr"], expected)


def test_one_cycle_rises_and_falls_within_the_batches():
    class Rates(Callback):
        def on_batch_begin(self, net, **kwargs):
            rates.append(net.optimizer_.param_groups[0]["lr"])

    rates = []
    callbacks = training_callbacks(
        max_epochs=4, early_stopping=False, lr_schedule="one_cycle", lr=0.1, steps_per_epoch=4
    )
    X, y = halves()
    optimizer = {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9}
    make_net(callbacks=[*callbacks, Rates()], **optimizer).fit(labelled(X, y), None)
    assert len(rates) == 16
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.1, rel=0.05)
    assert rates[0] < 0.01
    assert rates[-1] < 0.001
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


OPTIMIZERS = [
    optimizer
    for optimizer in vars(torch.optim).values()
    if isinstance(optimizer, type) and optimizer is not torch.optim.Optimizer
]


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", None, partial(StepLR, step_size=2)])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", *OPTIMIZERS])
def test_every_optimizer_of_torch_trains_or_is_refused_by_name(tops_and_bags, optimizer, schedule):
    X, y = tops_and_bags
    clf = LeNetClassifier(
        optimizer=optimizer, lr_schedule=schedule, max_epochs=2, batch_size=60, random_state=0
    )
    if getattr(optimizer, "__name__", None) in ("LBFGS", "SparseAdam", "Muon"):
        with pytest.raises(ValueError, match=mentions("'optimizer'", optimizer.__name__)):
            clf.fit(X, y)
        return
    clf.fit(X, y)
    assert len(clf.history_) == 2
    start = LeNetClassifier(max_epochs=1, lr=1e-30, random_state=0).fit(X, y)
    assert any(
        not torch.equal(p, q)
        for p, q in zip(clf.module_.parameters(), start.module_.parameters(), strict=True)
    )


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_one_cycle_leaves_momentum_alone(tops_and_bags, momentum):
    class Momenta(Callback):
        def on_batch_begin(self, net, training, **kwargs):
            momenta.add(net.optimizer_.param_groups[0]["momentum"])

    momenta = set()
    LeNetClassifier(
        optimizer="sgd",
        momentum=momentum,
        lr_schedule="one_cycle",
        max_epochs=2,
        callbacks=[Momenta()],
    ).fit(*tops_and_bags)
    assert momenta == {momentum}


def test_plain_skorch_nets_stop_early_and_restore_the_best_epoch():
    """A net that only ever gets worse: its first epoch is its best."""
    X, y = halves()
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        criterion=nn.CrossEntropyLoss,
        optimizer=partial(torch.optim.SGD, maximize=True),
        max_epochs=20,
        lr=0.5,
        verbose=0,
        callbacks=training_callbacks(max_epochs=20, patience=3, lr_schedule=None),
    ).fit(X, y)
    assert len(net.history) == 4
    kept = net.forward(X[:1])
    losses = net.history[:, "valid_loss"]
    assert losses == sorted(losses)
    assert torch.isfinite(kept).all()
    assert dict(net.callbacks_)["early_stopping"].best_epoch_ == 1


def test_the_better_of_two_equal_accuracies_has_the_lower_loss():
    X, y = halves()
    training, validation = labelled(X, y), labelled(X[:8], y[:8])
    net = make_net(
        n_epochs=6,
        train_split=lambda dataset, y=None: (dataset, validation),
        callbacks=training_callbacks(max_epochs=6, patience=2, lr_schedule=None),
    ).fit(training, None)
    assert net.history[1:, "valid_acc"] == [1.0] * 5  # no accuracy to gain, but loss
    assert len(net.history) == 6
    assert dict(net.callbacks_)["early_stopping"].best_epoch_ == 6


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end", "on_epoch_begin"])
def test_an_interrupt_is_an_error(hook):
    def interrupt(self, net, **kwargs):
        signal.default_int_handler(signal.SIGINT, None)  # as Ctrl-C does

    callback = type("Interrupting", (Callback,), {hook: interrupt})()
    with pytest.raises(KeyboardInterrupt):
        make_net(callbacks=[callback]).fit(labelled(*halves()), None)


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(DivergenceError, match=mentions("lr=1e+38")) as caught:
        make_net(lr=1e38, n_epochs=6).fit(labelled(*halves()), None)
    assert caught.value.lr == 1e38


def test_a_single_row_under_batch_normalisation_is_explained():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net = make_net(module, batch_size=1)
    with pytest.raises(ValueError, match=mentions("'batch_size'", 2, 1)):
        net.fit(labelled(*halves()), None)


def test_results_of_a_row_do_not_depend_on_its_company():
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    net = make_net(conv).initialize()
    X = torch.rand(300, 1, 8, 8)
    for n_rows in (17, 150, 256):
        order = torch.randperm(300)
        in_order = torch.cat(list(net.logits([X[:n_rows], X[-n_rows:]])))[order[:n_rows] % n_rows]
        rows = X[:n_rows][order[:n_rows] % n_rows]
        (permuted,) = net.logits([rows])
        assert torch.equal(permuted, in_order)
        (among_zeros,) = net.logits([torch.cat([rows[:7], torch.zeros(n_rows - 7, 1, 8, 8)])])
        assert torch.equal(among_zeros[:7], permuted[:7])


def test_large_images_are_predicted_in_smaller_batches():
    def rows(side):
        net = make_net(preprocessing=partial(Preprocessing, (side, side)))
        return net.initialize().prediction_rows

    assert [rows(side) for side in (8, 96, 97, 224, 4000)] == [256, 256, 128, 32, 1]
    net = make_net(raw_size=(3000, 4000)).initialize()  # photographs, made small
    assert net.prediction_rows == 4


def test_features_are_what_a_layer_takes_or_gives():
    net = make_net().initialize()
    X = torch.rand(5, 1, 8, 8)
    assert torch.equal(torch.cat(list(net.features([X], "1"))), X.flatten(1))
    convolutional = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    net = make_net(convolutional).initialize()
    given = torch.cat(list(net.features([X], "0", output=True)))
    torch.testing.assert_close(given, convolutional[0](X).mean((2, 3)))  # not what ReLU made of it
    taken = torch.cat(list(net.features([X], "2")))
    torch.testing.assert_close(taken, convolutional[:2](X).mean((2, 3)))
    assert not net.module_[2]._forward_pre_hooks
    assert not net.module_[0]._forward_hooks


class Modes(nn.Module):
    """Counts how often its mode is set, and notes the mode of each pass."""

    def __init__(self):
        super().__init__()
        self.n_set, self.modes = 0, []

    def train(self, mode=True):
        self.n_set += 1
        return super().train(mode)

    def forward(self, x):
        self.modes.append(self.training)
        return x


@pytest.mark.parametrize("meddles", [None, "on_batch_begin", "on_batch_end", "on_epoch_begin"])
def test_modes_are_set_once_an_epoch_and_again_where_a_callback_changes_them(meddles):
    class Meddles(Callback):
        pass

    if meddles is not None:
        setattr(Meddles, meddles, lambda self, net, *args, **kwargs: net.module_.eval())
    module = nn.Sequential(nn.Flatten(), Modes(), Modes(), nn.Linear(64, 2))
    net = make_net(module, held=("2",), max_epochs=2, batch_size=8, callbacks=[Meddles()])
    net.set_params(train_split=predefined_split(labelled(*halves(24))))
    net.fit(labelled(*halves(32)), None)
    assert net.module_[1].modes == 2 * [True, True, True, True, False]
    assert not any(net.module_[2].modes)
    if meddles is None:
        assert net.module_[1].n_set <= 2 * 2 + 3  # and around the fit


def test_held_layers_do_not_follow_the_batches():
    X, y = halves()
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)
    )
    net = make_net(module, held=("1",))
    net.fit(labelled(X, y), None)
    assert not net.module_[1].running_mean.any()
    assert net.module_[2].running_mean.any()


def test_callbacks_can_be_cloned_with_their_net():
    net = NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 2)),
        criterion=nn.CrossEntropyLoss,
        verbose=0,
        callbacks=training_callbacks(max_epochs=2, patience=4),
    )
    stopping = dict(clone(net).initialize().callbacks_)["early_stopping"]
    assert stopping.patience == 4
    assert cross_val_score(net, *halves(), cv=2).shape == (2,)


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("cosine", 9),
        ("one_cycle", 9),
        (CosineAnnealingLR, 9),
        (partial(CosineAnnealingLR, T_max=3), 1),
        (partial(StepLR, step_size=2), 1),
        (None, 1),
    ],
)
@pytest.mark.parametrize("patience", [1, 3])
def test_annealed_schedules_are_not_stopped_before_the_rate_has_come_down(
    tops_and_bags, schedule, first, patience
):
    X, y = tops_and_bags
    clf = LeNetClassifier(
        lr=1e-4, lr_schedule=schedule, max_epochs=12, patience=patience, random_state=0
    )
    # The labels are swapped: what helps in training only hurts there.
    clf.fit(X[:60], y[:60], X_val=X[60:], y_val=np.where(y[60:] == 0, 8, 0))
    rows = [(epoch["valid_acc"], -epoch["valid_loss"]) for epoch in clf.history_]
    assert clf.best_epoch_ == 1 + rows.index(max(rows))
    n_misses = sum(row <= max(rows[: k - 1], default=(0,)) for k, row in enumerate(rows, 1))
    assert n_misses >= patience
    expected = max(first, clf.best_epoch_ + 1) + patience - 1
    assert clf.n_epochs_ == min(12, expected)


def test_early_stopping_without_validation_says_what_it_needs():
    X, y = halves()
    net = make_net(callbacks=training_callbacks(max_epochs=4))
    with pytest.raises(ValueError, match=mentions("'early_stopping'", "train_split")):
        net.fit(labelled(X, y), None)


def test_checkpoint_of_skorch_finds_its_default_monitor(tmp_path):
    X, y = halves()
    validation = labelled(X[:8], y[:8])
    make_net(
        train_split=lambda dataset, y=None: (dataset, validation),
        callbacks=[Checkpoint(dirname=tmp_path)],
    ).fit(labelled(X, y), None)
    assert (tmp_path / "params.pt").exists()


def group(folder, version, most, used, cached=0):
    """Write the files of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    limit, usage, statistic = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{statistic} {cached}\n")


@pytest.mark.parametrize(
    ("lines", "groups", "expected"),
    [
        (None, [], []),
        ("0::/\n", [], []),
        ("0::/a/b\n", [("a/b", 2, "max", 5), ("a", 2, 1000, 400), ("", 2, "max", 7)], [600]),
        ("0::/a/b\n", [("a/b", 2, 500, 100, 50), ("a", 2, 1000, 400, 0)], [450, 600]),
        ("0::/\n", [("", 2, 1000, 1200)], [0]),  # a container, which sees its own group
        ("5:cpu:/x\n4:memory:/x\n0::/\n", [("memory/x", 1, 1000, 300, 100)], [800]),
        ("4:cpu,memory:/docker/x\n", [("memory", 1, 1000, 300)], [700]),  # a path of the host
    ],
)
def test_the_memory_of_a_container_is_limited(tmp_path, lines, groups, expected):
    if lines is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(lines)
    for folder, *rest in groups:
        group(tmp_path / "sys/fs/cgroup" / folder, *rest)
    assert list(_free_in_containers(tmp_path)) == expected
