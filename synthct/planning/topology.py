"""nnU-Net's rules for spacing, patch and pooling (ALGORITHMS 6). Every triple is in the order of the arrays: z, y, x.

Written from the rules that nnunetv2 2.8 follows, and compared with it in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthct.resample import ANISOTROPY, resampled_shape

__all__ = [
    "Floats",
    "Topology",
    "Triple",
    "initial_patch",
    "longest_axis",
    "make_topology",
    "median_shape",
    "shrink",
    "target_spacing",
]

LEAST_EDGE = 4
"""Smallest edge of the deepest feature maps, in voxels: an axis is halved only from twice this on."""

ALIKE = 2.0
"""Spacings whose ratio is below this count as alike: such axes are pooled together and share kernels of 3."""

START_VOXELS = 256**3
"""Voxels of the patch that shrinking starts from: more than fits into memory."""

Triple = tuple[int, int, int]
Floats = tuple[float, float, float]


@dataclass(frozen=True)
class Topology:
    """Pooling and kernels for one patch.

    Attributes:
        patch: edges of the patch, a multiple of `multiple`.
        strides: stride into each stage, (1, 1, 1) first.
        kernels: kernel of each stage.
    """

    patch: Triple
    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]

    @property
    def multiple(self) -> Triple:
        """Product of the strides along each axis."""
        z, y, x = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return z, y, x


def target_spacing(spacings: Sequence[Floats], shapes: Sequence[Triple]) -> Floats:
    """Spacing in mm that all cases are resampled to: the median of each axis.

    One exception: where the worst axis' spacing is more than 3 times the next and its voxels less than a third of the
    next fewest, it gets the 10th percentile of its own, but no less than the next worst: the median would leave so few
    slices that interpolation harms.

    Args:
        spacings: of each case, mm.
        shapes: of each case, voxels.
    """
    table = np.array(spacings, dtype=np.float64)
    target = np.percentile(table, 50, axis=0)
    size = np.percentile(np.array(shapes, dtype=np.float64), 50, axis=0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    next_worst = float(max(target[others]))
    if target[worst] > ANISOTROPY * next_worst and size[worst] * ANISOTROPY < min(size[others]):
        finer = float(np.percentile(table[:, worst], 10))
        target[worst] = finer if finer >= next_worst else next_worst + 1e-5
    return float(target[0]), float(target[1]), float(target[2])


def median_shape(spacings: Sequence[Floats], shapes: Sequence[Triple], target: Floats) -> Floats:
    """Median size of the cases after resampling to the target spacing; halves occur where their number is even."""
    table = [resampled_shape(shape, spacing, target) for shape, spacing in zip(shapes, spacings, strict=True)]
    z, y, x = np.median(np.array(table, dtype=np.float64), axis=0)
    return float(z), float(y), float(x)


def initial_patch(spacing: Floats, median: Floats) -> Floats:
    """Patch of 256^3 voxels that is a cube in mm, then no larger than the median case along any axis."""
    per_mm = 1 / np.array(spacing)
    edges = per_mm * (START_VOXELS / per_mm.prod()) ** (1 / 3)
    z, y, x = (min(float(round(edge)), size) for edge, size in zip(edges, median, strict=True))
    return z, y, x


def make_topology(spacing: Floats, patch: Sequence[float]) -> Topology:
    """Find strides and kernels for a patch, and pad the patch to a multiple of the strides.

    In each stage those axes are halved whose feature maps have at least 8 voxels and whose spacing is below twice the
    finest of these. One axis alone is halved only while it has 12. A kernel is 1 along an axis until its spacing is
    below twice the finest of all, 3 from then on; the deepest stage has 3 everywhere.

    Args:
        spacing: mm.
        patch: edges before padding; fractions are allowed.
    """
    now, edges = list(spacing), list(patch)
    kernel = [1, 1, 1]
    strides: list[Triple] = [(1, 1, 1)]
    kernels: list[Triple] = []
    while axes := _axes_to_halve(now, edges):
        finest = min(now)
        kernel = [3 if kernel[axis] == 3 or now[axis] / finest < ALIKE else 1 for axis in range(3)]
        kernels.append((kernel[0], kernel[1], kernel[2]))
        stride = [2 if axis in axes else 1 for axis in range(3)]
        strides.append((stride[0], stride[1], stride[2]))
        for axis in axes:
            now[axis] *= 2
            edges[axis] = math.ceil(edges[axis] / 2)
    kernels.append((3, 3, 3))
    unpadded = Topology((0, 0, 0), tuple(strides), tuple(kernels))
    z, y, x = (factor * math.ceil(edge / factor) for edge, factor in zip(patch, unpadded.multiple, strict=True))
    return Topology((z, y, x), unpadded.strides, unpadded.kernels)


def longest_axis(patch: Triple, spacing: Floats, median: Floats) -> int:
    """Axis that is longest relative to the median case.

    Of several nnU-Net takes the last, once it has turned the axis of the worst spacing to the front.
    """
    worst = spacing.index(max(spacing))
    return max(range(3), key=lambda axis: (patch[axis] / median[axis], axis != worst, axis))


def shrink(topology: Topology, spacing: Floats, median: Floats) -> Topology | None:
    """Take one step off the relatively longest axis; None where nothing is left of it.

    The step is the multiple that the axis has once it is shorter: 256 with 6 poolings goes to 224, not to 192.
    """
    axis = longest_axis(topology.patch, spacing, median)
    edges = list(topology.patch)
    edges[axis] -= topology.multiple[axis]
    edges[axis] = topology.patch[axis] - make_topology(spacing, edges).multiple[axis]
    return make_topology(spacing, edges) if edges[axis] > 0 else None


def _axes_to_halve(spacing: Sequence[float], edges: Sequence[float]) -> list[int]:
    long = [axis for axis in range(3) if edges[axis] >= 2 * LEAST_EDGE]
    if not long:
        return []
    finest = min(spacing[axis] for axis in long)
    alike = [axis for axis in long if spacing[axis] / finest < ALIKE]
    if len(alike) == 1 and edges[alike[0]] < 3 * LEAST_EDGE:
        return []
    return alike
