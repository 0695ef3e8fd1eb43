"""Run the command that was asked for, and make a line of whatever goes wrong."""

import contextlib
import importlib
import io
import os
import sys
import warnings

from skcnn.command._messages import complain, naming, printable, warn
from skcnn.command._parser import make_parser

# What shells make of a process that was interrupted, or whose reader went away: 128 + its signal.
INTERRUPTED, PIPE_CLOSED = 130, 141


def main(argv=None):
    """Run a command.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments. None: those of this process.

    Returns
    -------
    status : int
        0: done. 1: failed, at least in part. 130: interrupted. 141: nobody reads on.

    Raises
    ------
    SystemExit
        With status 2, if the arguments are wrong; with 0, after ``--help`` and ``--version``.
    """
    if sys.stderr is None:  # closed by the shell: nobody wants to know
        sys.stderr = io.StringIO()
    args = make_parser().parse_args(argv)
    if sys.stdout is None:
        args.parser.error("standard output is closed. Send it to a file, or to /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = importlib.import_module(f"skcnn.command._{args.command}").run(args)
            with naming("standard output"):
                sys.stdout.flush()
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            _close_stdout()
            return PIPE_CLOSED
        except Exception as error:
            if args.debug:
                raise
            _explain(error, args)
            _flush_stdout()
            return 1
    return status


def _show_warning(message, category, filename, lineno, file=None, line=None):
    warn(str(message))


def _flush_stdout():
    try:
        sys.stdout.flush()
    except OSError:  # of which was told already
        _close_stdout()


def _close_stdout():
    """Let what is still to be written go nowhere, or Python would complain of it at its exit."""
    with contextlib.suppress(OSError, ValueError):  # not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error, args):
    from skcnn.exceptions import ImageFileError  # not at import: --help waits for no scikit-learn

    if isinstance(error, ImageFileError):
        for path, reason in error.reasons.items():
            complain(f"{printable(path)}: {reason}")
        n_files = len(error.reasons)
        complain(
            f"{n_files} image file{'s' * (n_files > 1)} cannot be used. Repair or remove them"
            + (", or leave them out with --skip-bad." if hasattr(args, "skip_bad") else ".")
        )
    elif isinstance(error, OSError) and error.filename and error.strerror:
        complain(f"{printable(error.filename)}: {error.strerror}")
    elif isinstance(error, OSError | ValueError) and str(error):
        complain(str(error))
    else:
        complain(f"{type(error).__name__}: {error} (--debug shows where)")
