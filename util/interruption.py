"""SIGTERM and SIGUSR1, by which a cluster says that a process has to go: training ends after the step it is in.

    with signals_end_it():  # the entry
        with steps_first():  # training: asked() after each step

Outside of steps nothing is worth waiting for (what is written is whole or absent), so that a signal ends it at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal asked for the end, and all that is worth keeping is on disk. As KeyboardInterrupt, no Exception."""


@dataclass
class _Asked:
    by: signal.Signals | None = None
    waits: bool = False


_ASKED = _Asked()


@contextmanager
def signals_end_it() -> Iterator[None]:
    """Context in which the signals raise Interrupted in the main thread, or are noted during `steps_first`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _ASKED.by, _ASKED.waits = None, False
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _ASKED.by = None


@contextmanager
def steps_first() -> Iterator[None]:
    """Context in which a signal is only noted: whoever takes steps looks at `asked` after each, and raises."""
    _ASKED.waits = True
    try:
        yield
    finally:
        _ASKED.waits = False


def asked() -> str | None:
    """The signal that asked for the end, by its name."""
    return None if _ASKED.by is None else _ASKED.by.name


def leave_to_parent() -> None:
    """In a worker process: who started it says when it ends, not a signal that reaches the whole group."""
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _note(number: int, frame: FrameType | None) -> None:
    _ASKED.by = signal.Signals(number)
    if not _ASKED.waits:
        raise Interrupted(f"Stopped by {_ASKED.by.name}; --resume with the same --run-dir goes on, or begins anew.")
