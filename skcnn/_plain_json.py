"""Values of Python, NumPy and torch as JSON and back: type and value kept, nothing ever called.

What JSON has stands for itself. Anything else is an object of one member, whose name begins with
``$`` and says what it is; classes come from the lists of torch, never from a path.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn, optim
from torch.optim import lr_scheduler

# Commas and brackets: what makes a short text many objects. So many took up to 192 MB.
_MOST_VALUES = 2_000_000
# Bytes of all arrays together, for each character of the text and besides: a type may ask for any
# number of them for one short string.
_ARRAY_BYTES = (16, 1 << 20)
_LARGEST_INTEGER = 1 << 64

_NONFINITE = ("nan", "inf", "-inf")
# Types of arrays whose items JSON has, and those that are counts of units of time.
_ARRAYS = re.compile(r"\|b1|[|<>][iu][1248]|[<>]f[248]|[<>]U\d{1,9}|[<>][mM]8(\[\d{0,9}\w{1,3}\])?")


def _classes_in(module: Any, base: type) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base)
    }


CLASSES: dict[str, type] = {
    f"{room}.{name}": value
    for room, module, base in (
        ("nn", nn, nn.Module),
        ("optim", optim, optim.Optimizer),
        ("lr_scheduler", lr_scheduler, lr_scheduler.LRScheduler),
    )
    for name, value in _classes_in(module, base).items()
}
_NAMES = {value: name for name, value in CLASSES.items()}


def to_text(value: Any) -> str:
    """JSON text, in ASCII, of what `encode` made."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def from_text(text: str) -> Any:
    """Read what `to_text` wrote.

    Raises
    ------
    ValueError
        If it is no JSON, has a name twice or numbers beyond those of `encode`, is nested too
        deeply, or has too many values.
    """
    n_values = sum(map(text.count, ",[{"))
    if n_values > _MOST_VALUES:
        raise ValueError(f"it has {n_values} values, where {_MOST_VALUES} are the most")
    try:
        return json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_float=_finite,
            parse_int=_integer,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def encode(value: Any) -> Any:
    """Make what JSON has of a value.

    Raises
    ------
    TypeError
        If a part of it is neither a plain value, an array of them, nor a class of torch.
    """
    if isinstance(value, np.generic):  # also where it is a float or a str
        return {"$scalar": _encode_array(np.asarray(value))}
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int and abs(value) < _LARGEST_INTEGER:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind is list:
        return [encode(item) for item in value]
    if kind is tuple:
        return {"$tuple": [encode(item) for item in value]}
    if kind is dict:
        return _encode_dict(value)
    if kind is np.ndarray:
        return {"$array": _encode_array(value)}
    if kind is torch.dtype:
        return {"$dtype": str(value).removeprefix("torch.")}
    if kind is torch.device:
        return {"$device": str(value)}
    if inspect.isclass(value) and value in _NAMES:
        return {"$class": _NAMES[value]}
    if kind is functools.partial:
        parts = (value.func, value.args, value.keywords)
        return {"$partial": [encode(part) for part in parts]}
    raise TypeError(f"{kind.__name__} is no plain value")


def decode(value: Any, n_characters: int) -> Any:
    """Give the value of which `encode` made `value`.

    Parameters
    ----------
    value : object
    n_characters : int
        Length of its text, by which memory is bounded.

    Raises
    ------
    ValueError
        If `encode` makes no such thing, or it takes far more memory than its text.
    """
    per_character, besides = _ARRAY_BYTES
    return _Decoder(per_character * n_characters + besides).decode(value)


def _encode_dict(value: dict) -> dict:
    if all(type(name) is str and not name.startswith("$") for name in value):
        return {name: encode(item) for name, item in value.items()}
    return {"$dict": [[encode(name), encode(item)] for name, item in value.items()]}


