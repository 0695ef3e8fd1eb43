"""Run the tests that train as other processors would, and print a table.

What a processor computes differs from another's in the last bits, and training amplifies them: a
test that passes on one machine alone shows itself here. oneDNN and ATen are told to use no newer
instructions than those named.

    python tests/stress/machines.py [arguments of pytest]
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Name of a setting → variables of the environment, and arguments of pytest.
SETTINGS = {
    "as it is": ({}, []),
    "ATen default": ({"ATEN_CPU_CAPABILITY": "default"}, []),
    "ATen avx2": ({"ATEN_CPU_CAPABILITY": "avx2"}, []),
    "oneDNN SSE41": ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, []),
    "oneDNN AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, []),
    "oneDNN AVX512_CORE": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, []),
    "two threads": ({"OMP_NUM_THREADS": "2"}, ["-n", "1"]),
    "without oneDNN": ({}, ["--no-onednn"]),
}


def count(what, line):
    found = re.search(rf"(\d+) {what}", line)
    return int(found[1]) if found else 0


def run(variables, arguments):
    """Return the lines that pytest printed, and the seconds it took."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "learning or trains", *arguments]
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout.splitlines(), time.monotonic() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=SETTINGS, help="run one setting")
    options, rest = parser.parse_known_args()
    rows, n_failed = [], 0
    for name in [options.only] if options.only else SETTINGS:
        variables, arguments = SETTINGS[name]
        lines, seconds = run(
            {"OMP_NUM_THREADS": "1", **variables},
            ["-n", "2", "--dist", "loadgroup", *rest, *arguments],
        )
        print(
            f"{name}:", *[line for line in lines if line.startswith(("FAILED", "ERROR"))], sep="\n"
        )
        failed = count("failed", lines[-1]) + count("error", lines[-1])
        passed = count("passed", lines[-1])
        n_failed += failed + (passed == 0)
        rows.append(f"{name:20} {passed:6} {failed:6} {seconds:7.0f} s")
    print(f"{'setting':20} {'passed':>6} {'failed':>6} {'time':>9}", *rows, sep="\n")
    return n_failed > 0


if __name__ == "__main__":
    sys.exit(main())
