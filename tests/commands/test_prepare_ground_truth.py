"""`synthct prepare --to ground-truth`: the note of what the reference is, and the tarball that is uploaded."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_volume, save_case
from commands.command_line import Outcome, files_below, synthct

from evaluation.submission import find_references, read_registration
from synthct.dataset import find_cases
from synthct.errors import OutputError
from synthct.grand_challenge.ground_truth import default_registration, ground_truth_files, pack_ground_truth
from synthct.volume import read_volume, write_volume

DEFORMED = np.full((3, 4, 5), 77, np.int16)


def prepare(source: Path, target: Path, *options: str) -> Outcome:
    return synthct("prepare", source, target, "--to", "ground-truth", *options)


def read_note(folder: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return note


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases of an abdomen, one with labels, both with the deformed CT."""
    root = tmp_path / "data"
    save_case(root / "Task1" / "AB" / "1ABA001", ct_def=DEFORMED, segmentation=np.ones((3, 4, 5), np.uint8))
    save_case(root / "Task1" / "AB" / "1ABA002", ct_def=DEFORMED)
    return root


def test_the_tarball_holds_the_folder_without_a_top_folder(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    outcome = prepare(data, truth)
    assert (outcome.code, outcome.err) == (0, "")
    names = ["ct/1ABA001.mha", "ct/1ABA002.mha", "dataset.json", "mask/1ABA001.mha", "mask/1ABA002.mha"]
    names.append("segmentation/1ABA001.mha")
    with tarfile.open(truth / "ground_truth.tar.gz") as archive:
        members = archive.getmembers()
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert [member.name for member in members] == names
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }
    assert {(member.isfile(), oct(member.mode)) for member in members} == {(True, "0o644")}
    for name in names:
        assert (tmp_path / "unpacked" / name).read_bytes() == (truth / name).read_bytes()
    assert find_references(tmp_path / "unpacked")[0].segmentation is not None
    assert read_registration(tmp_path / "unpacked") == "rigid (as released)"


def test_running_again_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, str]:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    for folder in ("a", "a", "b"):
        assert prepare(data, tmp_path / folder).code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert (tmp_path / "a" / "ground_truth.tar.gz").read_bytes()[4:8] == bytes(4)  # gzip's own time


@pytest.mark.parametrize(
    ("options", "reference", "registration", "value"),
    [
        ((), "ct", "rigid (as released)", -300),
        (("--reference", "ct_def"), "ct_def", "deformable (elastix, as released)", 77),
        (("--registration", "B-spline, by us"), "ct", "B-spline, by us", -300),
        (("--reference", "ct_def", "--registration", "ANTs"), "ct_def", "ANTs", 77),
    ],
)
def test_the_note_tells_reference_and_registration(
    data: Path, tmp_path: Path, options: tuple[str, ...], reference: str, registration: str, value: int
) -> None:
    outcome = prepare(data, tmp_path / "truth", *options)
    assert outcome.code == 0, outcome.err
    assert read_note(tmp_path / "truth") == {"reference": reference, "registration": registration}
    assert read_volume(tmp_path / "truth" / "ct" / "1ABA001.mha").voxels[0, 0, 0] == value


def test_the_note_of_the_data_set_is_carried_on(data: Path, tmp_path: Path) -> None:
    (data / "dataset.json").write_text('{"simulated": true, "seed": 3}')
    assert prepare(data, tmp_path / "a").code == 0
    assert read_note(tmp_path / "a") == {"simulated": True, "seed": 3, "reference": "ct", "registration": "none"}
    (data / "dataset.json").write_text('{"registration": "landmarks"}')
    assert prepare(data, tmp_path / "b").code == 0
    assert read_note(tmp_path / "b") == {"reference": "ct", "registration": "landmarks"}
    assert prepare(data, tmp_path / "c", "--reference", "ct_def").code == 0
    assert read_note(tmp_path / "c")["registration"] == "deformable (elastix, as released)"  # landmarks: of its ct
    assert prepare(data, tmp_path / "d", "--registration", "ours").code == 0
    assert read_note(tmp_path / "d")["registration"] == "ours"


@pytest.mark.parametrize(
    ("ids", "simulated", "registration"),
    [
        (["1ABA001", "2THC002", "1BA003", "2PB004", "1HND005"], False, "rigid (as released)"),
        (["1EXA001"], False, "unknown"),
        (["1EXA001", "1ABA001"], False, "rigid (as released), some unknown"),
        (["1ABA001", "1EXA001"], True, "none"),
    ],
)
def test_what_is_known_of_the_registration(tmp_path: Path, ids: list[str], simulated: bool, registration: str) -> None:
    for name in ids:
        save_case(tmp_path / name)
    cases = find_cases(tmp_path)
    assert default_registration(cases, "ct", simulated=simulated) == registration
    assert default_registration(cases, "ct_def", simulated=simulated) == "deformable (elastix, as released)"


