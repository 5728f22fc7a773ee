"""Paired patches, on arrays whose values are their own places."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from coded_training_cases import REFERENCE_OFFSET, Shape, coded_case, place, without_reference
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthct.errors import InputError
from synthct.training.cache import CachedCase
from synthct.training.patches import Fill, PairedSampler, Patch, SamplingSettings

FILL = Fill(image=-3.0, reference=-4.0)


def sampler(*cases: CachedCase, patch: Shape, seed: int = 0, **more: object) -> PairedSampler:
    settings = SamplingSettings.model_validate({"patch": patch, "foreground": 0.0, **more})
    return PairedSampler(cases, settings, FILL, seed)


def draws(source: PairedSampler, count: int) -> list[Patch]:
    return [source.patch(index) for index in range(count)]


def same(one: Patch, other: Patch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3], strict=True)) and one[3:] == other[3:]


@pytest.mark.parametrize("augment", [False, True])
def test_a_patch_depends_on_seed_and_index_alone(augment: bool) -> None:
    cases = coded_case("1EXA001", (5, 9, 9)), coded_case("1EXA002", (6, 8, 10), first=5000)
    source = sampler(*cases, patch=(4, 6, 6), augment=augment, foreground=0.5, seed=3)
    forwards = draws(source, 12)
    backwards = [source.patch(index) for index in reversed(range(12))]
    assert all(same(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    twin = sampler(*cases, patch=(4, 6, 6), augment=augment, foreground=0.5, seed=3)
    assert same(twin.patch(10**12), source.patch(10**12))
    other = sampler(*cases, patch=(4, 6, 6), augment=augment, foreground=0.5, seed=4)
    assert sum(same(a, b) for a, b in zip(forwards, draws(other, 12), strict=True)) < 3
    assert len({patch.image.tobytes() for patch in forwards}) > 9


def test_a_patch_is_a_piece_of_the_volume() -> None:
    case = coded_case("1EXA001", (6, 9, 10))
    starts = set()
    for patch in draws(sampler(case, patch=(3, 4, 5)), 400):
        z, y, x = start = place(patch.image[0, 0, 0], (6, 9, 10))
        piece = (slice(z, z + 3), slice(y, y + 4), slice(x, x + 5))
        assert np.array_equal(patch.image, case.image[piece])
        assert np.array_equal(patch.reference, patch.image + REFERENCE_OFFSET)
        assert np.all(patch.weight == 1)
        assert (patch.image_case, patch.reference_case) == ("1EXA001", "1EXA001")
        starts.add(start)
    for axis, last in enumerate((3, 5, 5)):  # every place along each axis, both edges among them
        assert {start[axis] for start in starts} == set(range(last + 1))


def test_every_place_is_equally_likely() -> None:
    """Five places along z, 2,000 draws: each 400 times, within five standard deviations."""
    source = sampler(coded_case("1EXA001", (6, 2, 2)), patch=(2, 2, 2))
    counts = Counter(place(patch.image[0, 0, 0], (6, 2, 2))[0] for patch in draws(source, 2000))
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert max(abs(count - 400) for count in counts.values()) < 5 * np.sqrt(2000 * 0.2 * 0.8)


@pytest.mark.parametrize("foreground", [0.0, 1.0])
@pytest.mark.parametrize("augment", [False, True])
def test_around_a_small_volume_lies_the_fill(augment: bool, foreground: float) -> None:
    """An axis that is shorter than the patch: the whole volume, at each of the 5 - 2 + 1 places along z."""
    case = coded_case("1EXA001", (2, 3, 4))
    places = set()
    for patch in draws(sampler(case, patch=(5, 6, 6), augment=augment, foreground=foreground, seed=1), 80):
        beyond = patch.weight == 0
        assert np.count_nonzero(~beyond) == 24
        gains = patch.image[beyond] / FILL.image
        assert np.ptp(gains) == 0
        assert 0.9 <= gains[0] <= 1.1 if augment else gains[0] == 1
        assert np.all(patch.reference[beyond] == FILL.reference)
        assert case.reference is not None
        assert np.array_equal(np.sort(patch.reference[~beyond]), np.sort(case.reference.ravel()))
        places.add(int(np.nonzero(~beyond)[0].min()))
    assert places == {0, 1, 2, 3}


def test_images_in_hu_are_turned_and_not_scaled() -> None:
    case = coded_case("1EXA001", (2, 3, 4))
    for patch in draws(sampler(case, patch=(5, 6, 6), augment=True, gain=0.0, seed=1), 20):
        assert set(np.unique(patch.image[patch.weight == 0])) == {np.float32(FILL.image)}


def test_a_patch_of_the_volume_itself() -> None:
    case = coded_case("1EXA001", (4, 5, 6))
    patch = sampler(case, patch=(4, 5, 6), foreground=1.0).patch(0)
    assert np.array_equal(patch.image, case.image)
    assert case.reference is not None
    assert np.array_equal(patch.reference, case.reference)


def test_foreground_patches_are_centred_on_the_mask() -> None:
    """One voxel inside, far from the edges: it is voxel edge // 2 of every patch."""
    weight = np.zeros((9, 11, 13), np.uint8)
    weight[4, 5, 7] = 1
    for patch in draws(sampler(coded_case("1EXA001", weight.shape, weight=weight), patch=(3, 4, 5), foreground=1.0), 9):
        assert np.argwhere(patch.weight).tolist() == [[1, 2, 2]]


