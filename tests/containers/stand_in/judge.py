"""A stand-in for an evaluation: the "score" of a case is the size of its file; it reads both kinds of phase.

FAULT names one thing that it does wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

INPUT, OUTPUT = Path("/input"), Path("/output")
TRUTH = Path("/opt/ml/input/data/ground_truth/ct")
FAULT = os.environ.get("FAULT", "")


def find_predictions() -> dict[str, Path]:
    jobs_file = INPUT / "predictions.json"
    if not jobs_file.is_file() and FAULT == "no-flat":
        raise ValueError("/input/predictions.json is missing")
    if not jobs_file.is_file():
        return {path.name.partition(".")[0]: path for path in sorted(INPUT.glob("*.mha"))}
    found = {}
    for job in json.loads(jobs_file.read_text()):
        upload = job["inputs"][0]["image"]["name"]
        (path,) = (INPUT / job["pk"] / "output" / "images" / "synthetic-ct").iterdir()
        found[upload.partition(".")[0].rpartition("_")[2]] = path
    return found


def run() -> None:
    predictions = find_predictions()
    cases = sorted(path.name.partition(".")[0] for path in TRUTH.iterdir())
    missing = [case for case in cases if case not in predictions]
    if missing and FAULT != "ignores-missing":
        raise ValueError(f"case {missing[0]} has no prediction")
    sizes = [predictions[case].stat().st_size for case in cases if case in predictions]
    mean: float | None = sum(sizes) / len(sizes)
    if FAULT == "order":
        mean = float(next(iter(predictions.values())).stat().st_size)
    if FAULT == "nan" or (FAULT == "nan-flat" and not (INPUT / "predictions.json").is_file()):
        mean = float("nan")
    if FAULT == "null":
        mean = None
    name = "size.bytes" if FAULT == "dot" else "size"
    if FAULT != "no-file":
        (OUTPUT / "metrics.json").write_text(json.dumps({"aggregates": {name: {"mean": mean}}}))


def main() -> None:
    try:
        run()
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
