"""Unpaired patches: image of one patient, reference of another, places independent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from coded_training_cases import REFERENCE_OFFSET, Shape, coded_case, place, without_reference

from synthct.dataset import find_cases
from synthct.errors import InputError
from synthct.phantom import make_phantom
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache, hold_case
from synthct.training.patches import Fill, SamplingSettings, UnpairedSampler

FILL = Fill(image=-3.0, reference=-4.0)


def sampler(
    images: Sequence[CachedCase], references: Sequence[CachedCase], patch: Shape, **more: object
) -> UnpairedSampler:
    settings = SamplingSettings.model_validate({"patch": patch, "foreground": 0.0, **more})
    return UnpairedSampler(images, references, settings, FILL, 0)


def test_image_and_reference_are_pieces_of_their_own_cases() -> None:
    """Images count from 1, references from 10,000; image cases need no reference."""
    images = [without_reference(coded_case("1EXA001", (4, 5, 6)))]
    weight = np.zeros((5, 6, 7), np.uint8)
    weight[2] = 1
    references = [coded_case("1EXA002", (5, 6, 7), first=10_000, weight=weight)]
    source = sampler(images, references, (2, 3, 3))
    for patch in (source.patch(index) for index in range(50)):
        z, y, x = place(patch.image[0, 0, 0], (4, 5, 6))
        assert np.array_equal(patch.image, images[0].image[z : z + 2, y : y + 3, x : x + 3])
        z, y, x = place(patch.reference[0, 0, 0] - REFERENCE_OFFSET, (5, 6, 7), first=10_000)
        piece = (slice(z, z + 2), slice(y, y + 3), slice(x, x + 3))
        assert references[0].reference is not None
        assert np.array_equal(patch.reference, references[0].reference[piece])
        assert np.array_equal(patch.weight, weight[piece])
        assert (patch.image_case, patch.reference_case) == ("1EXA001", "1EXA002")


def test_places_are_independent() -> None:
    """Four places of each along x: all sixteen pairs occur, each within five standard deviations of 1/16."""
    source = sampler([coded_case("1EXA001", (1, 1, 4))], [coded_case("1EXA002", (1, 1, 4))], (1, 1, 1))
    drawn = [source.patch(index) for index in range(1600)]
    pairs = Counter((float(patch.image.item()), float(patch.reference.item())) for patch in drawn)
    assert len(pairs) == 16
    assert max(abs(count - 100) for count in pairs.values()) < 5 * np.sqrt(1600 / 16 * 15 / 16)


def test_a_patient_is_never_paired_with_itself() -> None:
    """1EXA001 and 2EXA001 may be one patient; each of the other pairs of two patients occurs."""
    cases = [coded_case(name, (2, 2, 2)) for name in ("1EXA001", "2EXA001", "1EXA002", "1EXA003")]
    source = sampler(cases, cases, (1, 1, 1))
    pairs = {(patch.image_case, patch.reference_case) for patch in map(source.patch, range(400))}
    names = [case.id for case in cases]
    assert pairs == {(one, other) for one in names for other in names if one[1:] != other[1:]}


def test_shares_of_the_others_stay_as_they_are() -> None:
    """An image of the first goes with the second and third as 1 : 3."""
    first = coded_case("1EXA001", (2, 2, 2))
    references = [first, coded_case("1EXA002", (2, 2, 2)), coded_case("1EXA003", (2, 2, 6))]
    source = sampler([first], references, (1, 1, 1))
    drawn = Counter(source.patch(index).reference_case for index in range(1000))
    assert set(drawn) == {"1EXA002", "1EXA003"}
    assert abs(drawn["1EXA002"] - 250) < 5 * np.sqrt(1000 * 0.25 * 0.75)


def test_where_there_is_no_other_patient_the_same_one_is_taken() -> None:
    case = coded_case("1EXA001", (2, 2, 2))
    empty = coded_case("1EXA002", (2, 2, 2), weight=np.zeros((2, 2, 2), np.uint8))
    patch = sampler([case], [case, empty], (2, 2, 2)).patch(0)
    assert (patch.image_case, patch.reference_case) == ("1EXA001", "1EXA001")


def test_the_two_turn_independently_and_the_reference_keeps_its_values() -> None:
    shape = (1, 2, 2)
    source = sampler([coded_case("1EXA001", shape)], [coded_case("1EXA002", shape)], shape, augment=True)
    seen = set()
    for patch in map(source.patch, range(800)):
        values = patch.reference - REFERENCE_OFFSET
        assert sorted(values.ravel().tolist()) == [1, 2, 3, 4]
        order = np.argsort(np.argsort(patch.image.ravel()))
        gain = float(patch.image.max()) / 4
        assert 0.9 - 1e-6 <= gain <= 1.1 + 1e-6
        seen.add((tuple(order.tolist()), tuple(values.ravel().tolist())))
    assert len(seen) == 64  # eight symmetries of a square times eight


def test_foreground_counts_for_both() -> None:
    def dotted(name: str, voxel: Shape, first: int) -> CachedCase:
        weight = np.zeros((5, 5, 5), np.uint8)
        weight[voxel] = 1
        return coded_case(name, (5, 5, 5), first=first, weight=weight)

    one, other = dotted("1EXA001", (1, 2, 3), 1), dotted("1EXA002", (3, 2, 1), 1000)
    patch = sampler([one], [other], (1, 1, 1), foreground=1.0).patch(5)
    assert patch.image.item() == one.image[1, 2, 3]
    assert other.reference is not None
    assert patch.reference.item() == other.reference[3, 2, 1]


def test_a_patch_depends_on_seed_and_index_alone() -> None:
    cases = [coded_case(name, (4, 6, 6)) for name in ("1EXA001", "1EXA002", "1EXA003")]
    settings = SamplingSettings(patch=(3, 4, 4), augment=True)
    one, twin = (UnpairedSampler(cases, cases, settings, FILL, 7) for _ in range(2))
    forwards = [one.patch(index) for index in range(10)]
    backwards = [twin.patch(index) for index in reversed(range(10))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert a[3:] == b[3:]
        assert all(np.array_equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
    assert len({patch.image.tobytes() for patch in forwards}) == 10


def test_cases_that_cannot_be_drawn_from() -> None:
    case = coded_case("1EXA001", (2, 2, 2))
    with pytest.raises(InputError, match="1EXA001: has no CT"):
        sampler([case], [without_reference(case)], (1, 1, 1))
    for images, references in (([], [case]), ([case], [])):
        with pytest.raises(InputError, match="0 cases to draw patches from"):
            sampler(images, references, (1, 1, 1))


def test_phantoms_of_two_kinds() -> None:
    """MR of a limb with CT of a pelvis: the CT's weight is the pelvis's outline."""
    kinds = {}
    for name, kind, size in (("1EXA001", "limb", (48, 48, 8)), ("1PA001", "pelvis", (64, 48, 12))):
        made = make_phantom(kind, seed=1, size=size, spacing=(6.0, 6.0, 6.0))
        arrays = PreparedCase(made.image.voxels, made.reference.voxels, made.mask.voxels)
        kinds[name] = hold_case(name, None, arrays)
    both = list(kinds.values())
    patch = sampler(both[:1], both, (12, 48, 64)).patch(0)
    assert (patch.image_case, patch.reference_case) == ("1EXA001", "1PA001")
    assert np.array_equal(patch.weight, kinds["1PA001"].weight)
    assert patch.reference[patch.weight > 0].mean() > -300  # soft tissue and bone, hardly any air
    assert np.count_nonzero(patch.image == FILL.image) == 12 * 48 * 64 - 8 * 48 * 48


def test_real_cases_from_the_cache(data_root: Path, tmp_path: Path) -> None:
    found = [files for files in find_cases(data_root / "sts" / "Task1") if files.id in ("1EXA002", "1EXA008")]
    cache = VolumeCache(tmp_path, "plain")
    cases = [
        cache.case(files, lambda case: PreparedCase(case.image.voxels, case.reference.voxels, case.mask.voxels))
        for files in found
    ]
    source = sampler(cases, cases, (8, 64, 64), foreground=1.0)
    for patch in map(source.patch, range(6)):
        assert patch.image_case != patch.reference_case
        assert patch.weight[4, 32, 32] == 1 or patch.weight.any()
        assert patch.image.min() >= 0
        assert patch.reference.min() >= -1024
