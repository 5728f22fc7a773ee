"""Smooth random fields that are functions of position in mm, hence the same at every resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "WaveField"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WaveField:
    """A sum of plane waves of random direction; mean 0, standard deviation about 0.5, magnitude at most 2.

    Attributes:
        vectors: wave vectors in radians per mm, one row (x, y, z) per wave.
        phases: one phase per wave, in radians.
    """

    vectors: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, shortest: float, longest: float, count: int = 8) -> WaveField:
        """Draw `count` waves whose lengths lie between `shortest` and `longest` mm."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = rng.uniform(shortest, longest, size=(count, 1))
        return cls(2 * np.pi * directions / lengths, rng.uniform(0, 2 * np.pi, size=count))

    def sample(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Return the field on the grid that three axes (mm) span, as (z, y, x).

        A plane wave is a product of one factor per axis, so a whole volume costs a few multiplications per wave.
        """
        total = np.zeros((z.size, y.size, x.size), dtype=np.float32)
        for (along_x, along_y, along_z), phase in zip(self.vectors, self.phases, strict=True):
            rows = np.exp(1j * (along_z * z[:, None] + along_y * y[None, :] + phase)).astype(np.complex64)[..., None]
            columns = np.exp(1j * along_x * x).astype(np.complex64)
            total += rows.real * columns.real
            total -= rows.imag * columns.imag
        return total * np.float32(0.5 / np.sqrt(len(self.phases) / 2))
