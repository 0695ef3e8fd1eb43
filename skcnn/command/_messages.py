"""Lines on standard error."""

import sys


def complain(text):
    """Write of an error, in one line."""
    _write("error", text)


def warn(text):
    """Write of something suspicious, in one line."""
    _write("warning", text)


def _write(kind, text):
    print(f"skcnn: {kind}: {' '.join(text.split())}", file=sys.stderr, flush=True)
