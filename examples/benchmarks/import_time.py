"""What ``import skcnn`` costs beyond ``import torch``, in fresh processes, in turn.

Also printed: what the first use of a classifier loads (scikit-learn, skorch), which is put off
until then.

    python examples/benchmarks/import_time.py
"""

import argparse
import statistics
import subprocess
import sys
import time

from _report import describe_machine, write_json

STATEMENTS = {
    "torch": "import torch",
    "torch, skcnn": "import torch, skcnn",
    "torch, sklearn.base, skorch": "import torch, sklearn.base, skorch",
    "torch, a classifier": "import torch; from skcnn import LeNetClassifier",
}


def seconds(statement):
    """Wall time of a fresh interpreter that runs `statement`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main():
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    machine = describe_machine()
    for statement in STATEMENTS.values():  # fill the caches of the file system
        seconds(statement)
    runs = {name: [] for name in STATEMENTS}
    for _ in range(args.repeats):
        for name, statement in STATEMENTS.items():
            runs[name].append(seconds(statement))
    medians = {name: statistics.median(times) for name, times in runs.items()}
    for name, median in medians.items():
        print(f"{name:30}{median:7.3f} s  beyond torch: {median - medians['torch']:+.3f} s")
    write_json("results/import_time.json", {"machine": machine, "seconds": runs})


if __name__ == "__main__":
    main()
