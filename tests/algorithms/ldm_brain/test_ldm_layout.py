"""The working grid: how much a head is shrunk, and the box around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from builders import make_volume

from algorithms.ldm_brain.layout import Layout, WorkingBox, fit_scale, working_spacing
from synthct.resample import resample_like, resample_to_spacing
from synthct.volume import Geometry, Volume

PATCH = (48, 48, 48)


def mask_of(shape: tuple[int, int, int], box: tuple[slice, slice, slice], spacing: float = 1.0) -> Volume:
    inside = np.zeros(shape, np.uint8)
    inside[box] = 1
    return make_volume(inside, spacing=(spacing,) * 3)


def about(mask: Volume, grid: Geometry | None = None, layout: Layout = "tiles") -> WorkingBox:
    return WorkingBox.about(mask, grid or mask.geometry, layout=layout, multiple=8, patch=PATCH)


def test_fit_scale_by_hand() -> None:
    """165 x 248 x 222 mm into 46 of 48 voxels of 4 mm: 184 mm for the 248."""
    mask = mask_of((100, 130, 120), (slice(3, 69), slice(10, 109), slice(5, 94)), 2.5)  # 66, 99 and 89 voxels
    assert fit_scale(mask, (4.0, 4.0, 4.0), PATCH) == pytest.approx(184 / 247.5)
    assert fit_scale(mask, (8.0, 8.0, 8.0), PATCH) == 1.0  # nothing is enlarged
    assert fit_scale(mask, (1.0, 8.0, 8.0), PATCH) == pytest.approx(46 / 165)
    assert fit_scale(mask_of((4, 4, 4), (slice(0, 0),) * 3), (1.0, 1.0, 1.0), PATCH) == 1.0


def test_working_spacing_keeps_its_shape() -> None:
    mask = mask_of((100, 100, 100), (slice(0, 92),) * 3)
    assert working_spacing(mask, "fit", (1.0, 2.0, 4.0), PATCH) == pytest.approx((2.0, 4.0, 8.0))
    for layout in ("tiles", "whole"):
        assert working_spacing(mask, layout, (1.0, 2.0, 4.0), PATCH) == (1.0, 2.0, 4.0)


def test_margin_within_the_grid_where_there_is_room() -> None:
    box = about(mask_of((60, 60, 60), (slice(0, 10), slice(25, 35), slice(52, 60))))
    assert (box.first, box.shape) == ((0, 14, 36), (32, 32, 24))  # 10 + 16 and 8 + 16, rounded up to eights
    assert all(first in range(61 - edge) for first, edge in zip(box.first, box.shape, strict=True))


def test_the_margin_gives_way_to_one_tile() -> None:
    """40 voxels and 16 of margin are 56: one tile of 48 rather than two."""
    box = about(mask_of((80, 80, 80), (slice(20, 60), slice(20, 69), slice(0, 1))))
    assert box.shape == (48, 72, 24)
    assert box.first[0] == 16
    whole = about(mask_of((80, 80, 80), (slice(20, 60), slice(20, 69), slice(0, 1))), layout="whole")
    assert whole.shape == (56, 72, 24)  # there the patch is no bound


def test_a_thin_volume_reaches_beyond_its_grid() -> None:
    """One slice needs eight voxels; the other seven hold 0."""
    mask = mask_of((1, 5, 7), (slice(0, 1), slice(0, 5), slice(0, 7)))
    box = about(mask)
    assert (box.shape, box.first) == ((8, 8, 8), (-3, -1, 0))
    values = np.ones((1, 5, 7), np.float32)
    cut = box.cut(values)
    assert cut.shape == (8, 8, 8)
    assert cut.sum() == 35
    assert np.array_equal(cut[3:4, 1:6, 0:7], values)


def test_the_box_lies_where_it_says() -> None:
    """Values that are positions: cut, put on the box's own grid and brought back, they are the same inside."""
    turned = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    grid = Geometry((30, 26, 22), (1.5, 2.0, 2.5), (-7.0, 11.0, 3.0), turned)
    inside = np.zeros(grid.shape, np.uint8)
    inside[6:9, 3:24, 10:12] = 1
    mask = Volume(inside, grid)
    values = np.random.default_rng(0).random(grid.shape).astype(np.float32)
    box = WorkingBox.about(mask, grid, layout="tiles", multiple=4, patch=(8, 8, 8))
    back = resample_like(Volume(box.cut(values), box.geometry), grid)
    np.testing.assert_allclose(back.voxels[inside > 0], values[inside > 0], atol=1e-5)


@pytest.mark.parametrize("layout", ["tiles", "whole", "fit"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.1)])
def test_all_of_the_mask_lies_in_the_box(layout: Layout, spacing: tuple[float, float, float]) -> None:
    random = np.random.default_rng(3)
    for _ in range(5):
        low, high = np.sort(random.integers(0, 90, (2, 3)), axis=0)
        mask = mask_of((90, 90, 90), tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True)))  # type: ignore[arg-type]
        wanted = working_spacing(mask, layout, spacing, PATCH)
        grid = resample_to_spacing(mask, wanted, order=0).geometry
        box = about(mask, grid, layout)
        edges = np.array(box.shape) * grid.spacing_zyx
        start = np.array(box.geometry.origin[::-1]) - np.array(grid.spacing_zyx) / 2 + 0.5
        slack = np.array(grid.spacing_zyx) * 2 if layout == "fit" else np.zeros(3)
        assert _at_most(start, low + slack), (start, low)
        assert _at_most(high + 1 - slack, start + edges), (start + edges, high)
        if layout == "fit":
            assert _at_most(np.array(box.shape), np.array(PATCH))


def _at_most(less: npt.NDArray[np.float64], more: npt.NDArray[np.float64]) -> bool:
    return bool(np.all(less <= more + 1e-6))
