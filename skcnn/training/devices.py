"""Where to compute, and what a device has."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

# Files of a control group, by version: its limit, what it uses, and what of that is cached files.
_MEMORY_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_DETERMINISTIC_WORKSPACES = (":4096:8", ":16:8")
# torch keeps the number for each thread, and gives a new one that which was set last, by any. So a
# thread that comes while another has changed its own takes what there was before.
_numbers_of_threads = threading.Lock()
_thread = threading.local()
_n_changed = 0  # threads, or blocks in them
_unchanged = 0  # number of before the first of them
_is_forked = False


def resolve_device(device: str | torch.device, estimator: str) -> torch.device:
    """Device of a fit: "auto" is cuda, then mps, then cpu.

    On a machine with several CUDA devices, workers of a parallel search take one each, in turn.

    Raises
    ------
    ValueError
        If `device` is no device, or one that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            number = worker_number()
            if number is None:
                return torch.device("cuda")
            return torch.device("cuda", number % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"The 'device' parameter of {estimator} must be 'auto', 'cpu', 'cuda', 'cuda:<index>', "
            f"'mps' or a torch.device; got {device!r} instead."
        ) from None
    if not is_available(resolved):
        raise ValueError(
            f"The 'device' parameter of {estimator} must be a device of this machine; got "
            f"{device!r} instead, and torch {torch.__version__} finds none. Use device='auto' for "
            "the best device that there is, or install a torch build and driver for yours."
        )
    return resolved


def worker_number() -> int | None:
    """Tell the number of this process among those of its parent; None: it is no worker.

    joblib, multiprocessing and Dask number the names of their workers.
    """
    name = multiprocessing.current_process().name
    if name == "MainProcess":
        return None
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else os.getpid()


def release_memory(device: torch.device) -> None:
    """Give memory that torch holds in reserve back, for the fits of other workers."""
    if device.type == "cuda" and worker_number() is not None:
        torch.cuda.empty_cache()


def is_available(device: torch.device) -> bool:
    """Whether this machine has a device."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError):
        return False
    return device.type != "meta"


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, rather than imitates it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or "DEFAULT").upper()
    if not any(name in limit for name in ("DEFAULT", "ALL", "BF16", "FP16", "AMX", "AVX10")):
        return False  # oneDNN is told not to use the instructions
    capabilities = cpu_capabilities()
    return device.type == "cpu" and any(
        capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")
    )


def cpu_capabilities() -> Mapping[str, Any]:
    """Ask torch what the CPU can do; its oldest versions do not say."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had on a device; for the CPU, of the system or the container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min(psutil.virtual_memory().available, *_free_in_containers())


def _free_in_containers(root: Path = Path("/")) -> Iterator[int]:
    """Bytes that are left of the limits of this process's control groups, on Linux.

    Of version 2, all groups above that of the process count. A container sees its own as the first,
    whatever path is named. What files take of the cache is given back when it is needed.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        top = root / "sys/fs/cgroup" / ("" if version == 2 else "memory")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            yield from _free_in(folder, version)
            if folder == top:
                break


def _free_in(group: Path, version: int) -> Iterator[int]:
    """Bytes left in a control group, if it has a limit."""
    most, used, cached = _MEMORY_FILES[version]
    try:
        limit, taken = (int((group / name).read_text()) for name in (most, used))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield max(0, limit - taken + int(statistics.get(cached, 0)))
    except (OSError, ValueError):  # no such group, or "max"
        return


@contextlib.contextmanager
def cudnn_benchmarking() -> Iterator[None]:
    """Let cuDNN try its algorithms and keep the fastest for each shape."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextlib.contextmanager
def deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Let torch use no algorithm whose result depends on the order in which threads finish.

    Raises
    ------
    ValueError
        If there is none for something that the network does, or cuBLAS cannot be told any more.
    """
    if device.type == "cuda":
        _make_cublas_deterministic()
    benchmark = torch.backends.cudnn.benchmark
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        raise ValueError(
            "The 'deterministic' parameter must be False for a network that does what torch can do "
            f"on the device '{device}' only in an order that changes; got True instead: "
            f"{str(error).partition(',')[0]}. Exchange that layer, or train on device='cpu'."
        ) from error
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark


def _make_cublas_deterministic() -> None:
    """Have cuBLAS use a workspace of fixed size, which it only looks up when CUDA starts."""
    setting = os.environ.get(_CUBLAS_WORKSPACE)
    if setting in _DETERMINISTIC_WORKSPACES:
        return
    if setting is None and not torch.cuda.is_initialized():
        os.environ[_CUBLAS_WORKSPACE] = _DETERMINISTIC_WORKSPACES[0]
        return
    raise ValueError(
        "The 'deterministic' parameter must be False, or the environment variable "
        f"{_CUBLAS_WORKSPACE} be one of {list(_DETERMINISTIC_WORKSPACES)}, once CUDA is in use; "
        f"got {setting!r} instead. Set it before Python starts, or make this fit the first thing "
        "that uses the GPU."
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found no memory, on any device."""
    # The CPU's allocator has no class of error of its own.
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "DefaultCPUAllocator" in str(error)
        or "MPS backend out of memory" in str(error)
    )


@contextlib.contextmanager
def out_of_memory_explained(batch_size: int) -> Iterator[None]:
    """Raise a MemoryError that says what to do for the several errors that torch has.

    Raises
    ------
    MemoryError
        If torch finds no memory, on any device.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(
            f"The device ran out of memory in training. Lower batch_size, which is {batch_size}, "
            "or image_size, or set on_oom='split', which trains on a batch in parts; on a GPU, "
            "data_device='cpu' keeps the images in the memory of the host."
        ) from error


@contextlib.contextmanager
def cpu_threads(n_threads: int | None) -> Iterator[None]:
    """Let torch compute with `n_threads` CPU threads where this thread calls it; None: as it is.

    Any number of threads may do so at a time, each with a number of its own. A forked process
    computes with one thread, whatever `n_threads`: torch would wait for those of its parent.
    """
    if _is_forked:
        n_threads = None
    before = _enter(changes=n_threads is not None)
    try:
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        yield
    finally:
        _leave(before, changes=n_threads is not None)


def _enter(changes: bool) -> int:
    """Return the number of this thread."""
    global _n_changed, _unchanged
    with _numbers_of_threads:
        if _n_changed > 0 and not hasattr(_thread, "is_known"):
            torch.set_num_threads(_unchanged)
        _thread.is_known = True
        before = torch.get_num_threads()
        if _n_changed == 0:
            _unchanged = before
        _n_changed += changes
    return before


def _leave(before: int, changes: bool) -> None:
    """Give this thread the number of `before`, and those to come that of before any change."""
    global _n_changed
    with _numbers_of_threads:
        if not _is_forked:  # nor was it forked within the block
            torch.set_num_threads(before)
            _n_changed -= changes


def _compute_with_one_thread() -> None:
    """Let a forked process do without the threads of its parent, which it does not have."""
    global _n_changed, _is_forked
    _numbers_of_threads.release()
    _n_changed, _is_forked = 0, True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_numbers_of_threads.acquire,
        after_in_parent=_numbers_of_threads.release,
        after_in_child=_compute_with_one_thread,
    )
