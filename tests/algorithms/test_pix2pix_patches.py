"""The patch sampler, on arrays whose values are their own coordinates."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from builders import Array

from algorithms.pix2pix_pelvis.patches import PatchSampler, TrainingCase

Triple = tuple[int, int, int]
Patches = tuple[Array, Array, Array]


def coded_case(shape: Triple, *, name: str = "1EXA001", offset: float = 0.0, weight: float = 1.0) -> TrainingCase:
    """A case whose image at (z, y, x) is offset + 1 + the voxel's flat index, its CT 7 more; no value is 0 or -1."""
    code = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape) + np.float32(offset)
    return TrainingCase(name, code, code + 7, np.full(shape, weight, np.float32))


def draws(sampler: PatchSampler, count: int) -> list[Patches]:
    return [sampler.draw() for _ in range(count)]


def same(one: list[Patches], other: list[Patches]) -> bool:
    return all(np.array_equal(np.stack(left), np.stack(right)) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("augment", [False, True])
def test_stream_depends_on_the_seed_alone(augment: bool) -> None:
    cases = [coded_case((5, 9, 9)), coded_case((6, 8, 10), offset=5000)]

    def stream(seed: int) -> list[Patches]:
        return draws(PatchSampler(cases, (4, 6, 6), augment=augment, seed=seed), 12)

    first = stream(3)
    np.random.default_rng(9).random(100)  # someone else's draws do not matter
    assert same(first, stream(3))
    assert not same(first, stream(4))
    assert not all(np.array_equal(before[0], after[0]) for before, after in pairwise(first))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_skipping_equals_drawing(augment: bool, count: int) -> None:
    cases = [coded_case((5, 9, 9)), coded_case((6, 8, 10), offset=5000)]
    drawn, skipped = (PatchSampler(cases, (4, 6, 6), augment=augment, seed=2) for _ in range(2))
    draws(drawn, count)
    skipped.skip(count)
    assert same(draws(drawn, 5), draws(skipped, 5))


def test_patch_is_a_piece_of_the_volume() -> None:
    case = coded_case((6, 9, 10))
    starts = set()
    for image, ct, weight in draws(PatchSampler([case], (3, 4, 5), augment=False, seed=0), 400):
        assert image.shape == ct.shape == weight.shape == (3, 4, 5)
        z, y, x = (int(index) for index in np.unravel_index(int(image[0, 0, 0]) - 1, case.image.shape))
        piece = (slice(z, z + 3), slice(y, y + 4), slice(x, x + 5))
        assert np.array_equal(image, case.image[piece])
        assert np.array_equal(ct, case.ct[piece])
        starts.add((z, y, x))
    for axis, last in enumerate((3, 5, 5)):  # every place along each axis, both edges among them
        assert {start[axis] for start in starts} == set(range(last + 1))


@pytest.mark.parametrize("augment", [False, True])
def test_beyond_the_volume_lie_air_and_no_weight(augment: bool) -> None:
    """An axis shorter than the patch: MR 0, CT -1, weight 0 around the whole axis."""
    case = coded_case((2, 3, 4))
    places = set()
    for image, ct, weight in draws(PatchSampler([case], (5, 6, 6), augment=augment, seed=1), 60):
        beyond = weight == 0
        assert np.count_nonzero(~beyond) == 24
        assert np.all(image[beyond] == 0.0)
        assert np.all(ct[beyond] == -1.0)
        assert np.array_equal(np.sort(ct[~beyond]), np.sort(case.ct.ravel()))
        places.add(tuple(int(index[0]) for index in np.nonzero(~beyond)))
    assert len({place[0] for place in places}) == 4  # it lies at each of the 5 - 2 + 1 places along z


def test_patch_of_the_volume_itself() -> None:
    case = coded_case((4, 5, 6))
    image, ct, weight = PatchSampler([case], (4, 5, 6), augment=False, seed=0).draw()
    assert np.array_equal(image, case.image)
    assert np.array_equal(ct, case.ct)
    assert np.array_equal(weight, case.weight)


def test_arrays_turn_together() -> None:
    """Under augmentation CT and weight still tell the same voxel, and image differs by one factor within 10 %."""
    shape = (5, 8, 8)
    code = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    case = TrainingCase("1EXA001", code, code + 7, code)
    gains = []
    for image, ct, weight in draws(PatchSampler([case], (3, 4, 4), augment=True, seed=6), 200):
        assert np.array_equal(weight + 7, ct)
        gain = image / weight
        assert float(np.ptp(gain)) < 1e-5
        gains.append(float(gain.mean()))
    assert 0.9 <= min(gains) < 0.92
    assert 1.08 < max(gains) <= 1.1


def orientations(patch: Triple) -> set[tuple[int, ...]]:
    """Orders in which flips and turns show the voxels of a volume that is one patch."""
    case = coded_case(patch)
    return {
        tuple(int(value) for value in ct.ravel())
        for _, ct, _ in draws(PatchSampler([case], patch, augment=True, seed=0), 400)
    }


def test_all_orientations_occur() -> None:
    """Square patch: flip of z (2) times the symmetries of a square (8). Oblong: flips of three axes (8)."""
    assert len(orientations((2, 3, 3))) == 16
    assert len(orientations((2, 3, 4))) == 8


def test_without_augmentation_nothing_turns() -> None:
    case = coded_case((2, 3, 3))
    for image, ct, _ in draws(PatchSampler([case], (2, 3, 3), augment=False, seed=0), 20):
        assert np.array_equal(image, case.image)
        assert np.array_equal(ct, case.ct)


def test_slices_stay_slices() -> None:
    """Turns are in-plane: voxels of one slice stay together, since z is sampled more coarsely."""
    case = coded_case((4, 4, 4))
    for _, ct, _ in draws(PatchSampler([case], (4, 4, 4), augment=True, seed=0), 50):
        slices = {frozenset((plane.ravel() - 8) // 16) for plane in ct}
        assert slices == {frozenset({float(index)}) for index in range(4)}


def test_cases_are_drawn_in_proportion_to_their_weight() -> None:
    """1 : 3 : 0 in total weight gives 1/4, 3/4 and none of the draws, within five standard deviations."""
    cases = [
        coded_case((4, 4, 4), offset=0),
        coded_case((4, 4, 12), offset=1000),
        coded_case((4, 4, 8), offset=5000, weight=0.0),
    ]
    count = 1000
    values = np.array(
        [image.max() for image, _, _ in draws(PatchSampler(cases, (2, 2, 2), augment=False, seed=0), count)]
    )
    share = float((values < 1000).mean())
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / count)
    assert np.all(values < 5000)


def test_patches_are_float32_in_memory_order_and_own_their_data() -> None:
    case = coded_case((4, 4, 4))
    before = case.image.copy()
    for augment in (False, True):
        for array in PatchSampler([case], (4, 4, 4), augment=augment, seed=3).draw():
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            array[:] = -5
    assert np.array_equal(case.image, before)
    assert np.all(case.weight == 1)
