"""Whether the gradients of a network in bfloat16 are those of float32, but for rounding."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from skcnn.exceptions import PrecisionError
from skcnn.training.devices import is_out_of_memory
from skcnn.training.reproducibility import seeded_generators

# What autocast computes in bfloat16.
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
# Largest distance from float32, as a share of the norm. Rounding leaves 0.01 at most in the
# networks of this package.
_TOLERANCE = 0.1
# Distances below this share of the norm of all gradients do not count: normalisation makes the
# gradients of the biases before it vanish, but for rounding.
_NEGLIGIBLE = 1e-3


def check_gradients(module: nn.Module, x: Tensor, loss: Callable[..., Tensor]) -> None:
    """Compare the gradients of a batch in bfloat16 with those in float32, tensor by tensor.

    Each layer is also computed in float32, from the inputs and the gradients of its outputs that it
    has in bfloat16: depth amplifies the rounding of other layers without bound. The network and the
    generators of random numbers stay as they are.

    Parameters
    ----------
    module : torch.nn.Module
        Network in training mode.
    x : Tensor of shape (n, C, H, W)
        Images, as the network takes them. Fewer are compared where memory is short.
    loss : callable
        Loss of what the network returns for the first `n` rows of `x`.

    Raises
    ------
    PrecisionError
        If one is another.
    """
    n = len(x)
    while True:
        try:
            with seeded_generators(0, x.device):
                _compare(module, x[:n], functools.partial(loss, n=n))
            return
        except RuntimeError as error:
            if not is_out_of_memory(error) or n < 4:
                raise
        n //= 2


def _compare(module: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
    in_bfloat16, in_float32 = copy.deepcopy(module), copy.deepcopy(module)
    for name, layer in in_bfloat16.named_modules():
        if isinstance(layer, _LAYERS):
            twin = _Twin(name, in_float32.get_submodule(name))
            layer.register_forward_pre_hook(twin.take_input)
            layer.register_forward_hook(twin.take_output)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        y_pred = in_bfloat16(x)
    loss(y_pred).backward()
    expected = {name: p.grad for name, p in in_float32.named_parameters() if p.grad is not None}
    total = nn.utils.get_total_norm(expected.values())
    for name, gradient in expected.items():
        found = in_bfloat16.get_parameter(name).grad
        _check_close(name, found, gradient, negligible=_NEGLIGIBLE * total)


class _Twin:
    """A layer in float32, which is computed whenever that in bfloat16 is."""

    def __init__(self, name: str, layer: nn.Module):
        self.name = name
        self.layer = layer

    def take_input(self, layer: nn.Module, args: tuple) -> tuple:
        """Give the layer a view of its input, whose gradient is then of this layer alone."""
        self.input = args[0].view_as(args[0])
        return (self.input, *args[1:])

    def take_output(self, layer: nn.Module, args: tuple, out: Tensor) -> None:
        """Compare output now, and gradients when they come."""
        rounded = self.input.detach().to(out.dtype).float()
        with torch.autocast(out.device.type, enabled=False), torch.enable_grad():
            x = rounded.requires_grad_(self.input.requires_grad)
            y = self.layer(x)
        _check_close(self.name, out, y)
        if self.input.requires_grad:
            self.input.register_hook(lambda gradient: _check_close(self.name, gradient, x.grad))
        if out.requires_grad:
            out.register_hook(lambda gradient: y.backward(gradient.float()))


def _check_close(
    name: str, found: Tensor, expected: Tensor, negligible: float | Tensor = 0.0
) -> None:
    distance = (found.detach().float() - expected.detach()).norm()
    norm = expected.detach().norm()
    if not distance <= _TOLERANCE * norm + negligible:  # NaN is not
        raise PrecisionError(name, (distance / norm).item())
