"""What tells one fit from another: every edit of the code does, what changes nothing does not."""

import functools
import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers.fits import weights_of
from helpers.messages import mentions
from helpers.programs import run_script
from skorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import StepLR

from skcnn import CNNClassifier, LeNetClassifier
from skcnn._fit_parts import _IRRELEVANT_TO_RESULT
from skcnn.memory import Part, _code, fingerprint

# Edits of code ---------------------------------------------------------------------------------

FILES = {
    "network.py": """
        import enum, functools, logging
        from dataclasses import dataclass
        from torch import nn
        import torch.nn.functional as F
        import netparts
        import package.inner
        from blocks import *
        from netparts import Base, Meta, scaled as rescaled, traced
        from locks import locked

        LOG = logging.getLogger(__name__)
        WIDTH = 4
        CONFIG = {"gain": 2, "itself": None}
        CONFIG["itself"] = CONFIG
        KINDS = {"relu": lambda: nn.ReLU(), "tanh": nn.Tanh}
        ODD = {"a", "b", "c", frozenset({"d", "e"})}

        class Mode(enum.Enum):
            SLOW = 1.5
            FAST = 2.5

        @dataclass
        class Settings:
            bias: float = 0.5

        SETTINGS = Settings()

        def again(x, n=3):
            return again(x, n - 1) if n else x * 1.25

        @functools.lru_cache
        def cached(n):
            return n + 7

        def outer(offset):
            def inner(x):
                return x + offset
            return inner

        shifted = outer(0.125)

        def late(x):
            from netparts import late_factor
            from package import inner
            import later
            return x * late_factor * inner.POWER + later.AMOUNT

        class Layer(nn.Module):
            _private = 11

            @property
            def slope(self):
                return 0.75

            @staticmethod
            def fixed(x):
                return x - 13

            @classmethod
            def of(cls, x):
                return x - 17

            @functools.cached_property
            def found(self):
                return 19

        class Net(Base, metaclass=Meta):
            def forward(self, x):
                def nested(x):
                    return x + WIDTH
                x = locked(nested(x)) * CONFIG["gain"] * self._share
                LOG.debug("forward")
                x = KINDS["relu"]()(x) + Mode.FAST.value + SETTINGS.bias + len(ODD)
                x = again(rescaled(x)) + cached(1) + shifted(late(x)) + exported(x)
                x = netparts.nearby(x) + getattr(netparts, "by_" + "name")(x) + F.relu(x)
                return self.decorated(x) + package.inner.power(x) + self.layer(x)

            @traced(times=2)
            def decorated(self, x):
                return x + 23

            layer = Layer()
            _share = 0.3

            class Nested:
                rate = 0.6
    """,
    "netparts.py": """
        import functools
        from torch import nn
        import second

        class Base(nn.Module):
            def more(self):
                return 31

        class Meta(type):
            def made(cls):
                return 37

        def traced(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args):
                    for _ in range(times):
                        y = function(*args)
                    return y * 41
                return wrapper
            return decorate

        def scaled(x):
            return x * second.FACTOR

        def nearby(x):
            return x + 43

        def by_name(x):
            return x + 47

        late_factor = 53
    """,
    "second.py": "FACTOR = 59\n",
    "locks.py": """
        import threading
        LOCK = threading.RLock()  # which cannot be pickled

        def locked(x):
            with LOCK:
                return x + 79
    """,
    "later.py": "AMOUNT = 61\n",
    "blocks.py": "def exported(x):\n    return x + 67\n",
    "package/__init__.py": "",
    "package/inner.py": "POWER = 71\ndef power(x):\n    return x ** 73\n",
}
EDITS = {
    "constant": ("network.py", "WIDTH = 4", "WIDTH = 5"),
    "dictionary": ("network.py", '"gain": 2', '"gain": 3'),
    "lambda in a dictionary": ("network.py", "nn.ReLU()", "nn.GELU()"),
    "class in a dictionary": ("network.py", "nn.Tanh}", "nn.Sigmoid}"),
    "set": ("network.py", '{"d", "e"}', '{"d", "f"}'),
    "enum": ("network.py", "2.5", "2.75"),
    "dataclass": ("network.py", "0.5", "0.25"),
    "recursion": ("network.py", "1.25", "1.5"),
    "default": ("network.py", "n=3", "n=4"),
    "cached function": ("network.py", "n + 7", "n + 8"),
    "closure's function": ("network.py", "x + offset", "x - offset"),
    "closure's variable": ("network.py", "0.125", "0.25"),
    "private attribute": ("network.py", "_private = 11", "_private = 12"),
    "property": ("network.py", "0.75", "0.7"),
    "static method": ("network.py", "- 13", "- 14"),
    "class method": ("network.py", "- 17", "- 18"),
    "cached property": ("network.py", "return 19", "return 20"),
    "decorated method": ("network.py", "+ 23", "+ 24"),
    "decorator's argument": ("network.py", "times=2", "times=3"),
    "attribute": ("network.py", "_share = 0.3", "_share = 0.4"),
    "nested class": ("network.py", "rate = 0.6", "rate = 0.7"),
    "nested function": ("network.py", "x + WIDTH", "x - WIDTH"),
    "base class": ("netparts.py", "31", "32"),
    "metaclass": ("netparts.py", "37", "38"),
    "decorator": ("netparts.py", "41", "42"),
    "attribute of a module": ("netparts.py", "43", "44"),
    "attribute by a name that is made": ("netparts.py", "47", "48"),
    "import in a function": ("netparts.py", "53", "54"),
    "second module": ("second.py", "59", "60"),
    "what cannot be pickled": ("locks.py", "RLock()", "BoundedSemaphore(3)"),
    "its argument": ("locks.py", "RLock()", "BoundedSemaphore(4)"),
    "beside a lock": ("locks.py", "79", "80"),
    "module in a function": ("later.py", "61", "62"),
    "star import": ("blocks.py", "67", "68"),
    "constant of a package": ("package/inner.py", "71", "72"),
    "function of a package": ("package/inner.py", "73", "74"),
}
UNEDITED = {
    "as it is": (),
    "comment": ("network.py", "WIDTH = 4", "# wide\nWIDTH = 4  # enough"),
    "unused": ("network.py", "WIDTH = 4", "WIDTH = 4; OTHER = 1"),
}
MODULES = [name.removesuffix(".py").split("/")[0] for name in FILES]