def test_files_of_another_ground_truth_are_not_mixed_in(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    before = files_below(truth)
    outcome = prepare(data / "Task1" / "AB" / "1ABA001", truth)
    assert outcome.code == 3
    assert f"{truth / 'ct' / '1ABA002.mha'}: is of another ground truth" in outcome.reason
    assert files_below(truth) == before


def fill(truth: Path, case: str, **note: Any) -> bytes:
    """What `synthct segmenter fill` leaves: a label map, and whose it is in the note."""
    write_volume(make_volume(np.full((3, 4, 5), 9, np.uint8)), truth / "segmentation" / f"{case}.mha")
    (truth / "dataset.json").write_text(json.dumps({**read_note(truth), **note}))
    return (truth / "segmentation" / f"{case}.mha").read_bytes()


def test_label_maps_that_were_filled_in_are_kept_and_packed(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    first = read_note(truth)
    label_map = fill(truth, "1ABA002", segmented_by=["a" * 64, "unknown"])
    outcome = prepare(data, truth)
    assert (outcome.code, outcome.err) == (0, "")
    assert (truth / "segmentation" / "1ABA002.mha").read_bytes() == label_map
    assert read_note(truth) == {**first, "segmented_by": ["a" * 64, "unknown"]}
    with tarfile.open(truth / "ground_truth.tar.gz") as archive:
        names = archive.getnames()
        packed = archive.extractfile("segmentation/1ABA002.mha")
        assert packed is not None
        assert packed.read() == label_map
    per_case = [f"{kind}/1ABA00{number}.mha" for kind in ("ct", "mask", "segmentation") for number in (1, 2)]
    assert names == sorted([*per_case, "dataset.json"])
    (truth / "segmentation" / "1ABA002.mha").unlink()  # without them the note speaks of nobody's labels
    assert prepare(data, truth).code == 0
    assert read_note(truth) == first


def test_a_label_map_of_another_case_is_still_refused(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    fill(truth, "1ABA003")
    outcome = prepare(data, truth)
    assert outcome.code == 3
    assert f"{truth / 'segmentation' / '1ABA003.mha'}: is of another ground truth" in outcome.reason


def test_label_maps_of_another_reference_are_not_carried_on(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    fill(truth, "1ABA002")
    before = (truth / "ct" / "1ABA002.mha").read_bytes()
    outcome = prepare(data, truth, "--reference", "ct_def")
    assert outcome.code == 3
    assert f"{truth / 'segmentation' / '1ABA002.mha'}: was made of ct; expected a folder without" in outcome.reason
    assert (truth / "ct" / "1ABA002.mha").read_bytes() == before
    assert read_note(truth)["reference"] == "ct"


def test_a_failed_run_leaves_no_tarball(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    (data / "Task1" / "AB" / "1ABA002" / "mask.mha").write_bytes(b"broken")
    outcome = prepare(data, truth)
    assert outcome.code == 3
    assert "mask.mha" in outcome.reason
    assert not (truth / "ground_truth.tar.gz").exists()


def test_packing_reports_each_file_and_names_one_that_is_missing(data: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    assert prepare(data, truth).code == 0
    names = ground_truth_files(find_cases(data))
    calls: list[int] = []
    os.utime(truth / "ct" / "1ABA001.mha", (1, 1))  # a file's own time does not count
    before = (truth / "ground_truth.tar.gz").read_bytes()
    assert pack_ground_truth(truth, names[::-1], advance=lambda: calls.append(1)).read_bytes() == before
    assert len(calls) == len(names) == 6
    assert gzip.decompress(before)[:14] == b"ct/1ABA001.mha"
    (truth / "mask" / "1ABA002.mha").unlink()
    with pytest.raises(OutputError, match=r"mask/1ABA002\.mha: is missing"):
        pack_ground_truth(truth, names)
    assert (truth / "ground_truth.tar.gz").read_bytes() == before
    assert ".partial" not in files_below(truth)


@pytest.mark.parametrize(
    ("to", "option", "value"), [("platform", "--registration", "rigid"), ("ground-truth", "--predictions", "sct")]
)
def test_options_of_the_other_target_are_refused(data: Path, tmp_path: Path, to: str, option: str, value: str) -> None:
    outcome = synthct("prepare", data, tmp_path / "out", "--to", to, option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert option in outcome.reason
    assert not (tmp_path / "out").exists()


def test_settings_of_the_phase_are_packed(tmp_path: Path) -> None:
    """An organiser writes evaluation.json beside the folders; the next `prepare` puts it into the tarball."""
    assert synthct("sample", tmp_path / "data", "--kind", "pelvis", "--cases", "1").code == 0
    arguments = ("prepare", tmp_path / "data", tmp_path / "truth", "--to", "ground-truth")
    assert synthct(*arguments).code == 0
    with tarfile.open(tmp_path / "truth" / "ground_truth.tar.gz") as archive:
        assert "evaluation.json" not in archive.getnames()
    (tmp_path / "truth" / "evaluation.json").write_text('{"segmenters": ["tissue"]}')
    assert synthct(*arguments).code == 0
    with tarfile.open(tmp_path / "truth" / "ground_truth.tar.gz") as archive:
        stream = archive.extractfile("evaluation.json")
        assert stream is not None
        assert stream.read() == b'{"segmenters": ["tissue"]}'
