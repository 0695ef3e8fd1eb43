"""Pickles, copies and hashes of classifiers; what a call that fails leaves behind."""

import copy
import pickle
import signal

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from helpers.programs import run_script
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.exceptions import DeviceWarning
from torch import nn

from skcnn import CNNClassifier, LeNetClassifier
from skcnn.exceptions import DivergenceError
from skcnn.training.history import without_durations
from skcnn.training.pickling import to_cpu

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)
Y = RNG.integers(0, 2, 60)


class Wide(nn.Sequential):
    """Large enough for its weights to be nearly all of a pickle."""

    def __init__(self, n_classes=2):
        hidden = nn.Linear(64, 500)
        super().__init__(nn.Flatten(), hidden, nn.BatchNorm1d(500), nn.Linear(500, n_classes))


class Tied(nn.Module):
    """Shares a weight, and has tensors that are neither parameters nor in the state dict."""

    def __init__(self, n_classes=2):
        super().__init__()
        self.recurrent = nn.GRU(8, 16, batch_first=True)
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, n_classes)
        self.plain = torch.ones(16)
        self.register_buffer("transposed", torch.rand(3, 16).T, persistent=False)
        self.register_buffer("short", torch.ones(2, dtype=torch.bfloat16))

    def forward(self, x):
        x = self.recurrent(x[:, 0])[1][-1]
        return self.head(self.second(self.first(x) * self.plain) * self.transposed.mean(1))


class Tensors(Callback):
    """Keeps tensors, and the net."""

    def on_batch_end(self, net, loss, **kwargs):
        self.losses_ = [loss]
        self.net_ = net


def quick(module=Wide, **kwargs):
    settings = {"max_epochs": 2, "batch_size": 20, "random_state": 0, "device": "cpu"}
    return CNNClassifier(module=module, **{**settings, **kwargs})


