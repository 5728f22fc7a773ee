"""What is watched while a container runs, and what its log says afterwards."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.models.containers import Container

__all__ = ["GrowingLog", "LogSummary", "MemoryWatch", "memory_in_use", "summarise_log"]

INTERVAL = 0.2
COPIED = 1 << 20
SHOWN_LETTERS = 1024
"""The platform shows so many letters of the last stderr line (CONTRACT 2.2)."""


@dataclass(frozen=True)
class LogSummary:
    """A log in two numbers.

    Attributes:
        last_line: the last line that is not blank, cut after 1024 letters; empty where there is none.
        last_length: letters of that line before it was cut.
        longest: bytes of the longest line.
    """

    last_line: str = ""
    last_length: int = 0
    longest: int = 0


def summarise_log(chunks: Iterable[bytes], copy: Path | None = None) -> LogSummary:
    """Read a log of any length without keeping it in memory.

    Args:
        chunks: as they come.
        copy: file that the log is added to, up to a MiB; None for none.
    """
    last, longest, line = b"", 0, bytearray()
    length = last_length = 0

    def end_line() -> None:
        nonlocal last, longest, length, last_length
        longest = max(longest, length)
        if line.strip():
            last, last_length = bytes(line), length
        line.clear()
        length = 0

    for chunk in chunks if copy is None else _copied(chunks, copy):
        pieces = chunk.split(b"\n")
        for number, piece in enumerate(pieces):
            if number:
                end_line()
            length += len(piece)
            line += piece[: max(0, 4 * SHOWN_LETTERS - len(line))]
    end_line()
    text = " ".join(last.decode("utf-8", errors="replace").split())
    return LogSummary(text[:SHOWN_LETTERS], last_length, longest)


def _copied(chunks: Iterable[bytes], copy: Path) -> Iterator[bytes]:
    with copy.open("ab") as stream:
        room = max(0, COPIED - stream.tell())
        for chunk in chunks:
            stream.write(chunk[:room])
            room = max(0, room - len(chunk))
            yield chunk


class GrowingLog:
    """The stderr of a container that still runs, read piece by piece: what one call said is not taken for another's."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._taken = 0

    def peek(self) -> LogSummary:
        """Summarise what came since the last `take`."""
        return self._read(None)[0]

    def take(self, copy: Path | None = None) -> LogSummary:
        """Summarise what came since the last `take`, add it to a file where asked, and count it as read."""
        summary, self._taken = self._read(copy)
        return summary

    def _read(self, copy: Path | None) -> tuple[LogSummary, int]:
        end = 0

        def new_chunks() -> Iterator[bytes]:
            nonlocal end
            for chunk in self._container.logs(stdout=False, stderr=True, stream=True, follow=False):
                start, end = end, end + len(chunk)
                if end > self._taken:
                    yield chunk[max(0, self._taken - start) :]

        summary = summarise_log(new_chunks(), copy)
        if end < self._taken:  # the engine dropped a log that was too long and began another
            self._taken = end = 0
            summary = summarise_log(new_chunks(), copy)
        return summary, end


class MemoryWatch:
    """Samples a container's memory, and the GPUs' where asked, until it is left.

    Attributes:
        peak: highest memory of the container without its inactive file cache, bytes; None before the first sample.
        peak_gpu: highest sum over the GPUs, bytes; None without one.
    """

    def __init__(self, container: Container, *, gpu: bool) -> None:
        self.peak: int | None = None
        self.peak_gpu: int | None = None
        self._container = container
        self._gpu = gpu
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        import requests
        from docker.errors import APIError

        while not self._done.wait(INTERVAL):
            # Between two samples the container may end: then there is nothing more to see.
            with suppress(APIError, requests.RequestException, ValueError):
                used = memory_in_use(self._container.stats(stream=False, one_shot=True))
                self.peak = _higher(self.peak, used)
            if self._gpu:
                self.peak_gpu = _higher(self.peak_gpu, _gpu_memory())


def memory_in_use(stats: dict[str, Any]) -> int | None:
    """Return a container's memory in bytes, without the file cache that the kernel could drop; None once it ended."""
    memory = stats.get("memory_stats") or {}
    usage = memory.get("usage")
    if not isinstance(usage, int):
        return None
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    return max(0, usage - int(cache))


def _higher(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _gpu_memory() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        text = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout
        return sum(int(word) for word in text.split()) << 20
    return None
