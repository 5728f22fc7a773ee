"""Surface voxels and surfels of label maps: shapes counted by hand, and erosion and blocks done the slow way."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion

from evaluation.metrics.surface import Surface, label_surfaces

Array = npt.NDArray[Any]


def surfels_of(surface: Surface) -> dict[tuple[int, ...], int]:
    places = [tuple(place) for place in surface.surfels.T.tolist()]
    return dict(zip(places, surface.codes.tolist(), strict=True))


def test_one_voxel() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 9
    surface = label_surfaces(labels, [9])[9]
    assert surface.voxels.T.tolist() == [[1, 2, 3]]
    # It is the last voxel of the block in front of it, and the first of its own.
    assert surfels_of(surface) == {
        (1 - a, 2 - b, 3 - c): 1 << (4 * a + 2 * b + c) for a, b, c in product((0, 1), repeat=3)
    }
    assert not surface.cut(labels.shape)


def test_a_cube_counted_by_hand() -> None:
    labels = np.zeros((9, 9, 9), np.uint16)
    labels[2:7, 2:7, 2:7] = 300
    surface = label_surfaces(labels, [300])[300]
    assert surface.voxels.shape == (3, 5**3 - 3**3)
    assert surface.surfels.shape == (3, 6**3 - 4**3)
    codes, counts = np.unique(surface.codes, return_counts=True)
    by_size = {
        size: sum(int(n) for code, n in zip(codes.tolist(), counts, strict=True) if code.bit_count() == size)
        for size in range(9)
    }
    assert by_size == {0: 0, 1: 8, 2: 12 * 4, 3: 0, 4: 6 * 16, 5: 0, 6: 0, 7: 0, 8: 0}


def test_the_edge_of_the_volume_is_a_surface() -> None:
    labels = np.ones((3, 4, 5), np.uint8)
    surface = label_surfaces(labels, [1])[1]
    assert surface.voxels.shape == (3, 3 * 4 * 5 - 1 * 2 * 3)
    assert surface.surfels.shape == (3, 4 * 5 * 6 - 2 * 3 * 4)
    assert surface.surfels.min() == -1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("at_the_end", "cut"), [(False, False), (True, True)])
def test_cut_means_a_voxel_in_the_first_or_last_plane(axis: int, at_the_end: bool, cut: bool) -> None:
    for side in (0, 1):
        labels = np.zeros((6, 7, 8), np.uint8)
        place = [3, 3, 3]
        place[axis] = (0, labels.shape[axis] - 1)[side] if at_the_end else (1, labels.shape[axis] - 2)[side]
        labels[tuple(place)] = 2
        assert label_surfaces(labels, [2])[2].cut(labels.shape) is cut


def test_only_what_is_wanted_and_there() -> None:
    labels = np.zeros((5, 5, 5), np.int64)
    labels[1], labels[3] = 4, 5
    assert set(label_surfaces(labels, [5, 6, 900])) == {5}
    assert label_surfaces(labels, []) == {}
    assert label_surfaces(np.zeros((3, 3, 3), np.uint8), [1]) == {}
    assert label_surfaces(np.zeros((0, 3, 3), np.uint8), [1]) == {}


maps = hnp.arrays(np.uint8, (15, 4, 5), elements=st.sampled_from([0, 0, 1, 2, 3, 255]))


@settings(max_examples=40, deadline=None)
@given(maps)
def test_equals_erosion_and_blocks_of_each_label(labels: Array) -> None:
    surfaces = label_surfaces(labels, [1, 3, 255], threads=2)  # 15 planes are two tasks
    assert set(surfaces) == set(np.unique(labels).tolist()) & {1, 3, 255}
    for label, surface in surfaces.items():
        inside = labels == label
        expected = np.argwhere(inside & ~binary_erosion(inside))
        np.testing.assert_array_equal(surface.voxels.T, expected)
        padded = np.pad(inside, 1)
        blocks = {}
        for place in product(*(range(-1, n) for n in labels.shape)):
            block = padded[tuple(slice(n + 1, n + 3) for n in place)]
            code = sum(1 << bit for bit, filled in enumerate(block.ravel()) if filled)
            if code not in (0, 255):
                blocks[place] = code
        assert surfels_of(surface) == blocks
        assert surface.surfels.shape[1] == len(blocks)


def test_any_memory_order() -> None:
    labels = np.random.default_rng(4).integers(0, 3, (6, 14, 9)).astype(np.int32)
    surface = label_surfaces(labels, [2])[2]
    other = label_surfaces(np.asfortranarray(labels)[:, ::-1], [2])[2]
    turned = other.voxels.T.tolist()
    assert sorted([z, 13 - y, x] for z, y, x in turned) == surface.voxels.T.tolist()
