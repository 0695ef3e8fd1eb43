"""Objects that hold tensors, as pickles hold them: in the CPU's memory, each tensor once."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, NoneType
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from torch import Tensor, nn

# joblib.hash pickles in protocol 3; what is to be loaded again is pickled in later ones.
HASHING_PROTOCOL = 3
_PROTOCOL = 4
_LEFT_ALONE = (
    *(NoneType, bool, int, float, complex, str, bytes, type, FunctionType, BuiltinFunctionType),
    *(np.ndarray, np.generic, torch.dtype, torch.device, NeuralNet),
)


def to_cpu(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a state so that it pickles its tensors as arrays, and loads them to the CPU's memory.

    Classes, of which a pickle may hold only the names, are left to whoever pickles: the workers of
    joblib can send what a script defines. Tensors that several objects share stay shared. What
    holds no tensor is not copied, and a net neither, which has a state of its own.

    Parameters
    ----------
    state : mapping of str to object
        Attributes.

    Returns
    -------
    state : dict
        To be pickled or deep-copied, and nothing else.
    """
    stand_ins = _StandIns()
    return {name: stand_ins.of(value) for name, value in state.items()}


class _StandIns:
    """What is pickled in the place of objects that hold tensors, each of them once."""

    def __init__(self):
        self._known: dict[int, tuple[Any, Any]] = {}  # id → stand-in, and the object to keep its id

    def of(self, value: Any) -> Any:
        """Stand-in for an object; the object itself, if it holds no tensor."""
        if isinstance(value, _LEFT_ALONE):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = self._make(value), value
        return self._known[id(value)][0]

    def _make(self, value: Any) -> Any:
        if _is_plain_tensor(value):
            return _PickledTensor(value)
        stand_in: Any
        if type(value) in (tuple, set, frozenset):
            parts = [self.of(part) for part in value]
            return type(value)(parts) if _differ(parts, value) else value
        if type(value) is list:
            stand_in = self._begin(value, [])
            stand_in += map(self.of, value)
            changed = _differ(stand_in, value)
        elif type(value) is dict:
            stand_in = self._begin(value, {})
            stand_in.update((self.of(key), self.of(item)) for key, item in value.items())
            changed = _differ(stand_in, value) or _differ(stand_in.values(), value.values())
        else:
            reduce = copyreg.dispatch_table.get(type(value))
            try:
                reduced = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
            except Exception:  # whoever pickles it says what is wrong, or knows another way
                return value
            if isinstance(reduced, str):  # the name of something global
                return value
            function, args, state, items, pairs = (*reduced, None, None, None)[:5]
            parts = [args, state, items and list(items), pairs and list(pairs)]
            stand_in = self._begin(value, _PickledObject(function))
            stand_in.parts = [self.of(part) for part in parts]
            changed = _differ(stand_in.parts, parts)
        return stand_in if changed else value

    def _begin(self, value: Any, stand_in: Any) -> Any:
        """Let what refers back to `value` find its stand-in."""
        self._known[id(value)] = stand_in, value
        return stand_in


def _differ(these: Iterable, those: Iterable) -> bool:
    return any(this is not that for this, that in zip(these, those, strict=True))


class _PickledObject:
    """Stands for an object of any class, whose own methods do not run before it is loaded."""

    def __init__(self, function: Callable):
        # pickle allows objects of other classes to be made by any function but this one.
        self.function = _new if function is copyreg.__newobj__ else function
        self.parts: list[Any] = []

    def __reduce__(self) -> tuple:
        args, state, items, pairs = self.parts
        return self.function, args, state, items and iter(items), pairs and iter(pairs)


def _new(kind: type, *args: Any) -> Any:
    return kind.__new__(kind, *args)


class _PickledTensor:
    """Stands for a tensor, and becomes one when it is loaded or copied."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __reduce__(self) -> tuple:
        tensor = self.tensor.detach().cpu().resolve_conj().resolve_neg()
        # By its strides, torch chooses how it computes: they are kept, unless they leave gaps.
        if tensor.stride() != torch.empty_like(tensor, device="meta").stride():
            tensor = tensor.contiguous()
        flat = tensor.as_strided((tensor.numel(),), (1,))
        return _load_tensor, (
            flat.view(torch.uint8).numpy(),
            str(tensor.dtype).removeprefix("torch."),
            tuple(tensor.shape),
            tensor.stride(),
            isinstance(self.tensor, nn.Parameter),
            self.tensor.requires_grad and self.tensor.is_leaf,
        )


def _load_tensor(
    content: np.ndarray,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    is_parameter: bool,
    requires_grad: bool,
) -> Tensor:
    """Make a tensor in memory of its own: `content` may be a file that joblib maps."""
    tensor = torch.empty_strided(shape, strides, dtype=getattr(torch, dtype), device="cpu")
    flat = tensor.as_strided((tensor.numel(),), (1,))
    flat.view(torch.uint8).numpy()[:] = content
    return (
        nn.Parameter(tensor, requires_grad)
        if is_parameter
        else tensor.requires_grad_(requires_grad)
    )


def _is_plain_tensor(value: Any) -> bool:
    """Whether it is a dense tensor, with a content, of a class of torch itself."""
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and not value.is_meta
        and not value.is_quantized
    )
