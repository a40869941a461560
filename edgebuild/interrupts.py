"""Ctrl-C and SIGTERM: both unwind the program, wherever they find it."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TERMINATED = 143
"""The exit code after SIGTERM."""

_AGAIN_S = 0.01


def unwind_on_signals() -> None:
    """Make SIGTERM unwind as Ctrl-C does, and let neither get lost.

    ``finally`` blocks run, so that no half-written folder stays. What a signal raises while Python
    runs a finalizer or a C library's callback is dropped by Python: it is raised again.
    """
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.unraisablehook = _raise_again


def _raise_again(dropped: sys.UnraisableHookArgs) -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        number = signal.SIGINT
    elif issubclass(dropped.exc_type, SystemExit):
        number = signal.SIGTERM
    else:
        sys.__unraisablehook__(dropped)
        return
    timer = threading.Timer(_AGAIN_S, _thread.interrupt_main, [number])
    timer.daemon = True
    timer.start()


@contextmanager
def signals_stop(stop: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM call ``stop`` inside the block, and take effect at its end.

    For C libraries that call back so often that a signal is always handled inside a callback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        caught.append(number)
        stop()

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            # None: a handler that was not set from Python, and cannot be set from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in caught:
            signal.raise_signal(late)
