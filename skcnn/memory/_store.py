"""One file for each fit, in the folder of a joblib.Memory."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib

from skcnn._files import DamagedFileError, remove_partial_files
from skcnn.exceptions import UnusedEntryWarning, warn_caller
from skcnn.memory._identity import FitIdentity
from skcnn.memory._journal import FileJournal, OtherVersionError, read_record

_FILE = "output.pkl"  # no pickle, but where joblib looks for the time of last use


def open_store(memory: str | os.PathLike | joblib.Memory | None, name: str) -> FitStore | None:
    """Store in the folder of `memory`, which has none if it is None or ``Memory(None)``."""
    if memory is None or (isinstance(memory, joblib.Memory) and memory.store_backend is None):
        return None
    return FitStore(memory, name)


class FitStore:
    """Folder of fits, inside that of a joblib.Memory.

    Each fit has a folder of its own, whose name begins with 32 hexadecimal digits: what joblib
    takes for an entry, so that its ``clear`` and ``reduce_size`` hold for fits too.

    Parameters
    ----------
    memory : str, path or joblib.Memory
        As in the pipelines of scikit-learn.
    name : str
        Of the class that fits.

    Raises
    ------
    ValueError
        If the folder cannot be written to.
    """

    def __init__(self, memory: str | os.PathLike | joblib.Memory, name: str):
        folder = memory
        try:
            if not isinstance(memory, joblib.Memory):
                if not os.fspath(memory):
                    raise FileNotFoundError("it has no name")
                memory = joblib.Memory(os.fspath(memory), verbose=0)
            folder = Path(memory.store_backend.location).absolute()
            self.folder = folder / "skcnn" / name
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise ValueError(
                f"The 'memory' parameter of {name} must be a folder that can be written to, a "
                f"joblib.Memory with one, or None; got {str(folder)!r} instead: {error}."
            ) from error

    def fit(self, fit: FitIdentity) -> KeptFit:
        """Journal of a fit, which may have begun already."""
        return KeptFit(self.folder, fit)


class KeptFit(FileJournal):
    """State of one fit on disk, after its last epoch or the last one that it reached.

    It goes on from this fit's state, or from that of the longest beginning of it.

    Parameters
    ----------
    folder : Path
        Where the fits of a class are.
    fit : FitIdentity

    Warns
    -----
    UnusedEntryWarning
        If there is a state that cannot be used.
    """

    parameter = "memory"

    def __init__(self, folder: Path, fit: FitIdentity):
        super().__init__(fit)
        self.folder = folder
        self.key = fit.key
        remove_partial_files(self._path(fit.max_epochs).parent)
        for max_epochs in (fit.max_epochs, *self._beginnings()):
            record = self._read(max_epochs)
            if record is not None:
                self._go_on_from(record)
                break

    def write(self, state: dict[str, Any]) -> None:
        """Keep the state of an epoch."""
        path = self._path(self.fit.max_epochs)
        path.parent.mkdir(parents=True, exist_ok=True)  # joblib may have cleared it
        self._write(path, state)

    def _path(self, max_epochs: int) -> Path:
        return self.folder / f"{self.key}-{max_epochs}" / _FILE

    def _beginnings(self) -> Iterator[int]:
        """Lengths of the fits, whole or not, that this one can go on from, the longest first."""
        shorter = sorted((n for n in self._lengths() if n < self.fit.max_epochs), reverse=True)
        if self.fit.extendable:
            yield from shorter
        elif shorter:
            warn_caller(
                f"memory= holds this fit with max_epochs={shorter[0]}, which cannot go on to "
                f"{self.fit.max_epochs}: the learning rates of its schedule depend on the length "
                "of the fit. It is trained from the start. With lr_schedule=None, or one that "
                "goes by steps, it would go on.",
                UnusedEntryWarning,
            )

    def _lengths(self) -> Iterator[int]:
        """Lengths of the fits of this name."""
        for path in self.folder.glob(f"{self.key}-*/{_FILE}"):
            if match := re.fullmatch(r"\d+", path.parent.name.removeprefix(f"{self.key}-")):
                yield int(match.group())

    def _read(self, max_epochs: int) -> dict[str, Any] | None:
        path = self._path(max_epochs)
        try:
            record = read_record(path)
        except FileNotFoundError:
            return None
        except (OSError, DamagedFileError, OtherVersionError) as error:
            warn_caller(
                f"memory= holds a file that cannot be used, {path}: {error}. The fit is computed "
                "again, and the file replaced.",
                UnusedEntryWarning,
            )
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # joblib drops first what was used longest ago
        return record
