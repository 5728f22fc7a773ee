"""A disk that is soon full: a tmpfs of 64 KiB."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["SMALL_DISK_BYTES", "mounted_disk"]

SMALL_DISK_BYTES = 64 << 10


@contextmanager
def mounted_disk(folder: Path, *, size: int = SMALL_DISK_BYTES) -> Iterator[Path]:
    """Mount an empty disk of `size` bytes and at most 64 files on a folder; only root may."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=64", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
