"""Fashion-MNIST: 6,000 of its images bundled, and all 70,000 from the disk or the network."""

import os
import warnings
from importlib import resources
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skcnn.datasets._download import download
from skcnn.datasets._idx import parse_idx
from skcnn.datasets._verified_gzip import DamagedFileWarning, VerifiedGzip

_TARGET_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_PARTS = {"train": ("train",), "test": ("test",), "all": ("train", "test")}

_BASE_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
# Images and labels of each part.
_FILES = {
    "train": (
        VerifiedGzip(
            "train-images-idx3-ubyte.gz",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        VerifiedGzip(
            "train-labels-idx1-ubyte.gz",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        VerifiedGzip(
            "t10k-images-idx3-ubyte.gz",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        VerifiedGzip(
            "t10k-labels-idx1-ubyte.gz",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def load_fashion_mnist_mini(*, subset="all", return_X_y=False):
    """Load 6,000 images of Fashion-MNIST, which are bundled with the package.

    A fixed, balanced selection of Fashion-MNIST [1]_ for examples, tests and first steps: 500
    images of each class from its training set and 100 of each class from its test set, shuffled, so
    that a slice of a part is roughly balanced too. Nothing is downloaded.

    =================   ================
    Classes                           10
    Training images     5000, 500 a class
    Test images         1000, 100 a class
    Image shape         (28, 28)
    Pixels              uint8, 0 to 255
    =================   ================

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="all"
        The part to load. "all": the 5,000 training images, then the 1,000 test images.
    return_X_y : bool, default=False
        If True, return `(data, target)` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_samples, 28, 28), dtype=uint8
            The images; 0 is the background.
        target : ndarray of shape (n_samples,), dtype=int64
            The classes, 0 to 9.
        target_names : ndarray of shape (10,), dtype=str
            The names of the classes.
        DESCR : str
            The description of the data set.

    (data, target) : tuple if `return_X_y` is True
        The first two of these. In any case the arrays are new and writable.

    Raises
    ------
    ValueError
        If a parameter is not one of the values allowed.

    See Also
    --------
    fetch_fashion_mnist : All 70,000 images.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf (2017). "Fashion-MNIST: a Novel Image Dataset for
       Benchmarking Machine Learning Algorithms." :arxiv:`1708.07747`

    Examples
    --------
    >>> from skcnn.datasets import load_fashion_mnist_mini
    >>> X_train, y_train = load_fashion_mnist_mini(subset="train", return_X_y=True)
    >>> X_test, y_test = load_fashion_mnist_mini(subset="test", return_X_y=True)
    >>> X_train.shape, X_test.shape
    ((5000, 28, 28), (1000, 28, 28))

    >>> fashion = load_fashion_mnist_mini()
    >>> print(fashion.target_names[fashion.target[:3]])
    ['Sneaker' 'Bag' 'Sandal']
    """
    _validate(load_fashion_mnist_mini, subset=subset, return_X_y=return_X_y)
    images, labels = [], []
    with (_data_folder() / "fashion_mnist_mini.npz").open("rb") as file, np.load(file) as arrays:
        for part in _PARTS[subset]:
            images.append(arrays[f"X_{part}"])
            labels.append(arrays[f"y_{part}"])
    return _assemble(images, labels, return_X_y)


def fetch_fashion_mnist(
    *,
    subset="all",
    data_home=None,
    download_if_missing=True,
    return_X_y=False,
    n_retries=3,
    delay=1.0,
):
    """Load the 70,000 images of Fashion-MNIST, downloading them if necessary.

    Each of the files of Fashion-MNIST [1]_ that `subset` needs is taken from the first of these
    places that has it:

    1. the folder `fashion_mnist` in scikit-learn's data folder,
    2. Debian's package `dataset-fashion-mnist`, where it is installed,
    3. the data set's repository, from which it is downloaded into the first.

    Wherever it comes from, its content is checked against its SHA-256.

    =================   ===================
    Classes                              10
    Training images     60000, 6000 a class
    Test images         10000, 1000 a class
    Image shape         (28, 28)
    Pixels              uint8, 0 to 255
    =================   ===================

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="all"
        The part to load. "all": the 60,000 training images, then the 10,000 test images. Only the
        files of this part need to be there, or are downloaded.
    data_home : str or path-like, default=None
        The data folder of scikit-learn, see :func:`sklearn.datasets.get_data_home`. None: the
        value of the environment variable `SCIKIT_LEARN_DATA`, or else `~/scikit_learn_data`.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of using the network.
    return_X_y : bool, default=False
        If True, return `(data, target)` instead of a Bunch.
    n_retries : int, default=3
        How many more times to try when the connection or the server fails.
    delay : float, default=1.0
        Seconds to wait before each of these.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (n_samples, 28, 28), dtype=uint8
            The images; 0 is the background.
        target : ndarray of shape (n_samples,), dtype=int64
            The classes, 0 to 9.
        target_names : ndarray of shape (10,), dtype=str
            The names of the classes.
        DESCR : str
            The description of the data set.

    (data, target) : tuple if `return_X_y` is True
        The first two of these. In any case the arrays are new and writable.

    Raises
    ------
    ValueError
        If a parameter is not one of the values allowed.
    OSError
        If a file is in neither folder and cannot be downloaded, or what is downloaded is not the
        published file. The message says what to do.

    Warns
    -----
    DamagedFileWarning
        If a file in one of the folders is not the published one. The next place is tried.
    UserWarning
        If a download is tried again.

    See Also
    --------
    load_fashion_mnist_mini : 6,000 of these images, bundled with the package.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf (2017). "Fashion-MNIST: a Novel Image Dataset for
       Benchmarking Machine Learning Algorithms." :arxiv:`1708.07747`

    Examples
    --------
    >>> from skcnn.datasets import fetch_fashion_mnist
    >>> fashion = fetch_fashion_mnist(subset="train")  # doctest: +SKIP
    >>> fashion.data.shape  # doctest: +SKIP
    (60000, 28, 28)
    """
    _validate(
        fetch_fashion_mnist,
        subset=subset,
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        n_retries=n_retries,
        delay=delay,
    )
    # Here and not above: the bundled images do without the rest of sklearn.datasets.
    from sklearn.datasets import get_data_home

    cache = Path(get_data_home(data_home)) / "fashion_mnist"
    images, labels = [], []
    for part in _PARTS[subset]:
        for file, arrays in zip(_FILES[part], (images, labels), strict=True):
            content = _read_or_download(file, cache, download_if_missing, n_retries, delay)
            arrays.append(parse_idx(content))
    return _assemble(images, labels, return_X_y)


def _read_or_download(file, cache, download_if_missing, n_retries, delay):
    """Return the verified content of a file from the first place that has it."""
    for folder in (cache, _DEBIAN_FOLDER):
        try:
            return file.read(folder / file.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.warn(
                f"The file {folder / file.name} is not used: {error}. "
                "Another source is tried; delete or replace this file to be rid of the warning.",
                DamagedFileWarning,
                stacklevel=3,  # the caller of fetch_fashion_mnist
            )

    url = _BASE_URL + file.name
    reason, cause = "downloading is switched off (download_if_missing=False)", None
    if download_if_missing:
        try:
            return download(file, url, cache, n_retries=n_retries, delay=delay)
        except OSError as error:
            reason, cause = f"downloading {url} failed: {error}", error
    names = [each.name for part in _FILES.values() for each in part]
    raise OSError(
        f"Fashion-MNIST's {file.name} is missing: there is no sound copy in {cache} or "
        f"{_DEBIAN_FOLDER}, and {reason}. Install Debian's package dataset-fashion-mnist, or put "
        f"{', '.join(names[:-1])} and {names[-1]} into {cache}, or call fetch_fashion_mnist with "
        "download_if_missing=True where the network can be reached."
    ) from cause


def _assemble(images, labels, return_X_y):
    # Concatenating copies even a single array: what the user gets is always writable.
    data = np.concatenate(images)
    target = np.concatenate(labels, dtype=np.int64)
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=np.array(_TARGET_NAMES),
        DESCR=(_data_folder() / "fashion_mnist.rst").read_text(encoding="utf-8"),
    )


def _data_folder():
    return resources.files("skcnn.datasets") / "data"


def _is_bool(value):
    return isinstance(value, (bool, np.bool_))


# Of each parameter: whether a value is allowed, and the words that say which are.
_CONSTRAINTS = {
    "subset": (
        lambda value: isinstance(value, str) and value in _PARTS,
        "'train', 'test' or 'all'",
    ),
    "data_home": (
        lambda value: value is None or isinstance(value, (str, os.PathLike)),
        "a str, a path or None",
    ),
    "download_if_missing": (_is_bool, "True or False"),
    "return_X_y": (_is_bool, "True or False"),
    "n_retries": (
        lambda value: isinstance(value, Integral) and value >= 0,
        "an integer, 0 or more",
    ),
    "delay": (
        lambda value: isinstance(value, Real) and 0 <= value < float("inf"),
        "a finite number of seconds, 0 or more",
    ),
}


def _validate(function, **params):
    for name, value in params.items():
        is_allowed, allowed = _CONSTRAINTS[name]
        if not is_allowed(value):
            raise ValueError(
                f"The {name!r} parameter of {function.__name__} must be {allowed}; "
                f"got {value!r} instead."
            )
