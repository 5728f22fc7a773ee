"""Volumes in a page: their place in space, their size, their values."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import numpy as np
import pytest

from evaluation.report import preview as preview_module
from evaluation.report.nifti import nifti_bytes
from evaluation.report.preview import MARGIN, make_previews
from synthct.volume import Geometry, Volume, read_volume

GRID = Geometry((5, 4, 3), (1.0, 2.0, 3.0), (10.0, -20.0, 30.0))


def unpacked(packed: str, path: Path) -> Volume:
    """The volume as another program reads it."""
    path.write_bytes(gzip.decompress(base64.b64decode(packed)))
    return read_volume(path)


@pytest.mark.parametrize(
    "direction",
    [(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1.0)],
)
def test_nifti_is_read_by_itk_with_the_same_grid(direction: tuple[float, ...], tmp_path: Path) -> None:
    grid = Geometry(GRID.size, GRID.spacing, GRID.origin, direction)
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5) - 30
    path = tmp_path / "volume.nii"
    path.write_bytes(nifti_bytes(voxels, grid))
    found = read_volume(path)
    assert np.array_equal(found.voxels, voxels)
    assert grid.difference(found.geometry) is None


def test_full_volumes_are_whole_and_rounded(tmp_path: Path) -> None:
    voxels = np.full(GRID.shape, 7.6)
    voxels[0, 0, :2] = (-70_000, 70_000)
    inside = np.zeros(GRID.shape, dtype=bool)
    previews = make_previews({"ct": voxels}, inside, GRID, full=True)
    assert (previews.whole, previews.factors, previews.geometry) == (True, (1, 1, 1), GRID)
    found = unpacked(previews.volumes["ct"].packed, tmp_path / "ct.nii")
    assert found.voxels[0, 0, :3].tolist() == [-32768, 32767, 8]


def test_a_preview_is_cut_to_the_body_and_stays_in_place(tmp_path: Path) -> None:
    grid = Geometry((40, 30, 20), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    x, y, z = np.meshgrid(np.arange(40), np.arange(30), np.arange(20), indexing="ij")
    values = (x + 100 * y + 1000 * z).transpose(2, 1, 0)  # an address: x in ones, y in hundreds, z in thousands
    inside = np.zeros(grid.shape, dtype=bool)
    inside[8:10, 10:12, 20:22] = True
    previews = make_previews({"ct": values}, inside, grid)
    assert previews.factors == (1, 1, 1)
    assert previews.whole is False
    found = unpacked(previews.volumes["ct"].packed, tmp_path / "ct.nii")
    assert found.geometry.size == (2 + 2 * MARGIN, 2 + 2 * MARGIN, 2 + 2 * MARGIN)
    first = found.voxels[0, 0, 0]
    assert first == 16 + 100 * 6 + 1000 * 4
    assert found.geometry.origin == pytest.approx((5 + 16 * 1.0, 6 + 6 * 2.0, 7 + 4 * 3.0))


def test_blocks_are_means_and_lie_in_their_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_module, "VOXEL_LIMIT", 30)
    grid = Geometry((5, 4, 3), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    values = np.broadcast_to(np.arange(5.0) * 10, (3, 4, 5))
    previews = make_previews({"ct": values}, np.ones(grid.shape, dtype=bool), grid)
    # 60 voxels: along x, whose step of 1 mm is the shortest, then 36: x again, as 2 mm ties with y and comes last
    assert previews.factors == (1, 2, 2)
    assert previews.geometry.spacing == (2.0, 4.0, 3.0)
    assert previews.geometry.origin == (0.5, 1.0, 0.0)
    assert previews.volumes["ct"].voxels[0, 0].tolist() == [5, 25, 40]  # the last block has one voxel


def test_what_is_too_large_for_a_page_is_averaged_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    grid = Geometry((24, 24, 24))
    noise = rng.integers(-1000, 1000, grid.shape)
    inside = np.ones(grid.shape, dtype=bool)
    whole = make_previews({"ct": noise, "sct": noise}, inside, grid)
    monkeypatch.setattr(preview_module, "PAGE_LIMIT", whole.size // 4)
    smaller = make_previews({"ct": noise, "sct": noise}, inside, grid)
    assert whole.whole is True
    assert (smaller.whole, smaller.size <= whole.size // 4) == (False, True)
    assert np.prod(smaller.factors) >= 4
    monkeypatch.setattr(preview_module, "PAGE_LIMIT", 1)
    assert max(make_previews({"ct": noise}, inside, grid).geometry.size) <= 2  # it ends, however small the page


def test_an_empty_body_keeps_the_volume() -> None:
    previews = make_previews({"ct": np.zeros(GRID.shape)}, np.zeros(GRID.shape, dtype=bool), GRID)
    assert previews.volumes["ct"].voxels.shape == GRID.shape
