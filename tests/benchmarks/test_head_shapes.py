"""Other heads out of one: labels stay labels, the middle stays where it was, and nothing folds or is cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from builders import make_volume
from typer.testing import CliRunner

from benchmarks import head_shapes
from benchmarks.head_pairs import app
from benchmarks.head_shapes import BEND_MM, MARGIN, STRETCH, TURN_DEGREES, bent, old_places
from synthct.dataset import find_cases, load_case
from synthct.volume import Geometry, Volume, write_volume

EDGE, SPACING = 40, 4.0


def ball(centre_mm: tuple[float, float, float] = (0, 0, 0), radius: float = 50.0) -> npt.NDArray[np.int32]:
    """Label 507 with a core of 2; places (z, y, x) about the middle."""
    places = (np.arange(EDGE) - (EDGE - 1) / 2) * SPACING
    z, y, x = np.meshgrid(*(places - shift for shift in centre_mm), indexing="ij")
    far = np.sqrt(z**2 + y**2 + x**2)
    labels = np.where(far < radius, 507, 0)
    labels[far < radius / 2] = 2
    return labels.astype(np.int32)


def head(labels: npt.NDArray[np.int32]) -> Volume:
    return make_volume(labels, spacing=(SPACING,) * 3, origin=(-10.0, 20.0, 30.0))


def middle_mm(volume: Volume, label: int) -> npt.NDArray[np.float64]:
    """Mean position (x, y, z) of a label."""
    voxel = np.argwhere(volume.voxels == label).mean(axis=0)[::-1]
    return np.asarray(voxel * volume.geometry.spacing + volume.geometry.origin)


def test_a_head_keeps_its_labels_its_place_and_about_its_size() -> None:
    before = head(ball())
    after = bent(before, np.random.default_rng(3))
    assert set(np.unique(after.voxels)) == {0, 2, 507}
    assert after.geometry.spacing == before.geometry.spacing
    assert after.voxels.shape == (EDGE + 2 * round(MARGIN * EDGE),) * 3
    assert np.abs(middle_mm(after, 2) - middle_mm(before, 2)).max() < 2 * BEND_MM
    share = (after.voxels > 0).sum() / (before.voxels > 0).sum()
    assert (1 - STRETCH) ** 3 * 0.8 < share < (1 + STRETCH) ** 3 * 1.2
    assert abs(share - 1) > 0.005


def test_every_draw_is_another_head_and_a_seed_gives_the_same_one() -> None:
    first, again, other = (bent(head(ball()), np.random.default_rng(seed)).voxels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.01


def uneven() -> Volume:
    """Edges and spacings that all differ, x pointing the other way; labels from 0 to 6 in blocks."""
    blocks = np.random.default_rng(0).integers(0, 7, (5, 6, 8)).astype(np.int32)
    voxels = blocks.repeat(4, axis=0).repeat(5, axis=1).repeat(4, axis=2)
    direction = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    geometry = Geometry((32, 30, 20), (4.0, 3.0, 2.0), (7.0, -8.0, 9.0), direction)
    return Volume(voxels, geometry)


def test_a_head_that_is_left_as_it_is_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN_DEGREES", "STRETCH", "BEND_MM"):
        monkeypatch.setattr(head_shapes, name, 0.0)
    before = uneven()
    after = bent(before, np.random.default_rng(0))
    assert after.geometry.size == (32 + 10, 30 + 10, 20 + 6)
    assert after.geometry.spacing == before.geometry.spacing
    assert after.geometry.direction == before.geometry.direction
    assert after.geometry.origin == (7.0 + 5 * 4.0, -8.0 - 5 * 3.0, 9.0 - 3 * 2.0)
    assert np.array_equal(after.voxels[3:-3, 5:-5, 5:-5], before.voxels)
    after.voxels[3:-3, 5:-5, 5:-5] = 0
    assert not after.voxels.any()


def test_without_waves_each_axis_has_its_own_stretch_and_all_turn_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old places on the new grid are affine: their matrix, inverted, is a rotation times the three stretches."""
    monkeypatch.setattr(head_shapes, "BEND_MM", 0.0)
    head_before, spacing = uneven(), np.array((2.0, 3.0, 4.0))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        angles, stretch = np.deg2rad(rng.uniform(-TURN_DEGREES, TURN_DEGREES, 3)), 1 + rng.uniform(-STRETCH, STRETCH, 3)
        places = np.array(old_places(head_before, np.zeros(3, int), np.random.default_rng(seed)), np.float64)
        corner = places[:, 0, 0, 0]
        steps = np.stack([places[:, 1, 0, 0], places[:, 0, 1, 0], places[:, 0, 0, 1]], axis=1) - corner[:, None]
        forward = np.linalg.inv(steps * spacing[:, None] / spacing[None, :])  # mm of the new head by mm of the old
        np.testing.assert_allclose(forward.T @ forward, np.diag(stretch**2), atol=1e-4)
        turn = forward / stretch
        assert np.linalg.det(turn) == pytest.approx(1.0, abs=1e-4)
        about = np.arccos((np.trace(turn) - 1) / 2)
        assert 0.5 * np.abs(angles).max() < about < 1.01 * np.abs(angles).sum()
        middle = (np.array(head_before.voxels.shape) - 1) / 2
        np.testing.assert_allclose(places.mean(axis=(1, 2, 3)), middle, atol=1e-3)


