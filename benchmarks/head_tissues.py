"""What a head's label map looks like to a CT and to a T1-weighted MR, before point spread and noise.

The brain's ids are FreeSurfer's. Those of 500 and more are not documented by their source; what they are was read off
their place: 511 skin and scalp, 507 what lies below it, 515 compact and 516 spongy bone, 509 the inside of the nose,
506 the eyes with 508 their muscles and 530 their nerves, 512 the spinal cord, 514 the veins, 502 the carotid arteries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthct.errors import InputError
from synthct.phantom.waves import WaveField
from synthct.volume import Volume

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.int32]


class Tissue(NamedTuple):
    """Ids, CT value (HU) and T1-weighted signal (white matter = 1); `vary` is that of HU and of MR in shares of it."""

    ids: tuple[int, ...]
    hu: float
    mr: float
    hu_vary: float = 2.0
    mr_vary: float = 0.03


AIR, SKIN, SOFT, COMPACT, SPONGY = 0, 511, 507, 515, 516
EYES = (506, 508, 530)

TISSUES = (
    Tissue((AIR,), -1000, 0.0, 0.0, 0.0),
    Tissue((2, 41), 30, 1.0),  # white matter
    Tissue((7, 46), 31, 0.95),  # of the cerebellum
    Tissue((3, 42, 136, 137, 163, 164), 38, 0.70),  # grey matter
    Tissue((8, 47), 39, 0.66),  # of the cerebellum
    Tissue((17, 18, 53, 54), 37, 0.70),  # hippocampus, amygdala
    Tissue((11, 12, 26, 50, 51, 58), 39, 0.77),  # caudate, putamen, accumbens
    Tissue((10, 49), 37, 0.84),  # thalamus
    Tissue((13, 52), 40, 0.92),  # pallidum
    Tissue((16, 28, 60, 85, 530, 512), 32, 0.90),  # brainstem, ventral diencephalon, optic nerves, spinal cord
    Tissue((25, 57), 22, 0.55),  # lesions
    Tissue((4, 5, 14, 15, 24, 43, 44, 72), 8, 0.22, 1.0),  # cerebrospinal fluid
    Tissue((30, 62, 502, 514), 45, 0.42, 3.0),  # blood
    Tissue((506,), 12, 0.26, 2.0),  # vitreous body
    Tissue((508,), 48, 0.58, 4.0),
    Tissue((509,), 40, 0.62, 10.0, 0.08),  # mucosa and cartilage
    Tissue((SKIN,), 30, 0.60, 8.0, 0.05),
    Tissue((SOFT,), 50, 0.52, 6.0, 0.05),  # muscle
    Tissue((COMPACT,), 1150, 0.05, 0.0, 0.2),
    Tissue((SPONGY,), 350, 0.75, 0.0, 0.05),
)
FAT_HU, FAT_MR = -95.0, 1.35
SKIN_MM = 2.2
"""Thickness of the skin proper; what else is labelled skin is fat."""
HU_JITTER, MR_JITTER = 2.0, 0.04
"""Of a tissue between heads: standard deviation in HU, and as a share of its signal."""
COMPACT_HU = (850.0, 1500.0)
SPONGY_HU = (200.0, 500.0)


class Signals(NamedTuple):
    """What a tissue does to each scanner, voxels (z, y, x): HU, and signal where white matter gives about 1."""

    hu: FloatArray
    mr: FloatArray


def draw_signals(labels: Volume, body: BoolArray, rng: np.random.Generator) -> Signals:
    """Draw HU and MR signal of a label map's voxels, without blur, noise or coil.

    Args:
        labels: int voxels (z, y, x) and their grid.
        body: the head, its holes filled; on the same grid.
        rng: source of all that varies between heads and places.

    Raises:
        InputError: a label is not in TISSUES.
    """
    ids = labels.voxels
    table = _table(labels, rng)
    field = _Fields(labels, rng)
    ids = _without_gaps(ids, body, labels.spacing_zyx)
    fine_hu, fine_mr = field.texture(), field.texture()
    slow = field.waves(20, 60, 8)
    hu = table[0][ids] + table[2][ids] * fine_hu
    mr = table[1][ids] * (1 + table[3][ids] * (fine_mr + slow))
    _add_bone(ids, hu, mr, field, fine_hu, rng)
    fat = _fat(ids, body, labels.spacing_zyx, field)
    hu += fat * (np.float32(FAT_HU) + 6 * fine_hu - hu)
    mr += fat * (np.float32(FAT_MR) * (1 + np.float32(0.04) * fine_mr) - mr)
    return Signals(hu.astype(np.float32), np.maximum(mr, 0).astype(np.float32))


def _table(labels: Volume, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Four columns by label id: HU, MR, and their variation inside the tissue; each head's tissues differ a little."""
    table = np.full((4, 1 + max(max(tissue.ids) for tissue in TISSUES)), np.nan, np.float32)
    for tissue in TISSUES:
        hu_shift, mr_shift = rng.standard_normal(2)
        solid = tissue.ids != (AIR,)
        values = (
            tissue.hu + HU_JITTER * hu_shift * solid,
            tissue.mr * (1 + MR_JITTER * mr_shift),
            tissue.hu_vary,
            tissue.mr_vary,
        )
        table[:, list(tissue.ids)] = np.array(values, np.float32)[:, None]
    known = np.flatnonzero(np.isfinite(table[0]))
    unknown = np.setdiff1d(labels.voxels, known)
    if unknown.size:
        raise InputError(
            f"{labels.path or 'label map'}: holds label {unknown[0]}, which is not known; expected FreeSurfer's of the "
            f"brain and {known[known > 500].tolist()} about it"
        )
    return table