KINDS = {
    "Adam": {},
    "AMSGrad and the average": {
        "optimizer": torch.optim.RMSprop,
        "ema": 0.9,
        "callbacks": [LRScheduler("StepLR", step_size=1)],
        "lr_schedule": None,
    },
    "shared tensors": {"module": Tied},
    "instance": {"module": Tied(), "callbacks": [Tensors()]},
    "frozen": {"freeze": "1", "warm_start": True},
    "weights": {"weights": {n: v.detach() for n, v in Wide().state_dict().items()}},
    "stopped": {"callbacks": [EarlyStopping("train_loss", load_best=True)]},
    "random state": {"random_state": np.random.RandomState(0)},
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def fitted(kind):
    return clone(quick(**kind)).fit(X, Y)


def mapped(clf, folder):
    joblib.dump(clf, folder / "clf.joblib")
    return joblib.load(folder / "clf.joblib", mmap_mode="r")


COPIES = {
    "pickle": lambda clf, _: pickle.loads(pickle.dumps(clf)),
    "old protocol": lambda clf, _: pickle.loads(pickle.dumps(clf, 2)),
    "cloudpickle": lambda clf, _: pickle.loads(cloudpickle.dumps(clf)),
    "deepcopy": lambda clf, _: copy.deepcopy(clf),
    "mapped file": mapped,
    "twice": lambda clf, _: pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(clf)))),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_bitwise_what_it_was_and_goes_on_so(kind, fitted, how, tmp_path):
    again = COPIES[how](fitted, tmp_path)
    assert again.predict_proba(X).tobytes() == fitted.predict_proba(X).tobytes()
    assert again.transform(X).tobytes() == fitted.transform(X).tobytes()
    assert again.module_ is again.net_.module_
    if how != "old protocol":  # which is that of hashes
        assert again.history_ == fitted.history_
    for (name, ours), theirs in zip(
        again.module_.state_dict().items(), fitted.module_.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
        assert ours.stride() == theirs.stride(), name
        assert ours.untyped_storage().data_ptr() != theirs.untyped_storage().data_ptr(), name
    hashed = joblib.hash(again)
    if how != "mapped file":  # whose arrays are of another class
        assert hashed == joblib.hash(fitted)
    other = copy.deepcopy(fitted)
    for clf in (again, other):
        clf.partial_fit(X, Y)
    assert again.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()
    ours, theirs = (to_cpu(c.net_.optimizer_.state_dict()) for c in (again, other))
    assert joblib.hash(ours) == joblib.hash(theirs)
    optimized = {id(p) for group in again.net_.optimizer_.param_groups for p in group["params"]}
    assert optimized >= {id(p) for p in again.module_.parameters() if p.requires_grad}


def test_equal_fits_have_equal_hashes_and_unequal_ones_others(kind):
    clf = clone(quick(**kind)).fit(X, Y)
    assert joblib.hash(clf) == joblib.hash(clone(quick(**kind)).fit(X, Y))
    clf.history_[0]["dur"] += 1.0  # takes another time each time
    before = joblib.hash(clf)
    assert before == joblib.hash(clone(quick(**kind)).fit(X, Y))
    clf.predict_proba(X)
    clf.transform(X)
    assert joblib.hash(clf) == before
    with torch.no_grad():
        next(clf.module_.parameters()).view(-1)[0] += 1e-3
    assert joblib.hash(clf) != before
    assert joblib.hash(clone(quick(**kind)).fit(X[:-1], Y[:-1])) != before


def test_a_frozen_classifier_has_a_place_in_a_pipeline_with_memory(tmp_path):
    clf = quick().fit(X, Y)
    steps = make_pipeline(FrozenEstimator(clf), LogisticRegression(), memory=str(tmp_path))
    assert steps.fit(X, Y).predict(X).shape == (60,)


def n_bytes(module):
    return sum(value.nbytes for value in module.state_dict().values())


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 3.2),
        ({"optimizer": lambda p, lr: torch.optim.Adam(p, lr, amsgrad=True)}, 4.2),
        ({"ema": 0.9}, 3.2),
        ({"optimizer": "sgd", "momentum": 0.9}, 2.2),
        ({"optimizer": "sgd", "momentum": 0.0}, 1.2),
        ({"freeze": ["1"]}, 1.4),
        ({"callbacks": [EarlyStopping(load_best=True), LRScheduler("StepLR", step_size=1)]}, 3.2),
        ({"callbacks": [Tensors()]}, 3.2),
    ],
    ids=["Adam", "AMSGrad", "average", "momentum", "SGD", "frozen", "skorch", "tensors"],
)
def test_a_pickle_holds_the_weights_once_and_the_optimizers_state(options, most):
    if callable(options.get("optimizer")):
        options = {"optimizer": AMSGrad}
    clf = quick(lr_schedule=None, max_epochs=3, **options).fit(X, Y)
    weights = n_bytes(clf.module_)
    assert weights > 100_000
    assert len(pickle.dumps(clf)) <= most * weights
    assert len(pickle.dumps(clf.net_)) <= most * weights
    state = clf.net_.__getstate__()
    for held in (state, clf.__getstate__()):
        for name, value in held.items():
            assert b"_load_from_bytes" not in pickle.dumps(value), name  # a tensor with a device
    for name, callback in clf.net_.callbacks_:
        assert not {"lr_scheduler_", "best_model_weights_", "sums_"} & vars(callback).keys(), name


class AMSGrad(torch.optim.Adam):
    def __init__(self, params, **kwargs):
        super().__init__(params, **kwargs, amsgrad=True)


def test_what_is_not_fitted_is_pickled_too():
    for module in (Tied(), nn.Sequential(nn.Flatten(), nn.LazyLinear(2))):
        again = pickle.loads(pickle.dumps(quick(module)))
        assert type(again.module) is type(module)
        assert joblib.hash(quick(module)) == joblib.hash(quick(module))
    state = dict(quick().fit(X, Y).module_.state_dict())
    again = pickle.loads(pickle.dumps(quick(weights=state)))
    assert again.weights.keys() == state.keys()
    assert all(torch.equal(again.weights[name], state[name]) for name in state)


