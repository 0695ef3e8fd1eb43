"""What tells one fit from another, part by part."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skcnn.memory._fingerprint import fingerprint

_LONGEST_SHOWN = 60  # characters


class Part(NamedTuple):
    """One thing that a fit depends on."""

    fingerprint: str
    shown: str | None  # short form that says all of it, if there is one

    @classmethod
    def of(cls, value: Any) -> Part:
        """Part that stands for a value, and for all that are equal to it.

        Raises
        ------
        TypeError
            If the value has no name of its own; see `fingerprint`.
        """
        value = _canonical(value)
        return cls(fingerprint(value), _shown(value))


@dataclass(frozen=True)
class FitIdentity:
    """A fit, told by all that its result depends on.

    Parameters
    ----------
    parts : mapping of str to Part
        What it depends on, but for its length.
    max_epochs : int
    extendable : bool
        Whether a fit of fewer epochs is the beginning of this one.
    seeds : tuple of int
        Of the split and of all else. Part of the name only where the user gave them.
    """

    parts: Mapping[str, Part]
    max_epochs: int
    extendable: bool
    seeds: tuple[int, int]

    @property
    def key(self) -> str:
        """Name of the fit, but for its length."""
        return fingerprint({what: name for what, (name, _) in self.parts.items()})

    def differences_from(self, kept: Mapping[str, Part]) -> list[str]:
        """List, in words, the parts in which this fit differs from a `kept` one."""
        missing = (None, "not there")
        found = []
        for what in dict.fromkeys([*kept, *self.parts]):
            (then, shown_then), (now, shown_now) = (
                parts.get(what, missing) for parts in (kept, self.parts)
            )
            if then == now:
                continue
            if None in (shown_then, shown_now) or shown_then == shown_now:
                found.append(f"{what} (not the same)")
            else:
                found.append(f"{what} ({shown_then} then, {shown_now} now)")
            if what == "class":  # another one has other parameters
                break
        return found


def _canonical(value: Any) -> Any:
    """Value that is the same for all that are equal as parameters, whatever their type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, bool | int | float):
        return int(value) if value == value // 1 else float(value)
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, Mapping):
        items = [(_canonical(name), _canonical(item)) for name, item in value.items()]
        return dict(sorted(items, key=lambda item: fingerprint(item[0])))
    if isinstance(value, functools.partial):
        return functools.partial(value.func, *_canonical(value.args), **_canonical(value.keywords))
    return value


def _shown(value: Any) -> str | None:
    """Short form of a value that says all of it, or None."""
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return name
    shown = repr(value) if _is_plain(value) else ""
    return shown if 0 < len(shown) <= _LONGEST_SHOWN else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
