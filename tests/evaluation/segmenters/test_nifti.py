"""Volumes as nibabel images: the same as ITK writes to a file, and back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from wave_images import make_image

from evaluation.segmenters.nifti import canonical_image, labels_image, labels_like, nifti_image
from synthct.volume import Geometry, Volume, write_volume

DIRECTIONS = {
    "identity": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "flipped": (-1, 0, 0, 0, 1, 0, 0, 0, -1),
    "swapped": (0, 1, 0, 0, 0, 1, 1, 0, 0),
    "feet first": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
}


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64])
def test_an_image_equals_its_file_bit_for_bit(direction: tuple[float, ...], dtype: Any, tmp_path: Path) -> None:
    image = make_image((5, 6, 7), (3.1, 0.9765625, 1.7), direction=direction, dtype=np.int16)
    volume = image.with_voxels((image.voxels // 10).clip(0, 200).astype(dtype))
    stored = nib.load(write_volume(volume, tmp_path / "ct.nii.gz"))
    ours = nifti_image(volume)
    np.testing.assert_array_equal(ours.affine, stored.affine)
    np.testing.assert_array_equal(ours.get_fdata(), stored.get_fdata())
    assert ours.header.get_zooms() == nib.Nifti1Image(stored.get_fdata(), stored.affine).header.get_zooms()
    assert ours.get_data_dtype() == np.float64


def test_an_oblique_image_equals_its_file_but_for_the_last_bit(tmp_path: Path) -> None:
    direction = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
    volume = make_image((5, 6, 7), (3.1, 0.9, 1.7), direction=direction)
    stored = nib.load(write_volume(volume, tmp_path / "ct.nii.gz"))
    np.testing.assert_allclose(nifti_image(volume).affine, stored.affine, rtol=0, atol=1e-6)


def test_left_and_right_by_hand() -> None:
    """The first voxel of an LPS grid at x = 10, y = 20, z = 30 lies at -10, -20, 30 in RAS."""
    volume = Volume(np.arange(24).reshape(2, 3, 4), Geometry((4, 3, 2), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)))
    image = nifti_image(volume)
    assert image.shape == (4, 3, 2)
    assert image.affine.tolist() == [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    assert image.get_fdata()[1, 2, 0] == volume.voxels[0, 2, 1]
    canonical = canonical_image(image)
    assert np.diag(canonical.affine).tolist() == [1, 2, 3, 1]
    # Both in-plane axes of an LPS image run against RAS.
    np.testing.assert_array_equal(canonical.get_fdata(), image.get_fdata()[::-1, ::-1])


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_labels_find_back_to_their_axes(direction: tuple[float, ...]) -> None:
    volume = make_image((5, 6, 7), (3.0, 2.0, 1.0), direction=direction)
    labels = (volume.voxels > 300).astype(np.uint8) * 9
    original = nifti_image(volume.with_voxels(labels))
    canonical = canonical_image(original)
    turned = np.asarray(canonical.dataobj).T.astype(np.uint8)
    found = labels_like(labels_image(turned, canonical.affine), original)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, labels)
