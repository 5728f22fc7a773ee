"""One phantom: a body drawn from a seed, scanned, with its mask and its segmentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.errors import UsageError
from synthct.phantom.abdomen import draw_abdomen
from synthct.phantom.acquisition import attenuation, ct_scan, mr_scan
from synthct.phantom.cbct import cbct_scan
from synthct.phantom.head import draw_head
from synthct.phantom.limb import draw_limb
from synthct.phantom.pelvis import draw_pelvis
from synthct.phantom.scene import Scene, paint
from synthct.phantom.thorax import draw_thorax
from synthct.phantom.waves import FloatArray
from synthct.volume import Geometry, Volume

__all__ = ["PHANTOM_KINDS", "PhantomCase", "PhantomKind", "PhantomTask", "make_phantom"]

PhantomKind = Literal["limb", "head", "pelvis", "abdomen", "thorax"]
PhantomTask = Literal["mri", "cbct"]

PHANTOM_KINDS: tuple[PhantomKind, ...] = get_args(PhantomKind)

_TASKS: tuple[PhantomTask, ...] = get_args(PhantomTask)
_SMALLEST_SIZE = 8
_MASK_MARGIN_MM = 5.0


@dataclass(frozen=True)
class PhantomCase:
    """A paired case whose images are aligned by construction.

    Attributes:
        image: the input: MR (int16, 0 to about 2000) or CBCT (int16, HU).
        reference: the CT, int16, HU within [-1024, 3071].
        mask: uint8 0/1: the body outline, dilated by 5 mm in-plane.
        segmentation: uint8: TotalSegmentator v2 "total" ids, 0 where the structure has none.
    """

    image: Volume
    reference: Volume
    mask: Volume
    segmentation: Volume


@dataclass(frozen=True)
class _Body:
    draw: Callable[[np.random.Generator, int], Scene]
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]


_BODIES: dict[PhantomKind, _Body] = {
    "limb": _Body(draw_limb, (128, 128, 40), (1.0, 1.0, 3.0)),
    "head": _Body(draw_head, (160, 192, 64), (1.2, 1.2, 3.0)),
    "pelvis": _Body(draw_pelvis, (256, 176, 56), (1.6, 1.6, 3.0)),
    "abdomen": _Body(draw_abdomen, (208, 144, 56), (1.8, 1.8, 3.0)),
    "thorax": _Body(draw_thorax, (208, 144, 64), (1.8, 1.8, 3.0)),
}


class _Stream(StrEnum):
    """Independent random streams, so that the CT of a seed does not depend on which other image is asked for."""

    ANATOMY = "anatomy"
    PLACE = "place"
    CT = "ct"
    MR = "mr"
    CBCT = "cbct"

    def open(self, kind: PhantomKind, seed: int) -> np.random.Generator:
        entropy = [PHANTOM_KINDS.index(kind), list(_Stream).index(self), seed]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def make_phantom(
    kind: PhantomKind,
    *,
    task: PhantomTask = "mri",
    seed: int = 0,
    size: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> PhantomCase:
    """Make a paired case from a seed.

    The anatomy is drawn in mm around the centre of the volume: another size or spacing shows the same body in another
    field of view or resolution. Equal arguments give equal bytes; CT, mask and segmentation do not depend on the task.

    Args:
        kind: which part of the body.
        task: "mri" for an MR as input, "cbct" for a cone-beam CT.
        seed: which patient; an even seed of kind "limb" is a thigh, an odd one a lower leg.
        size: voxels along x, y, z; None for the kind's own.
        spacing: voxel size along x, y, z in mm; None for the kind's own.

    Raises:
        UsageError: an unknown kind or task, a negative seed, a size below 8 or a spacing that is not positive.
    """
    if kind not in PHANTOM_KINDS:
        raise UsageError(f"kind {kind!r} is not known; expected one of {', '.join(PHANTOM_KINDS)}")
    if task not in _TASKS:
        raise UsageError(f"task {task!r} is not known; expected one of {', '.join(_TASKS)}")
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; expected 0 or more")
    body = _BODIES[kind]
    geometry = _geometry(kind, seed, body.size if size is None else size, body.spacing if spacing is None else spacing)
    axes = _axes(geometry)
    tissues, labels = paint(body.draw(_Stream.ANATOMY.open(kind, seed), seed), axes)
    ct_stream = _Stream.CT.open(kind, seed)
    hu = attenuation(tissues, geometry.spacing_zyx, ct_stream)
    if task == "mri":
        image = mr_scan(tissues, geometry.spacing_zyx, axes, _Stream.MR.open(kind, seed))
    else:
        image = cbct_scan(hu, tissues, geometry.spacing_zyx, axes, _Stream.CBCT.open(kind, seed))
    return PhantomCase(
        image=Volume(image, geometry),
        reference=Volume(ct_scan(hu, ct_stream), geometry),
        mask=Volume(_dilated_outline(tissues, geometry.spacing), geometry),
        segmentation=Volume(labels, geometry),
    )


def _geometry(
    kind: PhantomKind, seed: int, size: tuple[int, int, int], spacing: tuple[float, float, float]
) -> Geometry:
    """Place the body's centre at a point of the seed's own, the same for every size and spacing."""
    if len(size) != 3 or not all(isinstance(n, Integral) and n >= _SMALLEST_SIZE for n in size):
        raise UsageError(f"size {size} cannot be made; expected three whole numbers of {_SMALLEST_SIZE} or more")
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise UsageError(f"spacing {spacing} cannot be made; expected three numbers above 0, in mm")
    columns, rows, slices = (int(n) for n in size)
    step_x, step_y, step_z = (float(step) for step in spacing)
    centre = _Stream.PLACE.open(kind, seed).uniform(-400, 400, size=3)
    return Geometry(
        size=(columns, rows, slices),
        spacing=(step_x, step_y, step_z),
        origin=(
            float(centre[0]) - (columns - 1) / 2 * step_x,
            float(centre[1]) - (rows - 1) / 2 * step_y,
            float(centre[2]) - (slices - 1) / 2 * step_z,
        ),
    )


def _axes(geometry: Geometry) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return x, y, z of the voxel centres in mm from the centre of the volume, which is the body's."""
    x, y, z = (
        ((np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
        for count, step in zip(geometry.size, geometry.spacing, strict=True)
    )
    return (x, y, z)


def _dilated_outline(tissues: npt.NDArray[np.uint8], spacing: tuple[float, float, float]) -> npt.NDArray[np.uint8]:
    """Return the body grown in-plane by the mask's margin, slice by slice, as the challenge's outlines are."""
    mask = np.zeros_like(tissues)
    for outline, grown in zip(tissues != 0, mask, strict=True):
        if outline.any():
            distance = ndimage.distance_transform_edt(~outline, sampling=(spacing[1], spacing[0]))
            grown[distance <= _MASK_MARGIN_MM] = 1
    return mask
