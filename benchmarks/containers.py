"""Sizes and cold starts of images: `python benchmarks/containers.py NAME=MODEL_FOLDER...`.

Cold start is the time from `docker run` to the first window (of an algorithm without windows: to the sCT) of a case of
64 x 64 x 16 voxels, with the image in the engine already; the platform adds its own minutes. The median of `--runs`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from synthct.anatomy import CaseId
from synthct.dataset import Case, CaseFiles
from synthct.grand_challenge.layout import job_of, write_case_input
from synthct.phantom import make_phantom

FLAGS = (
    *("--rm", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=128"),
    *("--memory=8g", "--memory-swap=8g", "--shm-size=128m", "--read-only", "--tmpfs=/tmp"),
)
FIRST_WORK = ("window ", ": wrote ")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "algorithms", nargs="+", metavar="NAME=MODEL", help="algorithm or image:tag, and its model folder"
    )
    parser.add_argument("--case", default="1EXA001", help="id of the case, which tells its task and region")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    table = Table("image", "size on disk", "compressed (gzip)", "docker run to first work, median", "whole run, median")
    for item in arguments.algorithms:
        name, _, model = item.partition("=")
        image = name if ":" in name else f"synthct-{name}:{version('synthct')}"
        times = [cold_start(image, Path(model).resolve(), arguments.case) for _ in range(arguments.runs)]
        first, whole = (statistics.median(column) for column in zip(*times, strict=True))
        table.add_row(
            image,
            f"{size(image) / 1e9:.2f} GB",
            f"{compressed(image) / 1e9:.2f} GB",
            f"{first:.1f} s",
            f"{whole:.1f} s",
        )
    Console().print(table)


def cold_start(image: str, model: Path, case: str) -> tuple[float, float]:
    """Seconds from `docker run` to the first line that tells of work, and to the end."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        write_input(root / "input", case)
        (root / "output").mkdir(mode=0o777)
        (root / "output").chmod(0o777)
        volumes = [
            f"--volume={root}/input:/input:ro",
            f"--volume={root}/output:/output",
            f"--volume={model}:/opt/ml/model:ro",
        ]
        began = time.monotonic()
        process = subprocess.Popen(["docker", "run", *FLAGS, *volumes, image], stderr=subprocess.PIPE, text=True)
        first = None
        said = []
        for line in process.stderr or ():
            said.append(line)
            if first is None and any(word in line for word in FIRST_WORK):
                first = time.monotonic() - began
        if process.wait() != 0 or first is None:
            raise SystemExit(f"{image}: exit code {process.returncode}: {''.join(said[-3:])}")
        whole = time.monotonic() - began
        shutil.rmtree(root / "output", ignore_errors=True)
        return first, whole


def write_input(folder: Path, case: str) -> None:
    case_id = CaseId.parse(case)
    phantom = make_phantom("limb", seed=3, size=(64, 64, 16), spacing=(2.5, 2.5, 6.0))
    files = CaseFiles(case, case_id.task, case_id.region, Path("mr.mha"), Path("mask.mha"))
    whole = Case(case, case_id.task, case_id.region, phantom.image, phantom.mask, None)
    write_case_input(whole, job_of(files), folder)


def size(image: str) -> int:
    out = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", image], capture_output=True, text=True, check=True
    )
    return int(out.stdout)


def compressed(image: str) -> int:
    out = subprocess.run(
        ["bash", "-c", f"docker save {image} | gzip | wc -c"], capture_output=True, text=True, check=True
    )
    return int(out.stdout)


if __name__ == "__main__":
    main()
