"""Bone edges: distances that can be worked out by hand, and a figure that falls when a known shift is undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import make_volume
from textured_limb import limb_ct, limb_mask, limb_mr, motion_of

from synthct.dataset import find_cases, load_case
from synthct.training.bone_edges import REACH_MM, bone_edge_mm
from synthct.training.registration import move_reference
from synthct.volume import Volume

SPACING = (1.0, 1.0, 3.0)


def slab(ct_start: int, image_start: int) -> tuple[Volume, Volume, Volume]:
    """A slab of bone from a column on to the last one, dark in the image, which may have it elsewhere."""
    rng = np.random.default_rng(5)
    ct, image = rng.normal(40, 5, (10, 40, 48)), rng.normal(300, 5, (10, 40, 48))
    ct[:, :, ct_start:] = 1000
    image[:, :, image_start:] -= 290
    volumes = [make_volume(np.rint(values).astype(np.int16), spacing=SPACING) for values in (image, ct)]
    return volumes[0], volumes[1], volumes[0].with_voxels(np.ones((10, 40, 48), np.uint8))


@pytest.mark.parametrize("distance", [0, 2, 5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_distance_of_a_flat_edge(distance: int, sign: int) -> None:
    image, ct, mask = slab(24, 24 + sign * distance)
    assert bone_edge_mm(image, ct, mask) == pytest.approx(distance, abs=0.8)


def test_bright_bone_of_a_cbct() -> None:
    image, ct, mask = slab(24, 24)
    bright = image.with_voxels((400 - image.voxels).astype(np.int16))
    assert bone_edge_mm(bright, ct, mask, dark_bone=False) == pytest.approx(0, abs=0.8)
    wrong = bone_edge_mm(bright, ct, mask)
    assert wrong is not None
    assert wrong > 2  # an edge of the other sign is none, so noise is found instead


def test_too_little_bone_is_no_figure() -> None:
    image, ct, mask = slab(24, 24)
    assert bone_edge_mm(image, ct.with_voxels(np.full_like(ct.voxels, 40)), mask) is None
    assert bone_edge_mm(image, ct, mask.with_voxels(np.zeros_like(mask.voxels))) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_voxel_along_an_axis_is_no_figure(axis: int) -> None:
    """Four stripes of bone with some 300 points of surface: enough, but a surface there has no normal."""
    shape = [40, 40, 40]
    shape[axis] = 1
    stripes = (np.indices(shape)[(axis + 1) % 3] // 5) % 2
    noise = np.random.default_rng(7).integers(0, 20, shape)
    image, ct = (make_volume((values + noise).astype(np.int16)) for values in (300 - 290 * stripes, 1000 * stripes))
    mask = image.with_voxels(np.ones(shape, np.uint8))
    assert bone_edge_mm(image, ct, mask) is None


def test_figure_falls_as_a_known_shift_is_undone() -> None:
    ct = limb_ct()
    image, mask = limb_mr(ct), limb_mask()
    figures = []
    for shift in (6.0, 4.0, 2.0, 0.0):
        moved, _ = move_reference(ct, motion_of(ct, mm=(shift, 0, 0)).transform())
        figure = bone_edge_mm(image, moved, mask)
        assert figure is not None
        figures.append(figure)
    assert figures == sorted(figures, reverse=True)
    assert figures[-1] < 1.5
    assert figures[0] > figures[-1] + 1.0
    assert max(figures) <= REACH_MM


def test_figure_falls_on_a_real_limb_too(data_root: Path) -> None:
    (files,) = find_cases(data_root / "sts" / "Task1" / "EX" / "1EXA024")
    case = load_case(files)
    assert case.reference is not None
    as_it_is = bone_edge_mm(case.image, case.reference, case.mask)
    moved, _ = move_reference(case.reference, motion_of(case.image, mm=(5.0, 0, 0)).transform())
    shifted = bone_edge_mm(case.image, moved, case.mask)
    assert as_it_is is not None
    assert shifted is not None
    assert as_it_is < 1.0
    assert shifted > as_it_is + 2.0