def write_files(folder, edit=()):
    for name, source in FILES.items():
        source = textwrap.dedent(source)
        if edit and name == edit[0]:
            assert edit[1] in source
            source = source.replace(*edit[1:])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)


def forget():
    for module in [m for m in sys.modules if m.split(".")[0] in MODULES]:
        del sys.modules[module]


def imported(folder, name="network"):
    """Import a module again, with all that it imports."""
    forget()
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))  # where it stays: functions may import as well
    return importlib.import_module(name)


def keys_of(folders):
    keys = []
    for folder in folders:
        keys.append(fingerprint(imported(folder).Net))
        sys.path.remove(str(folder))
    return keys


KEYS_OF = "from test_fit_keys import *; print(*keys_of(sys.argv[1:]))"


@pytest.fixture
def forgotten():
    """Forget the modules that a test imports."""
    yield
    forget()


def keys_elsewhere(folders):
    run = subprocess.run(
        [sys.executable, "-c", KEYS_OF, *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PYTHONHASHSEED": "1",  # here it is drawn at random
        },
    )
    return run.stdout.split()


def test_every_edit_of_code_that_a_class_uses_gives_another_key_and_none_the_same(
    tmp_path, forgotten
):
    folders = {name: tmp_path / name for name in (*UNEDITED, *EDITS)}
    for name, folder in folders.items():
        write_files(folder, {**UNEDITED, **EDITS}[name])
    # In another process, with other hashes, and in another order.
    elsewhere = keys_elsewhere(reversed(folders.values()))
    keys = dict(zip(folders, keys_of(folders.values()), strict=True))
    assert list(keys.values()) == list(reversed(elsewhere))
    assert len({keys[name] for name in UNEDITED}) == 1
    assert len({keys[name] for name in EDITS} | {keys["as it is"]}) == len(EDITS) + 1


