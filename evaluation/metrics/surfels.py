"""Area of the surface inside each block of 2 x 2 x 2 voxels: the surfels of the normalised surface Dice.

A structure's surface between eight voxel centres depends only on which of the eight belong to the structure. Bit k of
a code from 0 to 255 says so for voxel k of the block; k = 4 a + 2 b + c, with a, b and c its position (0 or 1) along
the three axes. The rule, derived here from geometry:

1. If more than four corners belong to the structure, the other corners take their place: the surface is the same.
2. The corners fall into components that hang together along the cube's edges. Corners that meet only across a diagonal
   of a face or of the cube are apart, so each component has a surface of its own.
3. That surface is one polygon. Its vertices are the mid-points of the cube edges that leave the component; it runs from
   one to the next across the cube's faces.
4. A polygon that is not flat (three corners in an L, four in a bent chain) is cut into triangles from one vertex: the
   vertex that makes the area largest on a cube of side 1. The choice does not depend on the spacing.

The areas equal the table of MONAI 1.6.1 and of DeepMind's surface-distance for all 256 codes and every spacing, to
that table's single precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

__all__ = ["surfel_areas"]

Floats = npt.NDArray[np.float64]
Corner = tuple[int, ...]

_CORNERS: tuple[Corner, ...] = tuple(product((0, 1), repeat=3))


def surfel_areas(spacing: tuple[float, float, float]) -> Floats:
    """Surface area of each code in mm^2.

    Args:
        spacing: voxel size in mm along the three axes of the block, in their order.

    Returns:
        256 areas. 0.0 for the codes 0 and 255, which hold no surface. The areas of a code and of its complement are
        equal.
    """
    voxel = np.asarray(spacing, dtype=np.float64)
    faces = (
        voxel.prod() / voxel
    )  # area of the voxel's face across each axis: it scales that component of an area vector
    return np.array([np.linalg.norm(vectors * faces, axis=1).sum() for vectors in _area_vectors()])


@cache
def _area_vectors() -> tuple[Floats, ...]:
    """For each code the area vectors (triangle, axis) of its triangles on a cube of side 1."""
    by_code = []
    for code in range(256):
        corners = {corner for bit, corner in enumerate(_CORNERS) if code >> bit & 1}
        if len(corners) > 4:
            corners = set(_CORNERS) - corners
        fans = [_largest_fan(_polygon(component)) for component in _components(corners)]
        by_code.append(np.concatenate([np.zeros((0, 3)), *fans]))
    return tuple(by_code)


def _components(corners: set[Corner]) -> Iterator[set[Corner]]:
    """Parts of a set of corners that hang together along the cube's edges."""
    waiting = sorted(corners)
    while waiting:
        component = {waiting.pop(0)}
        while near := [corner for corner in waiting if any(_touch(corner, member) for member in component)]:
            component.update(near)
            waiting = [corner for corner in waiting if corner not in component]
        yield component


def _touch(first: Corner, second: Corner) -> bool:
    """Whether two corners are the ends of one edge of the cube."""
    return sum(a != b for a, b in zip(first, second, strict=True)) == 1


def _polygon(component: set[Corner]) -> Floats:
    """Mid-points (vertex, axis) of the edges that leave a component, in the order in which the polygon joins them.

    A component of up to four corners never holds two opposite corners of a face alone, so every face of the cube
    carries one side of the polygon or none, and a vertex's follower is one that lies on a face with it.
    """
    waiting = [
        (np.array(inner) + np.array(outer)) / 2
        for inner in sorted(component)
        for outer in _CORNERS
        if outer not in component and _touch(inner, outer)
    ]
    polygon = [waiting.pop(0)]
    while waiting:
        on_a_face = [bool(np.any((vertex == polygon[-1]) & (vertex != 0.5))) for vertex in waiting]
        polygon.append(waiting.pop(on_a_face.index(True)))
    return np.array(polygon)


def _largest_fan(polygon: Floats) -> Floats:
    """Area vectors (triangle, axis) of the triangles from the vertex whose fan has the largest area."""
    fans = []
    for first in range(len(polygon)):
        vertices = np.roll(polygon, -first, axis=0)
        arms = vertices[1:] - vertices[0]
        fans.append(np.cross(arms[:-1], arms[1:]) / 2)
    areas = [round(float(np.linalg.norm(fan, axis=1).sum()), 12) for fan in fans]
    return fans[areas.index(max(areas))]
