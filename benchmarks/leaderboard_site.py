"""How long a leaderboard's site takes to write, and how large it is: 200 entries of 60 cases, made from a seed.

python -m benchmarks.leaderboard_site [--entries N] [--cases N] [--structures N] [--output DIR]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.aggregates import aggregate
from evaluation.report.site import write_site
from evaluation.standings import build_standings
from evaluation.structures import STRUCTURE_NAMES

REGIONS = ("AB", "HN", "TH")
GOAL_SECONDS, GOAL_MEGABYTES = 10.0, 30.0


def make_metrics(rng: np.random.Generator, cases: int, structures: list[str], hardness: np.ndarray) -> dict[str, Any]:
    """One entry: a skill of its own, cases that are as hard for all."""
    skill = rng.normal(0, 0.25)
    rows: list[dict[str, Any]] = []
    for index in range(cases):
        error = float(np.exp(hardness[index] + skill + rng.normal(0, 0.15)))
        region = REGIONS[index % len(REGIONS)]
        dice = np.clip(0.9 - 0.1 * error + rng.normal(0, 0.05, len(structures)), 0, 1)
        scores = {
            "mae": 65 * error,
            "psnr": 30 - 6 * np.log(error),
            "ms_ssim": 1 / (1 + 0.08 * error),
            "DICE": float(dice.mean()),
            "HD95": 6 * error,
        }
        judged = {
            name: {"dice": float(value), "hd95": 6 * error, "nsd": float(value), "status": "found"}
            for name, value in zip(structures, dice, strict=True)
        }
        rows.append(
            {
                "case": f"1{region}A{index + 1:03d}",
                "region": region,
                "task": "mri",
                **scores,
                "structures": {"totalsegmentator": judged},
            }
        )
    return {
        "results": rows,
        "aggregates": aggregate(rows),
        "protocol": "synthrad2025",
        "scoring_version": 2,
        "segmenter": "totalsegmentator",
        "segmenter_weights": None,
        "registration": "none",
        "reference": "ct",
        "simulated": True,
        "starter": bool(rng.integers(2)),
        "random_features": False,
        "failures": [],
        "manifest": {"simulated": True},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=200)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--structures", type=int, default=20)
    parser.add_argument("--output", type=Path, help="keep the site here")
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    structures = list(STRUCTURE_NAMES.values())[: chosen.structures]
    hardness = rng.normal(0, 0.3, chosen.cases)
    with tempfile.TemporaryDirectory() as scratch:
        folders = []
        for index in range(chosen.entries):
            folder = Path(scratch) / f"team-{index + 1:03d}"
            folder.mkdir()
            metrics = make_metrics(rng, chosen.cases, structures, hardness)
            (folder / "metrics.json").write_text(json.dumps(metrics))
            folders.append(folder)
        began = time.perf_counter()
        standings = build_standings(folders)
        ranked = time.perf_counter()
        output = chosen.output or Path(scratch) / "site"
        output.mkdir(parents=True, exist_ok=True)
        write_site(standings, output)
        written = time.perf_counter()
        files = list(output.rglob("*.html"))
        size = sum(path.stat().st_size for path in files) / 1e6
    index = (output / "index.html").stat().st_size / 1e6 if chosen.output else float("nan")
    sys.stdout.write(
        f"{chosen.entries} entries of {chosen.cases} cases: ranked in {ranked - began:.1f} s, site written in "
        f"{written - ranked:.1f} s (goal {GOAL_SECONDS:g} s); {len(files)} pages, {size:.1f} MB "
        f"(goal {GOAL_MEGABYTES:g} MB)"
        f"{'' if np.isnan(index) else f', the board {index:.1f} MB'}\n"
    )


if __name__ == "__main__":
    main()