def test_what_is_set_at_run_time_counts(tmp_path, forgotten, monkeypatch):
    write_files(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    network = imported(tmp_path)
    keys = [fingerprint(network.Net)]
    for holder, name, value in (
        (network, "WIDTH", 8),
        (sys.modules["second"], "FACTOR", 1),
        (network.Net, "_share", 0.9),
        (network.CONFIG, "gain", 7),
        (network.SETTINGS, "bias", 0.0),
        (network, "again", network.shifted),
    ):
        if isinstance(holder, dict):
            holder[name] = value
        else:
            setattr(holder, name, value)
        keys.append(fingerprint(network.Net))
        assert keys[-1] == fingerprint(network.Net)
    assert len(set(keys)) == len(keys)


CELL = """
WIDTH = {width}
def helper(x): return x * WIDTH
class Net:
    def forward(self, x): return helper(x)
UNUSED = {unused}
"""


def test_code_without_a_file_counts_as_well():
    keys = {}
    # As in a notebook, and as multiprocessing imports a script.
    for name, width, unused in (
        ("__main__", 1, 0),
        ("__main__", 1, 1),
        ("__mp_main__", 1, 0),
        ("__main__", 2, 0),
    ):
        namespace = {"__name__": name}
        exec(CELL.format(width=width, unused=unused), namespace)
        keys[name, width, unused] = fingerprint(namespace["Net"])
    *same, other = keys.values()
    assert len(set(same)) == 1
    assert other not in same


SCRIPT = """
from joblib.externals import loky
from skcnn.memory import fingerprint
WIDTH = 3
def helper(x): return x * WIDTH
class Net:
    def forward(self, x): return helper(x)
if __name__ == "__main__":
    keys = [fingerprint(Net)]
    with loky.ProcessPoolExecutor(1) as pool:
        keys.append(pool.submit(fingerprint, Net).result())
    print(len(set(keys)))
"""


def test_the_classes_of_a_script_have_the_same_key_in_a_worker(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run_script(tmp_path / "script.py", folder=tmp_path).stdout == "1\n"


@pytest.mark.parametrize(
    ("place", "record", "stands"),
    [("site", "RECORD", True), ("elsewhere", "RECORD", False), ("site", "SOURCES.txt", False)],
    ids=["installed", "editable", "of setup.py develop"],
)
def test_the_version_of_an_installed_package_stands_for_its_code(
    tmp_path, monkeypatch, place, record, stands
):
    keys = []
    for number, version in ((1, "1.0"), (2, "1.0"), (2, "2.0")):
        home = tmp_path / f"{number}-{version}"
        info = home / place / f"installed_one-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: installed-one\nVersion: {version}\n")
        (info / record).write_text("installed_one.py,,\n")
        (home / "site").mkdir(exist_ok=True)
        (home / "site" / "installed_one.py").write_text(f"def f(x):\n    return x + {number}\n")
        monkeypatch.syspath_prepend(home / "site")
        monkeypatch.delitem(sys.modules, "installed_one", raising=False)
        _code._installed_version.cache_clear()
        keys.append(fingerprint(importlib.import_module("installed_one").f))
    assert (keys[0] == keys[1], keys[1] == keys[2]) == (stands, not stands)


# The network ------------------------------------------------------------------------------------


def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, size=(40, 6, 6), dtype=np.uint8), np.arange(40) % 2


class Counts(Callback):
    """Counts epochs that are trained."""

    changes_fit = False

    def __init__(self, counted):
        self.counted = counted

    def on_epoch_end(self, net, **kwargs):
        self.counted.append(1)


@pytest.fixture
def counted():
    return []


def scale():
    return nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())


class Tiny(nn.Sequential):
    """Network that is not made of its code alone."""

    path = None

    def __init__(self, in_channels, n_classes, width=4):
        if self.path is not None:
            width = int(Path(self.path).read_text())
        super().__init__(scale(), nn.Linear(36 * in_channels, width), nn.Linear(width, n_classes))
        # What cannot be pickled, and what gets another number in each network.
        self.activation = lambda x: x.relu()
        self.register_forward_pre_hook(lambda module, args: None)
        nn.utils.parametrizations.weight_norm(self[1])


def tiny(counted=None, **kwargs):
    settings = {"module": Tiny, "batch_size": 16, "max_epochs": 1, "n_threads": 1}
    callbacks = None if counted is None else [Counts(counted)]
    return CNNClassifier(**{**settings, "random_state": 0, "callbacks": callbacks, **kwargs})


def test_a_fit_is_found_again_and_another_network_is_not(tmp_path, counted, monkeypatch):
    X, y = images()
    fit = tiny(counted, memory=tmp_path / "memory")
    for _ in range(2):
        fit.fit(X, y)
        assert len(counted) == 1
    (tmp_path / "width").write_text("5")
    monkeypatch.setattr(Tiny, "path", str(tmp_path / "width"))
    assert fit.fit(X, y).module_[1].out_features == 5
    (tmp_path / "width").write_text("6")  # no code and no parameter says so
    assert fit.fit(X, y).module_[1].out_features == 6
    assert len(counted) == 3


@pytest.mark.parametrize("keeper", ["memory", "checkpoint_dir"])
def test_an_edited_helper_is_not_overlooked(tmp_path, counted, monkeypatch, keeper):
    X, y = images()
    fit = tiny(counted, **{keeper: tmp_path}).fit(X, y)
    monkeypatch.setattr(sys.modules[__name__], "scale", lambda: nn.Sequential(nn.Flatten()))
    if keeper == "memory":
        fit.fit(X, y)
        assert len(counted) == 2
    else:
        with pytest.raises(ValueError, match="'checkpoint_dir'"):
            fit.fit(X, y)


