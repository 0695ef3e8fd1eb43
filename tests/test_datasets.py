import gzip
import hashlib
import http.server
import importlib.util
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.messages import mentions, names
from numpy.testing import assert_array_equal

from skcnn.datasets import (
    DamagedFileWarning,
    _download,
    _fashion_mnist,
    fetch_fashion_mnist,
    load_fashion_mnist_mini,
)
from skcnn.datasets._idx import parse_idx
from skcnn.datasets._verified_gzip import VerifiedGzip

SCRIPT = Path(__file__).parents[1] / "scripts" / "build_fashion_mnist_mini.py"
NAMES = [file.name for part in _fashion_mnist._FILES.values() for file in part]
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


@pytest.fixture(scope="session")
def full_fashion_mnist():
    """The whole of Fashion-MNIST, from the cache or Debian's package, never from the network."""
    try:
        return fetch_fashion_mnist(download_if_missing=False)
    except OSError as error:
        message = f"The full Fashion-MNIST is needed for this test. {error}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def build_script():
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def idx(array):
    """The bytes of an array as an IDX file."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


class Published:
    """A data set of a few images, in the files and the format of Fashion-MNIST."""

    def __init__(self):
        rng = np.random.RandomState(0)
        self.arrays, self.contents, self.files = {}, {}, {}
        for part, n_samples in {"train": 20, "test": 10}.items():
            X = rng.randint(256, size=(n_samples, 28, 28)).astype(np.uint8)
            y = rng.permutation(n_samples).astype(np.uint8) % 10
            self.arrays[part] = (X, y)
            self.files[part] = tuple(
                self._add(file.name, array)
                for file, array in zip(_fashion_mnist._FILES[part], (X, y), strict=True)
            )

    def _add(self, name, array):
        self.contents[name] = content = idx(array)
        return VerifiedGzip(name, len(content), hashlib.sha256(content).hexdigest())

    def put(self, folder, names=NAMES):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_bytes(self.body(name))

    def body(self, name):
        return gzip.compress(self.contents[name], mtime=0)

    def expected(self, subset):
        parts = [self.arrays[part] for part in _fashion_mnist._PARTS[subset]]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


class Server(http.server.ThreadingHTTPServer):
    """A server of the files of `published`; `replies[name]` are odd replies to give first."""

    daemon_threads = True

    def __init__(self, published):
        super().__init__(("127.0.0.1", 0), Handler)
        self.published = published
        self.requests = []
        self.replies = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        name = self.path.strip("/")
        self.server.requests.append(name)
        odd_replies = self.server.replies.get(name, [])
        reply = odd_replies.pop(0) if odd_replies else send
        reply(self, self.server.published.body(name))

    def log_message(self, *args):
        pass


def send(handler, body, length="actual"):
    handler.send_response(200)
    if length is not None:
        handler.send_header("Content-Length", len(body) if length == "actual" else length)
    handler.end_headers()
    handler.wfile.write(body)


def send_truncated(handler, body):
    send(handler, body[: len(body) // 2], length=len(body))


def send_and_reset(handler, body):
    """Send half of the body, then reset the connection as a dying server does."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    send(handler, body[: len(body) // 2], length=len(body))
    handler.wfile.flush()
    handler.connection.close()


