"""What code uses beside its arguments, and which code a version number stands for."""

from __future__ import annotations

import dis
import importlib
import importlib.metadata
import importlib.util
import itertools
import sys
import sysconfig
import types
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

# Packages whose versions have their own place in the key of a fit.
_VERSIONED = ("numpy", "sklearn", "skcnn", "skorch", "torch", "torchvision")
_MISSING = object()


def uses(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the name and the value of each global that a function looks up or imports.

    Attributes of modules count as globals: for ``blocks.WIDTH``, the value is that of ``WIDTH``. A
    module itself is a value where code uses it in another way, as ``getattr(blocks, name)`` does.
    """
    for names in dict.fromkeys(_lookups(function.__code__)):
        value = function.__globals__.get(names[0], _MISSING)
        yield from _resolve(value, names)
    package = function.__globals__.get("__package__") or ""
    for level, name, attributes in dict.fromkeys(_imports(function.__code__)):
        parents = package.split(".")
        name = ".".join([*parents[: len(parents) - level + 1], name]) if level else name
        for names in [(name, attribute) for attribute in attributes] or [(name,)]:
            yield from _resolve(_import(name), names)


def own_version(package: str) -> str | None:
    """Version of the distribution that a top-level package was installed from.

    Returns
    -------
    version : str or None
        Empty for the standard library, and what else has its own place in the key of a fit. None:
        it is the user's, and may be edited without getting another version.
    """
    return "" if package in ("builtins", *_VERSIONED) else _installed_version(package)


def _is_versioned(module: str) -> bool:
    return own_version(module.partition(".")[0]) is not None


@cache
def _installed_version(package: str) -> str | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # __main__, or made at run time
        spec = None
    if spec is None:
        return None
    if spec.origin in ("built-in", "frozen"):
        return ""
    place = next(iter(spec.submodule_search_locations or ()), spec.origin)
    if place is None:  # of no file
        return None
    folder = Path(place).parent
    if package in sys.stdlib_module_names:
        standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
        if any(Path(path) in (folder, folder.parent) for path in standard):
            return ""
    # An editable installation has its record elsewhere than its files.
    find = partial(importlib.metadata.distributions, path=[str(folder)])
    for distribution in itertools.chain(find(name=package), find()):  # the likely one first
        files = distribution.files if distribution.read_text("RECORD") else ()
        if any(file.parts[0].partition(".")[0] == package for file in files or ()):
            return f"{distribution.metadata['Name']} {distribution.version}"
    return None


def has_own_version(value: type | types.FunctionType | types.ModuleType) -> bool:
    """Whether a version number stands for a class, function or module.

    It does not for what an installed package made of the user's code, as decorators do.
    """
    if isinstance(value, types.ModuleType):
        return _is_versioned(value.__name__)
    if isinstance(value, types.FunctionType):
        module = value.__globals__.get("__name__")  # decorators set __module__
    else:
        module = value.__module__
    if not _is_versioned(str(module)):
        return False
    found = sys.modules.get(module)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _lookups(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """Yield names of globals, each with the attributes that are looked up in it at once."""
    names: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if names and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            names += (instruction.argval,)
        elif instruction.opname not in ("EXTENDED_ARG", "CACHE", "PUSH_NULL"):
            if names:
                yield names
            is_lookup = instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM"))
            names = (instruction.argval,) if is_lookup else ()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _lookups(constant)


def _imports(code: types.CodeType) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Yield the level of each relative import, the name of the module, and names in it."""
    level = attributes = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield level or 0, instruction.argval, attributes or ()
        elif instruction.opname != "EXTENDED_ARG":
            level, attributes = attributes, instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imports(constant)


def _resolve(value: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Follow attributes as long as they are those of the user's modules."""
    for name in names[1:]:
        if not isinstance(value, types.ModuleType) or _is_versioned(value.__name__):
            break
        inner = getattr(value, name, _MISSING)
        value = _import(f"{value.__name__}.{name}") if inner is _MISSING else inner
    if value is not _MISSING:
        yield ".".join(names), value


def _import(name: str) -> Any:
    """Import what code imports when it runs; return what stands for a missing module."""
    if name in sys.modules:
        return sys.modules[name]
    if _is_versioned(name):
        return types.ModuleType(name)  # its version is all that counts
    try:
        return importlib.import_module(name)
    except Exception:  # whatever it raises, it will raise again when the code runs
        return _MISSING
