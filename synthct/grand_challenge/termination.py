"""Ending at once on SIGTERM: the platform kills after 5 seconds (CONTRACT 2.2)."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

__all__ = ["end_at_once_on"]


def end_at_once_on(signals: Sequence[signal.Signals]) -> None:
    """End the process as soon as one of these signals comes, with exit code 128 + its number (143 for SIGTERM).

    Python runs a signal's handler between two steps of the main thread, which a long computation keeps it from. So a
    thread waits for the byte that Python's own handler writes at once. Nothing is cleaned up: what a run has not yet
    finished lies below `.partial/`, where the next one clears it. A handler also makes process 1 of a container, for
    which the system's default is to ignore these signals, end by them. Children do not inherit this.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in signals:
        signal.signal(number, _on_signal)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, frozenset(signals)), name="termination", daemon=True).start()

    def restore() -> None:
        signal.set_wakeup_fd(-1)
        for number in signals:
            signal.signal(number, signal.SIG_DFL)

    os.register_at_fork(after_in_child=restore)


def _watch(reading: int, signals: frozenset[signal.Signals]) -> None:
    while True:
        number = os.read(reading, 1)[0]
        if number in signals:
            _end(number)


def _on_signal(number: int, frame: FrameType | None) -> None:
    _end(number)


def _end(number: int) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"ended by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)
