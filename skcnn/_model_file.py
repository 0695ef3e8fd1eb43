"""The file of a saved model: a line that says so, a checksum, and all else as safetensors.

The metadata of the safetensors hold one member, ``skcnn``: JSON that describes the model.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from skcnn._files import DamagedFileError, open_sealed, write_sealed
from skcnn._plain_json import decode, encode, from_text, to_text
from skcnn._version import __version__
from skcnn.exceptions import ModelFileError

_KIND = "skcnn model"
_VERSION = 1
_MEMBER = "skcnn"  # of the metadata
_LARGEST_SIDE = 1 << 63  # of a tensor, for torch; one with a side of 0 may be of any

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class TensorEntry(NamedTuple):
    """What a file says of a tensor; its bytes follow those of the one before."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Size in the file and in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_model(path: Path, description: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a model, whole or not at all; the same model gives the same bytes.

    Parameters
    ----------
    path : Path
    description : dict
        Plain values, as `encode` takes them.
    tensors : mapping of str to Tensor
        Of types that `can_be_kept` admits; written row by row, whatever their strides.

    Raises
    ------
    ValueError
        If the description is more than can be read again.
    OSError
        If the file cannot be written.
    """
    metadata = {_MEMBER: to_text(encode(description))}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    try:
        _parsed(_text(text))
        _description(metadata)
    except DamagedFileError as error:
        raise ValueError(
            f"The file would be refused when it is loaded: {error}. Keep less in the history and "
            "the parameters, or fit on shorter labels."
        ) from error
    text += b" " * (-len(text) % 8)
    data = (_bytes_of(tensor) for tensor in tensors.values())
    write_sealed(path, f"{_KIND} {_VERSION}", len(text).to_bytes(8, "little"), text, *data)


def can_be_kept(tensor: Any) -> bool:
    """Whether the file has a place for this: dense, with values, of a usual type."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_quantized)
        and tensor.dtype in _NAMES
    )


class ModelFile(NamedTuple):
    """An open file of a model, whole by its checksum."""

    description: dict[str, Any]
    entries: dict[str, TensorEntry]
    file: BinaryIO

    def tensors(self) -> dict[str, Tensor]:
        """Read all tensors, once, each into memory of its own."""
        return {name: self._read(entry) for name, entry in self.entries.items()}

    def _read(self, entry: TensorEntry) -> Tensor:
        data = torch.empty(entry.n_bytes, dtype=torch.uint8)
        if self.file.readinto(data.numpy()) != entry.n_bytes:
            raise DamagedFileError("it became shorter while it was read")
        if entry.dtype == torch.bool and entry.n_bytes and data.max() > 1:
            raise DamagedFileError("a truth value in it is neither 0 nor 1")
        return data.view(entry.dtype).reshape(entry.shape)


@contextlib.contextmanager
def open_model(path: str | os.PathLike) -> Iterator[ModelFile]:
    """Open the file of a model.

    Raises
    ------
    OSError
        If it cannot be read.
    ModelFileError
        If it is no such file, or a byte of it is missing or changed, or in the block a ValueError
        says what is wrong with its content.
    """
    try:
        with open_sealed(Path(path), _KIND) as (kind, file, size):
            _check_version(kind)
            header, n_data = _read_header(file, size)
            description = _description(header.pop("__metadata__", None))
            yield ModelFile(description, _entries(header, n_data), file)
    except ValueError as error:
        raise ModelFileError(path, str(error)) from error


def _bytes_of(tensor: Tensor) -> memoryview:
    """Content of a tensor row by row; no copy, if that is how it lies in the CPU's memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def _check_version(kind: str) -> None:
    version = kind.removeprefix(f"{_KIND} ")
    if not (version.isascii() and version.isdigit()) or len(version) > 9 or int(version) < 1:
        raise DamagedFileError(f"it has no version: its first line is {kind!r:.40}")
    if int(version) > _VERSION:
        raise DamagedFileError(
            f"its format is of version {version}, from a newer skcnn; this one, {__version__}, "
            f"knows version {_VERSION}. Update skcnn"
        )


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Header of the safetensors, and how many bytes follow it."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= size - 8:
        raise DamagedFileError(f"its header cannot have {length} of {size} bytes")
    header = _parsed(_text(file.read(length)))
    return header, size - 8 - length


def _text(data: bytes) -> str:
    # ASCII alone: one character beyond it would take four bytes for each of the others.
    if not data.isascii():
        raise DamagedFileError("its header is not ASCII")
    return data.decode("ascii")


def _parsed(text: str) -> dict[str, Any]:
    try:
        parsed = from_text(text)
    except ValueError as error:
        raise DamagedFileError(f"its header cannot be read: {error}") from error
    if not isinstance(parsed, dict):
        raise DamagedFileError("its header is no JSON object")
    return parsed


def _description(metadata: Any) -> dict[str, Any]:
    text = metadata.get(_MEMBER) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise DamagedFileError("it does not say what model it holds")
    try:
        parsed = _parsed(_text(text.encode(errors="surrogatepass")))
        description = decode(parsed, len(text))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"what it says of its model cannot be read: {error}") from error
    if not isinstance(description, dict):
        raise DamagedFileError("what it says of its model is no JSON object")
    return description


def _entries(header: dict[str, Any], n_data: int) -> dict[str, TensorEntry]:
    """Entries of the tensors, whose bytes must follow each other and be all that there is."""
    entries = {}
    end = 0
    for name, stated in header.items():
        match stated:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]}:
                entries[name] = _entry(name, dtype, shape)
            case _:
                raise DamagedFileError(f"what it says of its tensor {name!r:.80} is incomplete")
        if (start, stop) != (end, end + entries[name].n_bytes):
            raise DamagedFileError(f"the bytes of its tensor {name!r:.80} are misplaced")
        end = stop
    if end != n_data:
        raise DamagedFileError(f"its tensors have {end} bytes, where {n_data} follow the header")
    return entries


def _entry(name: str, dtype: str, shape: list) -> TensorEntry:
    if dtype not in _DTYPES or not all(type(n) is int and 0 <= n < _LARGEST_SIDE for n in shape):
        raise DamagedFileError(
            f"its tensor {name!r:.80} cannot be of type {dtype!r:.40} and shape {shape!s:.80}"
        )
    return TensorEntry(_DTYPES[dtype], tuple(shape))
