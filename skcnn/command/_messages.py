"""Lines of text: results on standard output, complaints on standard error."""

import contextlib
import os
import re
import sys

# What messages of the library advise for Python, and what the shell has for it.
_ADVICE = {
    "follow_links=True": "--follow-links",
    "Leave out these classes, by classes= for a folder.": "Remove these folders, or fill them.",
    "norm='batch'": "--set norm=batch",
    "class_weight='balanced'": "--set class_weight=balanced",
    "Raise max_epochs, or lr,": "Raise --epochs, or --lr,",
    "Check that X and y are in the same order.": "Check that the folders hold what they name.",
}
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def say(*lines):
    """Write lines of results at once."""
    with naming("standard output"):
        print(*lines, sep="\n", flush=True)


def complain(text):
    """Write of an error, in one line."""
    _write("error", text)


def warn(text):
    """Write of something suspicious, in one line."""
    _write("warning", text)


def _write(kind, text):
    line = printable(in_the_shell(" ".join(text.split())))
    print(f"skcnn: {kind}: {line}", file=sys.stderr, flush=True)


def in_the_shell(text):
    """Say what a message of the library advises in the words of the command line."""
    for in_python, here in _ADVICE.items():
        text = text.replace(in_python, here)
    return text


def printable(text):
    """Escape, as Python does, what would break a line, or a table, or mean something to a terminal.

    Bytes in names that are no UTF-8 are shown by their values: no picture could draw them.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character):
    byte = os.fsencode(character) if "\udc80" <= character <= "\udcff" else None
    return f"\\x{byte.hex()}" if byte else character.encode("unicode_escape").decode("ascii")


@contextlib.contextmanager
def naming(place):
    """Let errors of the system that name no file name what is read or written in this block."""
    try:
        yield
    except OSError as error:
        # One in other words says by itself what it is about.
        if error.filename is None and error.errno and error.strerror == os.strerror(error.errno):
            error.filename = str(place)
        raise


class PlainProgress:
    """Standard error for the colours of others, which mean something to a terminal alone."""

    def write(self, text):
        """Write a text, without its colours where nobody would see them."""
        return sys.stderr.write(text if sys.stderr.isatty() else _COLOUR.sub("", text))

    def flush(self):
        """Let it be seen."""
        sys.stderr.flush()
