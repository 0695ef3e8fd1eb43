"""What every benchmark prints and writes: the machine, the versions, a JSON file."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

import skcnn


def describe_machine():
    """Print and return processor, device, threads and versions."""
    packages = ("torch", "torchvision", "skorch", "scikit-learn", "numpy")
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "skcnn": skcnn.__version__,
        **{package: version(package) for package in packages},
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    return machine


def peak_memory():
    """Return the most memory that this process had so far, in bytes; on Linux."""
    # Not ru_maxrss, which starts at what the parent had when it started this process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])


def write_json(path, results, quiet=False):
    """Write results to `path`, making its folder; say so unless `quiet`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In one step, as a benchmark that was stopped may read it again.
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(results, indent=2) + "\n")
    part.replace(path)
    if not quiet:
        print(f"wrote {path}")


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
