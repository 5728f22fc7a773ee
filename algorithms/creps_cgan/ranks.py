"""The rank prior, an extension of ours: bright in the MR is dark in the CT, until the adversary knows better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from synthct.errors import InputError
from synthct.training.cache import CachedCase

__all__ = ["RankTable"]

FloatArray = npt.NDArray[np.float64]

RANKS = np.linspace(0.0, 1.0, 257)


class RankTable:
    """Histogram matching the other way round: the MR value of rank r becomes the CT value of rank 1 - r.

    Unpaired losses leave open which tissue is which: a generator that swaps fat and bone can have the right histogram,
    edges and style. One fact breaks the tie and needs no pair: cortical bone gives no signal in an MR and is the
    brightest in a CT; fat is the reverse. The table says just that, with the quantiles of unpaired images. It does not
    hold where fluid is brighter than fat, and is wrong for tendons and vessels.

    Args:
        images: MR values by rank, in network units, not falling.
        references: CT values by rank, in network units, as many, not falling.
        air: what voxels outside the mask become; they are below 0 in the image (setting mark_outside).
    """

    def __init__(self, images: FloatArray, references: FloatArray, air: float) -> None:
        known, first = np.unique(images, return_index=True)
        last = np.searchsorted(images, known, "right") - 1
        falling = references[::-1]
        self._known = torch.from_numpy(known.astype(np.float32))
        self._wanted = torch.from_numpy(((falling[first] + falling[last]) / 2).astype(np.float32))
        self._air = air

    @classmethod
    def fit(cls, images: Sequence[CachedCase], references: Sequence[CachedCase], air: float) -> RankTable:
        """Take the quantiles inside the masks; each case counts the same.

        Raises:
            InputError: no image, or no CT, has a voxel inside its mask.
        """
        return cls(
            _quantiles([(case.image, case.weight) for case in images], "images"),
            _quantiles([(case.reference, case.weight) for case in references if case.reference is not None], "CTs"),
            air,
        )

    def __call__(self, image: Tensor) -> Tensor:
        """Return the CT, in network units, that ranks alone give; linear between the table's values.

        Args:
            image: MR in network units, any shape, float32.
        """
        known, wanted = self._known.to(image.device), self._wanted.to(image.device)
        if len(known) == 1:
            found = wanted.expand_as(image)
        else:
            after = torch.searchsorted(known, image.contiguous()).clamp(1, len(known) - 1)
            share = ((image - known[after - 1]) / (known[after] - known[after - 1])).clamp(0.0, 1.0)
            found = torch.lerp(wanted[after - 1], wanted[after], share)
        return torch.where(image < 0, self._air, found)


def _quantiles(volumes: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]], what: str) -> FloatArray:
    found = [np.quantile(values[inside > 0], RANKS) for values, inside in volumes if (inside > 0).any()]
    if not found:
        raise InputError(f"no voxel inside the masks of {len(volumes)} {what}; expected some to take ranks of")
    return np.asarray(np.mean(found, axis=0))
