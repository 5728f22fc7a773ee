"""The run by which SynthRAD's template tests itself: its folders, flags and results.json (CONTRACT 1.4, 1.8)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from containers.images import require_success
from containers.ramp_cases import expected_sct, ramp_image, ramp_mask, save_input, save_ramp

pytestmark = pytest.mark.container

FLAGS = (
    *("--memory=4g", "--memory-swap=4g", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--shm-size=128m", "--pids-limit=256"),
)
EXPECTED = """
[
    {
        "outputs": [{"type": "metaio_image", "filename": "/output/images/synthetic-ct/1HNAxxx.nii.gz"}],
        "inputs": [
            {"type": "metaio_image", "filename": "/input/images/mri/1HNAxxx.nii.gz"},
            {"type": "metaio_image", "filename": "/input/images/body/1HNAxxx.nii.gz"},
            {"type": "String", "filename": "/input/region.json"}
        ],
        "error_messages": []
    }
]
"""
"""What the template's test.sh compares with, in our own words of CONTRACT 1.4."""


@pytest.fixture
def volume() -> Iterator[str]:
    """A fresh volume: it gets its owner from the image's /output."""
    name = f"synthct-test-{uuid.uuid4().hex}"
    require_success("docker", "volume", "create", name)
    yield name
    require_success("docker", "volume", "rm", name)


def in_order(text: str) -> Any:
    """Read JSON with objects as lists of pairs, so that the order of keys counts."""
    return json.loads(text, object_pairs_hook=list)


def run_template(image: str, test: Path, volume: str, model: Path) -> None:
    """The template's docker run; the platform's mount of the model is added."""
    mounts = ("-v", f"{test}:/input", "-v", f"{volume}:/output/", "-v", f"{model}:/opt/ml/model:ro")
    require_success("docker", "run", "--rm", *FLAGS, *mounts, image)


def look(image: str, volume: str, *command: str, target: Path | None = None) -> str:
    """What a second container says of the volume; with `target` it may copy something there."""
    places = ["-v", f"{volume}:/output:ro"]
    if target is not None:
        target.mkdir()
        target.chmod(0o777)
        places += ["-v", f"{target}:/target"]
    return require_success(
        "docker", "run", "--rm", "--network=none", *places, "--entrypoint", command[0], image, *command[1:]
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_results_json_is_the_template_s_in_every_field_and_their_order(
    lookup_image: str, volume: str, tmp_path: Path, suffix: str
) -> None:
    """The one difference: where NIfTI comes in, .mha goes out, since the platform takes no NIfTI (CONTRACT 1.3)."""
    test = save_input(tmp_path / "test", region='"Head and Neck"', suffix=suffix, stem="1HNAxxx")
    assert sorted(str(path.relative_to(test)) for path in test.rglob("*") if path.is_file()) == [
        f"images/body/1HNAxxx{suffix}",
        f"images/mri/1HNAxxx{suffix}",
        "region.json",
    ]
    run_template(lookup_image, test, volume, save_ramp(tmp_path / "model"))
    expected = EXPECTED.replace(".nii.gz", suffix)
    found = look(lookup_image, volume, "cat", "/output/results.json")
    if suffix == ".nii.gz":
        output = "/output/images/synthetic-ct/1HNAxxx"
        assert in_order(found) != in_order(expected)
        expected = expected.replace(f"{output}.nii.gz", f"{output}.mha")
    assert in_order(found) == in_order(expected)
    listed = look(lookup_image, volume, "find", "/output", "-type", "f", "-printf", "%P %U %m\n").splitlines()
    assert sorted(listed) == [
        "images/synthetic-ct/1HNAxxx.mha 1000 644",
        "manifest.json 1000 644",
        "results.json 1000 644",
    ]
    manifest = json.loads(look(lookup_image, volume, "cat", "/output/manifest.json"))
    assert [row["region"] for row in manifest["cases"]] == ["HN"]
    look(lookup_image, volume, "cp", "/output/images/synthetic-ct/1HNAxxx.mha", "/target/", target=tmp_path / "taken")
    sct = sitk.ReadImage(str(tmp_path / "taken" / "1HNAxxx.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sct), expected_sct(ramp_image(), ramp_mask()))
