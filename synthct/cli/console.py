"""What the user sees: plain lines and progress on stderr, results on stdout."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["make_progress", "say", "show_warnings", "start_log", "tell"]


def say(line: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(" ".join(line.split()) + "\n")
    sys.stderr.flush()


def tell(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def show_warnings() -> None:
    """Show a warning as one line without a source path, each text once."""
    shown: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if text not in shown:
            shown.add(text)
            say(f"warning: {text}")

    warnings.showwarning = show
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


def start_log() -> None:
    """Send the log of our own packages to stderr, one plain line each."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    for name in ("synthct", "algorithms", "evaluation"):
        logging.getLogger(name).setLevel(logging.INFO)


def make_progress() -> Progress:
    """Make progress bars on stderr; where stderr is no terminal they are silent."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
