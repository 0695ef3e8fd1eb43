"""Download a file whole or not at all."""

import os
import time
import uuid
import warnings

from skcnn.datasets._verified_gzip import DamagedFileError

_TIMEOUT = 30.0  # seconds without a single byte
_CHUNK_SIZE = 1 << 16
# 408, 429: the server asks for another try. 5xx: the trouble is the server's, and may pass.
_PASSING_CLIENT_ERRORS = (408, 429)


def download(file, url, folder, *, n_retries, delay):
    """Download a gzip file into a folder, verify its content, and return it.

    The file appears under its name only when it is complete and verified; after an error or an
    interrupt the folder holds nothing new. Several threads or processes may download the same file
    at once: each one works on its own temporary file and the last one to finish wins.

    Parameters
    ----------
    file : VerifiedGzip
        What is expected.
    url : str
        Where it is.
    folder : pathlib.Path
        Where it goes; created if need be.
    n_retries : int
        How many more times to try when the connection or the server fails.
    delay : float
        Seconds to wait before each of these.

    Returns
    -------
    content : bytes
        The decompressed content.

    Raises
    ------
    DamagedFileError
        If the response is complete, and not the expected file. It is not tried again: the answer
        would be the same.
    OSError
        If every attempt failed, or the file cannot be written.
    """
    from urllib.error import HTTPError, URLError

    folder.mkdir(parents=True, exist_ok=True)
    for n_left in range(n_retries, -1, -1):
        try:
            return _download_once(file, url, folder)
        except (URLError, TimeoutError, ConnectionError) as error:
            if isinstance(error, HTTPError):
                error.close()
                if error.code < 500 and error.code not in _PASSING_CLIENT_ERRORS:
                    raise
            if n_left == 0:
                raise
            warnings.warn(
                f"Downloading {url} failed: {error}. Trying again in {delay:g} s, "
                f"{n_left} more time{'s' if n_left > 1 else ''}.",
                stacklevel=4,  # the caller of the fetch function
            )
            time.sleep(delay)


def _download_once(file, url, folder):
    # Opened by name, not by `tempfile`: the cache may be shared, and `tempfile` makes files that
    # only their owner can read.
    partial = folder / f"{file.name}.{uuid.uuid4().hex}.part"
    try:
        with open(partial, "xb") as output:
            for chunk in _stream(file, url):
                output.write(chunk)
            output.flush()
            os.fsync(output.fileno())
        content = file.read(partial)
        os.replace(partial, folder / file.name)
    finally:
        partial.unlink(missing_ok=True)
    return content


def _stream(file, url):
    """Yield the body of the response in pieces, while a progress bar shows how far it is."""
    from urllib.request import urlopen

    from tqdm import tqdm

    limit = file.max_compressed_bytes
    with urlopen(url, timeout=_TIMEOUT) as response:
        announced = response.headers.get("Content-Length")
        if announced is not None and not (announced.isdecimal() and int(announced) <= limit):
            raise DamagedFileError(
                f"its Content-Length must be at most {limit} bytes; got {announced} instead"
            )
        total = None if announced is None else int(announced)
        n_received = 0
        with tqdm(total=total, desc=file.name, unit="B", unit_scale=True) as progress:
            while chunk := _receive(response, n_received):
                n_received += len(chunk)
                if n_received > limit:
                    raise DamagedFileError(
                        f"the response must be at most {limit} bytes long; got more instead"
                    )
                progress.update(len(chunk))
                yield chunk
        if total is not None and n_received < total:
            raise ConnectionError(f"the response ended after {n_received} of {total} bytes")


def _receive(response, n_received):
    from http.client import HTTPException

    try:
        return response.read(_CHUNK_SIZE)
    except (OSError, HTTPException) as error:
        # One kind of error for all, TLS and chunked encoding included, and never mistaken for an
        # error of the disk.
        raise ConnectionError(
            f"the connection broke after {n_received} bytes or more ({error!r})"
        ) from error
