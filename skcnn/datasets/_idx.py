"""The IDX format, in which MNIST and its successors are published."""

import numpy as np

_UNSIGNED_BYTE = 0x08


def parse_idx(content):
    """Return the array that the bytes of an IDX file hold.

    An IDX file is a magic number (two zero bytes, a type code, the number of dimensions), each
    dimension as a big-endian 32-bit integer, and the values in C order.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    array : ndarray of uint8
        A view of `content`, hence read-only.

    Raises
    ------
    ValueError
        If the magic number is not that of unsigned bytes, or the values are too few or too many.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ValueError(
            "An IDX file of unsigned bytes must begin with the bytes 00 00 08; "
            f"got {content[:3].hex(' ') or 'an empty file'} instead."
        )
    header_size = 4 + 4 * content[3]
    if len(content) < header_size:
        raise ValueError(
            f"This IDX file must have a header of {header_size} bytes; "
            f"got {len(content)} bytes in all instead."
        )
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header_size, 4)]
    values = np.frombuffer(content, dtype=np.uint8, offset=header_size)
    try:
        return values.reshape(shape)
    except ValueError:
        raise ValueError(
            f"An IDX file of shape {tuple(shape)} must hold as many values; "
            f"got {values.size} instead."
        ) from None
