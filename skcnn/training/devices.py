"""Where to compute, and in what precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def resolve_device(device: str | torch.device, estimator: str) -> torch.device:
    """Device of a fit: "auto" is cuda, then mps, then cpu.

    Raises
    ------
    ValueError
        If `device` is no device, or one that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"The 'device' parameter of {estimator} must be 'auto', 'cpu', 'cuda', 'cuda:<index>', "
            f"'mps' or a torch.device; got {device!r} instead."
        ) from None
    if not _is_available(resolved):
        raise ValueError(
            f"The 'device' parameter of {estimator} must be a device of this machine; got "
            f"{device!r} instead, and torch {torch.__version__} finds none. Use device='auto' for "
            "the best device that there is, or install a torch build and driver for yours."
        )
    return resolved


def _is_available(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError):
        return False
    return device.type != "meta"


def resolve_precision(precision: str, device: torch.device) -> str:
    """Precision of training: "auto" is bfloat16 where a GPU has it, else float32."""
    if precision != "auto":
        return precision
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bfloat16" if has_bfloat16 else "float32"


@contextlib.contextmanager
def cpu_threads(n_threads: int | None) -> Iterator[None]:
    """Let torch compute with `n_threads` CPU threads; None: leave it as it is."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
