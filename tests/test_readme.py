"""The README's code runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_code_in_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    assert len(blocks) == 1
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:skcnn", "-c", blocks[0]],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    accuracy = float(run.stdout.splitlines()[0].split()[-1])
    assert accuracy > 0.8


def test_pictures_in_the_readme_are_there():
    for picture in re.findall(r"!\[[^\]]*\]\((.*?)\)", README.read_text()):
        assert (README.parent / picture).stat().st_size > 1000