def test_an_estimator_of_ones_own_needs_a_name(tmp_path):
    class Local(LeNetClassifier):
        pass

    with pytest.raises(ValueError, match=mentions("Local", "memory=None")):
        Local(memory=tmp_path).fit(*images())


# Parameters -------------------------------------------------------------------------------------

# For each parameter one or two values that are not its default.
OTHER_VALUES = {
    "lr": 2e-3,
    "batch_size": 8,
    "max_epochs": 2,
    "optimizer": "sgd",
    "momentum": 0.5,
    "weight_decay": 0.1,
    "lr_schedule": "cosine",
    "early_stopping": False,
    "patience": 1,
    "validation_fraction": 0.4,
    "image_shape": (4, 9),
    "image_size": 14,
    "normalize": False,
    "augment": "standard",
    "mixing": "mixup",
    "label_smoothing": 0.2,
    "max_grad_norm": 1e-3,
    "class_weight": {0: 1.0, 1: 5.0},
    "ema": 0.9,
    "tta": True,
    "precision": "float32",
    "compile": True,
    "on_oom": "split",
    "data_parallel": None,  # goes with neither memory nor checkpoint_dir
    "device": None,  # there is one
    "data_device": "cpu",
    "callbacks": [Counts([])],
    "memory": "another",
    "checkpoint_dir": None,  # does not go with memory
    "n_threads": 2,
    "weights": Tiny(1, 2).state_dict(),
    "freeze": ("1",),
    "features_layer": "1",
    "warm_start": True,
    "deterministic": True,
    "random_state": 1,
    "verbose": 2,
    "module": nn.Sequential(nn.Flatten(), nn.Linear(36, 2)),
    "module_params": {"width": 5},
}
# A callback that changes no fit is told so.
UNCHANGED = {*_IRRELEVANT_TO_RESULT, "callbacks"}


class Identified(Exception):
    """Stands for a fit, of which only the key is asked for."""


def key_of(clf, X, y, **given):
    """Key under which a fit would be kept, and its length."""
    with pytest.MonkeyPatch.context() as monkeypatch:

        def refuse(self, fit):
            raise Identified(fit.key, fit.max_epochs)

        monkeypatch.setattr("skcnn.memory.FitStore.fit", refuse)
        with pytest.raises(Identified) as caught:
            clf.fit(X, y, **given)
    return caught.value.args


def test_the_table_has_all_parameters():
    assert set(OTHER_VALUES) == set(CNNClassifier().get_params())
    assert set(_IRRELEVANT_TO_RESULT) < set(OTHER_VALUES)


@pytest.mark.parametrize("name", [n for n, v in OTHER_VALUES.items() if v is not None])
def test_each_parameter_is_in_the_key_or_changes_nothing(tmp_path, capsys, name):
    X, y = images()
    if name == "image_shape":
        X = X.reshape(len(X), 36)
    sgd = {"optimizer": "sgd"} if name == "momentum" else {}
    first = tiny(memory=tmp_path, **sgd)
    second = tiny(**{"memory": tmp_path, **sgd, name: OTHER_VALUES[name]})
    if name == "memory":
        second.memory = tmp_path / "another"
    if name == "lr_schedule":
        first.max_epochs = second.max_epochs = 2
    same = key_of(first, X, y) == key_of(second, X, y)
    assert same == (name in UNCHANGED)
    if same:
        fits = [fit.set_params(memory=None).fit(X, y) for fit in (first, second)]
        assert weights_of(fits[0]) == weights_of(fits[1])


EQUAL = {
    "lr": [1e-3, np.float64(1e-3), np.array([1e-3])[0]],
    "batch_size": ["auto", 32, np.int64(32), np.uint8(32)],
    "max_epochs": [1, np.int32(1)],
    "optimizer": ["adam", np.str_("adam")],
    "momentum": [0.9, 0.3],  # of sgd alone
    "weight_decay": [0.0, 0, np.float32(0), -0.0],
    "early_stopping": ["auto", True, np.bool_(True)],
    "patience": ["auto", 6, np.int64(6)],
    "image_shape": [(6, 6), [1, 6, 6], (np.int64(6), 6)],
    "normalize": [True, np.bool_(True)],
    "label_smoothing": [0.0, 0, np.float64(0)],
    "device": ["auto", "cpu", torch.device("cpu"), "cpu:0"],
    "callbacks": [None, [], ()],
    "n_threads": [1, np.int64(1)],
    "random_state": [0, np.int64(0)],
    "module_params": [
        {"width": np.int64(4), "bias": 1.0},
        {"bias": np.float32(1), "width": 4.0},
    ],
    "class_weight": [{0: 1, 1: 2}, {np.int64(1): 2.0, np.int8(0): np.float64(1)}],
    "augment": [["mirror"], ("mirror",)],
    "freeze": [["1"], ("1",), (np.str_("1"),)],
    "lr_schedule": [
        functools.partial(StepLR, step_size=2, gamma=0.5),
        functools.partial(StepLR, gamma=np.float64(0.5), step_size=np.int64(2)),
    ],
}


