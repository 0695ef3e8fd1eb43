"""Precision and memory format of training: the fastest that agrees with float32, found by timing.

What is fastest differs by network, image size and machine by a factor of eight either way, so that
no rule will do. What was found is put on record, so that a fit that is repeated, in whatever
process, computes in the same way again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from skcnn.training.devices import cpu_capabilities, has_bfloat16

MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}

# Timing may take this share of the training steps of a fit; each candidate needs two steps, of
# which the first only warms up, and is given five at most.
_SHARE_OF_FIT = 0.03
_FEWEST_ROUNDS, _MOST_ROUNDS = 2, 5
# A candidate this many times slower than the first when both warm up is not timed again.
_HOPELESS = 2.0
# What must be gained: less is noise.
_SMALLEST_GAIN = 1.03
# Largest relative difference from the first candidate of the loss, which rounding to bfloat16's 8
# bits leaves near 0.4 %, and of the norm of the gradients, which networks with random masks of
# their own change by several percent. A kernel that is wrong changes either by more.
_LOSS_TOLERANCE, _GRADIENT_TOLERANCE = 0.02, 0.25


class Arithmetic(NamedTuple):
    """How a network is trained."""

    precision: str  # "float32" or "bfloat16"
    memory_format: str  # "contiguous" or "channels_last"


class Trial(NamedTuple):
    """What one training step took, and what it gave."""

    seconds: float
    loss: float
    gradient_norm: float

    def agrees_with(self, other: Trial) -> bool:
        """Whether the results are the same but for rounding."""
        return math.isclose(
            self.loss, other.loss, rel_tol=_LOSS_TOLERANCE, abs_tol=_LOSS_TOLERANCE
        ) and math.isclose(self.gradient_norm, other.gradient_norm, rel_tol=_GRADIENT_TOLERANCE)


def by_rule(precision: str, device: torch.device) -> Arithmetic:
    """Choose without timing: as asked, or bfloat16 on GPUs that have it and else float32."""
    if precision == "auto":
        on_gpu = device.type == "cuda" and has_bfloat16(device)
        precision = "bfloat16" if on_gpu else "float32"
    return Arithmetic(precision, "contiguous")


def choose_arithmetic(
    module: nn.Module,
    try_step: Callable[[Arithmetic], Trial],
    *,
    precision: str,
    device: torch.device,
    n_steps: int,
    batch_shape: tuple[int, ...],
    reproducible: bool,
) -> tuple[Arithmetic, str]:
    """Return the fastest arithmetic for a network, and how it was chosen, in words.

    Taken from the record, else timed and put on record; by rule where the fit is too short for
    timing to pay, whatever is on record, so that the choice does not depend on what ran before.

    Parameters
    ----------
    module : torch.nn.Module
        Network, not changed.
    try_step : callable
        Does one training step in an arithmetic, on a copy of the network.
    precision : {"auto", "float32", "bfloat16"}
        What is allowed.
    device : torch.device
    n_steps : int
        Training steps of the fit.
    batch_shape : tuple of int
        (n, H, W) of a batch as the network takes it.
    reproducible : bool
        Go by rule where nothing can be put on record.
    """
    rule = by_rule(precision, device)
    candidates = _candidates(module, precision, device)
    rounds = min(_MOST_ROUNDS, int(_SHARE_OF_FIT * n_steps / len(candidates)))
    if len(candidates) == 1:
        return rule, "nothing else to choose from"
    if rounds < _FEWEST_ROUNDS:
        return rule, "by rule: the fit is too short to time others"
    record = _Record(_key(module, candidates, device, batch_shape))
    choice = record.read(from_file=reproducible)
    if choice is not None:
        return choice, f"timed before, on record in {record.path}"
    if reproducible and not record.can_be_written():
        return rule, f"by rule: the folder {record.path.parent} for records cannot be written"
    try:
        seconds = _time(candidates, try_step, rounds)
    except Exception as error:  # training, where it cannot be done either, will say why
        return rule, f"by rule: timing failed with {error!r:.200}"
    choice = _fastest(seconds)
    timings = ", ".join(
        f"{' '.join(candidate)} {1e3 * s:.1f} ms" for candidate, s in seconds.items()
    )
    return record.write(choice, seconds), f"timed: {timings} a batch"


def _candidates(module: nn.Module, precision: str, device: torch.device) -> list[Arithmetic]:
    """List what is worth timing; the first is what the others must agree with."""
    if device.type not in ("cpu", "cuda"):
        return [by_rule(precision, device)]
    # Channels last is a layout of maps: without them there is nothing to lay out.
    of_maps = any(parameter.ndim == 4 for parameter in module.parameters())
    formats = list(MEMORY_FORMATS) if of_maps else ["contiguous"]
    if precision != "auto":
        return [Arithmetic(precision, memory_format) for memory_format in formats]
    candidates = [Arithmetic("float32", memory_format) for memory_format in formats]
    if has_bfloat16(device):
        candidates.append(Arithmetic("bfloat16", formats[-1]))
    return candidates


def _time(
    candidates: list[Arithmetic], try_step: Callable[[Arithmetic], Trial], rounds: int
) -> dict[Arithmetic, float]:
    """Seconds of a step, the shortest seen, of the candidates that agree with the first.

    They take turns, since the machine may be busier at one time than at another.
    """
    first = try_step(candidates[0])
    seconds = {candidates[0]: math.inf}
    for candidate in candidates[1:]:
        try:
            trial = try_step(candidate)
        except Exception:  # .view() in a network fails where channels come last, for one
            continue
        if trial.agrees_with(first) and trial.seconds < _HOPELESS * first.seconds:
            seconds[candidate] = math.inf
    if len(seconds) > 1:
        for _ in range(rounds - 1):
            for candidate in seconds:
                seconds[candidate] = min(seconds[candidate], try_step(candidate).seconds)
    return seconds


def _fastest(seconds: Mapping[Arithmetic, float]) -> Arithmetic:
    first = next(iter(seconds))
    fastest = min(seconds, key=lambda candidate: seconds[candidate])
    return fastest if _SMALLEST_GAIN * seconds[fastest] < seconds[first] else first


def _key(
    module: nn.Module,
    candidates: list[Arithmetic],
    device: torch.device,
    batch_shape: tuple[int, ...],
) -> dict[str, Any]:
    """Describe what the time of a training step depends on."""
    capabilities = cpu_capabilities()
    on_gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "torch": torch.__version__,
        "cpu": [platform.machine(), capabilities.get("cpu_name", platform.processor())],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": on_gpu,
        "candidates": candidates,
        "batch": batch_shape,
        "layers": [[name, type(layer).__qualname__] for name, layer in module.named_modules()],
        "parameters": [
            [list(parameter.shape), parameter.requires_grad] for parameter in module.parameters()
        ],
    }


class _Record:
    """One choice: in a file, for all processes, or only in this one where none can be written."""

    _of_process: dict[Path, tuple[Arithmetic, bool]] = {}  # noqa: RUF012  (choice, in a file too)

    def __init__(self, key: dict[str, Any]):
        self.key = key
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        self.path = Path(torch.hub.get_dir()) / "skcnn" / f"{digest[:32]}.json"

    def read(self, *, from_file: bool) -> Arithmetic | None:
        """Return the choice on record, if any; `from_file`, if other processes can read it."""
        if self.path not in self._of_process:
            found = self._in_file()
            if found is None:
                return None
            self._of_process[self.path] = found, True
        choice, in_file = self._of_process[self.path]
        return choice if in_file or not from_file else None

    def can_be_written(self) -> bool:
        """Whether a file can be made."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                return True
        except OSError:
            return False

    def write(self, choice: Arithmetic, seconds: Mapping[Arithmetic, float]) -> Arithmetic:
        """Put `choice` on record, unless another process was first: then return its choice."""
        content = {
            "choice": choice._asdict(),
            "seconds": [[*candidate, s] for candidate, s in seconds.items()],
            "of": self.key,
        }
        try:
            self._create(json.dumps(content))
        except OSError:
            self._of_process[self.path] = choice, False
            return choice
        self._of_process[self.path] = self._in_file() or choice, True
        return self._of_process[self.path][0]

    def _in_file(self) -> Arithmetic | None:
        try:
            choice = Arithmetic(**json.loads(self.path.read_text())["choice"])
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return choice if choice in self.key["candidates"] else None

    def _create(self, content: str) -> None:
        """Write the file whole or not at all, and not over one that says something."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            written = Path(folder) / self.path.name
            written.write_text(content)
            try:
                os.link(written, self.path)  # fails if another process was first
            except FileExistsError:
                if self._in_file() is None:
                    written.replace(self.path)