@pytest.mark.parametrize(("voxel", "seen"), [((0, 0, 0), (0, 0, 0)), ((8, 10, 12), (2, 3, 4)), ((1, 10, 0), (1, 3, 0))])
def test_foreground_patches_stay_inside_the_volume(voxel: Shape, seen: Shape) -> None:
    weight = np.zeros((9, 11, 13), np.uint8)
    weight[voxel] = 1
    case = coded_case("1EXA001", weight.shape, weight=weight)
    patch = sampler(case, patch=(3, 4, 5), foreground=1.0, mask_loss=False).patch(0)
    assert patch.image[seen] == case.image[voxel]
    assert np.all(patch.weight == 1)  # nothing of it lies beyond the volume


@pytest.mark.parametrize("share", [0.0, 0.33, 1.0])
def test_share_of_foreground_patches(share: float) -> None:
    """One voxel of 1,000 along x inside: by chance a patch of 10 is centred on it in 0.1 % of the draws."""
    weight = np.zeros((1, 1, 1000), np.uint8)
    weight[0, 0, 500] = 1
    source = sampler(coded_case("1EXA001", (1, 1, 1000), weight=weight), patch=(1, 1, 10), foreground=share)
    found = np.mean([patch.weight[0, 0, 5] for patch in draws(source, 1000)])
    assert abs(found - share) <= 5 * np.sqrt(max(share * (1 - share), 0.002) / 1000)


def test_loss_inside_the_mask_alone_or_everywhere() -> None:
    weight = np.zeros((2, 4, 4), np.uint8)
    weight[:, :, 2:] = 1
    case = coded_case("1EXA001", (2, 4, 4), weight=weight)
    assert np.array_equal(sampler(case, patch=(2, 4, 4)).patch(0).weight, weight)
    everywhere = sampler(case, patch=(3, 4, 4), mask_loss=False).patch(0)
    assert everywhere.weight.sum() == 32  # 1 inside the volume, 0 in the slice beyond it
    assert np.all(everywhere.weight[everywhere.image == FILL.image] == 0)


def test_arrays_turn_together() -> None:
    """Under augmentation the reference still tells the same voxel, and the image differs by one factor within 10 %."""
    case = coded_case("1EXA001", (5, 8, 8))
    gains, corners = [], set()
    for patch in draws(sampler(case, patch=(5, 8, 8), augment=True), 300):
        ratio = patch.image / (patch.reference - REFERENCE_OFFSET)
        assert np.ptp(ratio) < 1e-5
        gains.append(float(ratio.mean()))
        corners.add(tuple(np.round(patch.reference[0, 0, (0, 7)] - REFERENCE_OFFSET).astype(int).tolist()))
    assert 0.9 - 1e-5 <= min(gains) < 0.91
    assert 1.09 < max(gains) <= 1.1 + 1e-5
    assert len(corners) == 16  # two ends of z times the eight symmetries of a square


