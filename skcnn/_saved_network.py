"""The network of a saved classifier: what a file keeps of it, and how it is made again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from skcnn._model_file import ModelFile, can_be_kept
from skcnn.training.reproducibility import seeded_generators

# What the constructor of a network may ask of torch for each tensor of the file, and besides. Ours
# do 2 to 3.1 operations a tensor, and make what the file has; others may compute anything.
_OF_OURS = {"operations": (10, 100), "size": (2, 1 << 20)}
_OF_OTHERS = {"operations": (100, 100_000), "size": (4, 1 << 26)}
_FILLING = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


def tensors_of(module: nn.Module, owner: str) -> dict[str, Tensor]:
    """All parameters and buffers of a network, also those that its state dict leaves out.

    Parameters
    ----------
    module : torch.nn.Module
    owner : str
        Whose network it is, for messages.

    Raises
    ------
    ValueError
        If its state has something that is no dense tensor of a usual type.
    """
    tensors = {**module.state_dict(), **_transient_buffers(module)}
    for name, tensor in tensors.items():
        if not can_be_kept(tensor):
            got = f"a {type(tensor).__name__}"
            if isinstance(tensor, Tensor):
                got = f"a tensor of type {tensor.dtype} and layout {tensor.layout}"
            raise ValueError(
                f"The network of {owner} must have dense tensors of a usual type alone in its "
                f"state_dict() to be saved; got {got} under {name!r} instead. Keep that outside "
                "the state, or pickle the classifier."
            )
    return tensors


def strides_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Strides of the parameters and buffers that do not lie row after row, but leave no gap.

    Prediction depends on them to the last byte: by them, torch chooses how it computes.
    """
    return {
        name: tensor.stride()
        for name, tensor in _parameters_and_buffers(module)
        if tensor.stride() != torch.empty(tensor.shape, device="meta").stride()
        and tensor.stride() == torch.empty_like(tensor, device="meta").stride()
    }


def untrained_of(module: nn.Module) -> list[str]:
    """Names of the parameters that need no gradient."""
    return [name for name, p in module.named_parameters() if not p.requires_grad]


def restore_network(
    build: Callable[[], nn.Module],
    saved: ModelFile,
    *,
    strides: Mapping[str, Sequence[int]],
    untrained: Iterable[str],
    has_more: bool,
) -> nn.Module:
    """Make a network, and give it what a file keeps, in the memory of the CPU.

    Before there is memory for the tensors of the file, they must be those of the network.

    Parameters
    ----------
    build : callable
        Makes the network.
    saved : ModelFile
    strides : mapping of str to sequence of int
        As of `strides_of`.
    untrained : iterable of str
        As of `untrained_of`.
    has_more : bool
        Whether the network may have more than its tensors, which `build` computes.

    Raises
    ------
    DifferentNetworkError
        If the network is another than that of the file.
    Exception
        Whatever `build` raises.
    """
    place = contextlib.nullcontext() if has_more else torch.device("meta")
    budget = _Budget(saved, **(_OF_OTHERS if has_more else _OF_OURS))
    with seeded_generators(0, torch.device("cpu")), budget, place:
        module = build()
    _check_same_tensors(module, saved)
    tensors = saved.tensors()
    transient = {name: tensors.pop(name) for name in _transient_buffers(module)}
    module.load_state_dict(tensors, assign=not has_more)
    for name, tensor in transient.items():
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, tensor)
    for name, tensor in _parameters_and_buffers(module):
        if name in strides:
            tensor.data = _with_strides(tensor.data, strides[name])
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(name not in untrained)
    return module


class DifferentNetworkError(ValueError):
    """The network is not that of the file."""


class _Budget(TorchDispatchMode):
    """Ends, by an error, what makes far more, or larger, tensors than a file has."""

    def __init__(self, saved: ModelFile, operations: tuple[int, int], size: tuple[int, int]):
        super().__init__()
        self.operations = operations[0] * len(saved.entries) + operations[1]
        self.bytes = size[0] * sum(entry.n_bytes for entry in saved.entries.values()) + size[1]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count an operation; if it makes a tensor out of none, its bytes before it has them."""
        kwargs = kwargs or {}
        self.operations -= 1
        if "device" in kwargs:
            made = func(*args, **{**kwargs, "device": torch.device("meta")})
            self.bytes -= made.numel() * made.element_size()
        if self.operations < 0 or self.bytes < 0:
            raise DifferentNetworkError("its network would be far larger than what the file has")
        if func in _FILLING and args[0].is_meta:  # which torch takes milliseconds to do nothing for
            return args[0]
        return func(*args, **kwargs)


def _parameters_and_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _transient_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that the state dict leaves out."""
    buffers = dict(module.named_buffers(remove_duplicate=False))
    for name in module.state_dict():
        buffers.pop(name, None)
    return buffers


def _check_same_tensors(module: nn.Module, saved: ModelFile) -> None:
    """Check that a network has the tensors of the file: names, types and shapes."""
    expected = {**module.state_dict(), **_transient_buffers(module)}
    network = type(module).__name__
    unlike = sorted(expected.keys() ^ saved.entries.keys())
    if unlike:
        where = "file" if unlike[0] in saved.entries else "network"
        raise DifferentNetworkError(
            f"its tensors are not those of the network {network}: {unlike[0]!r:.80} is in the "
            f"{where} alone, one of {len(unlike)} differences"
        )
    for name, tensor in expected.items():
        got = (tensor.dtype, tuple(tensor.shape)) if isinstance(tensor, Tensor) else type(tensor)
        if got != saved.entries[name]:
            dtype, shape = saved.entries[name]
            raise DifferentNetworkError(
                f"its tensors are not those of the network {network}: {name!r:.80} is {dtype} of "
                f"shape {shape} in the file, and {got} in the network"
            )


def _with_strides(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """Copy of a tensor that lies as `strides` say, which must leave no gap."""
    expected = 1
    for stride, side in sorted(zip(strides, tensor.shape, strict=True)):
        if side == 1 and 0 <= stride <= tensor.numel():
            continue
        if stride != expected:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} has strides {strides!s:.80}")
        expected *= side
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
