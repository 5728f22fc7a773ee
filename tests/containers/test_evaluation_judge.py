"""The evaluation's container with a network as judge; its weights are RANDOM and its labels mean nothing.

The network is a small one in the format of TotalSegmentator's 3 mm model, whose real weights may not be had everywhere.
What is shown is where weights are found, that they do the judging, and which they were.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands.command_line import files_below
from commands.evaluation_phase import evaluate
from commands.limb_cases import limb
from containers.running import Ended
from containers.scoring import Evaluation, read_strict, require_refusal

from benchmarks.random_network import write_random_checkpoint
from evaluation.structures import STRUCTURE_NAMES
from synthct.volume import write_volume

pytestmark = [pytest.mark.container, pytest.mark.slow]

CASE = "1EXA001"


class Scene:
    """One limb, its sCT, random weights, and what `synthct evaluate` makes of them on this machine."""

    def __init__(self, root: Path) -> None:
        case = limb(seed=1)
        self.root = root
        self.weights = root / "random weights"
        write_random_checkpoint(self.weights, small=True)
        self.truth, self.scts = root / "truth", root / "scts"
        write_volume(case.reference, self.truth / "ct" / f"{CASE}.mha")
        write_volume(case.mask, self.truth / "mask" / f"{CASE}.mha")
        blurred = (case.reference.voxels + np.roll(case.reference.voxels, 1, axis=2)) // 2
        write_volume(case.reference.with_voxels(blurred.astype(np.int16)), self.scts / f"{CASE}.mha")
        judge = ("--segmenter", f"totalsegmentator:{self.weights}")
        self.expected = evaluate(self.scts, self.truth, root / "evaluated", *judge)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("judge"))


def require_judged_by_the_network(ended: Ended, scene: Scene) -> None:
    assert ended.code == 0, ended.lines
    assert files_below(ended.output) == ["metrics.json"]
    metrics = read_strict(ended.output)
    (model,) = scene.weights.glob("*/*")
    files = (model / name for name in ("fold_0/checkpoint_final.pth", "plans.json", "dataset.json"))
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
    assert (metrics["segmenter"], metrics["segmenter_weights"]) == ("totalsegmentator", digest)
    assert metrics["segmenters"] == [{"name": "totalsegmentator", "weights": digest, "kind": "totalsegmentator"}]
    (row,) = metrics["results"]
    found = row["structures"]["totalsegmentator"]
    assert len(found) > 5  # many labels win somewhere, and the sCT's are not the CT's
    assert set(found) <= set(STRUCTURE_NAMES.values())
    assert [score["dice"] for score in found.values() if score["dice"] is not None and 0.0 < score["dice"] < 1.0] != []
    assert (ended.output / "metrics.json").read_bytes() == scene.expected


def test_random_weights_in_the_ground_truth(scene: Scene, evaluation_image: str, tmp_path: Path) -> None:
    """No evaluation.json: totalsegmentator is the judge by default."""
    shutil.copytree(scene.truth, tmp_path / "truth")
    shutil.copytree(scene.weights, tmp_path / "truth" / "totalsegmentator")
    ended = Evaluation(evaluation_image, tmp_path / "truth").run(scene.scts, tmp_path / "output")
    require_judged_by_the_network(ended, scene)


def test_random_weights_as_the_model_of_the_phase(scene: Scene, evaluation_image: str, tmp_path: Path) -> None:
    """Mounted read-only at /opt/ml/model, where the platform unpacks a model tarball."""
    evaluation = Evaluation(evaluation_image, scene.truth, model=scene.weights)
    require_judged_by_the_network(evaluation.run(scene.scts, tmp_path / "output"), scene)


def test_without_weights_and_settings_it_is_exit_4_and_one_line(
    scene: Scene, evaluation_image: str, tmp_path: Path
) -> None:
    ended = Evaluation(evaluation_image, scene.truth).run(scene.scts, tmp_path / "output")
    assert (ended.code, len(ended.lines)) == (4, 1)
    places = "/opt/ml/model, /opt/ml/input/data/ground_truth/totalsegmentator"
    require_refusal(ended.lines, ended.output, "Dataset297_TotalSegmentator", places, "evaluation.json")