class Wide(nn.Sequential):
    def __init__(self, in_channels, n_classes, width=4, bias=True):
        super().__init__(nn.Flatten(), nn.Linear(36, n_classes, bias=bool(bias)))


@pytest.mark.parametrize("name", EQUAL)
def test_equal_values_of_a_parameter_have_one_key(tmp_path, name):
    X, y = images()
    X = X.reshape(40, 36) if name == "image_shape" else X
    clfs = [tiny(module=Wide, memory=tmp_path, **{name: value}) for value in EQUAL[name]]
    keys = {key_of(clf, X, y) for clf in clfs}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("switch", "changed", "given"),
    [
        ({"optimizer": "adamw"}, {"momentum": 0.1}, ()),
        ({"early_stopping": False}, {"patience": 2}, ()),
        ({"early_stopping": False}, {"validation_fraction": 0.3}, ()),
        ({}, {"validation_fraction": 0.3}, ("X_val", "y_val")),
    ],
    ids=str,
)
def test_what_another_parameter_switches_off_does_not_count(tmp_path, switch, changed, given):
    X, y = images()
    validation = dict(zip(given, (X[:10], y[:10]), strict=False))
    fits = [tiny(memory=tmp_path, **switch), tiny(memory=tmp_path, **switch, **changed)]
    assert key_of(fits[0], X, y, **validation) == key_of(fits[1], X, y, **validation)
    first, second = (fit.set_params(memory=None).fit(X, y, **validation) for fit in fits)
    assert first.predict_proba(X).tobytes() == second.predict_proba(X).tobytes()


def test_numbers_that_differ_are_different_parts():
    values = [1, 2, 1.5, np.float32(0.1), 0.1, "1", None, float("inf"), float("nan"), [1], {1: 1}]
    assert len({Part.of(value).fingerprint for value in values}) == len(values)


def test_labels_count_by_their_values(tmp_path):
    X, y = images()
    fit = tiny(memory=tmp_path)
    key = key_of(fit, X, y)
    for same in (y.astype(np.int8), y.astype(float), y.tolist(), y.astype(bool)):
        assert key_of(fit, X, same) == key
    assert key_of(fit, X, y, sample_weight=np.ones(40, int)) == key_of(
        fit, X, y, sample_weight=np.ones(40, np.float32)
    )
    for other in (y[::-1], y.astype(str), y + 1):
        assert key_of(fit, X, other) != key


def test_what_is_irrelevant_may_change_before_a_kept_fit_comes_back(tmp_path, counted):
    X, y = images()
    for keeper in ("memory", "checkpoint_dir"):
        counted.clear()
        settings = {"module": Wide, keeper: tmp_path / keeper}
        plain = tiny(counted, lr=1e-3, batch_size=np.int64(16), **settings).fit(X, y)
        numbers = {"lr": np.float64(1e-3), "max_epochs": np.int64(1), "patience": np.int8(6)}
        other = tiny(counted, tta=True, features_layer="0", **numbers, **settings).fit(X, y)
        assert len(counted) == 1
        assert other.transform(X).shape == (40, 36)
        expected = plain.set_params(tta=True).predict_proba(X)
        assert other.predict_proba(X).tobytes() == expected.tobytes()


# Threads ----------------------------------------------------------------------------------------


def test_any_number_of_threads_may_fit_with_one_memory(tmp_path):
    X, y = images()
    alone = {seed: tiny(random_state=seed).fit(X, y).predict_proba(X) for seed in range(3)}

    def fit(n):
        clf = tiny(random_state=n % 3, memory=tmp_path / "memory")
        return clf.fit(X, y).predict_proba(X)

    fits = joblib.Parallel(8, backend="threading")(joblib.delayed(fit)(n) for n in range(48))
    for n, probabilities in enumerate(fits):
        assert probabilities.tobytes() == alone[n % 3].tobytes()
    files = [path.name for path in (tmp_path / "memory").rglob("*") if path.is_file()]
    assert sorted(files) == [".gitignore"] * files.count(".gitignore") + ["output.pkl"] * 3
