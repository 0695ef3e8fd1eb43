"""The state of one fit in a folder of its own, from which it goes on after a kill."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from skcnn._files import DamagedFileError, remove_partial_files
from skcnn.exceptions import UnusedEntryWarning, warn_caller
from skcnn.memory._identity import FitIdentity
from skcnn.memory._journal import FileJournal, OtherVersionError, read_record

# What writing may take of the time of a fit. The first state and the last are written in any case:
# the first shows what one takes.
_SHARE_OF_FIT = 0.03
_FILES = "epoch-*.checkpoint"


@contextlib.contextmanager
def open_checkpoint(
    checkpoint_dir: str | os.PathLike, fit: FitIdentity, name: str
) -> Iterator[Checkpoint]:
    """Checkpoint of `fit` in a folder, which no other fit can use meanwhile.

    Parameters
    ----------
    checkpoint_dir : str or path
    fit : FitIdentity
    name : str
        Of the class that fits.

    Raises
    ------
    ValueError
        If the folder is in use, cannot be written to, or holds another fit.

    Warns
    -----
    UnusedEntryWarning
        If a file in it is damaged.
    """
    must_be = f"The 'checkpoint_dir' parameter of {name} must be"
    got = f"got {os.fspath(checkpoint_dir)!r} instead"
    folder = Path(checkpoint_dir).absolute()  # wherever callbacks may go meanwhile
    try:
        if not os.fspath(checkpoint_dir):
            raise FileNotFoundError("it has no name")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(
            f"{must_be} a folder that no other fit is using; {got}. Give every fit a folder of "
            "its own; for many fits, as in a search, set memory, which does so."
        ) from None
    except OSError as error:
        raise ValueError(
            f"{must_be} a folder that can be written to, or None; {got}: {error}."
        ) from error
    with lock:
        checkpoint = Checkpoint(folder, fit)
        differences = checkpoint.resume()
        if differences:
            raise ValueError(
                f"{must_be} a folder of this fit, or an empty one; {got}, which holds another fit. "
                f"What differs: {'; '.join(differences)}. Fit with the same to go on, or name "
                "another folder; for many fits, as in a search, set memory, which gives each its "
                "own."
            )
        yield checkpoint


class Checkpoint(FileJournal):
    """States of one fit after some of its epochs, in files of which the last two are kept.

    Parameters
    ----------
    folder : Path
        Nobody else writes to it.
    fit : FitIdentity
    """

    parameter = "checkpoint_dir"

    def __init__(self, folder: Path, fit: FitIdentity):
        super().__init__(fit)
        self.folder = folder
        self._newest: Path | None = None
        self._start = time.perf_counter()
        self._seconds = self._seconds_of_last = 0.0  # of writing

    def resume(self) -> list[str]:
        """Go on from the newest state that is whole; tell what differs if it is another fit's.

        What a process that was killed left unfinished is removed.
        """
        remove_partial_files(self.folder, _FILES + ".*", older_than=-math.inf)
        for path in self._paths():
            try:
                record = read_record(path)
            except OtherVersionError as error:
                return [f"the form of {path.name} ({error})"]
            except (OSError, DamagedFileError) as error:
                warn_caller(
                    f"checkpoint_dir= holds a file that cannot be used, {path}: {error}. The fit "
                    "goes on from the one before, if there is one, and replaces it.",
                    UnusedEntryWarning,
                )
                continue
            differences = self._differences_from(record)
            if not differences:
                self._newest = path
                self._go_on_from(record)
                older = [other for other in self._paths() if other < path]
                self._remove(older[1:])
            return differences
        return []

    def write(self, state: dict[str, Any]) -> None:
        """Write the state of an epoch, unless that would take too much of the time of the fit.

        Raises
        ------
        OSError
            If it cannot be written. The state before stays as it was.
        """
        n_epochs = len(state["history"])
        is_last = state["stopped"] or n_epochs == self.fit.max_epochs
        start = time.perf_counter()
        # The state of the last epoch will be written too: its seconds are laid by.
        needed = self._seconds + 2 * self._seconds_of_last
        if not is_last and needed > _SHARE_OF_FIT * (start - self._start):
            return
        path = self.folder / _FILES.replace("*", f"{n_epochs:06}")
        try:
            self._write(path, state)
            self._remove(set(self._paths()) - {path, self._newest})
        except OSError as error:
            left = "It was the first"
            if self._newest is not None:
                left = f"The one before is {'whole' if self._newest.exists() else 'gone'}"
            raise OSError(
                error.errno,
                f"the checkpoint after epoch {n_epochs} could not be written "
                f"({error.strerror or error}). {left}: see to the disk, and call fit again",
                str(self.folder),
            ) from error
        self._newest = path
        self._seconds_of_last = time.perf_counter() - start
        self._seconds += self._seconds_of_last

    def _paths(self) -> list[Path]:
        """Files of states, the newest first."""
        return sorted(self.folder.glob(_FILES), reverse=True)

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink()

    def _differences_from(self, record: dict[str, Any]) -> list[str]:
        differences = self.fit.differences_from(record["parts"])
        then, now = record["max_epochs"], self.fit.max_epochs
        n_done = len(record["state"]["history"])
        if then != now and not self.fit.extendable:
            differences.append(
                f"max_epochs ({then} then, {now} now; the learning rates of its schedule depend on "
                "it, as those of lr_schedule=None, or of one that goes by steps, would not)"
            )
        elif n_done > now:
            differences.append(f"max_epochs ({then} then, {now} now; {n_done} are done)")
        return differences
