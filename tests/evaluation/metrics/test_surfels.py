"""Surfel areas: shapes whose area a person can work out, symmetry, and MONAI's table for every code and spacing."""

from __future__ import annotations

import math
import warnings
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.surfels import surfel_areas

CORNERS = list(product((0, 1), repeat=3))
CUBE = (1.0, 1.0, 1.0)


def code_of(*corners: tuple[int, ...]) -> int:
    return sum(1 << CORNERS.index(corner) for corner in corners)


def monai_areas(spacing: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """MONAI's areas in the order of our codes: its kernel gives each corner the value of one bit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside MONAI's imports
        from monai.metrics.utils import create_table_neighbour_code_to_surface_area

        table, kernel = create_table_neighbour_code_to_surface_area(spacing)
    values = kernel.numpy().ravel().astype(int)
    theirs = [sum(int(values[bit]) for bit in range(8) if code >> bit & 1) for code in range(256)]
    ours: npt.NDArray[np.float64] = table.numpy().astype(np.float64)[theirs]
    return ours


def test_areas_by_hand_on_a_cube() -> None:
    areas = surfel_areas(CUBE)
    triangle = math.sqrt(3) / 8  # equilateral, side sqrt(1/2)
    assert areas[0] == areas[255] == 0.0
    assert areas[code_of((0, 0, 0))] == pytest.approx(triangle)
    assert areas[code_of((0, 0, 0), (0, 1, 1))] == pytest.approx(2 * triangle)  # across a face: apart
    assert areas[code_of((0, 0, 0), (1, 1, 1))] == pytest.approx(2 * triangle)  # across the cube: apart
    assert areas[code_of((0, 0, 0), (0, 0, 1))] == pytest.approx(math.sqrt(1 / 2))  # a rectangle that cuts one edge off
    assert areas[code_of(*CORNERS[:4])] == pytest.approx(1.0)  # a plane
    assert areas[code_of((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))] == pytest.approx(6 * triangle)  # a hexagon
    # An L: half the face above it, and a trapezoid of three small triangles.
    assert areas[code_of((0, 0, 0), (0, 1, 0), (1, 0, 0))] == pytest.approx(0.5 + 3 * triangle)
    # A bent chain: a quadrilateral of four small triangles between two ears of area sqrt(2) / 4.
    chain = code_of((0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1))
    assert areas[chain] == pytest.approx(4 * triangle + math.sqrt(1 / 2))


def test_a_plane_has_the_area_of_the_face_it_is_parallel_to() -> None:
    areas = surfel_areas((2.0, 3.0, 5.0))
    for axis, expected in enumerate((15.0, 10.0, 6.0)):
        assert areas[code_of(*(corner for corner in CORNERS if corner[axis] == 0))] == pytest.approx(expected)
    edge = areas[code_of((0, 0, 0), (1, 0, 0))]  # a rectangle 2 mm long, as wide as half the diagonal of 3 mm by 5 mm
    assert edge == pytest.approx(2.0 * math.hypot(3.0, 5.0) / 2)


@pytest.mark.parametrize("spacing", [CUBE, (1.0, 2.0, 3.5)])
def test_inside_and_outside_may_change_places(spacing: tuple[float, float, float]) -> None:
    areas = surfel_areas(spacing)
    np.testing.assert_array_equal(areas, areas[::-1])
    assert (areas[1:-1] > 0).all()


def test_areas_follow_the_axes() -> None:
    spacing = (0.7, 1.3, 3.1)
    areas = surfel_areas(spacing)
    for order in permutations(range(3)):
        turned = surfel_areas((spacing[order[0]], spacing[order[1]], spacing[order[2]]))
        for code in range(256):
            corners = [corner for bit, corner in enumerate(CORNERS) if code >> bit & 1]
            moved = code_of(*(tuple(corner[axis] for axis in order) for corner in corners))
            assert turned[moved] == pytest.approx(areas[code], rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(0.2, 6.0)] * 3))
def test_every_code_equals_monai(spacing: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(surfel_areas(spacing), monai_areas(spacing), rtol=1e-6, atol=0.0)
