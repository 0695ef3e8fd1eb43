"""Decoded images in a file that threads and processes share: each is decoded once, by one."""

from __future__ import annotations

import contextlib
import copyreg
import errno
import itertools
import math
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from skcnn.exceptions import AnimatedImageWarning, warn_caller
from skcnn.images._decoding import Recipe, decode_image, reason_of

try:
    import fcntl
except ImportError:  # on Windows
    import msvcrt

    fcntl = None

T = TypeVar("T")

# Pixels that wait to be written, at most; but a few images for each thread in any case.
_CHUNK_BYTES = 1 << 26
_NAMED = 5  # files that a message names
_HASHING_PROTOCOL = 3
# Held while the folder or the maps of a cache change: threads share both. A fork waits for it.
_changing = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_changing.acquire,
        after_in_parent=_changing.release,
        after_in_child=_changing.release,
    )


class PixelCache:
    """Pixels of the images in files, decoded when first asked for.

    They lie in a folder of their own among the temporary files, which is removed with this object,
    or at the exit of the process that made it. A copy, and one that was pickled and went to another
    process, has the same folder; where that is gone, it makes a new one. ``joblib.hash`` is that of
    paths, stamps and recipe alone.

    Parameters
    ----------
    paths : list of str
    stamps : ndarray of shape (n, 2)
        What `read_stamp` said of each of `paths`, which must not change before it is decoded.
    recipe : Recipe
    """

    def __init__(self, paths: list[str], stamps: np.ndarray, recipe: Recipe):
        self.paths = paths
        self.stamps = stamps
        self.recipe = recipe
        self._make_folder()

    def __reduce_ex__(self, protocol: int) -> tuple:
        state = {name: value for name, value in vars(self).items() if name != "_maps"}
        # joblib.hash pickles in protocol 3, and processes send each other what is pickled in later
        # ones: the name of the folder is of use to them, and changes with every session.
        if protocol <= _HASHING_PROTOCOL:
            state.pop("_folder", None)
        return copyreg.__newobj__, (PixelCache,), state

    @property
    def pixels(self) -> np.memmap:
        """Array of shape (n, *recipe.shape), uint8, read-only; zeros where nothing is decoded."""
        return self._open()[0]

    @property
    def n_decoded(self) -> np.memmap:
        """How often each file was decoded, by any process: 0 or 1."""
        return self._open()[1]

    def fill(self, rows: np.ndarray, *, verbose: bool = False) -> dict[str, str]:
        """Decode the files of `rows` that nobody has decoded yet.

        Parameters
        ----------
        rows : ndarray of shape (n,)
        verbose : bool, default=False
            Show a progress bar.

        Returns
        -------
        reasons : dict
            Path → why it cannot be used, for each file that cannot.

        Raises
        ------
        OSError
            If there is no room for the pixels, which is asked before the first is decoded.
        MemoryError
            If the memory does not suffice to decode a file.

        Warns
        -----
        AnimatedImageWarning
            If a file has several frames, of which the first is taken.
        """
        n_decoded = self.n_decoded
        if n_decoded[rows].all():
            return {}
        if not self.is_whole:  # removed by its maker, of which this is a copy
            n_decoded = self._open(check_folder=True)[1]
        reasons, animated = {}, []
        n_bytes = math.prod(self.recipe.shape)
        with _locked(self._folder / "lock"), open(self._folder / "pixels", "r+b", 0) as file:
            # Anew: another process may have decoded some while this one waited.
            rows = np.unique(rows[n_decoded[rows] == 0])
            with self._room_needed():
                _check_free(self._folder, len(rows) * n_bytes)
            decoded = in_threads(self._decode, rows, at_once=_CHUNK_BYTES // n_bytes)
            for row, image in zip(rows, _with_progress(decoded, len(rows), verbose), strict=True):
                if isinstance(image, str):
                    reasons[self.paths[row]] = image
                    continue
                pixels, is_animated = image
                if is_animated:
                    animated.append(self.paths[row])
                # Written and not mapped: a disk without room is then an error, and no crash.
                with self._room_needed():
                    file.seek(int(row) * n_bytes)
                    _write(file, np.ascontiguousarray(pixels).data.cast("B"))
                n_decoded[row] += 1
        if animated:
            warn_caller(
                f"The first frame alone is taken of {named(animated)}: they have several.",
                AnimatedImageWarning,
            )
        return reasons

    def extend(self, paths: list[str], stamps: np.ndarray) -> None:
        """Take in more files, in the process that made the folder: copies do not know of them."""
        with _changing:
            self._make_room(len(self.paths) + len(paths))
            self.stamps = np.concatenate([self.stamps, stamps])
            self.paths = self.paths + paths  # last: threads that read it find room for all

    @property
    def is_whole(self) -> bool:
        """Whether the folder is still there."""
        return self._folder.exists()

    def _decode(self, row: int) -> tuple[np.ndarray, bool] | str:
        try:
            return decode_image(self.paths[row], self.stamps[row], self.recipe)
        except MemoryError as error:  # of which the file is innocent
            height, width = self.recipe.size
            raise MemoryError(
                f"There is no memory to decode {self.paths[row]!r} to {height} × {width} pixels. "
                "Give a smaller image_size, or let other programs end first."
            ) from error
        except Exception as error:  # see decode_image
            return reason_of(error)

    def _open(self, *, check_folder: bool = False) -> tuple[np.memmap, np.memmap]:
        with _changing:
            maps = None if check_folder and not self.is_whole else vars(self).get("_maps")
            if maps is None or len(maps[0]) != len(self.paths):
                if not (hasattr(self, "_folder") and self.is_whole):
                    self._make_folder()
                shape = (len(self.paths), *self.recipe.shape)
                maps = self._maps = (
                    np.memmap(self._folder / "pixels", np.uint8, "r", shape=shape),
                    np.memmap(self._folder / "n_decoded", np.uint8, "r+", shape=shape[:1]),
                )
            return maps

    def _make_folder(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="skcnn-images-"))
        weakref.finalize(self, _remove, self._folder, os.getpid())
        self._make_room(len(self.paths))

    def _make_room(self, n_files: int) -> None:
        with self._room_needed():
            for name, n_bytes in (("pixels", math.prod(self.recipe.shape)), ("n_decoded", 1)):
                with open(self._folder / name, "ab") as file:
                    # A hole, which is read as zeros and takes no room until it is filled.
                    file.truncate(n_files * n_bytes)

    @contextlib.contextmanager
    def _room_needed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            size = len(self.paths) * math.prod(self.recipe.shape) / 1e9
            raise OSError(
                error.errno,
                f"Decoded images cannot be kept in {self._folder}: {error.strerror}. All of them "
                f"take {size:.3g} GB: make room, have the TMPDIR environment variable name another "
                "folder, or give a smaller image_size",
            ) from error


