"""What a user sees of a failure: one line, and the exit code of the command line."""

from __future__ import annotations

import os
import traceback
from typing import NamedTuple

from synthct.errors import MemoryLimitError, SynthCTError
from synthct.memory import is_out_of_memory

__all__ = ["Failure", "describe_failure", "show_traceback_if_asked"]

TRACEBACK_VARIABLE = "SYNTHCT_TRACEBACK"


class Failure(NamedTuple):
    """One line, and the exit code that goes with it."""

    reason: str
    exit_code: int


def describe_failure(error: BaseException) -> Failure:
    """Say in one line what went wrong.

    Trouble with memory is exit code 5 whoever met it first: a reader that could not get the room for an image says
    InputError, a library that could not be loaded says ImportError.
    """
    if isinstance(error, SynthCTError):
        return Failure(str(error), MemoryLimitError.exit_code if is_out_of_memory(error) else error.exit_code)
    if is_out_of_memory(error):
        return Failure("the work does not fit into this machine's memory", MemoryLimitError.exit_code)
    if isinstance(error, ModuleNotFoundError):
        return Failure(f"needs the package {error.name}; expected an installation with the extra that brings it", 1)
    text = " ".join(str(error).split()) or "no message"
    return Failure(f"unexpected {type(error).__name__}: {text} ({TRACEBACK_VARIABLE}=1 shows where)", 1)


def show_traceback_if_asked(error: BaseException) -> None:
    """Write an error's traceback to stderr where SYNTHCT_TRACEBACK asks for it; our own errors say enough without."""
    if os.environ.get(TRACEBACK_VARIABLE) and not isinstance(error, SynthCTError):
        traceback.print_exception(error)
