"""A sCT on another grid than its CT is refused with both grids, although its size may be the same (CONTRACT 3.6.7)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from builders import Array

from synthct.errors import GeometryError
from synthct.volume import Geometry, read_volume, require_same_grid

CUBE = np.arange(4**3, dtype=np.int16).reshape(4, 4, 4)
SPACING, ORIGIN = (1.0, 1.0, 3.0), (-10.0, 20.0, 30.0)


def saved(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def ct_image(voxels: Array = CUBE) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    return image


def refusal(tmp_path: Path, sct: sitk.Image) -> str:
    reference = read_volume(saved(tmp_path / "ct.mha", ct_image()))
    prediction = read_volume(saved(tmp_path / "sct.mha", sct))
    with pytest.raises(GeometryError) as caught:
        require_same_grid(reference, prediction)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_the_same_grid_passes(tmp_path: Path) -> None:
    reference = read_volume(saved(tmp_path / "ct.mha", ct_image()))
    require_same_grid(reference, read_volume(saved(tmp_path / "sct.mha", ct_image(CUBE[::-1]))))


def test_a_flipped_image_of_equal_size(tmp_path: Path) -> None:
    """Flipped along x: the first voxel is now the one 3 mm away, and x runs backwards."""
    assert refusal(tmp_path, sitk.Flip(ct_image(), (True, False, False))) == (
        "sct.mha: lies on another grid than ct.mha: origin (-7, 20, 30) against (-10, 20, 30); "
        "direction (-1, 0, 0, 0, 1, 0, 0, 0, 1) against (1, 0, 0, 0, 1, 0, 0, 0, 1); "
        "expected equal grids (tolerance 0.001)"
    )


def test_a_permuted_image_of_equal_size(tmp_path: Path) -> None:
    """Axes z, x, y in place of x, y, z: the spacing is permuted with them."""
    message = refusal(tmp_path, sitk.PermuteAxes(ct_image(), (2, 0, 1)))
    assert "spacing (3, 1, 1) against (1, 1, 3)" in message
    assert "direction (0, 1, 0, 0, 0, 1, 1, 0, 0) against (1, 0, 0, 0, 1, 0, 0, 0, 1)" in message
    assert "origin" not in message
    assert "size" not in message


def test_permuted_with_equal_spacing_differs_in_direction_alone() -> None:
    grid = Geometry((4, 4, 4))
    permuted = Geometry((4, 4, 4), direction=(0, 1, 0, 1, 0, 0, 0, 0, 1))
    assert grid.difference(permuted) == "direction (1, 0, 0, 0, 1, 0, 0, 0, 1) against (0, 1, 0, 1, 0, 0, 0, 0, 1)"


def test_everything_that_differs_is_told_in_both(tmp_path: Path) -> None:
    other = sitk.GetImageFromArray(np.zeros((2, 3, 5), np.int16))
    other.SetOrigin((0.5, 20.0, 30.0))
    other.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert refusal(tmp_path, other) == (
        "sct.mha: lies on another grid than ct.mha: size (5, 3, 2) against (4, 4, 4); "
        "spacing (1, 1, 1) against (1, 1, 3); origin (0.5, 20, 30) against (-10, 20, 30); "
        "direction (1, 0, 0, 0, -1, 0, 0, 0, 1) against (1, 0, 0, 0, 1, 0, 0, 0, 1); "
        "expected equal grids (tolerance 0.001)"
    )


def test_a_format_that_loses_the_grid_is_refused(tmp_path: Path) -> None:
    """What the platform lets through as .tif knows no origin: scored as it lies, it would be wrong in silence."""
    reference = read_volume(saved(tmp_path / "ct.mha", ct_image()))
    sct = read_volume(saved(tmp_path / "sct.tif", ct_image()))
    with pytest.raises(GeometryError, match=r"sct\.tif: .*origin \(0, 0, 0\) against \(-10, 20, 30\)"):
        require_same_grid(reference, sct)