def send_half_a_chunk(handler, body):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(body) + body[: len(body) // 2])
    handler.close_connection = True


def send_other_content(handler, body):
    content = bytearray(gzip.decompress(body))
    content[-1] ^= 1
    send(handler, gzip.compress(bytes(content)))


def send_bomb(handler, body):
    send(handler, gzip.compress(bytes(4_000_000)))


def send_long_body(handler, body):
    send(handler, body + bytes(1_000_000))


def send_endless_body(handler, body):
    send(handler, body, length=None)
    for _ in range(1000):
        handler.wfile.write(random.randbytes(100_000))


def send_page(handler, body):
    send(handler, b"<html>Please log in to this network</html>")


def send_nonsense_length(handler, body):
    send(handler, body, length="many")


def send_error(status):
    return lambda handler, body: handler.send_error(status)


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The small data set takes the place of the true one, and Debian's folder is empty."""
    published = Published()
    monkeypatch.setattr(_fashion_mnist, "_FILES", published.files)
    monkeypatch.setattr(_fashion_mnist, "_DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    return published


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "home" / "fashion_mnist"


@pytest.fixture
def debian(tmp_path):
    return tmp_path / "debian"


@pytest.fixture
def server(published, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server(published)
    monkeypatch.setattr(_fashion_mnist, "_BASE_URL", server.url)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(published, monkeypatch):
    """An address where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(
            _fashion_mnist, "_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/"
        )
        yield


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- the bundled images ---------------------------------------------------------------------------


@pytest.mark.parametrize(("subset", "n_per_class"), [("train", 500), ("test", 100), ("all", 600)])
def test_mini_is_balanced(subset, n_per_class):
    fashion = load_fashion_mnist_mini(subset=subset)
    n_samples = 10 * n_per_class
    assert fashion.data.shape == (n_samples, 28, 28)
    assert fashion.data.dtype == np.uint8
    assert fashion.data.flags.c_contiguous
    assert fashion.target.shape == (n_samples,)
    assert fashion.target.dtype == np.int64
    assert_array_equal(np.bincount(fashion.target), np.full(10, n_per_class))


def test_mini_all_is_train_then_test():
    X, y = load_fashion_mnist_mini(return_X_y=True)
    X_train, y_train = load_fashion_mnist_mini(subset="train", return_X_y=True)
    X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
    assert_array_equal(X, np.concatenate([X_train, X_test]))
    assert_array_equal(y, np.concatenate([y_train, y_test]))


@pytest.mark.parametrize("subset", ["train", "test"])
def test_slices_of_mini_are_roughly_balanced(subset):
    _, y = load_fashion_mnist_mini(subset=subset, return_X_y=True)
    for start in range(0, len(y), 500):
        counts = np.bincount(y[start : start + 500], minlength=10)
        assert counts.min() >= 25
        assert counts.max() <= 75


@pytest.mark.parametrize(
    ("subset", "sha256_of_data", "sha256_of_target"),
    [
        (
            "train",
            "e59c529a084ab935b46e1f5b16b879e092d35629cccf6bd5d435e5677992ae16",
            "368d7e3521a41a0fd59d6259ab255a61a5633ec247c287f83149347ae5a2df75",
        ),
        (
            "test",
            "1a8e36b864b6c2eb259cd5dce1eb759eaca053f60500f4a743e6fe6e9490c54a",
            "777960b7a03ffc143b6e900c32848d5bca32d2d22338af792a0a726a0c197c75",
        ),
    ],
    ids=["train", "test"],
)
def test_mini_never_changes(subset, sha256_of_data, sha256_of_target):
    X, y = load_fashion_mnist_mini(subset=subset, return_X_y=True)
    assert hashlib.sha256(X.tobytes()).hexdigest() == sha256_of_data
    assert hashlib.sha256(y.astype(np.uint8).tobytes()).hexdigest() == sha256_of_target


def test_mini_names_and_description():
    fashion = load_fashion_mnist_mini(subset="test")
    assert set(fashion) == {"data", "target", "target_names", "DESCR"}
    assert len(fashion.target_names) == 10
    for k, name in enumerate(fashion.target_names):
        assert f"- {k}: {name}\n" in fashion.DESCR
    assert "1708.07747" in fashion.DESCR
    # Trousers leave the left and right columns of the image empty; bags fill the width.
    width_used = [
        (fashion.data[fashion.target == k].max(axis=1) > 0).sum(axis=1).mean() for k in (1, 8)
    ]
    assert list(fashion.target_names[[1, 8]]) == ["Trouser", "Bag"]
    assert width_used[0] < 18 < 24 < width_used[1]


def test_every_call_gives_new_writable_arrays():
    first = load_fashion_mnist_mini(subset="test")
    for array in (first.data, first.target, first.target_names):
        assert array.flags.writeable
        array[:] = array[0]
    second = load_fashion_mnist_mini(subset="test")
    assert len(np.unique(second.target)) == 10
    assert len(np.unique(second.target_names)) == 10
    assert not np.array_equal(first.data, second.data)


def test_licence_lies_beside_the_images():
    notice = (
        Path(_fashion_mnist.__file__).parent / "data" / "fashion_mnist_mini_LICENSE.txt"
    ).read_text(encoding="utf-8")
    for words in ("2017 Zalando SE", "The MIT License", "1708.07747", "WITHOUT WARRANTY"):
        assert words in notice


# --- the full data --------------------------------------------------------------------------------


def test_full_data(full_fashion_mnist):
    assert full_fashion_mnist.data.shape == (70_000, 28, 28)
    assert full_fashion_mnist.data.dtype == np.uint8
    assert full_fashion_mnist.target.dtype == np.int64
    assert_array_equal(np.bincount(full_fashion_mnist.target[:60_000]), np.full(10, 6000))
    assert_array_equal(np.bincount(full_fashion_mnist.target[60_000:]), np.full(10, 1000))


def test_mini_equals_a_rebuild(full_fashion_mnist, build_script, monkeypatch, capsys):
    def fetch(subset, return_X_y):
        rows = {"train": slice(60_000), "test": slice(60_000, None)}[subset]
        return full_fashion_mnist.data[rows], full_fashion_mnist.target[rows]

    monkeypatch.setattr(build_script, "fetch_fashion_mnist", fetch)
    assert build_script.main(["--check"]) == 0
    assert "equals a rebuild" in capsys.readouterr().out


def test_check_of_the_build_script_sees_a_difference(build_script, monkeypatch, capsys):
    arrays = {"X_train": np.zeros((2, 28, 28), np.uint8)}
    monkeypatch.setattr(build_script, "build_arrays", lambda: arrays)
    assert build_script.main(["--check"]) == 1
    assert "differs from a rebuild in X_test, X_train" in capsys.readouterr().out


def test_build_gives_the_same_bytes_twice(published, build_script, monkeypatch, tmp_path, cache):
    published.put(cache)
    monkeypatch.setattr(build_script, "N_PER_CLASS", {"train": 2, "test": 1})
    written = []
    for name in ("first.npz", "second.npz"):
        monkeypatch.setattr(build_script, "PATH", tmp_path / name)
        build_script.main([])
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with np.load(tmp_path / "first.npz") as arrays:
        assert arrays["X_train"].shape == (20, 28, 28)
        assert_array_equal(np.sort(arrays["y_test"]), np.arange(10))


# --- where the files come from --------------------------------------------------------------------


@pytest.mark.parametrize("subset", ["train", "test", "all"])
def test_download(server, published, cache, capsys, subset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, y = fetch_fashion_mnist(subset=subset, return_X_y=True)
    names = [file.name for part in _fashion_mnist._PARTS[subset] for file in published.files[part]]
    assert_array_equal(X, published.expected(subset)[0])
    assert_array_equal(y, published.expected(subset)[1])
    assert X.flags.writeable
    assert y.flags.writeable
    assert y.dtype == np.int64
    assert server.requests == names
    assert file_names(cache) == sorted(names)
    progress = capsys.readouterr().err
    for name in names:
        assert f"{name}: 100%" in progress
        assert (cache / name).read_bytes() == published.body(name)


def test_bunch_of_fetch(published, cache):
    published.put(cache)
    fashion = fetch_fashion_mnist()
    assert set(fashion) == {"data", "target", "target_names", "DESCR"}
    assert_array_equal(fashion.data, published.expected("all")[0])
    assert_array_equal(fashion.target, published.expected("all")[1])


def test_second_fetch_needs_no_network(server, published):
    fetch_fashion_mnist()
    n_requests = len(server.requests)
    X, _ = fetch_fashion_mnist(return_X_y=True)
    assert len(server.requests) == n_requests
    assert_array_equal(X, published.expected("all")[0])


def test_only_missing_files_are_downloaded(server, published, cache, debian):
    published.put(cache, NAMES[:1])
    published.put(debian, NAMES[1:2])
    fetch_fashion_mnist()
    assert server.requests == NAMES[2:]


def test_order_of_sources(server, published, cache, debian):
    """Damaging the first source in turn shows which one was read."""
    published.put(cache)
    published.put(debian)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch_fashion_mnist(subset="test")
    (cache / NAMES[2]).write_bytes(b"")
    with pytest.warns(DamagedFileWarning, match=mentions(cache / NAMES[2])) as record:
        fetch_fashion_mnist(subset="test")
    assert len(record) == 1
    assert record[0].filename == __file__
    assert server.requests == []
    (debian / NAMES[2]).write_bytes(b"")
    with pytest.warns(DamagedFileWarning) as record:
        fetch_fashion_mnist(subset="test")
    assert [NAMES[2] in str(warning.message) for warning in record] == [True, True]
    assert str(debian) in str(record[1].message)
    assert server.requests == [NAMES[2]]


def flip_a_bit(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def append(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"0"))


def shorten(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))


def spoil_the_stream(path):
    path.write_bytes(path.read_bytes()[:10] + b"\xff" * 100)


def replace_by_text(path):
    path.write_text("not gzip")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (flip_a_bit, ["SHA-256"]),
        (cut, ["gzip"]),
        (append, [15696]),
        (shorten, [15696, 15695]),
        (spoil_the_stream, ["gzip"]),
        (replace_by_text, ["gzip"]),
    ],
)
def test_damaged_cache_recovers(server, published, cache, damage, named):
    published.put(cache)
    damage(cache / TRAIN_IMAGES)
    with pytest.warns(DamagedFileWarning, match=mentions(cache / TRAIN_IMAGES, *named)):
        X, _ = fetch_fashion_mnist(return_X_y=True)
    assert_array_equal(X, published.expected("all")[0])
    assert server.requests == [TRAIN_IMAGES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch_fashion_mnist()
    assert server.requests == [TRAIN_IMAGES]


@pytest.mark.parametrize("damage", [flip_a_bit, replace_by_folder])
def test_damaged_file_is_never_used(no_network, published, cache, damage):
    published.put(cache)
    damage(cache / TRAIN_IMAGES)
    with (
        pytest.warns(DamagedFileWarning, match=TRAIN_IMAGES),
        pytest.raises(OSError, match=TRAIN_IMAGES),
    ):
        fetch_fashion_mnist(download_if_missing=False)


def test_decompression_is_bounded(published, cache):
    cache.mkdir(parents=True)
    (cache / TRAIN_IMAGES).write_bytes(gzip.compress(bytes(20_000_000)))
    tracemalloc.start()
    with (
        pytest.warns(DamagedFileWarning, match=mentions(TRAIN_IMAGES, 15696)),
        pytest.raises(OSError, match=TRAIN_IMAGES),
    ):
        fetch_fashion_mnist(download_if_missing=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_subset_needs_its_own_files_only(no_network, published, cache):
    published.put(cache, NAMES[2:])
    X, _ = fetch_fashion_mnist(subset="test", return_X_y=True)
    assert_array_equal(X, published.expected("test")[0])
    with pytest.raises(OSError, match=TRAIN_IMAGES):
        fetch_fashion_mnist(subset="train", n_retries=0)


@pytest.mark.parametrize("download_if_missing", [True, False])
def test_no_data_at_all_names_the_remedies(no_network, cache, debian, download_if_missing):
    remedies = ["dataset-fashion-mnist", *NAMES, cache, "download_if_missing=True", debian]
    with pytest.raises(OSError, match=mentions("Fashion-MNIST", *remedies)) as info:
        fetch_fashion_mnist(download_if_missing=download_if_missing, n_retries=0)
    assert ("http://127.0.0.1" in str(info.value)) == download_if_missing
    assert not cache.exists() or file_names(cache) == []


def test_data_home(server, tmp_path):
    fetch_fashion_mnist(subset="test", data_home=tmp_path / "elsewhere")
    assert file_names(tmp_path / "elsewhere" / "fashion_mnist") == NAMES[2:]


# --- a network that fails -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (send_other_content, ["SHA-256"]),
        (send_bomb, [15696]),
        (send_long_body, ["Content-Length", 16735]),
        (send_endless_body, [16735]),
        (send_nonsense_length, ["Content-Length", 16735, "many"]),
        (send_page, ["gzip"]),
        (send_error(404), [404]),
    ],
)
def test_wrong_answer_is_refused_at_once(server, cache, reply, named):
    server.replies[TRAIN_IMAGES] = [reply]
    message = mentions(server.url + TRAIN_IMAGES, *named, "dataset-fashion-mnist")
    with pytest.raises(OSError, match=message) as info:
        fetch_fashion_mnist()
    assert ("Content-Length" in str(info.value)) == ("Content-Length" in named)
    assert server.requests == [TRAIN_IMAGES]
    assert file_names(cache) == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (send_truncated, r"\d+ of \d+"),
        (send_and_reset, TRAIN_IMAGES),
        (send_half_a_chunk, TRAIN_IMAGES),
        (send_error(503), "503"),
        (send_error(429), "429"),
    ],
)
def test_broken_connection_is_tried_again(server, published, cache, reply, message):
    server.replies[TRAIN_IMAGES] = [reply, reply]
    with pytest.warns(UserWarning, match=message) as record:
        X, _ = fetch_fashion_mnist(return_X_y=True, n_retries=2, delay=0)
    assert [warning.filename for warning in record] == [__file__] * 2
    assert_array_equal(X, published.expected("all")[0])
    assert server.requests[:4] == [TRAIN_IMAGES] * 3 + [NAMES[1]]
    assert file_names(cache) == sorted(NAMES)


@pytest.mark.filterwarnings("ignore:Downloading")
@pytest.mark.parametrize("reply", [send_truncated, send_and_reset, send_half_a_chunk])
def test_broken_connections_in_the_end_raise(server, cache, reply):
    server.replies[TRAIN_IMAGES] = [reply] * 9
    with pytest.raises(OSError, match=TRAIN_IMAGES):
        fetch_fashion_mnist(n_retries=1, delay=0)
    assert server.requests == [TRAIN_IMAGES] * 2
    assert file_names(cache) == []


def test_silent_server_times_out(server, cache, monkeypatch):
    answered = threading.Event()
    server.replies[TRAIN_IMAGES] = [lambda handler, body: answered.wait(10)]
    monkeypatch.setattr(_download, "_TIMEOUT", 0.1)
    with pytest.raises(OSError, match="timed out"):
        fetch_fashion_mnist(n_retries=0)
    answered.set()
    assert file_names(cache) == []


def test_retries_wait(server, monkeypatch):
    waited = []
    monkeypatch.setattr(_download.time, "sleep", waited.append)
    server.replies[TRAIN_IMAGES] = [send_truncated] * 9
    with (
        pytest.warns(UserWarning, match=mentions("2.5 s")),
        pytest.raises(OSError, match=TRAIN_IMAGES),
    ):
        fetch_fashion_mnist(delay=2.5)
    assert waited == [2.5] * 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("No space left on device")])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_interrupted_write_leaves_nothing(server, published, cache, monkeypatch, error, moment):
    published.put(cache, [TRAIN_IMAGES])
    (cache / TRAIN_IMAGES).write_bytes(b"damaged before")

    def stop(*args):
        assert len(file_names(cache)) == 2  # the temporary file lies in the folder of the target
        raise error

    monkeypatch.setattr(_download.os, moment, stop)
    with (
        pytest.warns(DamagedFileWarning),
        pytest.raises(error if error is KeyboardInterrupt else OSError, match=r"No space|^$"),
    ):
        fetch_fashion_mnist()
    assert server.requests == [TRAIN_IMAGES]  # a full disk is not tried again
    assert file_names(cache) == [TRAIN_IMAGES]
    assert (cache / TRAIN_IMAGES).read_bytes() == b"damaged before"


def send_together(barrier):
    def reply(handler, body):
        barrier.wait(timeout=30)
        send(handler, body)

    return reply


def test_two_threads_fetch_at_once(server, published, cache):
    both = threading.Barrier(2)
    server.replies = {name: [send_together(both)] * 2 for name in NAMES}
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: fetch_fashion_mnist(return_X_y=True), range(2)))
    assert sorted(server.requests) == sorted(NAMES * 2)
    for X, y in results:
        assert_array_equal(X, published.expected("all")[0])
        assert_array_equal(y, published.expected("all")[1])
    assert file_names(cache) == sorted(NAMES)


FETCH_IN_ANOTHER_PROCESS = """
import hashlib, sys
from pathlib import Path
from skcnn.datasets import _fashion_mnist
from skcnn.datasets._verified_gzip import VerifiedGzip
url, debian, n_bytes, sha256, n_bytes_y, sha256_y = sys.argv[1:]
_fashion_mnist._BASE_URL = url
_fashion_mnist._DEBIAN_FOLDER = Path(debian)
_fashion_mnist._FILES = {"train": (
    VerifiedGzip("train-images-idx3-ubyte.gz", int(n_bytes), sha256),
    VerifiedGzip("train-labels-idx1-ubyte.gz", int(n_bytes_y), sha256_y),
)}
X, y = _fashion_mnist.fetch_fashion_mnist(subset="train", return_X_y=True)
print(hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest())
"""


def test_two_processes_fetch_at_once(server, published, cache, debian):
    both = threading.Barrier(2)
    server.replies = {name: [send_together(both)] * 2 for name in NAMES[:2]}
    images, labels = published.files["train"]
    arguments = [server.url, debian, images.n_bytes, images.sha256, labels.n_bytes, labels.sha256]
    command = [sys.executable, "-c", FETCH_IN_ANOTHER_PROCESS, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    X, y = published.expected("train")
    expected = hashlib.sha256(X.tobytes() + y.astype(np.int64).tobytes()).hexdigest()
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.strip() == expected
    assert sorted(server.requests) == sorted(NAMES[:2] * 2)
    assert file_names(cache) == sorted(NAMES[:2])


# --- parameters and formats -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [load_fashion_mnist_mini, fetch_fashion_mnist])
@pytest.mark.parametrize("subset", ["validation", "", None, 0, ["train"], np.array(["train"])])
def test_unknown_subset(function, subset):
    allowed = ["'train'", "'test'", "'all'"]
    message = mentions("'subset'", function.__name__, *allowed, repr(subset))
    with pytest.raises(ValueError, match=message):
        function(subset=subset)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return_X_y", "yes"),
        ("download_if_missing", "False"),
        ("data_home", 3),
        ("n_retries", -1),
        ("n_retries", 1.0),
        ("delay", -0.1),
        ("delay", float("nan")),
        ("delay", "1"),
    ],
)
def test_other_parameters(name, value):
    with pytest.raises(ValueError, match=names(name, value)):
        fetch_fashion_mnist(**{name: value})


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 4), (2, 3, 300)])
def test_idx_round_trip(shape):
    array = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    assert_array_equal(parse_idx(idx(array)), array)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", ["00 00 08"]),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", ["00 00 08", "00 00 0d"]),
        (b"\x1f\x8b\x08\x01\x00\x00\x00\x00", ["00 00 08", "1f 8b 08"]),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", [16, 8]),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03ab", [(3,), 2]),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03abcd", [(3,), 4]),
    ],
)
def test_idx_refuses(content, named):
    with pytest.raises(ValueError, match=mentions("IDX", *named)):
        parse_idx(content)


IMPORT_WITHOUT_THE_REST_OF_SKCNN = """
import sys, types
import sklearn.base
before = set(sys.modules)
sys.modules["skcnn"] = types.ModuleType("skcnn")
sys.modules["skcnn"].__path__ = [sys.argv[1]]
import skcnn.datasets
print(*(set(sys.modules) - before))
"""


def test_import_is_cheap():
    """What only a download needs is imported by a download."""
    folder = Path(_fashion_mnist.__file__).parents[1]
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_THE_REST_OF_SKCNN, folder],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "skcnn.datasets" in imported
    assert not {"torch", "tqdm", "urllib.request", "http.client", "sklearn.datasets"} & set(
        imported
    )
