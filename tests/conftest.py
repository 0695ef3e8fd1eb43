"""Real images, few enough for quick fits; and what tests have to say at the end."""

import pytest

from skcnn.datasets import load_fashion_mnist_mini

collect_ignore = ["stress"]  # scripts that take long


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


def pytest_terminal_summary(terminalreporter):
    """Print the property "summary" of the tests that recorded one, also under pytest-xdist."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "summary" and report.when == "call":
                    terminalreporter.write_line(value)
