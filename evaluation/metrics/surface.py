"""Surface voxels and surfels of every structure of a label map, found in one pass over the volume.

* A surface voxel belongs to the structure and has at least one of its six face neighbours outside it.
* A surfel is a block of 2 x 2 x 2 voxels that holds voxels of the structure and others; `surfels.surfel_areas` gives
  the area that its code stands for. A block's place is that of its first voxel.

Beyond the volume everything is background: a structure that is cut by the volume's edge has a surface there. Both rules
are those of MONAI 1.6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.metrics.arrays import in_threads

__all__ = ["Surface", "label_surfaces"]

_PLANES_PER_TASK = 12

Array = npt.NDArray[Any]
Places = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Found = tuple[Places, Array, Places, Array, Bytes]


@dataclass(frozen=True)
class Surface:
    """Surface of one structure; never empty.

    Attributes:
        voxels: places (axis, surface voxel) in the label map.
        surfels: places (axis, surfel) of the blocks' first voxels; -1 where that lies in front of the label map.
        codes: (surfel,), bit 4 a + 2 b + c for the voxel at offset (a, b, c) of the block.
    """

    voxels: Places
    surfels: Places
    codes: Bytes

    def cut(self, shape: tuple[int, ...]) -> bool:
        """Whether the structure has a voxel in the first or last plane of any axis of a volume of this shape."""
        last = np.array(shape) - 1
        return bool((self.voxels.min(axis=1) == 0).any() or (self.voxels.max(axis=1) == last).any())


def label_surfaces(label_map: Array, labels: Collection[int], threads: int | None = None) -> dict[int, Surface]:
    """Surfaces of the wanted structures.

    Args:
        label_map: labels from 0 to 65535, three-dimensional, any axis order; fastest where the last axis is contiguous.
        labels: the wanted structures, each > 0.
        threads: at most so many; None for all usable processors. The result does not depend on it.

    Returns:
        One entry per wanted label that occurs.
    """
    bounds = _foreground(label_map)
    if bounds is None or not labels:
        return {}
    padded = np.zeros([side.stop - side.start + 2 for side in bounds], _smallest_type(label_map))
    padded[1:-1, 1:-1, 1:-1] = label_map[bounds]
    wanted = np.zeros(np.iinfo(padded.dtype).max + 1, dtype=bool)
    wanted[[label for label in labels if label < wanted.size]] = True
    starts = range(0, len(padded) - 1, _PLANES_PER_TASK)
    parts = in_threads(lambda first: _search(padded, first, wanted), starts, threads)
    voxels, voxel_labels, surfels, surfel_labels, codes = (
        np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)
    )
    corner = np.array([[side.start - 1] for side in bounds], dtype=np.int32)
    voxels += corner
    surfels += corner
    surfels_of = dict(_grouped(surfel_labels, surfels, codes))
    return {label: Surface(places, *surfels_of[label]) for label, (places,) in _grouped(voxel_labels, voxels)}


def _foreground(label_map: Array) -> tuple[slice, slice, slice] | None:
    """Smallest box that holds every labelled voxel; None where there is none."""
    if label_map.size == 0:
        return None
    flat = label_map.max(axis=0)
    sides = (label_map.max(axis=(1, 2)) > 0, flat.max(axis=1) > 0, flat.max(axis=0) > 0)
    if not sides[0].any():
        return None
    z, y, x = (slice(int(side.argmax()), len(side) - int(side[::-1].argmax())) for side in sides)
    return z, y, x


def _smallest_type(label_map: Array) -> np.dtype[Any]:
    """uint8 where it holds every label, else uint16."""
    narrow = label_map.dtype.itemsize == 1 or int(label_map.max()) <= np.iinfo(np.uint8).max
    return np.dtype(np.uint8 if narrow else np.uint16)


def _search(padded: Array, first: int, wanted: Mask) -> Found:
    """Places, labels and codes of the surface voxels and surfels of the planes from `first` on.

    The volume is padded by one voxel of background, so no place needs a rule of its own.
    """
    plane_size = padded[0].size
    voxels, blocks = [], []
    uneven, x_steps, y_steps = _in_plane(padded[first])
    below: Mask | None = padded[first - 1] != padded[first] if first > 0 else None
    for plane in range(first, min(first + _PLANES_PER_TASK, len(padded) - 1)):
        above = padded[plane] != padded[plane + 1]
        if below is not None:
            edge = below[1:-1, 1:-1] | above[1:-1, 1:-1]
            edge |= x_steps[1:-1, :-1]
            edge |= x_steps[1:-1, 1:]
            edge |= y_steps[:-1, 1:-1]
            edge |= y_steps[1:, 1:-1]
            edge &= padded[plane, 1:-1, 1:-1] != 0
            flat = np.zeros(padded.shape[1:], dtype=bool)
            flat[1:-1, 1:-1] = edge
            voxels.append(np.flatnonzero(flat) + plane * plane_size)
        next_uneven, x_steps, y_steps = _in_plane(padded[plane + 1])
        mixed = np.zeros(padded.shape[1:], dtype=bool)
        np.logical_or(uneven, next_uneven, out=mixed[:-1, :-1])
        mixed[:-1, :-1] |= above[:-1, :-1]
        blocks.append(np.flatnonzero(mixed) + plane * plane_size)
        uneven, below = next_uneven, above
    places = np.concatenate([np.zeros(0, dtype=np.intp), *voxels])
    place_labels = padded.ravel()[places]
    kept = wanted[place_labels]
    surfels, surfel_labels, codes = _codes(padded, np.concatenate(blocks), wanted)
    return _unravelled(places[kept], padded), place_labels[kept], _unravelled(surfels, padded), surfel_labels, codes


def _unravelled(places: npt.NDArray[np.intp], padded: Array) -> Places:
    """Places along each axis (axis, place) of flat ones."""
    return np.array(np.unravel_index(places, padded.shape), dtype=np.int32)


def _in_plane(plane: Array) -> tuple[Mask, Mask, Mask]:
    """Which 2 x 2 squares of a plane hold different labels, and where neighbours along x and y differ."""
    x_steps = plane[:, 1:] != plane[:, :-1]
    y_steps = plane[1:] != plane[:-1]
    uneven = x_steps[:-1] | x_steps[1:]
    uneven |= y_steps[:, :-1]
    return uneven, x_steps, y_steps


def _codes(padded: Array, blocks: npt.NDArray[np.intp], wanted: Mask) -> tuple[npt.NDArray[np.intp], Array, Bytes]:
    """Flat places, labels and codes of the surfels in these blocks; a block has one surfel per label in it."""
    flat = padded.ravel()
    strides = [stride // padded.itemsize for stride in padded.strides]
    corners = [
        flat[blocks + sum(step * stride for step, stride in zip(steps, strides, strict=True))]
        for steps in product((0, 1), repeat=3)
    ]
    places, labels, codes = [], [], []
    for bit, corner in enumerate(corners):
        new = wanted[corner]
        for earlier in corners[:bit]:
            new &= corner != earlier
        chosen = np.flatnonzero(new)
        label = corner[chosen]
        code = np.full(label.shape, 1 << bit, dtype=np.uint8)
        for later in range(bit + 1, 8):
            code |= (corners[later][chosen] == label).view(np.uint8) << np.uint8(later)
        places.append(blocks[chosen])
        labels.append(label)
        codes.append(code)
    return np.concatenate(places), np.concatenate(labels), np.concatenate(codes)


def _grouped(labels: Array, *columns: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """The columns' entries of each label that occurs, in their order."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for label in np.unique(labels).tolist():
        chosen = order[ends[label - 1] : ends[label]]
        yield label, tuple(column[..., chosen] for column in columns)
