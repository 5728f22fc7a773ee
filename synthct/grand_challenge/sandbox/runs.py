"""One run of a container that ends by itself (exec mode), and what is known of a run in either mode."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from synthct.grand_challenge.sandbox.flags import Phase
from synthct.grand_challenge.sandbox.parcel import Output, read_output
from synthct.grand_challenge.sandbox.stage import Stage
from synthct.grand_challenge.sandbox.watch import LogSummary, MemoryWatch, summarise_log

if TYPE_CHECKING:
    from docker.models.containers import Container

__all__ = ["STDERR", "ExecRunner", "RunResult", "Runner", "read_log", "short_reason", "written_outside"]

OPEN_PLACES = ("/output", "/tmp", "/opt/ml", "/input", "/dev", "/proc", "/sys", "/.dockerenv")  # noqa: S108
"""Where a run may write, and what the engine itself makes: mount points and its own files."""
ENGINE_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "docker-init", "__pycache__")
NVIDIA_PLACES = re.compile(
    "|".join(
        (
            r"/usr/s?bin/(nvidia-[\w-]+|nv-fabricmanager)",
            r"(/usr)?/lib\w*/([\w-]+/)*lib(cuda|cudadebugger|nvidia-[\w-]+|nvcuvid|nvoptix|\w+_nvidia)\.so[.\d]*",
            r"(/usr)?/lib\w*/([\w-]+/)*nvidia[\w-]*\.so[.\d]*",
            r"(/usr)?/lib/(firmware/nvidia|wsl)(/.*)?",
            r"(/var)?/run/nvidia-[\w-]+(/.*)?",
            r"(/etc|/usr/share)/nvidia/.+",
            r"(/etc|/usr/share)/([\w.-]+/)*(\d+_)?nvidia[\w.-]*\.(json|icd|conf)",
            r"/etc/ld\.so\.(cache|conf\.d/[\w-]*nvcr-\w+\.conf)|/var/cache/ldconfig/aux-cache",
        )
    )
)
"""What NVIDIA's runtime makes in a container's own layer: mount points of the driver, and the cache of ldconfig."""
KILLED = 137
STDERR = "stderr.txt"
"""A run's log, beside its input and output folders where those are kept."""


@dataclass(frozen=True)
class RunResult:
    """What became of one run.

    Attributes:
        succeeded: exit 0, or status 201.
        outcome: in words.
        log: its stderr.
        seconds: wall time.
        output: what it left.
        written: files written outside /output and /tmp; None where that was not looked at (it cannot be in the strict
            phase, and a server is looked at when it ended).
        peak_memory: bytes; None where it was not watched.
        peak_gpu_memory: bytes; None without a GPU.
    """

    succeeded: bool
    outcome: str
    log: LogSummary
    seconds: float
    output: Output
    written: tuple[str, ...] | None = None
    peak_memory: int | None = None
    peak_gpu_memory: int | None = None


class Runner(Protocol):
    """Runs a container on one folder of inputs, in exec or invoke mode."""

    phase: Phase

    def run(self, inputs: Path, output: Path, *, watch: bool = False) -> RunResult:
        """Run on a folder laid out as /input; what is left in /output comes to `output`."""
        ...


class ExecRunner:
    """Starts a container for each run and waits for its end."""

    def __init__(self, stage: Stage, phase: Phase) -> None:
        self.phase = phase
        self._stage = stage

    def run(self, inputs: Path, output: Path, *, watch: bool = False) -> RunResult:
        """Run once; a run that takes longer than the budget is killed."""
        from docker.errors import APIError

        limits = self._stage.limits
        with self._stage.walls(inputs) as walls, self._stage.container(self.phase, walls) as container:
            started = time.monotonic()
            watcher = MemoryWatch(container, gpu=limits.gpu) if watch else None
            try:
                container.start()
            except APIError as error:
                outcome = f"cannot be started ({short_reason(error)})"
                return RunResult(False, outcome, LogSummary(), 0.0, Output(output))
            with watcher or nullcontext():
                status = _wait(container, limits.budget)
            seconds = time.monotonic() - started
            log = read_log(container, output.with_name(STDERR))
            container.reload()
            return RunResult(
                succeeded=status == 0,
                outcome=_outcome(status, container.attrs["State"], log, limits.budget, seconds),
                log=log,
                seconds=seconds,
                output=read_output(container.get_archive("/output")[0], output),
                written=written_outside(container.diff() or (), gpu=limits.gpu)
                if self.phase is Phase.PLATFORM
                else None,
                peak_memory=watcher.peak if watcher else None,
                peak_gpu_memory=watcher.peak_gpu if watcher else None,
            )


def read_log(container: Container, copy: Path | None = None) -> LogSummary:
    """Read a container's stderr; the first MiB of it may be copied to a file."""
    return summarise_log(container.logs(stdout=False, stderr=True, stream=True, follow=False), copy)


def written_outside(changes: Iterable[Mapping[str, Any]], *, gpu: bool = False) -> tuple[str, ...]:
    """Return what changed outside of where a run may write, from the engine's list of changes.

    A folder counts only where nothing in it is listed: else what is in it tells. Python's __pycache__ does not count.

    Args:
        changes: the engine's list.
        gpu: leave out the places where NVIDIA's runtime mounts the driver.
    """
    paths = sorted(str(change["Path"]) for change in changes)
    folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    found = (path for path in paths if path not in folders and not _is_open(PurePosixPath(path)))
    return tuple(path for path in found if not (gpu and NVIDIA_PLACES.fullmatch(path)))


def short_reason(error: Exception) -> str:
    """Return the engine's own words of an error."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:300]


def _is_open(path: PurePosixPath) -> bool:
    in_place = any(path.is_relative_to(place) for place in OPEN_PLACES)
    return in_place or str(path) in ENGINE_FILES or any(part in ENGINE_FILES for part in path.parts)


def _wait(container: Container, seconds: float) -> int | None:
    """The exit code; None where the time ran out, and the container was killed."""
    import requests
    from docker.errors import APIError

    try:
        return int(container.wait(timeout=seconds)["StatusCode"])
    except requests.RequestException:
        with suppress(APIError):  # it ended just now
            container.kill()
        return None


def _outcome(status: int | None, state: Mapping[str, Any], log: LogSummary, budget: float, seconds: float) -> str:
    if status == 0:
        return f"exit 0 in {seconds:.1f} s"
    last = f": {log.last_line[:300]}" if log.last_line else ", nothing on stderr"
    if status is None:
        return f"took longer than {budget:g} s{last}"
    if state.get("OOMKilled") or status == KILLED:
        return f"ran out of memory or was killed (exit {status}){last}"
    return f"exit {status}{last}"