class _Fields:
    """Random fields on one grid, as functions of millimetres."""

    def __init__(self, volume: Volume, rng: np.random.Generator) -> None:
        self._shape = volume.voxels.shape
        self._spacing = volume.spacing_zyx
        self._rng = rng
        self._axes = [
            np.arange(size, dtype=np.float32) * np.float32(step)
            for size, step in zip(volume.geometry.size, volume.geometry.spacing, strict=True)
        ]

    def waves(self, shortest: float, longest: float, count: int) -> FloatArray:
        """Smooth: standard deviation about 0.5, wave lengths in mm."""
        drawn = WaveField.draw(self._rng, shortest, longest, count)
        return drawn.sample(self._axes[0], self._axes[1], self._axes[2])

    def texture(self) -> FloatArray:
        """Fine: standard deviation 1, a grain of about 1.5 mm."""
        noise = self._rng.standard_normal(self._shape, dtype=np.float32)
        return _unit(ndimage.gaussian_filter(noise, [1.5 / step for step in self._spacing], truncate=3.0))

    def blurred(self, where: BoolArray, sigma_mm: float) -> FloatArray:
        """Share of a neighbourhood that a mask fills."""
        sigmas = [sigma_mm / step for step in self._spacing]
        share: FloatArray = ndimage.gaussian_filter(where.astype(np.float32), sigmas, mode="nearest", truncate=3.0)
        return share


def _unit(noise: FloatArray) -> FloatArray:
    return np.asarray(noise / np.maximum(noise.std(), np.float32(1e-6)))


def _rise(values: FloatArray, middle: float, width: float) -> FloatArray:
    """From 0 to 1 about the middle."""
    return np.asarray(0.5 + 0.5 * np.tanh((values - np.float32(middle)) / np.float32(width)), np.float32)


def _without_gaps(ids: LabelArray, body: BoolArray, spacing_zyx: tuple[float, float, float]) -> LabelArray:
    """Give air between specks of skin the skin's label: ears are drawn in specks."""
    skin = (ids == SKIN).astype(np.float32)
    share = ndimage.gaussian_filter(skin, [1.5 / step for step in spacing_zyx], mode="nearest", truncate=3.0)
    return np.where((ids == AIR) & body & (share > 0.35), SKIN, ids)


def _add_bone(
    ids: LabelArray, hu: FloatArray, mr: FloatArray, field: _Fields, fine: FloatArray, rng: np.random.Generator
) -> None:
    """Draw bone in place. Thick compact bone is denser, which an MR shows by its shape; the rest it does not show.

    Spongy bone is bone and fat in shares that differ from place to place: the denser, the darker in MR.
    """
    compact, spongy = ids == COMPACT, ids == SPONGY
    dense = float(rng.normal(1120.0, 60.0)) + 160 * field.waves(30, 120, 8) + 260 * (field.blurred(compact, 3.0) - 0.5)
    dense += 25 * fine
    hu[compact] = np.clip(dense[compact], *COMPACT_HU)
    share = np.clip(0.5 + 0.55 * field.waves(15, 60, 10) + 0.08 * fine, 0, 1)[spongy]
    low, high = SPONGY_HU
    hu[spongy] = low + (high - low) * share
    mr[spongy] *= 1.35 - 0.7 * share


def _fat(ids: LabelArray, body: BoolArray, spacing_zyx: tuple[float, float, float], field: _Fields) -> FloatArray:
    """Share of fat in each voxel, 0 to 1: below the skin, in patches between muscles, about the eyes."""
    depth = ndimage.distance_transform_edt(body, sampling=spacing_zyx).astype(np.float32)
    patches = field.waves(16, 50, 14) + np.float32(0.3) * field.waves(8, 14, 10)
    # more of it close to the skin
    level = np.clip(0.25 + 0.02 * (depth - 8.0), 0.1, 0.45).astype(np.float32)
    among = _rise(patches - level, 0.0, 0.2)
    orbit = _rise(field.blurred(np.isin(ids, EYES), 5.0), 0.16, 0.04) * _rise(depth, 4.0, 1.0)
    below = _rise(depth, SKIN_MM, 0.6)
    fat = np.zeros(ids.shape, np.float32)
    skin, soft = ids == SKIN, ids == SOFT
    fat[skin] = (below * np.float32(0.9))[skin]
    fat[soft] = np.maximum(np.maximum(among, orbit) * below, 0)[soft]
    return fat
