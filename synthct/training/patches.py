"""Random patches for training, paired and unpaired; what a patch holds depends on seed and index alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from synthct.errors import InputError
from synthct.training.cache import CachedCase
from synthct.training.folds import patient_of

__all__ = ["GAIN", "Fill", "PairedSampler", "Patch", "PatchSampler", "SamplingSettings", "Triple", "UnpairedSampler"]

FloatArray = npt.NDArray[np.float32]
AnyArray = npt.NDArray[np.generic]

_Edge = Annotated[int, Field(gt=0)]
Triple = tuple[_Edge, _Edge, _Edge]

GAIN = 0.1
"""Largest relative change of the image's values under augmentation (inference)."""


class SamplingSettings(BaseModel):
    """How patches are drawn.

    Attributes:
        patch: shape (z, y, x) in voxels.
        foreground: share of patches that are centred on a voxel of the mask; 0.33 is nnU-Net's figure.
        augment: flip along any axis, turn in-plane by quarters where patch y and x are equal, scale the image's values
            by 1 - gain to 1 + gain.
        gain: 0 for images in HU, whose values are to be trusted.
        weighting: draw cases in proportion to the voxels of their mask (volume), or all alike (case).
        mask_loss: the loss counts inside the mask alone; False: everywhere inside the volume.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    patch: Triple
    foreground: float = Field(default=0.33, ge=0, le=1)
    augment: bool = False
    gain: float = Field(default=GAIN, ge=0, lt=1)
    weighting: Literal["case", "volume"] = "volume"
    mask_loss: bool = True


class Fill(NamedTuple):
    """Values beyond a volume's edge, in network units."""

    image: float
    reference: float


class Patch(NamedTuple):
    """One sample, arrays float32 (z, y, x) of the patch's shape, C-contiguous, the receiver's own.

    Attributes:
        image: MR or CBCT in network units.
        reference: CT in network units; of the same place, or of another patient where patches are unpaired.
        weight: 1 where the loss counts on the reference's grid, 0 elsewhere and beyond the volume.
        image_case: id of the case that the image is from.
        reference_case: id of the case that reference and weight are from.
    """

    image: FloatArray
    reference: FloatArray
    weight: FloatArray
    image_case: str
    reference_case: str


class PatchSampler(Protocol):
    """What a patch source draws from."""

    def patch(self, index: int) -> Patch:
        """Return patch number `index` (0 or more) of an endless stream; may be called from several threads."""
        ...


class PairedSampler:
    """Draws image, reference and weight from one place of one case.

    A patch is centred on a voxel of the mask (moved back where it would leave the volume), or lies at any place inside
    the volume with equal likelihood. Along an axis that is shorter than the patch, the patch holds the whole axis at a
    place that varies, and is filled around it. A case with an empty mask is never drawn.

    Args:
        cases: with reference.
        settings: how to draw.
        fill: values beyond a volume's edge.
        seed: 0 or more.

    Raises:
        InputError: there is no case, one has no reference, or every mask is empty.
    """

    def __init__(self, cases: Sequence[CachedCase], settings: SamplingSettings, fill: Fill, seed: int) -> None:
        self._cases = _with_reference(cases)
        self._settings = settings
        self._fill = fill
        self._seed = seed
        self._share = _shares(self._cases, settings)

    def patch(self, index: int) -> Patch:
        """Return patch number `index` of the stream."""
        random = np.random.default_rng([self._seed, index])
        case = self._cases[_choose(self._share, random)]
        start = _place(case, self._settings, random)
        arrays = _cut_pair(case, start, self._settings, self._fill)
        image = _cut(case.image, start, self._settings.patch, self._fill.image)
        if self._settings.augment:
            image, *arrays = _turned([image, *arrays], self._settings.patch, random)
            image = image * _gain(random, self._settings.gain)
        return _patch(image, arrays, case.id, case.id)


