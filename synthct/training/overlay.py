"""Pictures of a pair: the image in grey with the CT's outline and bone drawn on it, in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from synthct.training.alignment_check import reference_body
from synthct.training.bone_edges import BONE_HU
from synthct.volume import Volume

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["draw_overlay"]

OUTLINE_COLOUR, BONE_COLOUR = (86, 180, 233), (230, 159, 0)
"""Sky blue and orange of Okabe and Ito: they differ for every kind of colour vision, and from grey."""

TILE = 240
"""Side in pixels of one plane's square."""

HEADER = 18
GAP = 4

Picture = npt.NDArray[np.uint8]
Plane = npt.NDArray[Any]


def draw_overlay(title: str, image: Volume, references: Sequence[tuple[str, Volume]]) -> Image.Image:
    """Draw one row of three planes (axial, coronal, sagittal through the CT's bone, else the middle) per CT.

    Args:
        title: written on the picture: the case's id.
        image: MR or CBCT, (z, y, x).
        references: a label ("before", "after") and a CT in HU on the image's grid, for each row.

    Returns:
        An RGB picture; blue is the CT's outline (-300 HU), orange its bone (250 HU, smoothed). The planes are the same
        in all rows; the last slice is on top.
    """
    from PIL import Image, ImageDraw

    place = _place(references[0][1])
    low, high = np.percentile(image.voxels, [0.5, 99.5])
    grey = np.clip((image.voxels - low) / max(high - low, 1e-6), 0, 1)
    width = 3 * TILE + 2 * GAP
    canvas = Image.new("RGB", (width, len(references) * (TILE + HEADER)))
    pen = ImageDraw.Draw(canvas)
    for row, (label, reference) in enumerate(references):
        top = row * (TILE + HEADER)
        pen.text((GAP, top + 3), f"{title}  {label}   CT on image: outline blue, bone orange", fill=(255, 255, 255))
        body, bone = reference_body(reference), _bone(reference)
        for column in range(3):
            drawn = _tile([_plane(part, column, place) for part in (grey, body, bone)], column, image.spacing_zyx)
            canvas.paste(Image.fromarray(drawn), (column * (TILE + GAP), top + HEADER))
    return canvas


def _bone(reference: Volume) -> npt.NDArray[np.bool_]:
    return np.asarray(gaussian_filter(reference.voxels.astype(np.float32), (0.0, 1.0, 1.0)) >= BONE_HU)


def _place(reference: Volume) -> tuple[int, int, int]:
    """Where the planes cut: the median of the bone's voxels; the middle where there is no bone."""
    bone = np.argwhere(_bone(reference))
    if not len(bone):
        z, y, x = reference.voxels.shape
        return z // 2, y // 2, x // 2
    z, y, x = np.median(bone, axis=0).astype(int).tolist()
    return z, y, x


def _plane(voxels: Plane, axis: int, place: tuple[int, int, int]) -> Plane:
    """One plane, rows first; coronal and sagittal ones with the last slice on top."""
    plane = np.take(voxels, place[axis], axis=axis)
    return np.asarray(plane if axis == 0 else plane[::-1])


def _tile(planes: Sequence[Plane], axis: int, spacing_zyx: tuple[float, float, float]) -> Picture:
    """A square with the plane in true proportion in its middle."""
    steps = [step for index, step in enumerate(spacing_zyx) if index != axis]
    extents = [n * step for n, step in zip(planes[0].shape, steps, strict=True)]
    scale = TILE / max(extents)
    factors = [max(1.0, extent * scale) / n for extent, n in zip(extents, planes[0].shape, strict=True)]
    grey, body, bone = (_enlarged(plane, factors) for plane in planes)
    colours = np.repeat((grey * 255).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    for shape, colour in ((body, OUTLINE_COLOUR), (bone, BONE_COLOUR)):
        colours[_contour(shape > 0.5)] = colour
    square = np.zeros((TILE, TILE, 3), np.uint8)
    height, width = min(TILE, colours.shape[0]), min(TILE, colours.shape[1])
    top, left = (TILE - height) // 2, (TILE - width) // 2
    square[top : top + height, left : left + width] = colours[:height, :width]
    return square


def _enlarged(plane: Plane, factors: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.asarray(zoom(plane.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True))


def _contour(shape: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a shape that touch one outside of it; the picture's border is no contour."""
    edge = np.zeros(shape.shape, bool)
    edge[1:] |= shape[1:] != shape[:-1]
    edge[:, 1:] |= shape[:, 1:] != shape[:, :-1]
    return edge
