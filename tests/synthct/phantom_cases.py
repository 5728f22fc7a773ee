"""Phantoms that several tests look at, each made once; nobody writes into them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from synthct.phantom import PhantomCase, PhantomKind, PhantomTask, make_phantom
from synthct.phantom.abdomen import draw_abdomen
from synthct.phantom.head import draw_head
from synthct.phantom.limb import draw_limb
from synthct.phantom.pelvis import draw_pelvis
from synthct.phantom.scene import paint
from synthct.phantom.thorax import draw_thorax

# What may stand in a segmentation of each kind, ids of TotalSegmentator v2 "total".
VERTEBRAE = frozenset(range(26, 51))
RIBS = frozenset(range(92, 116))
LUNGS = frozenset(range(10, 15))
EXPECTED_IDS: dict[PhantomKind, frozenset[int]] = {
    "limb": frozenset({75, 76}),
    "head": frozenset({15, 16, 17, 79, 90, 91}) | frozenset(range(42, 51)),
    "pelvis": frozenset({18, 20, 21, 22, 25, 26, 27, 28, 75, 76, 77, 78, 79, 88, 89}) | frozenset(range(80, 86)),
    "abdomen": frozenset({1, 2, 3, 4, 5, 6, 7, 11, 14, 18, 19, 20, 52, 63, 79, 86, 87, 88, 89}) | VERTEBRAE | RIBS,
    "thorax": frozenset({1, 5, 6, 15, 16, 51, 52, 62, 71, 72, 73, 74, 79, 86, 87, 116, 117}) | LUNGS | VERTEBRAE | RIBS,
}
REQUIRED_IDS: dict[PhantomKind, frozenset[int]] = {
    "limb": frozenset(),
    "head": frozenset({16, 48, 49, 50, 79, 90, 91}),
    "pelvis": frozenset({20, 21, 22, 25, 75, 76, 77, 78, 80, 81, 82, 83, 84, 85, 88, 89}),
    "abdomen": frozenset({1, 2, 3, 5, 6, 7, 20, 29, 30, 31, 52, 63, 79, 86, 87, 102, 103, 114, 115}),
    "thorax": frozenset({5, 10, 11, 12, 13, 14, 15, 16, 36, 37, 38, 39, 51, 52, 79, 95, 107, 116}),
}


@cache
def phantom(kind: PhantomKind, task: PhantomTask = "mri", seed: int = 0) -> PhantomCase:
    """Return the phantom of default size, made at most once per test run."""
    case = make_phantom(kind, task=task, seed=seed)
    for volume in (case.image, case.reference, case.mask, case.segmentation):
        volume.voxels.flags.writeable = False
    return case


class Painted(NamedTuple):
    """A body before any scanner sees it."""

    tissues: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    axes: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]


DRAW = {"limb": draw_limb, "head": draw_head, "pelvis": draw_pelvis, "abdomen": draw_abdomen, "thorax": draw_thorax}


def centred_axes(
    size: tuple[int, ...], spacing: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x, y, z of voxel centres in mm around 0."""
    x, y, z = (((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(size, spacing, strict=True))
    return x, y, z


@cache
def painted(kind: PhantomKind, seed: int = 0) -> Painted:
    """Return the tissue map and labels on the kind's own grid, made at most once per test run."""
    geometry = phantom(kind).image.geometry
    axes = centred_axes(geometry.size, geometry.spacing)
    tissues, labels = paint(DRAW[kind](np.random.default_rng(seed), seed), axes)
    tissues.flags.writeable = labels.flags.writeable = False
    return Painted(tissues, labels, axes)
