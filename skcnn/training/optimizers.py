"""Names of optimizers and learning-rate schedules → torch's classes and their arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
LR_SCHEDULES = ("cosine", "one_cycle")

# Peak learning rates of Adam and AdamW for networks in which no layer is normalised, some are, and
# all but the last (examples/benchmarks/every_network.py).
_LOW_LR, _MIDDLE_LR, _HIGH_LR = 1e-3, 3e-3, 1e-2
_NORMALISATION = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
_NORMALISED = (nn.modules.conv._ConvNd, nn.Linear)

# Devices on which torch has one kernel for a whole optimizer step.
_FUSED_DEVICES = ("cpu", "cuda")


def optimizer_settings(
    optimizer: str | type[Optimizer],
    *,
    momentum: float,
    weight_decay: float | None,
    device: torch.device,
) -> tuple[type[Optimizer], dict[str, Any]]:
    """Class and keyword arguments, learning rate aside, of an optimizer.

    Parameters
    ----------
    optimizer : {"adam", "adamw", "sgd"} or subclass of torch.optim.Optimizer
    momentum : float
        Only used when `optimizer` is "sgd".
    weight_decay : float or None
        Passed on where the class takes it. None: the default of the class.
    device : torch.device
        Where the parameters will be.

    Raises
    ------
    ValueError
        If the class must evaluate the loss again in each step, or takes sparse gradients only.
    """
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    if isinstance(optimizer, str):
        settings = {**decay, "fused": device.type in _FUSED_DEVICES}
        if optimizer == "sgd":
            settings["momentum"] = momentum
        return OPTIMIZERS[optimizer], settings
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if issubclass(optimizer, SparseAdam) or (closure and closure.default is closure.empty):
        raise ValueError(
            "The 'optimizer' parameter must be one that steps once for each batch, by dense "
            f"gradients; got {optimizer.__name__} instead. Use 'adam', 'adamw' or 'sgd'."
        )
    takes = inspect.signature(optimizer).parameters
    return optimizer, decay if "weight_decay" in takes else {}


def default_lr(
    optimizer: str | type[Optimizer], module: nn.Module, *, is_trained: bool = False
) -> float:
    """Choose the peak learning rate of an optimizer for a network.

    For optimizers of Adam's kind, the more of its convolutions and linear layers are followed by
    normalisation, the higher it is; SGD takes ten times as much. Any other optimizer takes the
    default of its constructor. Networks that start from trained weights are to stay near them.
    """
    lr = _LOW_LR
    layers = list(module.modules())
    n_norms = sum(isinstance(layer, _NORMALISATION) for layer in layers)
    if n_norms > 0 and not is_trained:
        n_others = sum(isinstance(layer, _NORMALISED) for layer in layers)
        lr = _HIGH_LR if n_norms >= n_others - 1 else _MIDDLE_LR
    if optimizer in ("sgd", SGD):
        return 10 * lr
    if not isinstance(optimizer, str) and not issubclass(optimizer, Adam | AdamW):
        own = inspect.signature(optimizer).parameters.get("lr")
        if own is not None and isinstance(own.default, float):
            return own.default
    return lr


def schedule_settings(
    lr_schedule: str | Callable, *, lr: float | None, max_epochs: int, steps_per_epoch: int | None
) -> dict[str, Any]:
    """Arguments of :class:`skorch.callbacks.LRScheduler` for a schedule.

    Parameters
    ----------
    lr_schedule : {"cosine", "one_cycle"} or torch scheduler class
        A class, or anything that makes a scheduler from an optimizer, as
        ``functools.partial(StepLR, step_size=5)`` does; stepped once an epoch.
    lr : float or None
        Peak learning rate of "one_cycle".
    max_epochs, steps_per_epoch : int
        Length of the schedule; `steps_per_epoch` and `lr` only used when `lr_schedule` is
        "one_cycle".

    Raises
    ------
    ValueError
        If "one_cycle" is asked for without `lr` or `steps_per_epoch`.
    """
    if lr_schedule == "cosine":
        return {"policy": CosineAnnealingLR, "T_max": max_epochs, "step_every": "epoch"}
    if lr_schedule == "one_cycle":
        if lr is None or steps_per_epoch is None:
            raise ValueError(
                "The 'lr' and 'steps_per_epoch' parameters must be given when lr_schedule is "
                f"'one_cycle'; got lr={lr!r} and steps_per_epoch={steps_per_epoch!r} instead."
            )
        return {
            "policy": OneCycleLR,
            "max_lr": lr,
            "total_steps": max_epochs * steps_per_epoch,
            "cycle_momentum": False,  # momentum is what the user set, where the optimizer has any
            "step_every": "batch",
        }
    if not callable(lr_schedule):
        raise ValueError(
            f"The 'lr_schedule' parameter must be one of {LR_SCHEDULES}, a torch scheduler class "
            f"or None; got {lr_schedule!r} instead."
        )
    takes = inspect.signature(lr_schedule).parameters
    length = {} if is_of_any_length(lr_schedule) else {"T_max": max_epochs}
    missing = [
        name
        for name, parameter in list(takes.items())[1:]
        if parameter.default is parameter.empty
        and name not in length
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if missing:
        arguments = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            "The 'lr_schedule' parameter must be a class that makes a scheduler of an optimizer "
            f"alone; got {lr_schedule!r} instead, which takes more. Use "
            f"functools.partial({lr_schedule.__name__}, {arguments})."
        )
    if isinstance(lr_schedule, functools.partial) and not lr_schedule.args:
        # skorch treats some classes in a way of their own, and has to see them.
        settings = {**length, **lr_schedule.keywords}
        return {"policy": lr_schedule.func, "step_every": "epoch", **settings}
    return {"policy": lr_schedule, "step_every": "epoch", **length}


def is_of_any_length(lr_schedule: str | Callable | None) -> bool:
    """Whether the rates of a schedule do not depend on `max_epochs`."""
    if lr_schedule is None or isinstance(lr_schedule, str):
        return lr_schedule is None
    given = lr_schedule.keywords if isinstance(lr_schedule, functools.partial) else {}
    return "T_max" in given or "T_max" not in inspect.signature(lr_schedule).parameters
