"""The command-line arguments with which sphinx-gallery runs each example."""

import os
from pathlib import Path

ARGUMENTS = {"plot_02_alexnet_study.py": ["--bundled"]}


def reset_argv(gallery_conf, script_vars):
    """Arguments of a script; what it writes goes below docs/_build, not among the sources."""
    script = Path(script_vars["src_file"])
    output = Path(__file__).parent / "_build" / "gallery" / script.stem
    # Relative to the folder in which the script runs: it prints the path.
    arguments = ["--output", os.path.relpath(output, script.parent)]
    arguments += ARGUMENTS.get(script.name, [])
    return [*arguments, "--quick"] if os.environ.get("SKCNN_DOCS_QUICK") else arguments