def test_nothing_folds() -> None:
    """How much room a place of the new head takes in the old one is nowhere 0 or less."""
    labels = make_volume(np.zeros((32, 32, 32), np.int32), spacing=(8.0, 8.0, 8.0))
    smallest = []
    for seed in range(40):
        places = old_places(labels, np.zeros(3, int), np.random.default_rng(seed))
        gradients = [np.stack(np.gradient(place), axis=-1) for place in places]
        smallest.append(float(np.linalg.det(np.stack(gradients, axis=-2)).min()))
    assert min(smallest) > 0.1
    assert min(smallest) < 0.9  # it does bend


def test_a_large_head_is_not_cut() -> None:
    edge = ball(radius=EDGE * SPACING / 2)
    for seed in range(4):
        after = bent(head(edge), np.random.default_rng(seed)).voxels
        faces = [after.take(place, axis=axis) for axis in range(3) for place in (0, -1)]
        assert not any(face.any() for face in faces)


def test_draws_are_cases_of_their_own_and_leave_the_first_as_it_is(tmp_path: Path) -> None:
    maps = tmp_path / "labels"
    maps.mkdir()
    for number in (3, 11):
        write_volume(make_volume(ball().astype(np.int16), spacing=(SPACING,) * 3), maps / f"head_{number:02d}.nii.gz")
    runner = CliRunner()
    for name, more in (("one", []), ("three", ["--draws", "3"])):
        result = runner.invoke(app, [str(maps), str(tmp_path / name), "--spacing", "8", "--cases", "3,11", *more])
        assert result.exit_code == 0, result.output
    assert "6 simulated heads" in result.output
    found = {files.id: load_case(files) for files in find_cases(tmp_path / "three")}
    assert sorted(found) == ["1BA003", "1BA011", "1BA103", "1BA111", "1BA203", "1BA211"]
    for files in find_cases(tmp_path / "one"):
        assert np.array_equal(load_case(files).image.voxels, found[files.id].image.voxels)
    sizes = {case.image.voxels.shape for case in found.values()}
    assert len(sizes) > 2
    assert json.loads((tmp_path / "three" / "dataset.json").read_text())["simulated"] is True


def test_draws_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    (tmp_path / "head_100.nii.gz").write_bytes(b"not read")
    for more, line in (
        (["--cases", "100"], "--draws 2 of head 100 has no case number; expected heads up to 99"),
        ([], "--draws 2 without --cases would draw test heads too; expected --cases of training heads"),
    ):
        result = CliRunner().invoke(app, [str(tmp_path), str(tmp_path / "new"), "--draws", "2", *more])
        assert result.exit_code == 2
        assert line in result.output
        assert not (tmp_path / "new").exists()