def _encode_array(array: np.ndarray) -> list:
    """Type, shape and items of an array, those of dtype object being strings."""
    kind = array.dtype.str
    if array.dtype.hasobject:
        if not all(type(item) is str for item in array.flat):
            raise TypeError("an array of objects that are no strings is no plain value")
    elif not _ARRAYS.fullmatch(kind):
        raise TypeError(f"an array of {array.dtype} is no plain value")
    items = array.view(f"{kind[0]}i8") if array.dtype.kind in "mM" else array
    return [kind, list(array.shape), [encode(item) for item in items.ravel().tolist()]]


class _Decoder:
    """Gives values, of which arrays may have so many bytes together."""

    def __init__(self, n_bytes: int):
        self.n_bytes = n_bytes

    def decode(self, value: Any) -> Any:
        """Give the value of which `encode` made this one."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        if not tag.startswith("$"):
            return {name: self.decode(item) for name, item in value.items()}
        if len(value) > 1 or tag not in _DECODERS:
            raise ValueError(f"it has {'more beside ' * (len(value) > 1)}{tag!r:.40}")
        try:
            return _DECODERS[tag](self, value[tag])
        except (TypeError, ArithmeticError, RuntimeError, AttributeError, LookupError) as error:
            raise ValueError(f"its {tag!r} is none: {error!s:.80}") from error

    def pairs(self, pairs: list) -> dict:
        """Give a dict of keys of any type."""
        decoded = {self.decode(name): self.decode(item) for name, item in pairs}
        if len(decoded) < len(pairs):
            raise ValueError("a key is there twice")
        return decoded

    def array(self, parts: list) -> np.ndarray:
        """Give an array of a type, a shape, and items."""
        kind, shape, items = parts
        if kind != "|O" and not _ARRAYS.fullmatch(kind):
            raise ValueError(f"there is no type {kind!r:.40}")
        dtype = np.dtype(kind)
        if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) != len(items):
            raise ValueError(f"shape {shape!s:.40} does not go with {len(items)} items")
        self.n_bytes -= dtype.itemsize * len(items)
        if self.n_bytes < 0:
            raise ValueError(
                f"arrays, the last one of {len(items)} items of type {kind}, take far more memory "
                "than their text"
            )
        of_json = {"b": bool, "f": float, "U": str, "O": str}.get(dtype.kind, int)
        items = [self.decode(item) for item in items]
        if not all(type(item) is of_json for item in items):
            raise ValueError(f"items of type {kind} must be of type {of_json.__name__}")
        stored = np.dtype(f"{kind[0]}i8") if dtype.kind in "mM" else dtype
        array = np.array(items, dtype=stored)
        if array.tolist() != items and dtype.kind != "f":
            raise ValueError(f"its items do not fit into the type {kind}")
        return array.view(dtype).reshape(shape)

    def partial(self, parts: list) -> functools.partial:
        """Give a partial call of a class."""
        func, args, keywords = map(self.decode, parts)
        if not inspect.isclass(func):
            raise ValueError("it calls no class")
        return functools.partial(func, *args, **keywords)


def _one_of(table: dict[str, Any]) -> Callable[[_Decoder, str], Any]:
    return lambda decoder, name: table[name]


_DECODERS: dict[str, Callable[[_Decoder, Any], Any]] = {
    "$float": _one_of({name: float(name) for name in _NONFINITE}),
    "$tuple": lambda decoder, items: tuple(map(decoder.decode, items)),
    "$dict": _Decoder.pairs,
    "$array": _Decoder.array,
    "$scalar": lambda decoder, parts: decoder.array(parts)[()],
    "$dtype": _one_of(
        {
            name: value
            for name, value in vars(torch).items()
            if isinstance(value, torch.dtype) and str(value) == f"torch.{name}"
        }
    ),
    "$device": lambda decoder, name: torch.device(name),
    "$class": _one_of(CLASSES),
    "$partial": _Decoder.partial,
}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is there twice")
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large a number")
    return value


def _integer(text: str) -> int:
    if len(text) > len(str(-_LARGEST_INTEGER)):
        raise ValueError(f"an integer of {len(text)} digits is too large")
    return int(text)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
