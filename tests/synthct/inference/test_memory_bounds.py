"""Memory in child processes: the median's peak, and what a real shortage does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MEASURE = """
import resource
import numpy as np, torch
from torch import nn
from synthct.inference import SweepSettings
from synthct.inference.engine import Engine

torch.set_num_threads(1)
network = nn.Conv3d(1, 1, 1).eval()
shape, merging = {shape}, {merging!r}
image = np.random.default_rng(0).standard_normal(shape, np.float32)
settings = SweepSettings(patch=(32, 224, 224), merging=merging)
Engine(torch.device("cpu"), spread={spread}).sweep(network, image, settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

SHORTAGE = """
import json, resource, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from synthct.errors import MemoryLimitError
from synthct.inference import SweepSettings
from synthct.inference.engine import Engine

torch.set_num_threads(1)
network = nn.Sequential(nn.Conv3d(1, 32, 3, padding=1), nn.LeakyReLU(), nn.Conv3d(32, 1, 1)).eval()
image = np.random.default_rng(0).standard_normal((32, 128, 1152), np.float32)
settings = SweepSettings(patch=(32, 128, 128), step=1.0)
device = torch.device("cpu")
expected = Engine(device).sweep(network, image, settings).values
in_use = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()  # data and stack, in bytes
resource.setrlimit(resource.RLIMIT_DATA, (in_use + ({room} << 20),) * 2)
try:
    swept = Engine(device, batch=8).sweep(network, image, settings)
except MemoryLimitError as error:
    sys.exit(f"exit {{error.exit_code}}: {{error}}")
same = float(np.abs(swept.values - expected).max())
again = Engine(device, batch=8).sweep(network, image, settings)  # no leftovers: the same room suffices once more
print(json.dumps([swept.notes["fallbacks"], same, again.notes["fallbacks"]]))
"""


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=600, check=False
    )


def _peak(shape: tuple[int, int, int], merging: str, *, spread: bool = False) -> int:
    """Peak memory in MiB of a process that sweeps a volume."""
    ended = _run(MEASURE.format(shape=shape, merging=merging, spread=spread))
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


@pytest.mark.slow
def test_median_stays_within_its_bound() -> None:
    """Step 0.5 of 32 x 224 x 224 over 384 x 384 x 200: at most 1.5 GB above one window's, with the spread too.

    One layer of the naive stack alone takes 112 MiB, and up to 18 of them overlap.
    """
    own = _peak((32, 224, 224), "gaussian")
    assert _peak((200, 384, 384), "median-upper", spread=True) - own < 1500


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stack_of_windows() -> None:
    """Twice as many slices may cost the volume itself three times over (input, output, a copy), but no windows."""
    short, tall = (_peak((depth, 240, 240), "median-lower") for depth in (100, 400))
    volume = 300 * 240 * 240 * 4 / 2**20
    assert tall - short < 3.5 * volume


@pytest.mark.slow
def test_shortage_ends_in_a_smaller_batch() -> None:
    ended = _run(SHORTAGE.format(room=400))
    assert ended.returncode == 0, ended.stderr
    first, same, again = json.loads(ended.stdout)
    assert first[0].startswith("batch 8 to ")
    assert again[0].startswith("batch 8 to ")
    assert same < 1e-5


@pytest.mark.slow
def test_shortage_of_all_memory_is_one_line_and_exit_5() -> None:
    ended = _run(SHORTAGE.format(room=20))
    assert ended.returncode == 1
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("exit 5: a sweep with a window of (32, 128, 128)")
    assert lines[0].endswith("memory of cpu; expected more memory")
