"""One seed for a whole fit, and no trace of it left in the process."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

# Dropout draws from torch's global generator, which threads share: fits in threads take turns.
_generators_in_use = threading.RLock()


def _renew_lock() -> None:
    """Let a forked process not wait for a fit in another thread of its parent."""
    global _generators_in_use
    _generators_in_use = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextlib.contextmanager
def seeded_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators; put them back as they were after.

    Parameters
    ----------
    seed : int
        In [0, 2**32).
    device : torch.device
        Whose generator is seeded beside the CPU's.
    """
    with _generators_in_use:
        before = generator_states(device)
        seed_generators(seed, device)
        try:
            yield
        finally:
            set_generator_states(before, device)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the global generators, for good."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    _seed_device(seed, device)


def generator_states(device: torch.device) -> dict[str, Any]:
    """States of the global generators, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.random.get_rng_state(),
        "device": _get_device_state(device),
    }


def set_generator_states(states: dict[str, Any], device: torch.device) -> None:
    """Put the global generators where `generator_states` found them."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.random.set_rng_state(states["torch"])
    _set_device_state(states["device"], device)


def _get_device_state(device: torch.device) -> torch.Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def _seed_device(seed: int, device: torch.device) -> None:
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _set_device_state(state: torch.Tensor | None, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
