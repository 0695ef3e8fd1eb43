"""Names for values: equal for equal ones, in any process; for code, by what it does."""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import importlib.metadata
import inspect
import platform
import sys
import types
from collections import deque
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import nn

from skcnn._version import __version__
from skcnn.memory._code import has_own_version, own_version, uses

# Attributes of classes that Python sets: they say where the code stands, or change while it runs.
_NOT_CODE = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__qualname__",
    "__slotnames__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}

_CODE = (type, types.FunctionType, types.ModuleType)
# What is fed again wherever it is met: whether two of these are one object, depends on Python.
_PLAIN = (bool, int, float, complex, str, bytes, tuple, frozenset, np.generic, enum.Enum)


def fingerprint(value: Any, *, nameless: bool = False) -> str:
    """Hash a value by its content.

    Numbers, strings, containers, arrays and tensors count by what they hold. Functions and classes
    count by name and by their code, and so does all that this code uses: other functions and
    classes, constants of modules, variables of closures. Where a package was installed, its version
    stands for its code. Other objects count by their class and by what pickling would keep of them.

    Parameters
    ----------
    value : object
    nameless : bool, default=False
        Take what has no name of its own too, as it is taken in any case where code uses it: a
        lambda by its code; an open file, or what else cannot be pickled, by its type and by the
        source of the module that uses it.

    Returns
    -------
    name : str
        64 hexadecimal digits (SHA-256).

    Raises
    ------
    TypeError
        If the value, or a part of it, has no name of its own: a lambda, a function or class made
        inside a function, an open file. The message says which.
    """
    digest = hashlib.sha256()
    _Hasher(digest.update, nameless).feed(value)
    return digest.hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Versions of everything that takes part in a fit."""
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "skcnn": __version__,
        **{
            name: importlib.metadata.version(name)
            for name in ("numpy", "scikit-learn", "skorch", "torch", "torchvision")
        },
    }


class _Hasher:
    """Feeds a canonical form of values to `update`: for each its kind, its length, its content."""

    def __init__(self, update: Callable[[Any], None], nameless: bool):
        self.update = update
        self.nameless = nameless
        self.module: str | None = None  # of the code that is being fed
        self.waiting: deque[Any] = deque()  # code, so that deep calls do not nest here
        self.open: list[int] = []  # what is being fed, by identity: an object may hold itself
        # What was fed. Code is full of cycles, and what it uses is shared in every way.
        self.fed: dict[int, tuple[int, Any]] = {}

    def feed(self, value: Any) -> None:
        """Feed a value, and after it the code that it is made of."""
        self._feed(value)
        while self.waiting:
            code = self.waiting.popleft()
            self.nameless = True
            self.module = getattr(code, "__module__", None) or code.__name__
            if isinstance(code, types.ModuleType):
                self._feed_module(code)
            elif isinstance(code, types.FunctionType):
                self._feed_function(code)
            else:
                self._feed_class(code)

    def _feed(self, value: Any) -> None:
        if id(value) in self.fed:
            self._mark("fed", self.fed[id(value)][0])
            return
        if id(value) in self.open:
            self._mark("again", len(self.open) - self.open.index(id(value)))
            return
        if isinstance(value, _CODE) or (
            self.nameless and value is not None and not isinstance(value, _PLAIN)
        ):
            self.fed[id(value)] = (len(self.fed), value)
        self.open.append(id(value))
        self._feed_content(value)
        self.open.pop()

    def _mark(self, kind: str, *details: Any) -> None:
        """Begin a value: nothing that follows can be taken for a part of what came before."""
        self.update(f"{kind} {details!r};".encode())

    def _feed_all(self, kind: str, values: Any) -> None:
        values = list(values)
        self._mark(kind, len(values))
        for value in values:
            self._feed(value)

    def _feed_content(self, value: Any) -> None:
        kind = type(value).__name__
        if value is None or value is Ellipsis or isinstance(value, bool | int | float | complex):
            self._mark(kind, value)
        elif isinstance(value, enum.Enum):
            self._feed_all("enum", [type(value), value.name, value._value_])
        elif isinstance(value, str | bytes | bytearray):
            content = value.encode(errors="surrogatepass") if isinstance(value, str) else value
            self._mark(kind, len(content))
            self.update(content)
        elif isinstance(value, np.ndarray | np.generic) and not value.dtype.hasobject:
            self._mark("array", value.dtype.str, value.shape)
            self.update(value.tobytes())
        elif isinstance(value, np.ndarray):
            self._mark("array of objects", value.shape)
            self._feed_all("items", value.ravel())
        elif isinstance(value, torch.Tensor):
            self._mark("tensor", str(value.dtype), tuple(value.shape), value.requires_grad)
            flat = value.detach().cpu().contiguous().flatten()
            self.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
        elif type(value) is dict or (isinstance(value, Mapping) and not isinstance(value, dict)):
            # What comes first may matter, as in a dictionary of callbacks, say.
            self._feed_all(kind, [part for item in value.items() for part in item])
        elif isinstance(value, Set):
            self._feed(type(value))
            self._feed_all(kind, sorted(map(self._own_fingerprint, value)))
        elif type(value) in (list, tuple):
            self._feed_all(kind, value)
        elif isinstance(value, functools.partial):
            self._feed_all("partial", [value.func, value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            self._feed_all("method", [value.__self__, value.__func__])
        elif isinstance(value, staticmethod | classmethod):
            self._feed_all(kind, [value.__func__])
        elif isinstance(value, property):
            self._feed_all("property", [value.fget, value.fset, value.fdel])
        elif isinstance(value, functools.cached_property):
            self._feed_all(kind, [value.func])
        elif isinstance(value, (*_CODE, types.BuiltinFunctionType)):
            self._feed_code(value)
        else:
            self._feed_object(value)

    def _own_fingerprint(self, value: Any) -> str:
        """Fingerprint of an item of a set, whatever the order in which they come."""
        digest = hashlib.sha256()
        item = _Hasher(digest.update, self.nameless)
        item.module, item.open, item.fed = self.module, [*self.open], {**self.fed}
        item.feed(value)
        return digest.hexdigest()

    def _feed_code(self, value: Any) -> None:
        """Feed the name of a class, function or module; what it is made of has to wait."""
        if isinstance(value, types.ModuleType):
            module, name = value.__name__, ""
        else:
            module, name = str(value.__module__), value.__qualname__
        if "<" in name and not self.nameless:
            raise TypeError(
                f"{name!r} of {module} has no name of its own: it is a lambda, or was made inside "
                "a function. Define it with def or class at the top level of a module"
            )
        # What stands in a script has another module in the workers of multiprocessing.
        shown = module.replace("__mp_main__", "__main__")
        self._mark("code", shown, name, own_version(module.partition(".")[0]))
        if isinstance(value, _CODE) and not has_own_version(value):
            self.waiting.append(value)

    def _feed_class(self, value: type) -> None:
        self._feed_all("bases", [type(value), *value.__mro__[1:]])
        for name, member in sorted(vars(value).items()):
            if name not in _NOT_CODE:
                self._mark("member", name)
                self._feed(member)

    def _feed_function(self, function: types.FunctionType) -> None:
        self._feed_bytecode(function.__code__)
        self._feed_all("defaults", [function.__defaults__, function.__kwdefaults__])
        for cell in function.__closure__ or ():
            self._mark("closure")
            with contextlib.suppress(ValueError):  # it is empty
                self._feed(cell.cell_contents)
        self._feed_all("attributes", [vars(function)])
        for name, value in uses(function):
            self._mark("uses", name)
            self._feed(value)

    def _feed_bytecode(self, code: types.CodeType) -> None:
        self._mark("bytecode", code.co_names, code.co_varnames, code.co_flags)
        self.update(code.co_code)
        self._mark("constants", len(code.co_consts))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._feed_bytecode(constant)
            else:
                self._feed(constant)

    def _feed_module(self, module: types.ModuleType) -> None:
        """Feed all that a module of the user defines, but for the modules inside a package."""
        for name, value in sorted(vars(module).items()):
            is_inside = isinstance(value, types.ModuleType) and value.__name__.startswith(
                f"{module.__name__}."
            )
            if not (name.startswith("__") or is_inside):
                self._mark("defines", name)
                self._feed(value)

    def _feed_object(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, torch.dtype | torch.device):
            self._mark(kind.__name__, str(value))
            return
        if hasattr(value, "__wrapped__"):  # as what lru_cache makes, which pickles by name
            self._feed_all("wrapped", [kind, value.__wrapped__])
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # each class has its own
            if isinstance(value, nn.Module):  # as those with parametrizations
                reduced = (kind, (), vars(value))
            elif not self.nameless:
                raise TypeError(
                    f"an object of type {kind.__name__} has no content: {error}"
                ) from error
            else:
                self._feed_all("nameless", [kind, _source(self.module)])
                return
        if isinstance(reduced, str):
            self._feed_all("named", [kind, reduced])
            return
        make, arguments, *rest = reduced
        self._feed_all("object", [kind, make, arguments])
        state, items, pairs = (*rest, None, None, None)[:3]
        self._feed(_without_hook_numbers(state) if isinstance(value, nn.Module) else state)
        self._feed_all("items", items or ())
        self._feed_all("pairs", pairs or ())


def _without_hook_numbers(state: Any) -> Any:
    """State of an nn.Module without the numbers of its hooks, which count those of the process."""
    if not isinstance(state, dict):
        return state
    return {
        name: list(value.values()) if "_hooks" in name and isinstance(value, dict) else value
        for name, value in state.items()
    }


def _source(module: str | None) -> str:
    try:
        return inspect.getsource(sys.modules[module])
    except (KeyError, OSError, TypeError):  # of no file
        return ""