def test_a_state_keeps_what_is_shared_and_copies_nothing_without_tensors():
    shared, cycle = nn.Parameter(torch.arange(6.0).reshape(2, 3).T), []
    cycle.append((cycle, shared))
    untouched = {"a": [1, "x", {2.5}], "f": len}
    state = {"one": [shared], "two": {"same": shared}, "cycle": cycle, "untouched": untouched}
    plain = to_cpu(state)
    assert plain["untouched"] is untouched
    again = pickle.loads(pickle.dumps(plain))
    assert again["one"][0] is again["two"]["same"] is again["cycle"][0][1]
    assert again["cycle"][0][0] is again["cycle"]
    assert type(again["one"][0]) is nn.Parameter
    assert torch.equal(again["one"][0], shared)
    assert again["one"][0].stride() == shared.stride()
    for tensor in (
        torch.tensor(1),
        torch.zeros(0, 3),
        torch.ones(2, 2, dtype=torch.complex64).mH,
        torch.tensor([True]),
        torch.arange(12.0)[::3],
        torch.ones(1, 1).expand(3, 4),
        torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.ones(3).requires_grad_() * 2,
        torch.eye(3).to_sparse(),
        torch.empty(2, device="meta"),
    ):
        (got,) = pickle.loads(pickle.dumps(to_cpu({"tensor": [tensor]})))["tensor"]
        assert (got.dtype, got.shape, got.layout) == (tensor.dtype, tensor.shape, tensor.layout)
        assert tensor.is_meta or torch.equal(got.to_dense(), tensor.detach().to_dense())


def test_a_net_of_another_machine_computes_on_the_cpu():
    clf = quick().fit(X, Y)
    proba = clf.predict_proba(X)
    state = pickle.dumps(clf)
    clf.net_.device = "cuda:63"
    with pytest.warns(DeviceWarning, match="cuda:63"):
        again = pickle.loads(pickle.dumps(clf))
    assert again.device_.type == "cpu"
    assert again.predict_proba(X).tobytes() == proba.tobytes()
    assert pickle.loads(state).device_.type == "cpu"


SCRIPT = """
import numpy as np
from sklearn.model_selection import cross_validate
from skcnn import CNNClassifier
from skorch.callbacks import Callback
from torch import nn, optim

class Network(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))

    def forward(self, x):
        return self.layers(x)

class Notes(Callback):
    def on_batch_end(self, net, loss, **kwargs):
        self.loss_ = loss

class Optimizer(optim.SGD):
    pass

def augment(x):
    return x.flip(-1)

rng = np.random.default_rng(0)
X, y = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
for module in (Network, lambda n_classes: Network(n_classes)):
    clf = CNNClassifier(
        module=module, augment=augment, optimizer=Optimizer, callbacks=[Notes()], max_epochs=2,
        random_state=0,
    )
    results = [
        cross_validate(
            clf, X, y, cv=2, n_jobs=n_jobs, return_estimator=True, error_score="raise"
        )["estimator"]
        for n_jobs in (1, 2)
    ]
    for one, other in zip(*results, strict=True):
        assert one.predict_proba(X).tobytes() == other.predict_proba(X).tobytes()
        assert isinstance(other.module_, Network)
        other.partial_fit(X, y)
"""


@pytest.mark.xdist_group("workers")
def test_what_a_script_defines_comes_back_from_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run_script(script, folder=tmp_path)


# What a call that fails leaves behind ------------------------------------------------------------


class Fails(Callback):
    """Raises an error at one point of a fit, of a batch not before the second."""

    def __init__(self, error, hook):
        self.error = error
        self.hook = hook


def raising(hook):
    def method(self, net, *args, **kwargs):
        begins = "begin" in hook and "batch" in hook
        if hook == self.hook and not (begins and len(net.history[-1]["batches"]) < 2):
            if self.error is KeyboardInterrupt:
                signal.default_int_handler(signal.SIGINT, None)  # as Ctrl-C does
            raise self.error

    return method


