"""Precision and memory format of training: a rule on the network's layers and the processor.

No clock takes part: a fit computes in the same way in every process, however busy the machine is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from skcnn.exceptions import PrecisionError
from skcnn.training.devices import cpu_capabilities, has_bfloat16
from skcnn.training.reproducibility import seeded_generators

MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}

# On a CPU, this share of the multiplications must be in layers with at least this many channels, in
# and out. Of the networks and sizes of examples/benchmarks/engine.py, LeNet alone is faster in
# contiguous memory, and the narrow forms of GoogLeNet and Inception are faster in float32.
_CHANNELS_LAST_WIDTH = 16
_BFLOAT16_WIDTH = 24
_WIDE_SHARE = 0.6

_FEWEST_CHANNELS_OF_POINTS = 16  # of 1 × 1 kernels with a stride, in channels-last

_CONVOLUTIONS = {
    **dict.fromkeys(
        (torch.conv1d, torch.conv2d, torch.conv3d),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}
_MATRIX_PRODUCTS = {
    *(functional.linear, torch.matmul, torch.mm, torch.bmm),
    *(Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm),
}


class Arithmetic(NamedTuple):
    """How a network is trained."""

    precision: str  # "float32" or "bfloat16"
    memory_format: str  # "contiguous" or "channels_last"


class Layer(NamedTuple):
    """A convolution or a matrix product that a network computes."""

    n_products: int
    width: int  # channels, or features, in or out: the fewer
    parameter: str | None = None  # name of its weights
    is_convolution: bool = False
    # What oneDNN 3.x gets wrong. In bfloat16, it leaves gradients of a convolution unset where an
    # axis with padding is shorter than the stride: those of weights that meet nothing but padding.
    # In channels-last, it misreads a single channel where a stride leads to a single column. With
    # several threads, it writes beyond its memory in the backward pass of 1 × 1 kernels with a
    # stride, on fewer than 16 channels.
    has_idle_weights: bool = False  # and a stride: all that may be wrong
    has_unset_gradients: bool = False  # what was found wrong
    fails_in_channels_last: bool = False


def as_asked(precision: str) -> Arithmetic:
    """Arithmetic that every network can be trained in; float32, unless `precision` is another."""
    return Arithmetic("float32" if precision == "auto" else precision, "contiguous")


def choose_arithmetic(
    module: nn.Module, image_shape: tuple[int, int, int], *, precision: str, device: torch.device
) -> Arithmetic:
    """Choose how a network is trained.

    Parameters
    ----------
    module : torch.nn.Module
        Network on `device`. A copy of it is traced.
    image_shape : tuple of int
        (C, H, W) of the images that it takes.
    precision : {"auto", "float32", "bfloat16"}
        What is allowed.
    device : torch.device

    Raises
    ------
    PrecisionError
        If bfloat16 is asked for and oneDNN is known to compute a gradient wrongly.
    """
    if device.type not in ("cpu", "cuda"):
        return as_asked(precision)
    allowed = [precision]
    if precision == "auto":
        allowed = ["float32", "bfloat16"] if has_bfloat16(device) else ["float32"]
    while allowed:
        candidate = Arithmetic(allowed[-1], "channels_last")
        try:
            layers = trace_layers(module, image_shape, candidate, device)
        except Exception:  # .view() fails in channels last, for one; training reports other errors
            allowed.pop()
            continue
        for layer in layers:
            if precision == "bfloat16" and device.type == "cpu" and layer.has_unset_gradients:
                raise PrecisionError(layer.parameter, math.inf)
        return fastest(layers, allowed, device)
    return as_asked(precision)


def trace_layers(
    module: nn.Module,
    image_shape: tuple[int, int, int],
    arithmetic: Arithmetic,
    device: torch.device,
) -> list[Layer]:
    """List the layers that a forward pass of two images goes through, in a copy of a network."""
    memory_format = MEMORY_FORMATS[arithmetic.memory_format]
    x = torch.zeros(2, *image_shape, device=device).contiguous(memory_format=memory_format)
    copied = copy.deepcopy(module).eval().to(memory_format=memory_format)
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=arithmetic.precision == "bfloat16"
    )
    trace = _LayerTrace(copied)
    with seeded_generators(0, device), torch.no_grad(), autocast, trace:
        copied(x)
    return trace.layers


def count_products(
    module: nn.Module, image_shape: tuple[int, int, int], device: torch.device
) -> int:
    """Count the multiplications of a forward pass of one image, in a network in evaluation mode."""
    with torch.inference_mode(), _LayerTrace(module) as trace:
        module(torch.zeros(1, *image_shape, device=device))
    return sum(layer.n_products for layer in trace.layers)


def fastest(layers: Sequence[Layer], allowed: Sequence[str], device: torch.device) -> Arithmetic:
    """Choose among the `allowed` precisions, and a memory format that goes with it."""
    on_gpu = device.type == "cuda"
    in_bfloat16 = "bfloat16" in allowed
    if in_bfloat16 and len(allowed) > 1 and not on_gpu:
        wrong = any(
            _may_have_wrong_gradients(layer) or layer.fails_in_channels_last for layer in layers
        )
        in_bfloat16 = not wrong and _are_wide(layers, _BFLOAT16_WIDTH)
    channels_last = any(layer.is_convolution for layer in layers) and (
        in_bfloat16
        if on_gpu
        else _are_wide(layers, _CHANNELS_LAST_WIDTH)
        and not any(layer.fails_in_channels_last for layer in layers)
    )
    return Arithmetic(
        "bfloat16" if in_bfloat16 else "float32", "channels_last" if channels_last else "contiguous"
    )


def _may_have_wrong_gradients(layer: Layer) -> bool:
    """Whether the processor may compute weight gradients of a layer wrongly in bfloat16.

    All shapes were tried with AVX-512 BF16; AMX, where a processor has it, has kernels of its own.
    """
    capabilities = cpu_capabilities()
    if capabilities.get("avx512_bf16", False) and not capabilities.get("amx_bf16", False):
        return layer.has_unset_gradients
    return layer.has_idle_weights


def _are_wide(layers: Sequence[Layer], width: int) -> bool:
    """Whether most of the work is in layers of that width."""
    wide = sum(layer.n_products for layer in layers if layer.width >= width)
    return wide >= _WIDE_SHARE * sum(layer.n_products for layer in layers) > 0


class _LayerTrace(TorchFunctionMode):
    """Notes convolutions and matrix products, of whatever module or function."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.names = {id(parameter): name for name, parameter in module.named_parameters()}
        self.layers: list[Layer] = []

    def __torch_function__(
        self, func: Callable, types: Sequence, args: Sequence = (), kwargs: Mapping | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func in _CONVOLUTIONS:
            given = dict(zip(_CONVOLUTIONS[func], args, strict=False), **kwargs)
            name = self.names.get(id(given["weight"]))
            transposed = "transpose" in func.__name__
            self.layers.append(_convolution(out, name, transposed=transposed, **given))
        elif func in _MATRIX_PRODUCTS:
            n_in, n_out = args[0].shape[-1], out.shape[-1]
            self.layers.append(Layer(out.numel() * n_in, min(n_in, n_out)))
        return out


def _convolution(
    out: Tensor,
    name: str | None,
    *,
    transposed: bool,
    input: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    **_: Any,
) -> Layer:
    kernel = weight.shape[2:]
    n_axes = len(kernel)
    sides, positions = input.shape[-n_axes:], out.shape[-n_axes:]
    if transposed:  # its windows lie in the map that it makes
        sides, positions = positions, sides
    stride, dilation = _for_each_axis(stride, n_axes), _for_each_axis(dilation, n_axes)
    if padding == "same":
        padding = [(k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True)]
    padding = _for_each_axis(0 if padding == "valid" else padding, n_axes)
    windows = list(zip(sides, positions, kernel, stride, padding, dilation, strict=True))
    return Layer(
        n_products=len(input) * math.prod(positions) * weight.numel(),
        width=min(weight.shape[0] // groups, weight.shape[1]),
        parameter=name,
        is_convolution=True,
        has_idle_weights=max(stride) > 1 and any(_has_idle_weights(*w) for w in windows),
        has_unset_gradients=any(side < s and p > 0 for side, _, _, s, p, _ in windows),
        fails_in_channels_last=(
            weight.shape[1] == 1 and any(n == 1 and s > 1 for _, n, _, s, *_ in windows)
        )
        or (max(kernel) == 1 < max(stride) and weight.shape[1] < _FEWEST_CHANNELS_OF_POINTS),
    )


def _for_each_axis(value: int | Sequence[int], n_axes: int) -> Sequence[int]:
    values = [value] if isinstance(value, int) else value
    return values if len(values) == n_axes else [*values] * n_axes


def _has_idle_weights(
    side: int, n_positions: int, kernel: int, stride: int, padding: int, dilation: int
) -> bool:
    """Whether an entry of a kernel, along one side of a map, is over padding in all positions."""
    firsts = [entry * dilation - padding for entry in range(kernel)]  # in the first position
    return any(
        all(not 0 <= first + k * stride < side for k in range(n_positions)) for first in firsts
    )