def test_an_oblong_patch_is_flipped_but_not_turned() -> None:
    shape = (2, 3, 4)
    source = sampler(coded_case("1EXA001", shape), patch=shape, augment=True)
    corners = {float(np.round(patch.reference[0, 0, 0])) for patch in draws(source, 100)}
    assert len(corners) == 8
    assert source.patch(0).image.shape == shape


def test_without_augmentation_nothing_turns() -> None:
    case = coded_case("1EXA001", (3, 4, 4))
    assert all(np.array_equal(patch.image, case.image) for patch in draws(sampler(case, patch=(3, 4, 4)), 20))


@pytest.mark.parametrize(("weighting", "share"), [("volume", 0.25), ("case", 0.5)])
def test_cases_are_drawn_by_their_mask_or_all_alike(weighting: str, share: float) -> None:
    """Masks of 64, 192 and 0 voxels; the empty one is never drawn."""
    cases = (
        coded_case("1EXA001", (4, 4, 4)),
        coded_case("1EXA002", (4, 4, 12), first=1000),
        coded_case("1EXA003", (4, 4, 8), first=5000, weight=np.zeros((4, 4, 8), np.uint8)),
    )
    count = 1500
    drawn = Counter(p.image_case for p in draws(sampler(*cases, patch=(2, 2, 2), weighting=weighting), count))
    assert set(drawn) == {"1EXA001", "1EXA002"}
    assert abs(drawn["1EXA001"] / count - share) < 5 * np.sqrt(share * (1 - share) / count)


@given(
    st.tuples(*[st.integers(1, 7)] * 3),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 2**40),
)
def test_any_patch_of_any_volume(shape: Shape, patch: Shape, foreground: float, augment: bool, index: int) -> None:
    """As much of the volume as fits lies in the patch, each voxel once; the rest is fill without weight."""
    case = coded_case("1EXA001", shape)
    found = sampler(case, patch=patch, foreground=foreground, augment=augment).patch(index)
    inside = found.weight > 0
    assert np.count_nonzero(inside) == np.prod([min(pair) for pair in zip(shape, patch, strict=True)])
    values = found.reference[inside]
    assert len(np.unique(values)) == len(values)
    assert np.isin(values, case.reference).all()
    assert np.all(found.reference[~inside] == FILL.reference)
    for array in found[:3]:
        assert (array.shape, array.dtype) == (patch, np.float32)
        assert array.flags.c_contiguous


def test_patches_are_the_receivers_own() -> None:
    case = coded_case("1EXA001", (4, 4, 4))
    before = case.image.copy()
    for augment in (False, True):
        for array in sampler(case, patch=(4, 4, 4), augment=augment, mask_loss=False).patch(0)[:3]:
            array[:] = -5
    assert np.array_equal(case.image, before)
    assert np.all(case.weight == 1)


def test_cases_that_cannot_be_drawn_from() -> None:
    case = coded_case("1EXA001", (2, 2, 2))
    empty = coded_case("1EXA002", (2, 2, 2), weight=np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(InputError, match="1EXA001: has no CT; expected a case with one"):
        sampler(without_reference(case), patch=(1, 1, 1))
    with pytest.raises(InputError, match="0 cases to draw patches from"):
        sampler(patch=(1, 1, 1))
    with pytest.raises(InputError, match="1 cases to draw patches from, none with a voxel inside its mask"):
        sampler(empty, patch=(1, 1, 1), weighting="case")


@pytest.mark.parametrize(
    "changes",
    [{"patch": (0, 4, 4)}, {"foreground": 1.01}, {"foreground": float("nan")}, {"weighting": "age"}, {"fold": 1}],
)
def test_settings_that_cannot_be_meant(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SamplingSettings.model_validate({"patch": (4, 4, 4), **changes})