HOOKS = (
    *("on_train_begin", "on_epoch_begin", "on_batch_begin", "on_grad_computed"),
    *("on_batch_end", "on_epoch_end", "on_train_end"),
)
for hook in HOOKS:
    setattr(Fails, hook, raising(hook))


class FailsLate:
    """Augmentation that fails for the third batch."""

    def __init__(self):
        self.n_calls = 0

    def __call__(self, x):
        self.n_calls += 1
        if self.n_calls > 2:
            raise RuntimeError("augment")
        return x * 1.0


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
FAILURES = {
    **{hook: ({"callbacks": [Fails(KeyboardInterrupt, hook)]}, None) for hook in HOOKS},
    "error": ({"callbacks": [Fails(ValueError(), "on_batch_end")]}, None),
    "no memory": ({"callbacks": [Fails(OUT_OF_MEMORY, "on_grad_computed")]}, None),
    "divergence": ({"lr": 1e30}, None),
    "parameter": ({"lr": -1.0}, None),
    "pixels": ({}, lambda X, y: (np.where(np.arange(60)[:, None, None] < 59, X, np.nan), y)),
    "shape": ({}, lambda X, y: (X[:, :5], y)),
    "labels": ({}, lambda X, y: (X, y + 1)),
}


def call_of(clf, method):
    return clf.partial_fit if method == "partial_fit" else clf.set_params(warm_start=True).fit


@pytest.mark.parametrize("failure", [*FAILURES, "augment"])
@pytest.mark.parametrize("method", ["partial_fit", "warm start"])
def test_a_call_that_fails_changes_no_byte(failure, method):
    options, data = ({"augment": FailsLate()}, None) if failure == "augment" else FAILURES[failure]
    generator = np.random.RandomState(0)
    given = {n: v.detach().clone() for n, v in Wide().state_dict().items()}
    clf = quick(lr_schedule=None, early_stopping=False, weights=given, random_state=generator)
    clf.fit(X, Y)
    fitted = clf.net_
    call_of(clf, method)
    before = {name: clf.get_params()[name] for name in options}
    expected = copy.deepcopy(clf).partial_fit(X, Y)
    hashed, global_state = joblib.hash(clf), torch.get_rng_state()
    history = copy.deepcopy(clf.history_)
    with pytest.raises((Exception, KeyboardInterrupt)):
        call_of(clf.set_params(**options), method)(*((X, Y) if data is None else data(X * 1.0, Y)))
    clf.set_params(**before)
    assert clf.net_ is fitted
    assert clf.history_ == history
    # Weights, running statistics, the optimizer's state, the generator, and all else.
    assert joblib.hash(clf) == hashed
    assert torch.equal(torch.get_rng_state(), global_state)
    clf.partial_fit(X, Y)
    assert clf.predict_proba(X).tobytes() == expected.predict_proba(X).tobytes()


@pytest.mark.parametrize("method", ["partial_fit", "warm start"])
def test_going_on_leaves_the_networks_of_before_alone(method):
    """Whoever still holds a net has it as it was."""
    instance = Wide()
    initial = copy.deepcopy(instance.state_dict())
    clf = quick(instance, lr_schedule=None, early_stopping=False).fit(X, Y)
    net, before = clf.net_, joblib.hash(clf.net_)
    call_of(clf, method)(X, Y)
    assert clf.net_ is not net
    assert joblib.hash(net) == before
    assert all(torch.equal(instance.state_dict()[name], initial[name]) for name in initial)


def test_divergence_is_not_handed_on():
    """A call after one that diverged trains as if that had not been."""
    clf = LeNetClassifier(
        lr=1e-3, max_epochs=1, random_state=0, early_stopping=False, batch_size=10
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    y = np.arange(40) % 2
    clf.fit(pixels, y)
    expected = copy.deepcopy(clf).partial_fit(pixels, y)
    for _ in range(2):
        with pytest.raises(DivergenceError):
            clf.set_params(lr=1e30).partial_fit(pixels, y)
    clf.set_params(lr=1e-3).partial_fit(pixels, y)
    assert without_durations(clf.history_) == without_durations(expected.history_)