class UnpairedSampler:
    """Draws the image from one case, reference and weight from a case of another patient, both as PairedSampler does.

    Places, flips and turns of the two are independent. Patients are told by their ids (folds.patient_of). Where all
    references are of the image's own patient, one of those is taken.

    Args:
        images: cases for the image; their references are not looked at.
        references: cases with reference.
        settings: how to draw.
        fill: values beyond a volume's edge.
        seed: 0 or more.

    Raises:
        InputError: a list is empty, a case of `references` has no reference, or every mask of a list is empty.
    """

    def __init__(
        self,
        images: Sequence[CachedCase],
        references: Sequence[CachedCase],
        settings: SamplingSettings,
        fill: Fill,
        seed: int,
    ) -> None:
        self._images = tuple(images)
        self._references = _with_reference(references)
        self._settings = settings
        self._fill = fill
        self._seed = seed
        self._image_share = _shares(self._images, settings)
        self._reference_share = _shares(self._references, settings)
        self._image_patients = [patient_of(case.id) for case in self._images]
        self._reference_patients = np.array([patient_of(case.id) for case in self._references])

    def patch(self, index: int) -> Patch:
        """Return patch number `index` of the stream."""
        random = np.random.default_rng([self._seed, index])
        settings = self._settings
        chosen = _choose(self._image_share, random)
        source = self._images[chosen]
        others = np.where(self._reference_patients == self._image_patients[chosen], 0.0, self._reference_share)
        target = self._references[_choose(others if others.any() else self._reference_share, random)]
        image = _cut(source.image, _place(source, settings, random), settings.patch, self._fill.image)
        arrays = _cut_pair(target, _place(target, settings, random), settings, self._fill)
        if settings.augment:
            (image,) = _turned([image], settings.patch, random)
            image = image * _gain(random, settings.gain)
            arrays = _turned(arrays, settings.patch, random)
        return _patch(image, arrays, source.id, target.id)


def _with_reference(cases: Sequence[CachedCase]) -> tuple[CachedCase, ...]:
    for case in cases:
        if case.reference is None:
            raise InputError(f"{case.id}: has no CT; expected a case with one to draw patches from")
    return tuple(cases)


def _shares(cases: Sequence[CachedCase], settings: SamplingSettings) -> npt.NDArray[np.float64]:
    """How often each case is drawn, not normalised; 0 where its mask is empty."""
    inside = np.array([case.inside for case in cases], dtype=np.float64)
    if not inside.any():
        raise InputError(f"{len(cases)} cases to draw patches from, none with a voxel inside its mask; expected some")
    return inside if settings.weighting == "volume" else (inside > 0).astype(np.float64)


def _choose(share: npt.NDArray[np.float64], random: np.random.Generator) -> int:
    """Draw an index in proportion to its share; one with share 0 never."""
    summed = np.cumsum(share)
    return int(np.searchsorted(summed / summed[-1], random.random(), side="right"))


def _place(case: CachedCase, settings: SamplingSettings, random: np.random.Generator) -> list[int]:
    """First voxel of a patch, negative along an axis that is shorter than the patch."""
    room = [size - edge for size, edge in zip(case.image.shape, settings.patch, strict=True)]
    start = [int(random.integers(min(0, free), max(0, free) + 1)) for free in room]
    if random.random() >= settings.foreground:
        return start
    centre = case.foreground[int(random.integers(len(case.foreground)))]
    return [
        min(max(int(voxel) - edge // 2, 0), free) if free > 0 else first
        for voxel, edge, free, first in zip(centre, settings.patch, room, start, strict=True)
    ]


def _cut_pair(case: CachedCase, start: list[int], settings: SamplingSettings, fill: Fill) -> list[FloatArray]:
    """Cut reference and weight."""
    if case.reference is None:
        raise InputError(f"{case.id}: has no CT; expected a case with one to draw patches from")
    weight = case.weight if settings.mask_loss else np.broadcast_to(np.uint8(1), case.weight.shape)
    return [
        _cut(case.reference, start, settings.patch, fill.reference),
        _cut(weight, start, settings.patch, 0.0),
    ]


def _cut(array: AnyArray, start: list[int], patch: Triple, fill: float) -> FloatArray:
    """Copy a piece that may reach beyond the array; what lies beyond is filled."""
    source, target = [], []
    for first, edge, size in zip(start, patch, array.shape, strict=True):
        begin, end = max(0, first), min(size, first + edge)
        source.append(slice(begin, end))
        target.append(slice(begin - first, end - first))
    inner = array[tuple(source)]
    if inner.shape == patch:
        return np.array(inner, dtype=np.float32, order="C")
    piece = np.full(patch, fill, dtype=np.float32)
    piece[tuple(target)] = inner
    return piece


def _turned(arrays: list[FloatArray], patch: Triple, random: np.random.Generator) -> list[FloatArray]:
    """Flip and turn arrays together; the shape stays."""
    axes = tuple(axis for axis in range(3) if random.random() < 0.5)
    turns = int(random.integers(4)) if patch[1] == patch[2] else 0
    return [np.rot90(np.flip(array, axes), turns, (1, 2)) for array in arrays]


def _gain(random: np.random.Generator, largest: float) -> np.float32:
    return np.float32(random.uniform(1 - largest, 1 + largest))


def _patch(image: FloatArray, arrays: list[FloatArray], image_case: str, reference_case: str) -> Patch:
    reference, weight = (np.ascontiguousarray(array) for array in arrays)
    return Patch(np.ascontiguousarray(image), reference, weight, image_case, reference_case)
