"""State of a fit in a file: sealed, of a version, and read without running anything."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from skcnn._files import DamagedFileError, read_sealed, write_sealed
from skcnn.memory._identity import FitIdentity

_KIND = "skcnn fit"
_VERSION = 3


class OtherVersionError(ValueError):
    """The file is from a skcnn that keeps fits in another form."""


class FileJournal:
    """What journals that keep a fit in files have in common.

    Parameters
    ----------
    fit : FitIdentity
    """

    parameter: str  # of the classifiers, for messages

    def __init__(self, fit: FitIdentity):
        self.fit = fit
        self.seeds = fit.seeds
        self._state: dict[str, Any] | None = None

    def read(self) -> dict[str, Any] | None:
        """State to go on from, handed out once; None: start."""
        state, self._state = self._state, None
        return state

    def _go_on_from(self, record: dict[str, Any]) -> None:
        """Take the state of a record, and its seeds: of a fit without, others were drawn now."""
        self._state = record["state"]
        self.seeds = tuple(record["seeds"])

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        """Write a record of the state, of tensors and plain values, in place of an earlier one."""
        record = {
            "parts": {what: tuple(part) for what, part in self.fit.parts.items()},
            "max_epochs": self.fit.max_epochs,
            "seeds": self.seeds,
            "state": state,
        }
        content = io.BytesIO()
        torch.save(record, content)
        write_sealed(path, f"{_KIND} {_VERSION}", content.getbuffer())


def read_record(path: Path) -> dict[str, Any]:
    """Read what a journal wrote.

    Raises
    ------
    OSError
        If there is nothing, or it cannot be read.
    DamagedFileError
        If it is not what was written.
    OtherVersionError
        If another skcnn wrote it.
    """
    kind, content = read_sealed(path)
    name, _, version = kind.rpartition(" ")
    if name != _KIND:
        raise DamagedFileError(f"it is no {_KIND}, but {kind!r}")
    if version != str(_VERSION):
        raise OtherVersionError(f"it is of version {version}, where this skcnn has {_VERSION}")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedFileError(f"torch cannot load it: {error}") from error
