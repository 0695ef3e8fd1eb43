"""Real images, few enough for quick fits; and what tests have to say at the end."""

import gc

import pytest
import torch
from helpers.images import dim_and_bright

from skcnn.datasets import load_fashion_mnist_mini

collect_ignore = ["stress"]  # scripts that take long


def pytest_addoption(parser):
    parser.addoption("--seeds", type=int, default=1, help="seeds of each test of learning")
    parser.addoption("--no-onednn", action="store_true", help="switch oneDNN off in this process")


def pytest_configure(config):
    if config.getoption("--no-onednn"):
        torch.backends.mkldnn.enabled = False


def pytest_generate_tests(metafunc):
    """Run tests that take `seed` with as many as asked for; by default with 0 alone."""
    if "seed" in metafunc.fixturenames:
        seeds = range(metafunc.config.getoption("--seeds"))
        metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


def pytest_make_parametrize_id(val, argname):
    """Leave patterns of helpers.messages out of the names of cases, which nobody could read."""
    return argname if isinstance(val, str) and val.startswith("(?s)") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Let one worker run the tests of a file that share a fixture, which is then built once."""
    for item in items:
        fixtures = getattr(item, "_fixtureinfo", None)
        if fixtures is None or item.get_closest_marker("xdist_group"):
            continue
        if any(
            fixture.scope == "module"
            for fixtures_of_name in fixtures.name2fixturedefs.values()
            for fixture in fixtures_of_name
        ):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish():
    """Spare the garbage collector what was imported and collected, which stays to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def check_learned(request, record_property):
    """Return a function that fails unless a score is above a bound, and records by how much.

    tests/stress/lucky_seeds.py prints the smallest of what it records. Only tests with the marker
    `learning` may use it.
    """
    assert request.node.get_closest_marker("learning")

    def check(score, bound):
        record_property("margin", float(score - bound))
        assert score > bound

    return check


@pytest.fixture(scope="session", autouse=True)
def torch_home(tmp_path_factory):
    """Folder of torch's downloads, instead of the user's."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = tmp_path_factory.mktemp("torch")
        monkeypatch.setenv("TORCH_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def clothes():
    """300 images and labels of Fashion-MNIST, ten classes, shuffled: (300, 28, 28) uint8."""
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X, y = X[:300], y[:300]
    X.flags.writeable = False  # nothing may write to it
    return X, y


@pytest.fixture(scope="session")
def tops_and_bags():
    """200 images of two classes that are easily told apart: T-shirts (0) and bags (8)."""
    X, y = load_fashion_mnist_mini(subset="train", return_X_y=True)
    kept = (y == 0) | (y == 8)
    X, y = X[kept][:200], y[kept][:200]
    X.flags.writeable = False
    return X, y


@pytest.fixture
def easy(seed):
    """200 images and labels of two classes that any network tells apart."""
    return dim_and_bright(200, seed=seed)


def pytest_terminal_summary(terminalreporter):
    """Print the property "summary" of the tests that recorded one, also under pytest-xdist."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "summary" and report.when == "call":
                    terminalreporter.write_line(value)
