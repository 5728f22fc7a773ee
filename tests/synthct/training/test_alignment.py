"""Rigid alignment: a known motion of a textured volume is found, and what is aligned stays as it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from builders import Array, make_volume
from scipy.ndimage import gaussian_filter

from synthct.training.alignment import align_reference, mutual_information
from synthct.volume import Volume

SHAPE, SPACING = (24, 64, 64), (2.0, 2.0, 3.0)
Vector = tuple[float, float, float]


def _body() -> Array:
    _, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((y - 31.5) / 24) ** 2 + ((x - 31.5) / 28) ** 2 <= 1


def _ct() -> Array:
    """Soft tissue with a smooth texture and three bony balls, air around."""
    rng = np.random.default_rng(1)
    texture = gaussian_filter(rng.normal(size=SHAPE), (1.5, 3, 3))
    ct = np.where(_body(), 40 + 80 * texture / texture.std(), -1000.0)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    for centre in rng.uniform([4, 16, 14], [20, 46, 48], (3, 3)):
        ct[((z - centre[0]) * 1.5) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 25] = 700.0
    return ct


def _mr(ct: Array, noise: float = 8.0) -> Volume:
    """Dark where the CT is bright, with noise."""
    signal = np.where(_body(), 500 - 0.4 * np.clip(ct, -300, 700), 0.0)
    return _volume(signal + np.random.default_rng(2).normal(0, noise, SHAPE))


def _moved(ct: Array, translation: Vector, degrees: float) -> Array:
    """The CT rotated about the volume's centre (z axis) and shifted in mm."""
    image = sitk.GetImageFromArray(ct.astype(np.float32))
    image.SetSpacing(SPACING)
    centre = [(size - 1) * spacing / 2 for size, spacing in zip(image.GetSize(), SPACING, strict=True)]
    motion = sitk.Euler3DTransform(centre, 0.0, 0.0, math.radians(degrees), translation)
    return sitk.GetArrayFromImage(sitk.Resample(image, image, motion, sitk.sitkLinear, -1000.0))


def _volume(voxels: Array) -> Volume:
    return make_volume(np.rint(voxels).astype(np.int16), spacing=SPACING)


def _mask() -> Volume:
    return make_volume(_body().astype(np.uint8), spacing=SPACING)


@pytest.mark.parametrize(
    ("translation", "degrees"),
    [((5.0, 0.0, 0.0), 0.0), ((0.0, 0.0, 6.0), 0.0), ((0.0, 0.0, 0.0), 3.0), ((3.0, -4.0, 0.0), 3.0)],
)
def test_known_motion_is_undone(translation: Vector, degrees: float) -> None:
    ct = _ct()
    moved = _moved(ct, translation, degrees)
    aligned = align_reference(_mr(ct), _volume(moved), _mask())
    assert aligned.translation_mm == pytest.approx(math.hypot(*translation), abs=0.5)
    assert aligned.rotation_deg == pytest.approx(degrees, abs=0.5)
    assert aligned.information_after > aligned.information_before
    core = _body() & aligned.valid
    assert core.sum() > 0.8 * _body().sum()
    before = np.abs(moved - ct)[core].mean()
    after = np.abs(aligned.reference.voxels - ct)[core].mean()
    assert after < 0.8 * before  # the rest is interpolation, twice, at the skin and at bone
    assert aligned.reference.voxels.dtype == np.int16
    assert aligned.reference.geometry == _mask().geometry


def test_voxels_without_data_are_marked() -> None:
    ct = _ct()
    aligned = align_reference(_mr(ct), _volume(_moved(ct, (0.0, 0.0, 6.0), 0.0)), _mask())
    assert not aligned.valid.all()
    assert (aligned.reference.voxels[~aligned.valid] == -1000).all()
    missing = sorted({int(z) for z in np.argwhere(~aligned.valid)[:, 0]})
    assert all(z in (0, 1, 2, 21, 22, 23) for z in missing)  # a shift of two slices, whichever way
    assert aligned.reference.voxels[aligned.valid].min() >= -1000  # nothing is blended with the fill


@pytest.mark.parametrize(("image_noise", "ct_noise"), [(8.0, 0.0), (8.0, 25.0), (40.0, 60.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_aligned_pair_is_left_as_it_is(image_noise: float, ct_noise: float, seed: int) -> None:
    ct = _ct()
    reference = _volume(ct + np.random.default_rng(seed).normal(0, ct_noise, SHAPE))
    aligned = align_reference(_mr(ct, image_noise), reference, _mask(), seed=seed)
    assert aligned.reference is reference
    assert aligned.valid.all()
    assert (aligned.translation_mm, aligned.rotation_deg) == (0.0, 0.0)
    assert aligned.information_after == aligned.information_before > 0


def test_far_motion_is_taken_for_a_failure() -> None:
    ct = _ct()
    reference = _volume(_moved(ct, (0.0, 30.0, 0.0), 0.0))
    aligned = align_reference(_mr(ct), reference, _mask())
    assert aligned.translation_mm <= 15.0


@pytest.mark.parametrize("how", ["few slices", "no contrast", "empty mask"])
def test_what_cannot_be_registered_is_left_as_it_is(how: str) -> None:
    ct = _ct()
    image, reference, mask = _mr(ct), _volume(ct), _mask()
    if how == "few slices":
        image, reference, mask = (
            make_volume(volume.voxels[:3], spacing=SPACING) for volume in (image, reference, mask)
        )
    elif how == "no contrast":
        image = _volume(np.zeros(SHAPE))
    else:
        mask = mask.with_voxels(np.zeros(SHAPE, np.uint8))
    aligned = align_reference(image, reference, mask)
    assert aligned.reference is reference
    assert aligned.valid.shape == reference.voxels.shape
    assert aligned.translation_mm == 0.0


def test_mutual_information_by_hand() -> None:
    pair = np.array([0, 1, 0, 1])
    assert mutual_information(pair, np.array([0, 100, 0, 100])) == pytest.approx(math.log(2))
    assert mutual_information(pair, np.array([100, 0, 100, 0])) == pytest.approx(math.log(2))
    assert mutual_information(pair, np.array([0, 0, 100, 100])) == pytest.approx(0.0)
    assert mutual_information(np.arange(4), np.array([0, 100, 200, 300])) == pytest.approx(math.log(4))
    # Half of the voxels tell nothing: p(0,0) = 1/2, p(1,0) = p(1,1) = 1/4.
    expected = 0.5 * math.log(0.5 / (0.5 * 0.75)) + 0.25 * math.log(0.25 / (0.5 * 0.75)) + 0.25 * math.log(2)
    assert mutual_information(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 100])) == pytest.approx(expected)


def test_mutual_information_sees_only_the_ct_window() -> None:
    image = np.array([0, 1, 2, 3])
    assert mutual_information(image, np.array([-1000, -300, 1200, 3000])) == pytest.approx(math.log(2))


def test_mutual_information_of_few_bins() -> None:
    image = np.array([0, 1, 2, 3])
    assert mutual_information(image, np.array([0, 10, 20, 30]), bins=2) == pytest.approx(math.log(2))


def test_mutual_information_of_nothing_and_of_a_constant() -> None:
    assert mutual_information(np.zeros(0), np.zeros(0)) == 0.0
    assert mutual_information(np.zeros(5), np.arange(5)) == pytest.approx(0.0)
