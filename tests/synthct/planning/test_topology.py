"""nnU-Net's rules worked by hand on small figures."""

from __future__ import annotations

from typing import Any

import pytest

from synthct.planning.topology import (
    initial_patch,
    longest_axis,
    make_topology,
    median_shape,
    shrink,
    target_spacing,
)


def test_spacing_is_the_median_of_each_axis() -> None:
    spacings = [(3.0, 1.0, 1.0), (2.0, 1.2, 0.9), (5.0, 0.8, 1.4)]
    assert target_spacing(spacings, [(50, 200, 200)] * 3) == (3.0, 1.0, 1.0)


def test_a_far_coarser_axis_gets_its_10th_percentile() -> None:
    spacings = [(float(z), 1.0, 1.0) for z in (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)]
    assert target_spacing(spacings, [(20, 200, 200)] * 11) == (5.0, 1.0, 1.0)
    # as coarse, but with slices enough: 20 * 3 is not below 60
    assert target_spacing(spacings, [(20, 60, 200)] * 11) == (9.0, 1.0, 1.0)
    # slices are few, but 3 is not more than 3 times
    assert target_spacing([(3.0, 1.0, 1.0), (3.0, 1.0, 1.0), (2.0, 1.0, 1.0)], [(9, 99, 99)] * 3) == (3.0, 1.0, 1.0)


def test_the_coarse_axis_gets_no_finer_than_the_others() -> None:
    spacings = [(0.5, 1.0, 1.0), *[(8.0, 1.0, 1.0)] * 4]
    assert target_spacing([*spacings, (0.6, 1.0, 1.0)], [(20, 200, 200)] * 6) == (pytest.approx(1.00001), 1.0, 1.0)


def test_median_shape_may_be_halves() -> None:
    spacings = [(3.0, 1.0, 1.0), (3.0, 2.0, 1.0)]
    assert median_shape(spacings, [(10, 21, 30), (11, 20, 40)], (3.0, 1.0, 1.0)) == (10.5, 30.5, 35.0)


def test_first_patch_is_a_cube_in_mm_cut_to_the_median_case() -> None:
    assert initial_patch((1.0, 1.0, 1.0), (400.0, 400.0, 400.0)) == (256, 256, 256)
    assert initial_patch((8.0, 1.0, 1.0), (999.0, 999.0, 999.0)) == (64, 512, 512)
    assert initial_patch((8.0, 1.0, 1.0), (60.5, 999.0, 300.0)) == (60.5, 512, 300)


def test_topology_by_hand() -> None:
    made = make_topology((3.0, 1.0, 1.0), (16, 32, 32))
    # z is 3 times as coarse, so y and x go first; at 2 mm the three are alike; from 8 voxels an axis is halved
    assert made.strides == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))
    assert made.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
    assert (made.patch, made.multiple) == ((16, 32, 32), (4, 8, 8))


def test_one_axis_alone_needs_12_voxels() -> None:
    assert make_topology((1.0, 1.0, 1.0), (4, 4, 11)).strides == ((1, 1, 1),)
    assert make_topology((1.0, 1.0, 1.0), (4, 4, 12)).strides == ((1, 1, 1), (1, 1, 2))


def test_a_patch_is_padded_to_the_multiple() -> None:
    made = make_topology((1.0, 1.0, 1.0), (30.5, 31, 33))
    assert (made.patch, made.multiple) == ((32, 32, 40), (8, 8, 8))


def test_a_patch_too_small_to_halve_has_one_stage() -> None:
    made = make_topology((1.0, 1.0, 1.0), (7, 7, 7))
    assert (made.patch, made.strides, made.kernels) == ((7, 7, 7), ((1, 1, 1),), ((3, 3, 3),))


@pytest.mark.parametrize(
    ("patch", "spacing", "median", "axis"),
    [
        ((64, 64, 64), (1.0, 1.0, 1.0), (100.0, 80.0, 100.0), 1),
        ((64, 64, 64), (1.0, 1.0, 1.0), (100.0, 100.0, 100.0), 2),  # of equal ones the last
        ((64, 64, 64), (3.0, 1.0, 1.0), (100.0, 100.0, 200.0), 1),
        ((64, 64, 64), (1.0, 1.0, 3.0), (200.0, 100.0, 100.0), 1),  # the worst axis counts as the first
    ],
)
def test_longest_axis(patch: Any, spacing: Any, median: Any, axis: int) -> None:
    assert longest_axis(patch, spacing, median) == axis


def test_a_step_is_the_multiple_of_the_shorter_patch() -> None:
    spacing, median = (1.0, 1.0, 1.0), (999.0, 999.0, 100.0)
    long = make_topology(spacing, (256, 256, 256))
    assert long.multiple == (64, 64, 64)
    shorter = shrink(long, spacing, median)
    assert shorter is not None
    assert (shorter.patch, shorter.multiple) == ((256, 256, 224), (64, 64, 32))


def test_shrinking_ends() -> None:
    spacing, median = (3.0, 1.0, 1.0), (90.0, 270.0, 390.0)
    topology = make_topology(spacing, (90, 270, 390))
    volumes = []
    for _ in range(2000):
        smaller = shrink(topology, spacing, median)
        if smaller is None:
            break
        volumes.append(smaller.patch[0] * smaller.patch[1] * smaller.patch[2])
        topology = smaller
    assert smaller is None
    assert len(volumes) > 20
    assert volumes[-1] < 100
