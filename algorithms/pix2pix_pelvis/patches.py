"""Random paired patches for training, from cases held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PatchSampler", "TrainingCase"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A normalised pair, arrays (z, y, x) float32.

    Attributes:
        id: case id.
        image: MR in network units.
        ct: CT in network units.
        weight: 1 where the loss counts (inside the mask, CT known), 0 elsewhere.
    """

    id: str
    image: FloatArray
    ct: FloatArray
    weight: FloatArray


class PatchSampler:
    """Draws (image, ct, weight) patches; cases in proportion to the sum of their weight.

    Along an axis that is longer than the patch every place inside the volume is equally likely; along a shorter one
    the patch holds the whole axis, at a place that varies.

    With `augment`, patches are flipped along any axis, turned in-plane by quarters and their MR is scaled by up to
    10 %. The stream of patches depends on the seed alone.
    """

    def __init__(self, cases: list[TrainingCase], patch: tuple[int, int, int], *, augment: bool, seed: int) -> None:
        self._cases = cases
        self._patch = patch
        self._augment = augment
        self._random = np.random.default_rng(seed)
        inside = np.array([float(case.weight.sum()) for case in cases])
        self._share = inside / inside.sum()

    def skip(self, draws: int) -> None:
        """Advance the stream as if that many patches had been drawn."""
        for _ in range(draws):
            self.draw()

    def draw(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return one patch of each array, shape `patch`; beyond the volume MR is 0, CT air and weight 0."""
        case = self._cases[int(self._random.choice(len(self._cases), p=self._share))]
        start = [
            int(self._random.integers(min(0, size - edge), max(0, size - edge) + 1))
            for size, edge in zip(case.image.shape, self._patch, strict=True)
        ]
        arrays = [
            _cut(array, start, self._patch, fill)
            for array, fill in ((case.image, 0.0), (case.ct, -1.0), (case.weight, 0.0))
        ]
        if self._augment:
            axes = tuple(axis for axis in range(3) if self._random.random() < 0.5)
            turns = int(self._random.integers(4)) if self._patch[1] == self._patch[2] else 0
            gain = np.float32(self._random.uniform(0.9, 1.1))
            arrays = [np.rot90(np.flip(array, axes), turns, (1, 2)) for array in arrays]
            arrays[0] = arrays[0] * gain
        image, ct, weight = (np.ascontiguousarray(array, dtype=np.float32) for array in arrays)
        return image, ct, weight


def _cut(array: FloatArray, start: list[int], patch: tuple[int, int, int], fill: float) -> FloatArray:
    """Cut a patch whose start may be negative; what lies outside the array is filled."""
    inner = tuple(
        slice(max(0, first), min(size, first + edge))
        for first, edge, size in zip(start, patch, array.shape, strict=True)
    )
    padding = [
        (max(0, -first), max(0, first + edge - size))
        for first, edge, size in zip(start, patch, array.shape, strict=True)
    ]
    return np.pad(array[inner], padding, constant_values=fill)
