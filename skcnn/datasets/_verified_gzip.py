"""Gzip files whose content is known beforehand by its size and its SHA-256."""

import gzip
import hashlib
import zlib
from typing import NamedTuple


class DamagedFileWarning(UserWarning):
    """A data file on disk is not the published one, so another source is tried.

    The file is truncated, altered, or cannot be read. Its content is never used.

    See Also
    --------
    fetch_fashion_mnist : Emits this warning.

    Examples
    --------
    >>> import warnings
    >>> from skcnn.datasets import DamagedFileWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", DamagedFileWarning)  # here, rather stop
    """


class DamagedFileError(OSError):
    """A file or a response is complete, and yet not the published file."""


class VerifiedGzip(NamedTuple):
    """A gzip file, known by its content: packagers recompress, so its own bytes may differ.

    Attributes
    ----------
    name : str
        The file name, which is the same in every folder and at the end of the URL.
    n_bytes : int
        Size of the decompressed content.
    sha256 : str
        SHA-256 of the decompressed content, in hexadecimal digits.
    """

    name: str
    n_bytes: int
    sha256: str

    @property
    def max_compressed_bytes(self):
        """Size that no sensible compression of the content exceeds."""
        return self.n_bytes + self.n_bytes // 1000 + 1024

    def read(self, path):
        """Return the content of the gzip file at `path`, once it has proved to be the right one.

        No more than the expected size is ever decompressed, plus one byte: a decompression bomb
        does no harm.

        Parameters
        ----------
        path : path-like
            The file, whatever its name.

        Returns
        -------
        content : bytes

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        DamagedFileError
            If the content is not the expected one.
        OSError
            If the file cannot be read.
        """
        try:
            # The one byte more also makes gzip read, and check, its own trailer.
            with gzip.open(path, "rb") as file:
                content = file.read(self.n_bytes + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DamagedFileError(f"it is not a complete gzip file ({error})") from error
        if len(content) != self.n_bytes:
            size = len(content) if len(content) < self.n_bytes else "more"
            raise DamagedFileError(
                f"it must decompress to {self.n_bytes} bytes; got {size} instead"
            )
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != self.sha256:
            raise DamagedFileError(
                f"its decompressed content must have the SHA-256 {self.sha256}; "
                f"got {sha256} instead"
            )
        return content
