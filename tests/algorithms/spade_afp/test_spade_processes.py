"""spade-afp in two processes: spectral norm's vectors are no parameters, and no gradient brings them together."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from commands.limb_cases import save_limb
from commands.tiny_training import ONE_THREAD
from safetensors.torch import load_file
from spade_runs import PRESET

CASES = ("1EXA001", "1EXA002", "1EXA003")
TERMS = ("discriminator_loss", "generator_loss", "adversarial", "matching", "l1_hu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limbs")
    for number, name in enumerate(CASES, 1):
        save_limb(root / name, seed=number)
    return root


def train(data: Path, run_dir: Path, *options: str, batch: int) -> Path:
    """A call of `synthct train`: four iterations, a moving average, one case to validate on."""
    loop = PRESET["loop"] | {"ema": 0.9, "checkpoint_interval": 2}
    settings = PRESET | {"loop": loop, "batch": batch, "validation_cases": [CASES[2]]}
    config = run_dir.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    # the program by its file: whoever starts several processes calls itself again by its own command line
    command = [Path(sys.executable).parent / "synthct", "train", "spade-afp", data, run_dir, "--config", config]
    result = subprocess.run(
        [*map(str, command), "--device", "cpu", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | ONE_THREAD,
    )
    assert result.returncode == 0, result.stderr
    return run_dir


def steps(run_dir: Path) -> list[dict[str, Any]]:
    with (run_dir / "history.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["generator_loss"]]


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch_and_resume_exactly(data: Path, tmp_path: Path) -> None:
    """The same four steps, term by term, and the same vectors; left after two and taken up, the same bytes."""
    two = train(data, tmp_path / "two", "--devices", "2", batch=1)
    one = train(data, tmp_path / "one", batch=2)
    assert len(steps(two)) == len(steps(one)) == 4
    for ours, theirs in zip(steps(two), steps(one), strict=True):
        assert [float(ours[name]) for name in TERMS] == pytest.approx([float(theirs[name]) for name in TERMS], rel=2e-3)
    states = [torch.load(run / "checkpoint.pt", weights_only=True)["state"]["networks"] for run in (two, one)]
    vectors = [
        {f"{name}.{key}": tensor for name in state for key, tensor in state[name].items() if key.endswith("._u")}
        for state in states
    ]
    assert len(vectors[0]) == 4 + 1 + 2 * 3  # two blocks' convolutions, a shortcut; two scales of three
    for name, vector in vectors[0].items():
        torch.testing.assert_close(vector, vectors[1][name], rtol=1e-2, atol=1e-2)
    left = train(data, tmp_path / "left", "--devices", "2", "--max-steps", "2", batch=1)
    assert len(steps(left)) == 2
    train(data, tmp_path / "left", "--devices", "2", "--resume", batch=1)
    before, after = (load_file(run / "weights.safetensors") for run in (two, left))
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
