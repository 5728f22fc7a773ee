"""Where a container finds its input, puts its output, and finds a phase's ground truth (CONTRACT 1.1, 1.6, 2.5)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "INPUT",
    "INPUT_VARIABLE",
    "OUTPUT",
    "OUTPUT_VARIABLE",
    "ground_truth_folder",
    "input_folder",
    "output_folder",
]

INPUT_VARIABLE = "INPUT_FOLDER"
OUTPUT_VARIABLE = "OUTPUT_FOLDER"
GROUND_TRUTH_VARIABLE = "GROUND_TRUTH_FOLDER"
INPUT, OUTPUT = Path("/input"), Path("/output")
GROUND_TRUTH = Path("/opt/ml/input/data/ground_truth")
"""Where the platform unpacks a phase's ground-truth tarball."""


def input_folder() -> Path:
    """$INPUT_FOLDER, else /input; absolute, links not resolved: the platform makes /input anew for each run."""
    return _named(INPUT_VARIABLE, INPUT)


def output_folder() -> Path:
    """$OUTPUT_FOLDER, else /output; absolute, links not resolved."""
    return _named(OUTPUT_VARIABLE, OUTPUT)


def ground_truth_folder() -> Path:
    """$GROUND_TRUTH_FOLDER, else /opt/ml/input/data/ground_truth; absolute, links not resolved."""
    return _named(GROUND_TRUTH_VARIABLE, GROUND_TRUTH)


def _named(variable: str, default: Path) -> Path:
    """Take a folder from the environment; a variable that is set to nothing counts as not set."""
    return Path(os.environ.get(variable) or default).absolute()
