"""The case that every speed and memory figure of the evaluation refers to; the same on every machine.

512 x 512 x 150 voxels of 1 x 1 x 3 mm, int16, a body that fills 42 % of the volume, 60 ellipsoid structures, a
prediction whose structures are shifted and scaled by 1 to 4 voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LABELS", "SPACING_ZYX", "ReferenceCase", "make_reference_case"]

SPACING_ZYX = (3.0, 1.0, 1.0)
"""Voxel spacing in mm."""

LABELS = tuple(range(1, 61))
"""The structures, largest first."""

_SHAPE = np.array([150, 512, 512])
_LARGEST, _SECOND, _SMALLEST = ((50.0, 90.0, 110.0), (30.0, 50.0, 60.0), (8.0, 14.0, 14.0))  # radii in voxels, z y x
_BODY = (0.32, 0.418)  # half axes over the volume's length, y and x: pi * 0.32 * 0.418 = 42 %
_AIR, _SOFT_TISSUE = -1000.0, 40.0

Int16 = npt.NDArray[np.int16]
Labels = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceCase:
    """Arrays in (z, y, x) of one shape: images in HU, mask 0 or 1, label maps with 0 as background."""

    reference: Int16
    prediction: Int16
    mask: Labels
    reference_labels: Labels
    prediction_labels: Labels


def make_reference_case(scale: float = 1.0, seed: int = 0) -> ReferenceCase:
    """Make the case from a seed, in about five seconds.

    Args:
        scale: factor on every length in voxels; 0.25 gives a volume of 38 x 128 x 128 with all 60 labels.
        seed: of the noise, the places of the structures and their perturbation.
    """
    rng = np.random.default_rng(seed)
    shape = np.rint(_SHAPE * scale).astype(int)
    radii = _radii() * scale
    centres = _centres(rng, shape, radii)
    reference_labels = _paint(shape, centres, radii)
    shifts = rng.integers(1, 5, centres.shape) * rng.choice((-1, 1), centres.shape)
    growth = rng.integers(1, 5, (len(radii), 1)) * rng.choice((-1, 1), (len(radii), 1))
    prediction_labels = _paint(shape, centres + shifts * scale, radii + growth * scale)
    mask = _body(shape)
    hounsfield = np.concatenate(([_SOFT_TISSUE], rng.uniform(-150.0, 250.0, len(LABELS))))
    hounsfield[1:3] = -820.0, -780.0  # the two largest are lungs
    hounsfield[4::5] = rng.uniform(400.0, 1400.0, len(hounsfield[4::5]))  # every fifth structure is bone
    return ReferenceCase(
        reference=_image(rng, mask, reference_labels, hounsfield, noise=15.0, drift=0.0),
        prediction=_image(rng, mask, prediction_labels, hounsfield, noise=8.0, drift=25.0),
        mask=mask,
        reference_labels=reference_labels,
        prediction_labels=prediction_labels,
    )


def _radii() -> Floats:
    """Half axes in voxels, (60, 3): two of the largest, then evenly spaced in their logarithm to the smallest."""
    rest = np.geomspace(_SECOND, _SMALLEST, len(LABELS) - 2)
    return np.concatenate((np.tile(_LARGEST, (2, 1)), rest))


def _centres(rng: np.random.Generator, shape: npt.NDArray[np.int_], radii: Floats) -> Floats:
    """Places such that every structure lies inside the volume and about inside the body."""
    room = np.maximum(shape / 2 * (0.98, 2 * _BODY[0], 2 * _BODY[1]) - radii, 0.0)
    offsets = rng.uniform(-1.0, 1.0, radii.shape)
    offsets[:, 1:] /= np.sqrt(2.0)
    offsets[:2] = [(0.0, 0.0, -1.0), (0.0, 0.0, 1.0)]
    return np.rint(shape / 2 + offsets * room)


def _paint(shape: npt.NDArray[np.int_], centres: Floats, radii: Floats) -> Labels:
    """Ellipsoids painted largest first, so that no later one can hide an earlier one whole."""
    labels = np.zeros(shape, np.uint8)
    for label, centre, radius in zip(LABELS, centres, radii, strict=True):
        first = np.maximum(np.floor(centre - radius), 0).astype(int)
        last = np.minimum(np.ceil(centre + radius) + 1, shape).astype(int)
        box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
        z, y, x = (
            ((np.arange(side.start, side.stop) - middle) / half) ** 2
            for side, middle, half in zip(box, centre, radius, strict=True)
        )
        labels[box][z[:, None, None] + y[:, None] + x <= 1.0] = label
    return labels


def _body(shape: npt.NDArray[np.int_]) -> Labels:
    """Ellipses whose area varies by 10 % from plane to plane and is 42 % of the plane on average."""
    z, y, x = (np.arange(n) for n in shape)
    area = 1.0 + 0.1 * np.cos(2.0 * np.pi * (z + 0.5) / shape[0])
    height = ((y + 0.5) / shape[1] - 0.5) / _BODY[0]
    width = ((x + 0.5) / shape[2] - 0.5) / _BODY[1]
    body: Bools = height[:, None] ** 2 + width**2 < area[:, None, None]
    return body.astype(np.uint8)


def _image(
    rng: np.random.Generator, mask: Labels, labels: Labels, hounsfield: Floats, noise: float, drift: float
) -> Int16:
    """Air around the body; tissue, a smooth deviation of `drift` HU and noise everywhere."""
    z, y, x = (np.arange(n) / n for n in mask.shape)
    image = np.empty(mask.shape, np.int16)
    for plane, inside in enumerate(mask):
        smooth = drift * np.sin(9.0 * y + 5.0 * z[plane])[:, None] * np.cos(11.0 * x)
        values = np.where(inside, hounsfield[labels[plane]], _AIR) + smooth
        values += noise * rng.standard_normal(inside.shape, dtype=np.float32)
        image[plane] = np.rint(values).clip(-1024.0, 3071.0)
    return image
