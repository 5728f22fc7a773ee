"""`synthct check` on the yardstick's real image: sound in both modes; five broken images made of it are caught."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from containers.checks import run_check
from containers.images import ROOT

from synthct.grand_challenge.sandbox.rules import RULES

pytestmark = [pytest.mark.container, pytest.mark.slow]
MODEL = ROOT / "algorithms" / "lookup_table" / "starter"

BREAKER = """
import subprocess, sys
from pathlib import Path
import SimpleITK as sitk
code = subprocess.run(["/opt/algorithm/start"]).returncode
images = list(Path("/output/images/synthetic-ct").glob("*.mha"))
fault = sys.argv[1]
if fault == "writes":
    try:
        Path("/home/user/trace").write_text("x")
    except OSError:
        pass
for path in images:
    image = sitk.ReadImage(str(path))
    if fault == "two":
        sitk.WriteImage(image, str(path.with_name("second.mha")), True)
    if fault == "nifti":
        path.unlink()
        sitk.WriteImage(image, str(path.with_suffix(".nii.gz")))
    if fault == "geometry":
        image.SetOrigin([value + 1 for value in image.GetOrigin()])
        sitk.WriteImage(image, str(path), True)
sys.exit(code)
"""


def broken_image(sound: str, fault: str, folder: Path) -> str:
    """Build an image that runs the sound one and then does one thing wrong."""
    tag = f"synthct-test/broken:{fault}"
    (folder / "breaker.py").write_text(BREAKER)
    lines = [f"FROM {sound}", "COPY breaker.py /opt/breaker.py"]
    lines += ["USER root"] if fault == "root" else []
    lines += [f'ENTRYPOINT ["/opt/venv/bin/python", "/opt/breaker.py", "{fault}"]']
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    subprocess.run(["docker", "build", "--quiet", "--tag", tag, folder], check=True, capture_output=True)
    return tag


def test_the_sound_image_passes_with_the_largest_case(lookup_image: str) -> None:
    outcome = run_check(lookup_image, "--model", MODEL, "--memory", "4g", limits=False)
    assert (outcome.code, outcome.broken, outcome.unchecked) == (0, {}, []), outcome.stderr
    largest = outcome.report["largest"]
    assert set(largest) == {
        "seconds",
        "peak_memory_bytes",
        "peak_gpu_memory_bytes",
        "share_of_budget",
        "share_of_memory",
    }
    assert 0 < largest["seconds"] < 600
    assert 100 << 20 < largest["peak_memory_bytes"] < 4 << 30  # the voxels alone are 100 MiB
    assert largest["share_of_budget"] == pytest.approx(largest["seconds"] / 600, abs=1e-4)
    assert largest["share_of_memory"] == pytest.approx(largest["peak_memory_bytes"] / (4 << 30), abs=1e-4)


def test_the_sound_server_passes(lookup_invoke_image: str) -> None:
    outcome = run_check(lookup_invoke_image, "--model", MODEL)
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr


def test_quick_leaves_out_all_odd_cases_and_says_so(lookup_image: str) -> None:
    outcome = run_check(lookup_image, "--model", MODEL, "--quick", limits=False)
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
    assert set(outcome.unchecked) == {rule for rule in RULES if rule.startswith("case.")}
    assert outcome.report["largest"] is None
    ran = {check["id"] for check in outcome.report["checks"] if check["verdict"] == "pass"}
    assert {"run.platform", "run.strict", "run.writes", "failure.empty-input", "failure.corrupt-image"} <= ran


def test_without_a_model_the_first_run_says_why(lookup_image: str) -> None:
    outcome = run_check(lookup_image)
    assert (outcome.code, outcome.broken) == (6, {"run.platform": "fail"})
    assert "exit 4: error: no weights for lookup-table" in outcome.found("run.platform")


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("root", {"image.user": "would be refused"}),
        ("two", {"output.one-image": "would be refused"}),
        ("nifti", {"output.format": "would be refused"}),
        ("geometry", {"output.geometry": "fail"}),
        ("writes", {"run.writes": "fail"}),
    ],
)
def test_a_broken_image_is_called_by_its_fault(
    lookup_image: str, tmp_path: Path, fault: str, broken: dict[str, str]
) -> None:
    outcome = run_check(broken_image(lookup_image, fault, tmp_path), "--model", MODEL, "--quick")
    assert (outcome.code, outcome.broken) == (6, broken), outcome.stderr
    assert outcome.stderr.splitlines()[-1].endswith(f"({next(iter(broken))})")
