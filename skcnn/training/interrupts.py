"""Interrupts by which callbacks end a fit, told apart from those of the user."""

from __future__ import annotations

import dis
import signal
import types
from collections.abc import Iterator

_RAISE = dis.opmap["RAISE_VARARGS"]


def asks_to_stop(error: KeyboardInterrupt, outer: BaseException | None) -> bool:
    """Whether code raised an interrupt to end a fit, as skorch's callbacks do.

    The user's own, Ctrl-C, comes from a signal: between any two instructions, from C, or from the
    signal's handler.

    Parameters
    ----------
    error : KeyboardInterrupt
    outer : BaseException or None
        What was being handled before the code ran that raised `error`.
    """
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    cause: BaseException | None = error
    while cause is not None and cause is not outer:
        if isinstance(cause, KeyboardInterrupt):
            entries = list(_entries(cause))
            last = entries[-1]
            if last.tb_frame.f_code.co_code[last.tb_lasti] != _RAISE:
                return False
            if not handlers.isdisjoint(entry.tb_frame.f_code for entry in entries):
                return False
        cause = cause.__context__
    return True


def _entries(error: BaseException) -> Iterator[types.TracebackType]:
    entry = error.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _code_of(handler: object) -> object:
    """Code of a signal handler in Python: a function, a method, or an object that is called."""
    for function in (handler, getattr(type(handler), "__call__", None)):  # noqa: B004
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if code is not None:
            return code
    return None
