"""The README's code runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.programs import run_code

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.xdist_group("workers")  # which are started once
def test_the_code_in_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) == 1
    run = run_code(blocks[0], folder=tmp_path)
    assert not run.warnings
    accuracy = float(run.stdout.splitlines()[0].split()[-1])
    assert accuracy > 0.7  # whatever the rounding: 0.82 where this was written


def test_the_session_in_the_readme_prints_what_it_shows(tmp_path):
    (block,) = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.S)
    lines = block.splitlines()
    commands = [line[2:] for line in lines if line.startswith(("$ ", "> "))]
    shown = [line for line in lines if not line.startswith(("$ ", "> "))]
    # The python of these tests, whatever the name stands for here.
    script = "\n".join(["set -e", 'python() { "$PYTHON" "$@"; }', *commands])
    run = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    # Thread counts and versions round differently, and training makes more of it.
    assert without_digits(run.stdout.splitlines()) == without_digits(shown)


def without_digits(lines):
    return [re.sub(r"\d+(\.\d+)?", "#", line) for line in lines]


def test_pictures_in_the_readme_are_there():
    for picture in re.findall(r"!\[[^\]]*\]\((.*?)\)", README.read_text()):
        assert (README.parent / picture).stat().st_size > 1000
