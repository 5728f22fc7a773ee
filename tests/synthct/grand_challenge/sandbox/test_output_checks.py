"""What a run may leave: a sound output breaks no rule, each fault breaks exactly its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from synthct.grand_challenge.sandbox.cases import CaseGrid
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.output_checks import check_output
from synthct.grand_challenge.sandbox.parcel import Entry, Output
from synthct.grand_challenge.sandbox.verdict import Verdict
from synthct.volume import Geometry, Volume, write_volume

GEOMETRY = Geometry((6, 5, 4), (1.0, 1.0, 3.0), (-10.0, 20.0, 5.0))
PLACE = "images/synthetic-ct/sct.mha"


def grid() -> CaseGrid:
    mask = np.zeros(GEOMETRY.shape, np.uint8)
    mask[1:3, 1:4, 1:5] = 1
    return CaseGrid(GEOMETRY, Volume(mask, GEOMETRY))


def sct(**changes: object) -> Volume:
    """A sound sCT: -1000 outside of the mask, -20, -19, ... inside."""
    mask = grid().mask.voxels > 0
    voxels = np.full(GEOMETRY.shape, -1000, np.int16)
    voxels[mask] = np.arange(mask.sum()) - 20
    return Volume(voxels, replace(GEOMETRY, **changes))  # type: ignore[arg-type]


def listed(folder: Path, *extra: Entry) -> Output:
    """An output as it would be taken over from a container."""
    found = [
        Entry(PurePosixPath(path.relative_to(folder)), "folder" if path.is_dir() else "file", path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
    ]
    return Output(folder, (Entry(PurePosixPath(), "folder", 0o777), *found, *extra))


def broken(output: Output) -> dict[str, str]:
    findings = Findings()
    check_output(output, grid(), "plain, strict", findings)
    bad = [finding for finding in findings.all() if finding.verdict is not Verdict.PASS]
    assert {finding.case for finding in bad} <= {"plain, strict"}
    return {finding.id: finding.found for finding in bad}


def write(folder: Path, volume: Volume, place: str = PLACE) -> Path:
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    return write_volume(volume, folder / place)


@pytest.mark.parametrize("place", [PLACE, "images/synthetic-ct/deep/er/sct.mha"])
def test_a_sound_output_breaks_nothing(tmp_path: Path, place: str) -> None:
    write(tmp_path, sct(), place)
    (tmp_path / "results.json").write_text("[]")
    assert broken(listed(tmp_path)) == {}


def test_minus_1024_outside_is_fine_too(tmp_path: Path) -> None:
    voxels = sct().voxels.copy()
    voxels[grid().mask.voxels == 0] = -1024
    write(tmp_path, Volume(voxels, GEOMETRY))
    assert broken(listed(tmp_path)) == {}


def test_no_image(tmp_path: Path) -> None:
    assert broken(listed(tmp_path)) == {"output.one-image": "0 images: none"}


@pytest.mark.parametrize(
    "second", ["images/synthetic-ct/b.mha", "images/synthetic-ct/in/b.mha", "images/synthetic-ct/b.tif"]
)
def test_two_images(tmp_path: Path, second: str) -> None:
    (tmp_path / second).parent.mkdir(parents=True)
    (tmp_path / second).write_bytes(b"counted by its name")
    write(tmp_path, sct())
    found = broken(listed(tmp_path))
    assert list(found) == ["output.one-image"]
    assert found["output.one-image"].startswith("2 images: ")
    assert second in found["output.one-image"]


@pytest.mark.parametrize("beside", ["images/spread/b.mha", "images/synthetic-ct/b.nii.gz", "images/synthetic-ct.mha"])
def test_what_is_no_second_image(tmp_path: Path, beside: str) -> None:
    """The output of another socket, and a file that the platform's builders do not read."""
    write(tmp_path, sct())
    write(tmp_path, sct(), beside)
    findings = Findings()
    check_output(listed(tmp_path), grid(), "plain, strict", findings)
    assert {finding.verdict for finding in findings.all()} == {Verdict.PASS}
    (finding,) = findings.of_rule("output.one-image")
    assert finding.found == f"{PLACE} (beside it {beside})"


def test_an_image_in_another_folder_only(tmp_path: Path) -> None:
    write(tmp_path, sct(), "images/ct/sct.mha")
    assert broken(listed(tmp_path)) == {"output.one-image": "0 images: none (beside it images/ct/sct.mha)"}


def test_what_the_platform_never_sees_cannot_be_refused(tmp_path: Path) -> None:
    """The template names its output like its input: .nii.gz for the case that only a user's own machine has."""
    write(tmp_path, Volume(sct().voxels[:-1], replace(GEOMETRY, size=(6, 5, 3))), "images/synthetic-ct/sct.nii.gz")
    for is_local, verdict in ((True, Verdict.FAIL), (False, Verdict.REFUSED)):
        findings = Findings()
        check_output(listed(tmp_path), grid(), "nii-gz, strict", findings, is_local=is_local)
        found = {finding.id: finding.verdict for finding in findings.all() if finding.verdict is not Verdict.PASS}
        assert found == {"output.format": verdict, "output.size": verdict}


