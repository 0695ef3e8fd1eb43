"""Files that are either whole or refused: written at once, read only if nothing in them changed."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

_SUFFIX = ".partial"
_LONGEST_BEGINNING = 200  # bytes of the kind and the checksum
# A process that was killed leaves its unfinished file behind; one that writes takes less than this.
_OLDEST_PARTIAL = 3600  # seconds
_LONGEST_NAME = 200  # bytes of the name of a file, of the 255 that it may have, to add a suffix to


class DamagedFileError(ValueError):
    """The file is not what was written."""


def checked_target(path: str | os.PathLike, owner: str) -> Path:
    """Path of a file that can be written, or replaced.

    Parameters
    ----------
    path : str or path-like
    owner : str
        Method whose parameter it is.

    Raises
    ------
    TypeError
        If it is no path.
    ValueError
        If no file may have that name.
    OSError
        If something else is there, or there is no such folder.
    """
    must_be = f"The 'path' parameter of {owner} must be the path of a file"
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(f"{must_be}; got {path!r} instead.")
    path = Path(path)
    if "\0" in str(path):
        raise ValueError(f"{must_be}; got {str(path)!r} instead, which has a null character.")
    if path.exists() and not path.is_file():
        error = IsADirectoryError if path.is_dir() else OSError
        raise error(
            f"{must_be}; got {str(path)!r} instead, where something else is. Add the name of a "
            "file."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{must_be} in a folder that exists; got {str(path)!r} instead. Make the folder first: "
            f"{str(path.parent)!r}."
        )
    return path


@contextlib.contextmanager
def naming_the_file(path: Path) -> Iterator[None]:
    """Let an OSError of the block say that this file could not be written, and what remains."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"The file could not be written ({error.strerror or error}); what was there before "
            "still is. See to the disk, or name another file",
            str(path),
        ) from error


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts`, one after the other, as `open_whole` does.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    *parts : bytes-like
    """
    with open_whole(path) as file:
        file.writelines(parts)


@contextlib.contextmanager
def open_whole(path: Path, kind: str = "b", **options: Any) -> Iterator[IO[Any]]:
    """Open a file to write, so that `path` is at any time the old file or the new, whole one.

    Where there is a file already, the new one has its permissions; a link stays a link. What a
    writer of the same file left, when it was killed, is removed.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    kind : {"b", "t"}, default="b"
        Bytes or text.
    **options : dict
        Of `open`.
    """
    path = Path(os.path.realpath(path))
    # No longer than names may be.
    begun = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    remove_partial_files(path.parent, f"{glob.escape(begun)}.*-*")
    unfinished = path.with_name(f"{begun}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with open(unfinished, f"x{kind}", **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a power cut too, where the system can open folders."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):  # the file is there, whole: an error would say it is not
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_sealed(path: Path, kind: str, *parts: bytes | memoryview) -> None:
    """Write `parts`, as `write_whole` does, behind a checksum that `open_sealed` looks at.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    kind : str
        First line of the file, for whoever reads it.
    *parts : bytes-like
    """
    write_whole(path, f"{kind}\n{_checksum(kind.encode(), parts)}\n".encode(), *parts)


def read_sealed(path: Path) -> tuple[str, memoryview]:
    """Kind and content of a file that `write_sealed` wrote.

    Raises
    ------
    OSError
        If it cannot be read.
    DamagedFileError
        If a byte is missing, or changed.
    """
    with open_sealed(path) as (kind, file, _):
        return kind, memoryview(file.read())


@contextlib.contextmanager
def open_sealed(path: Path, expected: str = "") -> Iterator[tuple[str, BinaryIO, int]]:
    """Open a file that `write_sealed` wrote, after one reading that checks every byte.

    Parameters
    ----------
    path : Path
    expected : str, default=""
        What its kind begins with.

    Yields
    ------
    kind : str
    file : BinaryIO
        At the first byte of the content.
    size : int
        Bytes of the content.

    Raises
    ------
    OSError
        If it cannot be read.
    DamagedFileError
        If it is of another kind, or no regular file, or a byte is missing or changed.
    """
    # A named pipe without a writer would be waited for.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedFileError("it is no regular file")
    with open(descriptor, "rb") as file:
        beginning = file.read(_LONGEST_BEGINNING)
        if not beginning.startswith(expected.encode()[: len(beginning)]):
            raise DamagedFileError(f"it does not begin with {expected!r}")
        lines = beginning.split(b"\n", 2)
        if len(lines) < 3:
            raise DamagedFileError("it is cut off")
        kind, checksum, _ = lines
        start = file.seek(len(kind) + len(checksum) + 2)
        chunks = iter(partial(file.read, 1 << 20), b"")
        if _checksum(kind, chunks).encode() != checksum:
            raise DamagedFileError(
                "a byte of it is missing or changed: its content does not match its SHA-256 sum"
            )
        size = file.tell() - start
        file.seek(start)
        yield kind.decode(errors="backslashreplace"), file, size


def _checksum(kind: bytes, parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256(kind)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def remove_partial_files(folder: Path, of: str = "*", older_than: float = _OLDEST_PARTIAL) -> None:
    """Remove what writers that were killed left in `folder`.

    Parameters
    ----------
    folder : Path
    of : str, default="*"
        Pattern of the names of the files that they wrote.
    older_than : float, default=3600
        Seconds. Below 0 where nobody can be writing.
    """
    for path in folder.glob(f"{of}{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink()
