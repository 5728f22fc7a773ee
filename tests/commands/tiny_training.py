"""A data set of five small limbs and settings that train on it in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commands.limb_cases import save_limb

__all__ = ["ONE_THREAD", "outputs", "save_limbs", "write_settings"]

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SETTINGS: dict[str, Any] = {
    "network": {
        "widths": [4, 8],
        "strides": [[1, 2, 2]],
        "kernels": [[1, 3, 3], [3, 3, 3]],
        "norm": "none",
        "discriminator_width": 4,
    },
    "sampling": {"patch": [4, 16, 16], "augment": True},
    "sweep": {"patch": [8, 32, 32]},
    "learning_rate": 1e-3,
}
LOOP: dict[str, Any] = {"iterations_per_epoch": 4, "epochs": 1, "log_interval": 1, "ema": 0.9}


def save_limbs(root: Path, count: int = 5) -> Path:
    for seed in range(1, count + 1):
        save_limb(root / f"1EXA{seed:03}", seed=seed)
    return root


def write_settings(path: Path, **loop: Any) -> Path:
    """Write settings (JSON is YAML too); `loop` changes those of the loop."""
    path.write_text(json.dumps(SETTINGS | {"loop": LOOP | loop}, indent=1) + "\n")
    return path


def outputs(run_dir: Path) -> list[str]:
    """What a run leaves, its cache and TensorBoard's files left out."""
    names = (str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file())
    return sorted(name for name in names if "cache/" not in name and "tensorboard/" not in name)
