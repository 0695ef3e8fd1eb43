"""Fits kept on disk: what names one, and where it is."""

from skcnn.memory._checkpoint import open_checkpoint
from skcnn.memory._fingerprint import fingerprint, versions
from skcnn.memory._identity import FitIdentity, Part
from skcnn.memory._journal import FileJournal
from skcnn.memory._store import FitStore, open_store

__all__ = [
    "FileJournal",
    "FitIdentity",
    "FitStore",
    "Part",
    "fingerprint",
    "open_checkpoint",
    "open_store",
    "versions",
]