def test_a_link_to_the_image_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path, Volume(sct().voxels.astype(np.int32), GEOMETRY), "kept/whole.mha")
    link = Entry(PurePosixPath(PLACE), "link", 0o777, "../../kept/whole.mha")
    assert broken(listed(tmp_path, link)) == {"output.type": "int32"}


def test_other_files_beside_the_image_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, sct())
    (tmp_path / "images/synthetic-ct/notes.txt").write_text("x")
    write(tmp_path, sct(), "other/b.mha")
    assert broken(listed(tmp_path)) == {}


@pytest.mark.parametrize(("name", "suffix"), [("sct.nii.gz", ".nii.gz"), ("sct.nii", ".nii"), ("sct.nrrd", ".nrrd")])
def test_other_formats_would_be_refused(tmp_path: Path, name: str, suffix: str) -> None:
    write(tmp_path, sct(), f"images/synthetic-ct/{name}")
    assert broken(listed(tmp_path)) == {"output.format": suffix}


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).write_bytes(b"nothing")
    found = broken(listed(tmp_path))
    assert list(found) == ["output.decodable"]
    assert f"/output/{PLACE}" in found["output.decodable"]
    assert str(tmp_path) not in found["output.decodable"]


def test_another_size_is_refused_and_nothing_else_is_said_of_the_grid(tmp_path: Path) -> None:
    write(tmp_path, Volume(sct().voxels[:-1], replace(GEOMETRY, size=(6, 5, 3))))
    assert broken(listed(tmp_path)) == {"output.size": "(6, 5, 3), the input has (6, 5, 4)"}


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (1.0, 1.0, 3.01)},
        {"origin": (-10.0, 20.0, 5.01)},
        {"direction": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)},
    ],
)
def test_another_geometry_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    write(tmp_path, sct(**change))
    found = broken(listed(tmp_path))
    assert list(found) == ["output.geometry"]
    assert found["output.geometry"].startswith(next(iter(change)))


def test_rounding_of_the_geometry_is_fine(tmp_path: Path) -> None:
    write(tmp_path, sct(origin=(-10.0004, 20.0, 5.0)))
    assert broken(listed(tmp_path)) == {}


def with_voxels(change: Callable[[np.ndarray], np.ndarray]) -> Volume:
    return Volume(change(sct().voxels.copy()), GEOMETRY)


def set_first_inside(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.astype(np.float64) if isinstance(value, float) else voxels
        changed[1, 1, 1] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("volume", "rules"),
    [
        (with_voxels(lambda voxels: voxels.astype(np.float64)), ["output.type"]),
        (with_voxels(lambda voxels: voxels.astype(np.int32)), ["output.type"]),
        (with_voxels(set_first_inside(3072)), ["output.range"]),
        (with_voxels(set_first_inside(-1025)), ["output.range"]),
        (with_voxels(set_first_inside(float("nan"))), ["output.type", "output.finite"]),
        (with_voxels(set_first_inside(float("inf"))), ["output.type", "output.range", "output.finite"]),
        (with_voxels(lambda voxels: np.full_like(voxels, -1000)), ["output.content"]),
        (with_voxels(lambda voxels: np.where(voxels == -1000, 0, voxels).astype(np.int16)), ["output.outside-mask"]),
        (
            with_voxels(lambda voxels: np.full(voxels.shape, np.nan)),
            ["output.type", "output.finite", "output.outside-mask"],
        ),
    ],
)
def test_values(tmp_path: Path, volume: Volume, rules: list[str]) -> None:
    write(tmp_path, volume)
    assert list(broken(listed(tmp_path))) == rules


def test_one_voxel_outside_is_counted(tmp_path: Path) -> None:
    voxels = sct().voxels.copy()
    voxels[0, 0, 0] = 7
    write(tmp_path, Volume(voxels, GEOMETRY))
    assert broken(listed(tmp_path)) == {"output.outside-mask": "1 of 96 voxels differ, such as 7"}


def test_files_that_only_their_owner_may_read(tmp_path: Path) -> None:
    write(tmp_path, sct()).chmod(0o600)
    assert broken(listed(tmp_path)) == {"output.readable": f"{PLACE} (600)"}


def test_folders_that_only_their_owner_may_enter(tmp_path: Path) -> None:
    write(tmp_path, sct())
    (tmp_path / "images").chmod(0o744)
    assert broken(listed(tmp_path)) == {"output.readable": "images (744)"}


@pytest.mark.parametrize(
    ("target", "fine"),
    [
        ("synthetic-ct", False),
        ("/output/images", False),
        ("/var/elsewhere", False),
        ("../../etc/passwd", False),
        ("..", False),
        ("synthetic-ct/absent.txt", False),
        ("synthetic-ct/notes.txt", True),
        ("/output/images/synthetic-ct/notes.txt", True),
        ("./synthetic-ct/../synthetic-ct/notes.txt", True),
    ],
)
def test_links(tmp_path: Path, target: str, fine: bool) -> None:
    write(tmp_path, sct())
    (tmp_path / "images/synthetic-ct/notes.txt").write_text("x")
    link = Entry(PurePosixPath("images/link"), "link", 0o777, target)
    found = broken(listed(tmp_path, link))
    assert found == ({} if fine else {"output.links": f"images/link -> {target}"})
