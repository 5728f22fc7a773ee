"""The one place that says with which flags a container is run."""

from __future__ import annotations

import os
from collections.abc import Collection
from enum import StrEnum
from typing import Any

from synthct.errors import UsageError

__all__ = ["GIBIBYTE", "SMALLEST_MEMORY", "Phase", "core_set", "parse_memory", "run_flags", "usable_cores"]

GIBIBYTE = 1 << 30
SMALLEST_MEMORY = 2 * GIBIBYTE
"""Below this nothing would be left beside the GiB that the platform takes off the data segment."""
PIDS = 128
MOST_CORES = 8
"""The platform's machines have 2 to 8 (CONTRACT 2.2). Libraries start a thread per core, and 128 are soon used up."""
TEMPLATE_SHM = 128 << 20
LOG_LIMIT = "64m"
"""How much of a container's log the engine keeps, so that an endless one does not fill the disk."""
UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": GIBIBYTE}


class Phase(StrEnum):
    """How a run is walled in.

    PLATFORM: as the platform does: the image's own user, a writable root, /dev/shm of half the memory.
    STRICT: harder: read-only root, /tmp in memory, a user number nobody knows, the template's 128 MB /dev/shm.
    """

    PLATFORM = "platform"
    STRICT = "strict"


def run_flags(phase: Phase, *, memory: int, uid: int, gpu: bool, cores: str | None = None) -> dict[str, Any]:
    """Return the Docker SDK's arguments for one container (CONTRACT 1.8, 2.2).

    Args:
        phase: which walls.
        memory: bytes; memory and swap together. The data segment (RLIMIT_DATA) gets 1 GiB less.
        uid: user and group number of the strict phase.
        gpu: hand all GPUs over.
        cores: which ones it may use, see `core_set`; None: all.
    """
    flags: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": PIDS,
        "mem_limit": memory,
        "memswap_limit": memory,
        "shm_size": memory // 2,
        "init": True,
        "ulimits": [{"Name": "data", "Soft": memory - GIBIBYTE, "Hard": memory - GIBIBYTE}],
        "log_config": {"Type": "json-file", "Config": {"max-size": LOG_LIMIT}},
    }
    if phase is Phase.STRICT:
        flags |= {"shm_size": TEMPLATE_SHM, "read_only": True, "tmpfs": {"/tmp": ""}, "user": f"{uid}:{uid}"}  # noqa: S108
    if cores is not None:
        flags["cpuset_cpus"] = cores
    if gpu:
        flags["device_requests"] = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]], "Options": {}}]
    return flags


def core_set(total: int, usable: Collection[int]) -> str | None:
    """Choose the cores of a container on a host with more of them than the platform's machines have.

    Args:
        total: cores of the engine's host.
        usable: numbers of the cores that this process may use; empty where the engine is on another machine.

    Returns:
        At most 8 cores as Docker writes them, such as "0,1,2"; None where the host has no more than 8.
    """
    if total <= MOST_CORES:
        return None
    return ",".join(str(core) for core in (sorted(usable) or range(total))[:MOST_CORES])


def usable_cores() -> frozenset[int]:
    """Return the numbers of the cores that this process may use; empty where the system does not tell."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def parse_memory(text: str) -> int:
    """Read a size as Docker writes it: 16g, 4096m, or bytes.

    Raises:
        UsageError: it is no size, or below 2 GiB.
    """
    word = text.strip().casefold().removesuffix("ib")
    number, unit = (word[:-1], word[-1]) if word and word[-1] in UNITS else (word, "")
    if not number.isdecimal():
        raise UsageError(f"--memory {text} is no size; expected one like 16g")
    size = int(number) * UNITS[unit]
    if size < SMALLEST_MEMORY:
        raise UsageError(f"--memory {text} is too little; expected 2g or more")
    return size