def in_threads(function: Callable[[Any], T], items: Sequence, at_once: int) -> Iterator[T]:
    """Results of `function` for each of `items`, in order, of few at a time."""
    n_threads = _n_cores()
    step = min(max(at_once, 2 * n_threads), 1024)
    with ThreadPoolExecutor(n_threads) as executor:
        for start in range(0, len(items), step):
            yield from executor.map(function, items[start : start + step])


def named(paths: Sequence[str]) -> str:
    """Name the first of some files, and say how many more there are."""
    names = ", ".join(map(repr, itertools.islice(paths, _NAMED)))
    return names if len(paths) <= _NAMED else f"{names} and {len(paths) - _NAMED} more"


def _check_free(folder: Path, n_bytes: int) -> None:
    """Refuse to write what there is no room for, before all the room is taken."""
    if n_bytes > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(file: Any, content: memoryview) -> None:
    """Write all of `content` to an unbuffered file, which may take it in parts."""
    while content:
        content = content[file.write(content) :]


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_progress(items: Iterator[T], n_items: int, verbose: bool) -> Iterator[T]:
    if not verbose:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, desc="Decoding", total=n_items, unit="image")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep out the other processes, and the other threads, that want the same."""
    with open(path, "ab") as file:  # which lets go when it is closed, be it by a kill
        if fcntl is None:
            _lock_on_windows(file)
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # a process that was forked meanwhile has the file open, too
            fcntl.flock(file, fcntl.LOCK_UN)


def _lock_on_windows(file: Any) -> None:
    file.seek(0)
    while True:
        with contextlib.suppress(OSError):  # after ten seconds
            return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:  # and no fork of it
        shutil.rmtree(folder, ignore_errors=True)
