"""Ctrl-C and SIGTERM while a network is trained: finish the iteration, write a checkpoint, then end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from synthct.errors import SynthCTError

__all__ = [
    "SIGNALS",
    "Interruption",
    "TrainingInterruptedError",
    "TrainingTerminatedError",
    "interrupted_by",
    "noting_signals",
]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterruptedError(SynthCTError):
    """Training was ended by Ctrl-C (SIGINT) after its checkpoint was written."""

    exit_code = 128 + signal.SIGINT


class TrainingTerminatedError(TrainingInterruptedError):
    """Training was ended by SIGTERM, as a scheduler sends it, after its checkpoint was written."""

    exit_code = 128 + signal.SIGTERM


class Interruption:
    """The signal that came, if one did."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Remember a signal; a second Ctrl-C is not waited for.

        Raises:
            KeyboardInterrupt: Ctrl-C came twice.
        """
        if number == signal.SIGINT == self.signal:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def noting_signals() -> Iterator[Interruption]:
    """Note Ctrl-C and SIGTERM in place of ending by them; outside the main thread nothing changes."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, interruption.note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def interrupted_by(number: signal.Signals, message: str) -> TrainingInterruptedError:
    """Make the error that ends a run after this signal."""
    kind = TrainingTerminatedError if number == signal.SIGTERM else TrainingInterruptedError
    return kind(message)
