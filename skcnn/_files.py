"""Files that are either whole or refused: written at once, read only if nothing in them changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path

_SUFFIX = ".partial"
# A process that was killed leaves its unfinished file behind; one that writes takes less than this.
_OLDEST_PARTIAL = 3600  # seconds


class DamagedFileError(ValueError):
    """The file is not what was written."""


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write `parts`, one after the other, so that `path` is at any time the old file or the new.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    *parts : bytes-like
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
    try:
        with open(partial, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Let the new name outlive a power cut too, where the system can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_sealed(path: Path, kind: str, content: bytes | memoryview) -> None:
    """Write `content`, as `write_whole` does, behind a checksum that `read_sealed` looks at.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    kind : str
        First line of the file, for whoever reads it.
    content : bytes-like
    """
    write_whole(path, f"{kind}\n{_checksum(kind.encode(), content)}\n".encode(), content)


def read_sealed(path: Path) -> tuple[str, memoryview]:
    """Kind and content of a file that `write_sealed` wrote.

    Raises
    ------
    OSError
        If it cannot be read.
    DamagedFileError
        If a byte is missing, or changed.
    """
    data = memoryview(path.read_bytes())
    lines = bytes(data[:200]).split(b"\n", 2)
    if len(lines) < 3:
        raise DamagedFileError("it is cut off")
    kind, checksum, _ = lines
    content = data[len(kind) + len(checksum) + 2 :]
    if _checksum(kind, content).encode() != checksum:
        raise DamagedFileError("its content does not match its SHA-256 sum")
    return kind.decode(), content


def _checksum(kind: bytes, content: bytes | memoryview) -> str:
    digest = hashlib.sha256(kind)
    digest.update(content)
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
