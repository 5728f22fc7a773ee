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
from benchmarks.head_shapes import BEND_MM, MARGIN, STRETCH, WAVES_MM, bent
from synthct.dataset import find_cases, load_case
from synthct.volume import Volume, write_volume

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


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_without_waves_it_is_a_rotation_and_a_stretch(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two balls 80 mm apart: their distance changes by the stretch alone, whatever the turn."""
    monkeypatch.setattr(head_shapes, "BEND_MM", 0.0)
    shift = [0.0, 0.0, 0.0]
    shift[axis] = 40.0
    two = ball((shift[0], shift[1], shift[2]), 14.0) + ball((-shift[0], -shift[1], -shift[2]), 14.0) * 3
    for seed in range(3):
        after = bent(head(two), np.random.default_rng(seed))
        ends = [middle_mm(after, label) for label in (2, 6)]
        apart = float(np.linalg.norm(ends[0] - ends[1]))
        assert 80 * (1 - STRETCH) - 3 < apart < 80 * (1 + STRETCH) + 3


def test_nothing_folds() -> None:
    """The steepest waves together change a length by less than itself."""
    assert BEND_MM * 2 * np.pi / WAVES_MM[0] < 0.5
    layers = np.repeat(np.arange(1, EDGE + 1, dtype=np.int32)[:, None, None], EDGE, axis=1).repeat(EDGE, axis=2)
    for seed in range(4):
        after = bent(head(layers), np.random.default_rng(seed)).voxels
        columns = after[:, after.shape[1] // 2, after.shape[2] // 2]
        steps = np.diff(columns[columns > 0])
        assert steps.min() >= 0
        assert columns.max() > EDGE - 6


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
        result = runner.invoke(app, [str(maps), str(tmp_path / name), "--spacing", "8", *more])
        assert result.exit_code == 0, result.output
    assert "6 simulated heads" in result.output
    found = {files.id: load_case(files) for files in find_cases(tmp_path / "three")}
    assert sorted(found) == ["1BA003", "1BA011", "1BA103", "1BA111", "1BA203", "1BA211"]
    for files in find_cases(tmp_path / "one"):
        assert np.array_equal(load_case(files).image.voxels, found[files.id].image.voxels)
    sizes = {case.image.voxels.shape for case in found.values()}
    assert len(sizes) > 2
    assert json.loads((tmp_path / "three" / "dataset.json").read_text())["simulated"] is True


def test_a_head_without_a_number_for_its_draws_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head_100.nii.gz").write_bytes(b"not read")
    result = CliRunner().invoke(app, [str(tmp_path), str(tmp_path / "new"), "--draws", "2"])
    assert result.exit_code == 2
    assert "--draws 2 of head 100 has no case number; expected heads up to 99" in result.output
